"""How a discriminator is told the class of what it judges."""

import keras
from keras import layers, ops

from kgen.core.conditions import Conditions
from kgen.core.config import Configured, resolve
from kgen.layers import TextEmbedding


class Conditioning(Configured):
    """Base class: used while a discriminator's layers are put together, on symbolic tensors.

    ``label`` is int32 (B,), ``wrap`` maps a layer to the one to use: itself, or its ``SpectralNormalization``. Of other conditions than one
    class, ``num_classes`` is None and ``label`` a float vector (B, E).
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
        one_hot = label if num_classes is None else ops.one_hot(label, num_classes)
        if len(x.shape) > 2:
            one_hot = layers.Reshape((*[1] * (len(x.shape) - 2), one_hot.shape[-1]), name="label_planes")(one_hot)
            one_hot = ops.ones_like(x[..., :1]) * one_hot
        return layers.Concatenate(name="join_label")([x, one_hot])


@keras.saving.register_keras_serializable(package="kgen")
class ProjectionConditioning(Conditioning):
    """The features f are projected on a learned vector of the class: D(x, y) = w^T f(x) + b + v_y^T f(x).

    Reference: Miyato & Koyama, cGANs with projection discriminator, 2018, Eq. 3, arXiv 1802.05637.
    """

    def logit(self, features, label, num_classes, wrap):
        width = features.shape[-1]
        if num_classes is None:
            vectors = wrap(layers.Dense(width, use_bias=False, name="label_embedding"))(label)
        else:
            vectors = wrap(layers.Embedding(num_classes, width, name="label_embedding"))(label)
        projection = ops.sum(vectors * features, axis=-1, keepdims=True)
        return super().logit(features, label, num_classes, wrap) + projection


class Told:
    """The inputs of a network's conditions, and one vector of all of them, on symbolic tensors.

    Labels are one-hot vectors, vectors are as they are, of a text ``TextEmbedding``.

    Args:
        conditions: ``Conditions``, or a list of conditions or their configurations; pictures are not among them.
    """

    def __init__(self, conditions):
        self.conditions = conditions if isinstance(conditions, Conditions) else Conditions(conditions)
        self.inputs, parts = [], []
        for c in self.conditions:
            values = [keras.Input(s.shape, dtype=s.dtype, name=name) for name, s in c.specs().items()]
            self.inputs += values
            if c.kind == "label":
                parts.append(ops.one_hot(values[0], c.count))
            elif c.kind == "vector":
                parts.append(values[0])
            elif c.kind == "sequence":
                parts.append(TextEmbedding(c.vocabulary_size, name=f"{c.name}_embedding")(values))
            else:
                raise ValueError(
                    f"conditions: expected labels, vectors and texts, received the {c.kind} {c.name!r}. Pix2Pix takes pictures."
                )
        self.vector = parts[0] if len(parts) == 1 else layers.Concatenate(name="join_conditions")(parts)


ALIASES = {"projection": ProjectionConditioning, "concatenation": ConcatenationConditioning}


def get(conditioning):
    """A conditioning from its name, its configuration, or itself."""
    return resolve("conditioning", conditioning, Conditioning, ALIASES)
