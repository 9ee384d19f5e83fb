"""How a discriminator is told the class of what it judges."""

import keras
from keras import layers, ops

from kgen.core.config import Configured, resolve


class Conditioning(Configured):
    """Base class: used while a discriminator's layers are put together, on symbolic tensors.

    ``label`` is int32 (B,), ``wrap`` maps a layer to the one to use: itself, or its ``SpectralNormalization``.
    """

    def join(self, x, label, num_classes):
        """What the first layer sees of examples ``x`` (B, ...)."""
        return x

    def logit(self, features, label, num_classes, wrap):
        """The logits (B, 1) from the last features (B, F)."""
        return wrap(layers.Dense(1, name="dense_out"))(features)


@keras.saving.register_keras_serializable(package="kgen")
class ConcatenationConditioning(Conditioning):
    """The class stands beside the example: a one-hot vector, for images as one plane for each class.

    Reference: Mirza & Osindero, Conditional generative adversarial nets, 2014, arXiv 1411.1784.
    """

    def join(self, x, label, num_classes):
        one_hot = ops.one_hot(label, num_classes)
        if len(x.shape) > 2:
            one_hot = layers.Reshape((*[1] * (len(x.shape) - 2), num_classes), name="label_planes")(one_hot)
            one_hot = ops.ones_like(x[..., :1]) * one_hot
        return layers.Concatenate(name="join_label")([x, one_hot])


@keras.saving.register_keras_serializable(package="kgen")
class ProjectionConditioning(Conditioning):
    """The features f are projected on a learned vector of the class: D(x, y) = w^T f(x) + b + v_y^T f(x).

    Reference: Miyato & Koyama, cGANs with projection discriminator, 2018, Eq. 3, arXiv 1802.05637.
    """

    def logit(self, features, label, num_classes, wrap):
        vectors = wrap(layers.Embedding(num_classes, features.shape[-1], name="label_embedding"))(label)
        projection = ops.sum(vectors * features, axis=-1, keepdims=True)
        return super().logit(features, label, num_classes, wrap) + projection


ALIASES = {"projection": ProjectionConditioning, "concatenation": ConcatenationConditioning}


def get(conditioning):
    """A conditioning from its name, its configuration, or itself."""
    return resolve("conditioning", conditioning, Conditioning, ALIASES)
