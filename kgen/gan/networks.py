"""Generators and discriminators that suit a shape, for those who bring none."""

import math

import keras
from keras import layers, ops

from kgen.core import checks
from kgen.gan import conditioning as conditionings
from kgen.gan.conditioning import Told
from kgen.layers import BatchNormalization, ConditionalBatchNormalization, SpectralNormalization
from kgen.networks.configured import ConfiguredNetwork
from kgen.networks.halving import halvings


def run_network(network, x, values=None, training=False):
    """``network(x)``, or ``network([x, ...])`` with the tensors of conditions: float32."""
    values = list((values or {}).values())
    return ops.cast(network([x, *values] if values else x, training=training), "float32")


def run_once(name, network, tensors):
    """What a network returns for tensors of one row; raises ValueError where it does not take them."""
    try:
        return network(tensors[0] if len(tensors) == 1 else tensors)
    except Exception as error:
        takes = " and ".join(
            f"(B, {', '.join(map(str, t.shape[1:]))})" if len(t.shape) > 1 else "(B,)" for t in tensors
        )
        raise ValueError(f"{name}: expected a network of inputs {takes}; it failed on them: {error}") from error


def is_image(shape):
    """Whether examples of a shape are images (H, W, C)."""
    return len(tuple(shape)) == 3


def checked_widths(name, widths, shape):
    """Feature channels of an image's stages, each of which halves the sides, or widths of dense layers: a tuple of ints."""
    widths = tuple(checks.positive_int(name, w) for w in widths)
    factor = 2 ** len(widths)
    if is_image(shape) and (shape[0] % factor or shape[1] % factor):
        raise ValueError(
            f"{name}: {len(widths)} stages halve the sides that often, and need them divisible by {factor}; received shape {shape}."
        )
    return widths


def _default_widths(shape):
    """64, 128, 256 as in the code of Gulrajani et al. 2017."""
    return [min(64 * 2**i, 256) for i in range(halvings(shape))] if is_image(shape) else [256, 256]


def _innermost(widths):
    """Channels of the smallest images."""
    return max(min(2 * widths[-1], 256), widths[-1]) if widths else 64


STAGES = ("strided", "plain")


@keras.saving.register_keras_serializable(package="kgen")
class Generator(ConfiguredNetwork):
    """Maps latent vectors, with a class where there are some, to examples.

    Images: a dense layer to the smallest image, then a transposed 4x4 convolution of stride 2 for each stage, with BatchNorm and ReLU, and
    a 3x3 convolution with tanh at the end. Other shapes: dense layers with leaky ReLU, and nothing at the end. The class is a one-hot
    vector beside z.

    Args:
        latent_dim: length of z.
        shape: shape of one example; (H, W, C) is an image.
        widths: feature channels of the stages, the largest images first; or widths of the dense layers.
        num_classes: number of classes, or None.
        stages: of images: "strided", or "plain", which is kgen 0.1's nearest-neighbour upsampling and a 3x3 convolution.
        conditioning: how it is told the class: "concatenation" to z, or of images "batch_norm", by a scale and a shift of each class in
            each normalisation (``kgen.layers.ConditionalBatchNormalization``).
        conditions: in place of ``num_classes``: ``kgen.core.conditions`` of labels, vectors and texts.
    Call:
        z, [z, label] or [z, *conditions]: float (B, latent_dim), int (B,). Returns float (B, *shape), images in [-1, 1].
    """

    def __init__(
        self,
        latent_dim,
        shape,
        widths=None,
        num_classes=None,
        stages="strided",
        conditioning="concatenation",
        conditions=(),
        name="generator",
        **kwargs,
    ):
        shape = tuple(shape)
        checks.one_of("stages", stages, STAGES)
        checks.one_of("conditioning", conditioning, ("concatenation", "batch_norm"))
        if conditioning == "batch_norm" and not is_image(shape):
            raise ValueError(f"conditioning: 'batch_norm' is of images, which are normalised, received shape {shape}.")
        widths = checked_widths("widths", _default_widths(shape) if widths is None else widths, shape)
        z = keras.Input((latent_dim,), name="z")
        inputs, h, c = z, z, None
        if num_classes is not None:
            label = keras.Input((), dtype="int32", name="label")
            inputs, c = [z, label], ops.one_hot(label, num_classes)
        elif conditions:
            told = Told(conditions)
            inputs, c, conditions = [z, *told.inputs], told.vector, told.conditions.get_config()
        if c is not None and conditioning == "concatenation":
            h, c = layers.Concatenate(name="join_label")([z, c]), None
        image = _image if stages == "strided" else _plain_image
        x = image(h, shape, widths, c) if is_image(shape) else _vector(h, shape, widths)
        super().__init__(inputs, x, name=name, **kwargs)
        self._arguments = {
            "latent_dim": latent_dim,
            "shape": list(shape),
            "widths": list(widths),
            "num_classes": num_classes,
            "stages": stages,
            "conditioning": conditioning,
            "conditions": list(conditions),
            "name": name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**{"stages": "plain", **config})  # as files of kgen 0.1 mean it


def _image(h, shape, widths, c=None):
    small = (shape[0] >> len(widths), shape[1] >> len(widths), _innermost(widths))
    h = layers.Dense(math.prod(small), use_bias=False, name="dense")(h)
    h = _normalised(layers.Reshape(small, name="reshape")(h), "norm", c)
    for i, width in reversed(list(enumerate(widths))):
        up = layers.Conv2DTranspose(width, 4, strides=2, padding="same", use_bias=False, name=f"conv_{i}")
        h = _normalised(up(h), f"norm_{i}", c)
    return layers.Conv2D(shape[-1], 3, padding="same", activation="tanh", dtype="float32", name="conv_out")(h)


def _plain_image(h, shape, widths, c=None):
    small = (shape[0] >> len(widths), shape[1] >> len(widths), widths[-1] if widths else 32)
    h = layers.Dense(math.prod(small), use_bias=False, name="dense")(h)
    h = _normalised(layers.Reshape(small, name="reshape")(h), "norm", c)
    for i, width in reversed(list(enumerate(widths))):
        h = layers.UpSampling2D(name=f"upsample_{i}")(h)
        h = _normalised(layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"conv_{i}")(h), f"norm_{i}", c)
    return layers.Conv2D(shape[-1], 3, padding="same", activation="tanh", dtype="float32", name="conv_out")(h)


def _normalised(h, name, c=None):
    # The moving statistics are what samples are drawn with: short trainings need them to follow sooner than Keras's 0.99.
    if c is not None:
        return ops.relu(ConditionalBatchNormalization(name=name)([h, c]))
    return ops.relu(BatchNormalization(momentum=0.9, epsilon=1e-5, name=name)(h))


def _vector(h, shape, widths):
    for i, width in enumerate(widths):
        h = layers.Dense(width, activation="leaky_relu", name=f"dense_{i}")(h)
    h = layers.Dense(math.prod(shape), dtype="float32", name="dense_out")(h)
    return layers.Reshape(shape, name="reshape")(h) if len(shape) != 1 else h


@keras.saving.register_keras_serializable(package="kgen")
class Discriminator(ConfiguredNetwork):
    """Maps examples, with a class where there are some, to one logit each. Nothing in it mixes the rows of a batch.

    Images: a 4x4 convolution of stride 2 for each stage, and a 3x3 convolution; other shapes: dense layers over flattened rows. Leaky ReLU
    throughout.

    Args:
        shape: shape of one example; (H, W, C) is an image.
        widths: feature channels of the stages, the largest images first; or widths of the dense layers.
        spectral: whether every layer is spectrally normalised (Miyato et al. 2018).
        num_classes: number of classes, or None.
        conditioning: "projection", "concatenation", or a ``Conditioning``; of no effect without classes.
        stages: of images: "strided", or "plain", which is kgen 0.1's 3x3 and strided 4x4 convolution for each.
        conditions: in place of ``num_classes``: ``kgen.core.conditions`` of labels, vectors and texts.
        readings: lengths of what else is read off the last features, such as logits of classes: (B, n) for each.
    Call:
        x, [x, label] or [x, *conditions]: float (B, *shape), int (B,). Returns float (B, 1); with readings a list of that and these.
    """

    def __init__(
        self,
        shape,
        widths=None,
        spectral=False,
        num_classes=None,
        conditioning="projection",
        stages="strided",
        conditions=(),
        readings=(),
        name="discriminator",
        **kwargs,
    ):
        shape = tuple(shape)
        checks.one_of("stages", stages, STAGES)
        widths = checked_widths("widths", _default_widths(shape) if widths is None else widths, shape)
        told = num_classes is not None or bool(conditions)
        conditioning = conditionings.get(conditioning) if told else conditionings.Conditioning()

        def wrap(layer):
            return SpectralNormalization(layer, name=f"spectral_{layer.name}") if spectral else layer

        x = keras.Input(shape, name="x")
        inputs, label = x, None
        if num_classes is not None:
            label = keras.Input((), dtype="int32", name="label")
            inputs = [x, label]
        elif conditions:
            given = Told(conditions)
            inputs, label, conditions = [x, *given.inputs], given.vector, given.conditions.get_config()
        h = x if is_image(shape) or len(shape) == 1 else layers.Flatten(name="flatten")(x)
        h = conditioning.join(h, label, num_classes)
        if not is_image(shape):
            for i, width in enumerate(widths):
                h = wrap(layers.Dense(width, activation="leaky_relu", name=f"dense_{i}"))(h)
        elif stages == "strided":
            for i, width in enumerate([*widths, _innermost(widths)]):
                last = i == len(widths)
                convolution = layers.Conv2D(
                    width, 3 if last else 4, strides=1 if last else 2, padding="same", name=f"conv_{i}"
                )
                h = layers.LeakyReLU(negative_slope=0.1, name=f"leaky_{i}")(wrap(convolution)(h))
        else:
            leaky = {"padding": "same", "activation": "leaky_relu"}
            for i, width in enumerate(widths):
                h = wrap(layers.Conv2D(width, 3, **leaky, name=f"conv_{i}"))(h)
                h = wrap(layers.Conv2D(width, 4, strides=2, **leaky, name=f"stride_{i}"))(h)
        h = layers.Flatten(name="features")(h)
        outputs = conditioning.logit(h, label, num_classes, wrap)
        if readings:
            outputs = [outputs, *(wrap(layers.Dense(n, name=f"reading_{i}"))(h) for i, n in enumerate(readings))]
        super().__init__(inputs, outputs, name=name, **kwargs)
        self._arguments = {
            "shape": list(shape),
            "widths": list(widths),
            "spectral": spectral,
            "num_classes": num_classes,
            "conditioning": keras.saving.serialize_keras_object(conditioning) if told else "projection",
            "stages": stages,
            "conditions": list(conditions),
            "readings": list(readings),
            "name": name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**{"stages": "plain", **config})  # as files of kgen 0.1 mean it


def refuse_classes(model, num_classes=None, conditions=None, **_):
    """Raises ValueError where classes are asked of the networks that a ``model`` of this name makes, which take none."""
    if num_classes is not None or conditions:
        asked = f"num_classes={num_classes}" if num_classes is not None else "conditions"
        raise ValueError(
            f"num_classes: {model}'s networks take no classes, received {asked}. ConditionalGAN and ACGAN make networks that do."
        )
