"""Frozen classifiers: the features and the labels that generated images are measured with."""

import difflib
import pathlib

import keras
import numpy as np

_SHIPPED = {
    "digits": "digits.keras",
    "fashion_mnist": "fashion_mnist.keras",
    "emoji": "emoji.keras",
}
_FOLDER = pathlib.Path(__file__).parent / "classifiers"


class FrozenClassifier:
    """A trained classifier that gives features and class probabilities of images, and never trains.

    The features are the output of the layer named "features", the one before the class probabilities. Figures
    measured with different classifiers cannot be compared, so every report names the one it used.

    Args:
        model: `keras.Model` from images (B, H, W, C) in [-1, 1] to class probabilities (B, K), with a layer named
            "features" whose output is (B, D).
        name: what reports call it, such as "digits classifier".

    Attributes:
        maps: `keras.Model` from images to the last map (B, h, w, C) of each size inside of it, largest first: how an image looks, for
            `perceptual_distance` and for what is trained on it, `kgen.gan.SRGAN(features=...)` or `kgen.hybrid.AutoencoderKL(features=...)`.

    Raises:
        ValueError: `model` has no layer named "features", or does not map images to probabilities.
    """

    def __init__(self, model, name):
        if "features" not in [layer.name for layer in model.layers]:
            raise ValueError(
                '`model` must have a layer named "features" (the penultimate one, with output (B, D)), '
                f"received a model with the layers {[layer.name for layer in model.layers]}."
            )
        features = model.get_layer("features").output
        if len(model.inputs) != 1 or len(model.input_shape) != 4 or len(model.output_shape) != 2:
            raise ValueError(
                "`model` must map images (B, H, W, C) to class probabilities (B, K), "
                f"received input shape {model.input_shape} and output shape {model.output_shape}."
            )
        if len(features.shape) != 2:
            raise ValueError(f'The layer "features" must have output shape (B, D), received {features.shape}.')
        self.name = name
        self.shape = tuple(model.input_shape[1:])
        self.num_classes = model.output_shape[-1]
        self.num_features = features.shape[-1]
        self._network = keras.Model(model.inputs, [features, model.outputs[0]])
        self._network.trainable = False
        # One map a size: a later layer of the same size takes the earlier one's place.
        outputs = [layer.output for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
        last = {tuple(h.shape[1:3]): h for h in outputs if isinstance(h, keras.KerasTensor) and len(h.shape) == 4}
        self.maps = keras.Model(model.inputs[0], list(last.values()) or [features], trainable=False, name="maps")

    def maps_of(self, shape):
        """`maps` of larger images.

        Args:
            shape: (H, W, C) of the images. Details count in pixels: of images of twice the sides it sees those half as large.
        Returns:
            `keras.Model` of the same convolutions; `maps` itself where the size is the classifier's.
        Raises:
            ValueError: sides below the classifier's, or another number of channels.
        """
        if tuple(shape) == self.shape:
            return self.maps
        height, width, channels = self.shape
        if len(shape) != 3 or shape[0] < height or shape[1] < width or shape[2] != channels:
            raise ValueError(
                f"shape: expected (H, W, {channels}) from ({height}, {width}, {channels}) on for the {self.name}, received {tuple(shape)}."
            )
        maps = keras.models.clone_model(self.maps, input_tensors=keras.Input(shape, name="images"))
        maps.set_weights(self.maps.get_weights())
        maps.trainable = False
        return maps

    def __call__(self, x, batch_size=512):
        """Features and class probabilities in one pass.

        Args:
            x: float array (N, H, W, C) in [-1, 1], of the classifier's image shape; N >= 1. Of twice its sides, or of another whole multiple,
                images are reduced by averages over blocks.
            batch_size: how many images go through the network at once.

        Returns:
            `(features, probabilities)`: float32 NumPy arrays (N, D) and (N, K); each row of probabilities sums to 1.

        Raises:
            TypeError: `x` is not floating point, such as uint8 images.
            ValueError: `x` has the wrong shape, is not finite, or leaves [-1, 1].
        """
        x = self._check_images(x)
        features, probabilities = self._network.predict(x, batch_size=batch_size, verbose=0)
        return np.asarray(features, np.float32), np.asarray(probabilities, np.float32)

    def features(self, x, batch_size=512):
        """Features of images, float32 (N, D). Arguments and errors are those of a call."""
        return self(x, batch_size)[0]

    def probabilities(self, x, batch_size=512):
        """Class probabilities of images, float32 (N, K). Arguments and errors are those of a call."""
        return self(x, batch_size)[1]

    def _check_images(self, x):
        x = keras.ops.convert_to_numpy(x)
        if x.dtype.kind != "f":
            raise TypeError(
                f"`x` must be floating point in [-1, 1], received dtype {x.dtype}. "
                "Convert uint8 images by `x.astype('float32') / 127.5 - 1.0`."
            )
        height, width, channels = self.shape
        block = x.shape[1] // height if x.ndim == 4 else 0
        if len(x) == 0 or block == 0 or x.shape[1:] != (block * height, block * width, channels):
            raise ValueError(
                f"`x` must have shape (N, {height}, {width}, {channels}) for the {self.name}, received {x.shape}. Sides may be whole multiples "
                "of these; images are then reduced by averages."
            )
        if not np.isfinite(x).all():
            raise ValueError("`x` must be finite, received NaN or infinity.")
        # Half of one uint8 grey level: a sampler's last bit is no reason to stop, a wrong range is.
        if np.abs(x).max() > 1.0 + 0.5 / 127.5:
            raise ValueError(
                f"`x` must lie in [-1, 1], received values from {x.min():.4g} to {x.max():.4g}. "
                "Convert images in [0, 255] by `x / 127.5 - 1.0`; bound samples that overshoot by `np.clip(x, -1, 1)`."
            )
        x = np.clip(x.astype(np.float32), -1.0, 1.0)
        return x if block == 1 else x.reshape(len(x), height, block, width, block, channels).mean((2, 4))


def classifiers():
    """The names of the datasets that a frozen classifier is shipped for."""
    return sorted(_SHIPPED)


def load_classifier(name):
    """Loads a frozen classifier: one that ships with kgen, or any saved Keras classifier.

    `digits` (8x8x1 images), `fashion_mnist` (28x28x1 images) and `emoji` (32x32x3 images) were trained on the train split of
    `kgen.data.load` by the recipes `classifier_digits`, `classifier_fashion_mnist` and `classifier_emoji`.

    Args:
        name: "digits", "fashion_mnist", "emoji", or the path of a `.keras` file (see `FrozenClassifier` for what it must hold).

    Returns:
        `FrozenClassifier`.

    Raises:
        TypeError: `name` is neither a string nor a path.
        ValueError: no classifier of that name ships with kgen, or the file's model is not such a classifier.
        FileNotFoundError: the path does not exist.
    """
    if not isinstance(name, (str, pathlib.Path)):
        raise TypeError(f"`name` must be a classifier's name or the path of a .keras file, received {name!r}.")
    if name in _SHIPPED:
        path, label = _FOLDER / _SHIPPED[name], f"{name} classifier"
    elif str(name).endswith(".keras"):
        path = pathlib.Path(name)
        label = f"{path.name} classifier"
    else:
        near = difflib.get_close_matches(str(name), _SHIPPED, cutoff=0.4) or list(_SHIPPED)
        raise ValueError(
            f"No classifier is named {str(name)!r}; nearest: {', '.join(near)}. "
            f"Shipped: {', '.join(_SHIPPED)}. Or pass the path of a .keras file."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no classifier file {str(path)!r}.")
    return FrozenClassifier(keras.saving.load_model(path, compile=False), label)
