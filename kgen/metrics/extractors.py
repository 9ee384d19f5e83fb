"""Feature extractors: what turns images into the rows that metrics compare. Figures of different extractors cannot be compared."""

import numpy as np

from kgen.metrics.classifier import FrozenClassifier, load_classifier


def load_extractor(extractor):
    """The extractor of a name, or the given one.

    Args:
        extractor: "digits", "fashion_mnist" or "emoji", the shipped classifiers; the path of a ``.keras`` classifier; "inception"; an object with
            ``features(images) -> (N, D)`` and perhaps a ``name``; or any callable that does the same.
    Returns:
        an object with ``features`` and ``name``.
    Raises:
        TypeError: it is none of these.
        ValueError, FileNotFoundError, OSError: as ``load_classifier`` and ``Inception``.
    """
    if extractor == "inception":
        return Inception()
    if hasattr(extractor, "features"):
        return extractor
    if callable(extractor):
        return _Function(extractor)
    return load_classifier(extractor)


class Inception:
    """Keras's InceptionV3, trained on ImageNet: 2,048 features and 1,000 class probabilities of colour images.

    Images of any size in [-1, 1], the range that the network was trained on, are resized to 299 x 299 by bilinear interpolation with
    antialiasing; grey images get three equal channels. The weights are Keras's own, not those of the original evaluation of FID: compare
    its figures with each other, not with published ones.

    Args:
        weights: as in ``keras.applications.InceptionV3``: "imagenet", which are downloaded once (92 MB), a path, or None for random ones.
    Raises:
        OSError: the weights are not here, and there is no network.
    Reference:
        Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2016, arXiv 1512.00567.
    """

    name = "InceptionV3 of Keras"
    size = (299, 299)

    def __init__(self, weights="imagenet"):
        import keras

        from kgen import backend

        try:
            network = keras.applications.InceptionV3(weights=weights)
        except Exception as error:  # Keras raises a bare Exception for a download that failed
            if weights != "imagenet" or "URL fetch" not in str(error):
                raise
            raise OSError(
                "extractor 'inception': its weights could not be downloaded. Run this once where there is a network (Keras keeps them in "
                "~/.keras/models), or use one of the shipped classifiers, such as 'digits', or a callable of your own."
            ) from error
        outputs = keras.Model(network.inputs, [network.get_layer("avg_pool").output, network.outputs[0]])
        outputs.trainable = False
        self._run = backend.jit(lambda images: tuple(outputs(images, training=False)), outputs.variables)

    def features(self, images, batch_size=32):
        """Features of images: float array (N, H, W, C) in [-1, 1], C = 1 or 3, to float32 (N, 2048)."""
        return self(images, batch_size)[0]

    def probabilities(self, images, batch_size=32):
        """Class probabilities of images, float32 (N, 1000)."""
        return self(images, batch_size)[1]

    def __call__(self, images, batch_size=32):
        from keras import ops

        images = np.asarray(images)
        if images.ndim != 4 or images.shape[-1] not in (1, 3) or len(images) == 0 or images.dtype.kind != "f":
            raise ValueError(
                f"images: expected floats (N, H, W, 1 or 3) in [-1, 1], received {images.dtype} of shape {images.shape}."
            )
        if not (np.abs(images) <= 1.0 + 0.5 / 127.5).all():  # NaN too
            raise ValueError("images: expected values in [-1, 1], received some outside, or NaN.")
        parts = []
        for start in range(0, len(images), batch_size):
            batch = ops.convert_to_tensor(images[start : start + batch_size].astype("float32"))
            if images.shape[-1] == 1:
                batch = ops.repeat(batch, 3, axis=-1)
            batch = ops.image.resize(
                batch, self.size, interpolation="bilinear", antialias=True, data_format="channels_last"
            )
            parts.append([ops.convert_to_numpy(a) for a in self._run(batch)])
        return tuple(np.concatenate(part) for part in zip(*parts, strict=True))


class _Function:
    """A callable as an extractor."""

    def __init__(self, function):
        self.function, self.name = function, getattr(function, "__name__", type(function).__name__)

    def features(self, images):
        from keras import ops

        return ops.convert_to_numpy(self.function(images))


def has_probabilities(extractor):
    """Whether it is a classifier, which knows more than features."""
    return isinstance(extractor, (FrozenClassifier, Inception))
