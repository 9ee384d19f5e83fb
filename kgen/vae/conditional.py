"""The conditional variational autoencoder: q(z | x, y) and p(x | z, y), with one prior p(z) for all y.

Reference:
    Sohn et al., Learning structured output representation using deep conditional generative models, NIPS 2015, section 4, with the
    prior independent of the condition.
"""

import keras
from keras import ops

from kgen.core.conditions import Conditions, of_classes
from kgen.networks.configured import ConfiguredNetwork
from kgen.vae import defaults
from kgen.vae.vae import VAE


@keras.saving.register_keras_serializable(package="kgen")
class ConditionalVAE(VAE):
    """A VAE of examples under conditions: ``fit(x, labels)``, ``sample(n, labels=...)``; its ``log_prob`` bounds ln p(x | y).

    Args:
        shape, latent_dim: as in ``VAE``.
        num_classes: number of classes, or a list of their names: examples are conditioned on a label. None for no label.
        conditions: further conditions, such as ``[VectorCondition(3, name="size")]``.
        encoder: maps [x, *values] to the posterior's parameters. By default ``VAE``'s own for an image with the values as further
            channels, each the same everywhere; labels are one-hot.
        decoder: maps [z, *values] as ``VAE``'s does z. By default ``VAE``'s own for z with the values behind it.
        **kwargs: as in ``VAE``.
    Raises:
        ValueError: there is no condition; or the default networks do not know one, such as an image.
    """

    def __init__(self, shape, latent_dim=16, *, num_classes=None, conditions=(), name="conditional_vae", **kwargs):
        conditions = [*of_classes(num_classes), *Conditions(conditions)]
        if not conditions:
            raise ValueError(
                "num_classes, conditions: expected at least one of them; a VAE without conditions is kgen.vae.VAE."
            )
        super().__init__(shape, latent_dim, conditions=conditions, name=name, **kwargs)
        self.num_classes = num_classes

    def default_encoder(self, size):
        more = self._numbers("encoder")
        shape = (*self.shape[:-1], self.shape[-1] + more)
        network = defaults.encoder(shape, size, self.dtype_policy)
        return Concatenated(network, self.shape, self.conditions, name="encoder", dtype=self.dtype_policy)

    def default_decoder(self, output_shape):
        more = self._numbers("decoder")
        network = defaults.decoder(self.latent_dim + more, output_shape, self.dtype_policy)
        return Concatenated(network, self.latent_shape, self.conditions, name="decoder", dtype=self.dtype_policy)

    def _numbers(self, network):
        """How many numbers the conditions are."""
        for c in self.conditions:
            if c.kind not in ("label", "vector"):
                raise ValueError(
                    f"{network}: the default one takes labels and vectors, not {c.name!r}, of kind {c.kind!r}. Pass {network}=."
                )
        return sum(c.count if c.kind == "label" else c.size for c in self.conditions)

    def get_config(self):
        config = super().get_config()
        own = 0 if self.num_classes is None else 1  # the label, which num_classes says
        return {**config, "num_classes": self.num_classes, "conditions": config["conditions"][own:]}


@keras.saving.register_keras_serializable(package="kgen")
class Concatenated(ConfiguredNetwork):
    """A network of one tensor, called on that tensor and conditions: their numbers stand behind its last axis, everywhere the same.

    A label becomes one-hot, and all zeros where it means "no class".

    Args:
        network: takes (B, *input_shape[:-1], input_shape[-1] + the numbers of all conditions).
        input_shape: shape of one row of the first input.
        conditions: ``kgen.core.conditions``: labels and vectors.
    Call:
        [first, *values]: float (B, *input_shape), and each value int (B,) or float (B, n). Returns what ``network`` returns.
    """

    def __init__(self, network, input_shape, conditions, name="concatenated", **kwargs):
        network = keras.saving.deserialize_keras_object(network) if isinstance(network, dict) else network
        conditions, input_shape = Conditions(conditions), tuple(input_shape)
        first = keras.Input(input_shape, name="first")
        everywhere = ops.zeros_like(first[..., :1])
        values, parts = [], [first]
        for c in conditions:
            value = keras.Input(c.specs()[c.name].shape, dtype=c.specs()[c.name].dtype, name=c.name)
            values.append(value)
            if c.kind == "label":
                value = ops.equal(ops.expand_dims(value, -1), ops.arange(c.count, dtype="int32"))
            value = ops.cast(value, first.dtype)
            parts.append(ops.reshape(value, (-1, *[1] * (len(input_shape) - 1), value.shape[-1])) + everywhere)
        super().__init__([first, *values], network(ops.concatenate(parts, axis=-1)), name=name, **kwargs)
        self._arguments = {
            "network": keras.saving.serialize_keras_object(network),
            "input_shape": list(input_shape),
            "conditions": conditions.get_config(),
            "name": name,
        }
