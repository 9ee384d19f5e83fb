"""What a flow's steps are: layers that map x to z and back, with the logarithm of the Jacobian determinant; and steps in order.

Each step rests on TFP bijectors, made anew at each call from what its Keras layers return, so that their weights train, save and
average as those of any layer. Directions are TFP's: a bijector's ``forward`` maps z to x.
"""

import math

import keras
from keras import ops


def rows_sum(log_det):
    """Sums each row: (B, ...) to (B,)."""
    return ops.sum(ops.reshape(log_det, (ops.shape(log_det)[0], -1)), axis=-1)


class Step(keras.layers.Layer):
    """Base class. A subclass makes its weights in ``build``, and gives ``encode`` and ``decode``.

    A step may give a row another shape (``output_shape``), and may take values out of the chain (``latent_shape``): no later step
    sees them, and they are a part of the flow's z. In all a row keeps its number of values.
    """

    def build(self, shape, condition_size=0):
        """Makes the weights: ``shape`` of one row, and the length of the condition, 0 for none."""

    def output_shape(self, shape):
        """The shape that a row of ``shape`` has for the next step. It is asked before and after ``build``."""
        return tuple(shape)

    def latent_shape(self, shape):
        """The shape of what this step takes out of a row of ``shape``, or None where it takes nothing out."""
        return None

    def initialize(self, x, condition=None):
        """Sets weights from data (N, *shape) before training, where a step does so."""

    def encode(self, x, condition=None, training=False):
        """x to z.

        Args:
            x: float32 tensor (B, *shape).
            condition: float32 tensor (B, condition_size), or None.
            training: bool.
        Returns:
            ``(z, log_det)``: float32 tensors (B, *output_shape), and ln |det dz/dx| (B,). A step that takes values out returns
            ``((z, latent), log_det)``, with latent (B, *latent_shape).
        """
        raise NotImplementedError

    def decode(self, z, condition=None):
        """z, or ``(z, latent)``, to x: the inverse of ``encode``."""
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="kgen")
class Chain(Step):
    """Steps in order: the first is nearest to the data.

    Its z has the shape of the data; or, where steps take values out or leave another shape, is one vector: what was taken out, in
    order, and then what is left.

    Args:
        steps: list of ``Step``.
    """

    def __init__(self, steps, **kwargs):
        super().__init__(**kwargs)
        self.steps = list(steps)

    def stages(self, shape):
        """For each step, the shapes ``(before, after, latent)`` of a row; latent is None where the step takes nothing out.

        Raises:
            ValueError: a step gains or loses values.
        """
        found, shape = [], tuple(shape)
        for i, step in enumerate(self.steps):
            latent = step.latent_shape(shape)
            stage = shape, tuple(step.output_shape(shape)), None if latent is None else tuple(latent)
            if math.prod(shape) != math.prod(stage[1]) + (math.prod(latent) if stage[2] else 0):
                raise ValueError(
                    f"steps[{i}]: expected a step that keeps the number of values in rows of shape {shape}; {step.name} makes {stage[1]}"
                    f"{f' and takes {stage[2]} out' if latent else ''} of it."
                )
            found.append(stage)
            shape = stage[1]
        return found

    def build(self, shape, condition_size=0):
        self.shape = after = tuple(shape)
        for step in self.steps:  # one at a time: a step says its shapes by itself, but refuses a wrong one in build
            if not step.built:
                step.build(after, condition_size)
            after = tuple(step.output_shape(after))
        stages = self.stages(shape)
        self.takes_out = tuple(latent is not None for *_, latent in stages)
        self.parts = (*(latent for *_, latent in stages if latent is not None), after)
        self.is_joined = any(self.takes_out) or after != self.shape
        self.z_shape = self.output_shape(shape)

    def output_shape(self, shape):
        stages = self.stages(shape)
        same = not stages or (stages[-1][1] == tuple(shape) and not any(latent for *_, latent in stages))
        return tuple(shape) if same else (math.prod(shape),)

    def check(self, condition):
        """Sends one row through each step: it must have the shape that the step says.

        Args:
            condition: float32 tensor (1, condition_size), or None.
        Raises:
            ValueError: a step fails on a row, or returns another shape.
        """
        x = ops.full((1, *self.shape), 0.5)
        for i, (step, (before, after, latent)) in enumerate(zip(self.steps, self.stages(self.shape), strict=True)):
            try:
                z, log_det = step.encode(x, condition)
                x, out = (z, None) if latent is None else z
            except Exception as error:
                raise ValueError(
                    f"steps[{i}]: expected a step that takes rows of shape {before}; {step.name} failed on one: {error}"
                ) from error
            for tensor, wanted in ((x, after), (log_det, ()), *([(out, latent)] if latent is not None else [])):
                if tuple(tensor.shape) != (1, *wanted):
                    raise ValueError(
                        f"steps[{i}]: expected a step that makes rows of shape {wanted} of rows of shape {before}, as it says; {step.name} "
                        f"returned {tuple(tensor.shape[1:])}."
                    )

    def initialize(self, x, condition=None):
        for step, takes_out in zip(self.steps, self.takes_out, strict=True):
            step.initialize(x, condition)
            x, _ = step.encode(x, condition)
            x = x[0] if takes_out else x

    def encode(self, x, condition=None, training=False):
        latents, total = [], 0.0
        for step, takes_out in zip(self.steps, self.takes_out, strict=True):
            x, log_det = step.encode(x, condition, training)
            if takes_out:
                x, latent = x
                latents.append(latent)
            total = total + log_det
        if not self.is_joined:
            return x, total
        parts = zip([*latents, x], self.parts, strict=True)
        return ops.concatenate([ops.reshape(z, (-1, math.prod(shape))) for z, shape in parts], axis=-1), total

    def decode(self, z, condition=None):
        latents = []
        if self.is_joined:
            start = 0
            for shape in self.parts:
                end = start + math.prod(shape)
                latents.append(ops.reshape(z[:, start:end], (-1, *shape)))
                start = end
            z = latents.pop()
        for step, takes_out in zip(reversed(self.steps), reversed(self.takes_out), strict=True):
            z = step.decode((z, latents.pop()) if takes_out else z, condition)
        return z

    def get_config(self):
        return {**super().get_config(), "steps": [keras.saving.serialize_keras_object(s) for s in self.steps]}

    @classmethod
    def from_config(cls, config):
        steps = [keras.saving.deserialize_keras_object(s) for s in config["steps"]]
        return cls(**{**config, "steps": steps})
