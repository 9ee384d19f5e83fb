"""The conditional variational autoencoder: q(z | x, y) and p(x | z, y), with one prior p(z) for all y.

Reference:
    Sohn et al., Learning structured output representation using deep conditional generative models, NIPS 2015, section 4, with the
    prior independent of the condition.
"""

import keras
from keras import ops

from kgen.core import conditions as core_conditions
from kgen.vae import defaults
from kgen.vae.vae import VAE


@keras.saving.register_keras_serializable(package="kgen")
class ConditionalVAE(VAE):
    """A VAE of examples under conditions: ``fit(x, labels)``, ``sample(n, labels=...)``; its ``log_prob`` bounds ln p(x | y).

    Args:
        image_shape, latent_dim: as in ``VAE``.
        num_classes: number of classes, or a list of their names: examples are conditioned on a label. None for no label.
        conditions: further conditions, such as ``[VectorCondition(3, name="size")]``.
        encoder: maps [x, *values] to the posterior's parameters. By default ``VAE``'s own for an image with the values as further
            channels, each the same everywhere; labels are one-hot.
        decoder: maps [z, *values] as ``VAE``'s does z. By default ``VAE``'s own for z with the values behind it.
        **kwargs: as in ``VAE``.
    Raises:
        ValueError: there is no condition; or the default networks do not know one, such as an image.
    """

    def __init__(
        self, image_shape, latent_dim=16, *, num_classes=None, conditions=(), name="conditional_vae", **kwargs
    ):
        conditions = [*core_conditions.of_classes(num_classes), *conditions]
        if not conditions:
            raise ValueError(
                "num_classes, conditions: expected at least one of them; a VAE without conditions is kgen.vae.VAE."
            )
        super().__init__(image_shape, latent_dim, conditions=conditions, name=name, **kwargs)
        self.num_classes = num_classes

    def default_encoder(self, size):
        widths = self._widths("encoder")
        shape = (*self.image_shape[:-1], self.image_shape[-1] + sum(widths.values()))
        network = defaults.encoder(shape, size, self.dtype_policy)
        return Concatenated(network, self._classes(), name="encoder", dtype=self.dtype_policy)

    def default_decoder(self, output_shape):
        size = self.latent_dim + sum(self._widths("decoder").values())
        network = defaults.decoder(size, output_shape, self.dtype_policy)
        return Concatenated(network, self._classes(), name="decoder", dtype=self.dtype_policy)

    def _classes(self):
        return [c.count if c.kind == "label" else None for c in self.conditions]

    def _widths(self, network):
        for c in self.conditions:
            if c.kind not in ("label", "vector"):
                raise ValueError(
                    f"{network}: the default one takes labels and vectors, not {c.name!r}, of kind {c.kind!r}. Pass {network}=."
                )
        return {c.name: c.count if c.kind == "label" else c.size for c in self.conditions}

    def get_config(self):
        config = super().get_config()
        own = 0 if self.num_classes is None else 1  # the label, which num_classes says
        return {**config, "num_classes": self.num_classes, "conditions": config["conditions"][own:]}


@keras.saving.register_keras_serializable(package="kgen")
class Concatenated(keras.layers.Layer):
    """A network of one tensor, called on that tensor and more: their numbers stand behind its last axis.

    Args:
        network: takes (B, ..., C + the numbers of all values).
        classes: for each value the number of classes of a label, which becomes one-hot (all zeros for "no class"); None for a vector.
    Call:
        [x, *values]: float (B, ..., C), and for each value int (B,) or float (B, n). Returns what ``network`` returns.
    """

    def __init__(self, network, classes, **kwargs):
        super().__init__(**kwargs)
        self.network = keras.saving.deserialize_keras_object(network) if isinstance(network, dict) else network
        self.classes = list(classes)
        self.built = True

    def call(self, inputs, training=False):
        first, *values = inputs
        everywhere = ops.zeros_like(first[..., :1])
        parts = [first]
        for value, count in zip(values, self.classes, strict=True):
            if count is not None:
                value = ops.equal(ops.expand_dims(value, -1), ops.arange(count, dtype=value.dtype))
            value = ops.cast(value, first.dtype)
            parts.append(ops.reshape(value, (-1, *[1] * (len(first.shape) - 2), value.shape[-1])) + everywhere)
        return self.network(ops.concatenate(parts, axis=-1), training=training)

    def get_config(self):
        network = keras.saving.serialize_keras_object(self.network)
        return {**super().get_config(), "network": network, "classes": self.classes}
