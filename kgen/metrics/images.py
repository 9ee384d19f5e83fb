"""How far images are from the images that they should be, in pixels or as a classifier sees them: figures of one image each."""

import numpy as np
from keras import ops
from scipy.ndimage import correlate1d

from kgen.networks import perceptual

_RANGE = 2.0  # of values in [-1, 1]


def peak_signal_to_noise_ratio(images, others):
    """10 log10(4 / mean squared error), 2 being the range of the values.

    Args:
        images, others: float arrays (N, H, W, C) in [-1, 1].
    Returns:
        float array (N,), dB; infinite where an image equals the other.
    Raises:
        ValueError: shapes differ or are not (N, H, W, C), or values are outside of [-1, 1].
    """
    with np.errstate(divide="ignore"):
        return 10 * np.log10(_RANGE**2 / reconstruction_error(images, others))


def reconstruction_error(images, others):
    """Mean squared error of a value.

    Args:
        images, others: float arrays (N, H, W, C) in [-1, 1].
    Returns:
        float array (N,).
    Raises:
        ValueError: shapes differ or are not (N, H, W, C), or values are outside of [-1, 1].
    """
    images, others = _pair(images, others)
    return np.mean((images - others) ** 2, axis=(1, 2, 3))


def perceptual_distance(images, others, classifier, batch_size=256):
    """How differently a classifier sees images: LPIPS by its maps, all channels weighing the same (see `kgen.networks.perceptual`).

    Args:
        images, others: float arrays (N, H, W, C) in [-1, 1].
        classifier: `FrozenClassifier`, whose maps of images of this size are compared; figures of two classifiers or of two sizes cannot be.
        batch_size: how many pairs go through the network at once.
    Returns:
        float array (N,), 0 where an image equals the other, at most 4 for each map.
    Raises:
        ValueError: shapes differ or are not (N, H, W, C), or values are outside of [-1, 1].
    """
    pairs = [values.astype("float32") for values in _pair(images, others)]
    parts = range(0, len(pairs[0]), batch_size)
    maps = classifier.maps_of(pairs[0].shape[1:])
    rows = [perceptual.perceptual_distance(maps, *(v[i : i + batch_size] for v in pairs)) for i in parts]
    return np.concatenate([ops.convert_to_numpy(r) for r in rows])


def structural_similarity(images, others):
    """Structural similarity (SSIM): luminance, contrast and structure in Gaussian windows, averaged over places and channels.

    Windows of 11 x 11 pixels with a standard deviation of 1.5, K1 = 0.01, K2 = 0.03, as in the paper; only windows that lie wholly inside
    the image count. For images below 11 pixels the window is the largest odd one that fits.

    Args:
        images, others: float arrays (N, H, W, C) in [-1, 1].
    Returns:
        float array (N,) in [-1, 1], 1 where an image equals the other.
    Raises:
        ValueError: shapes differ or are not (N, H, W, C), or values are outside of [-1, 1].
    Reference:
        Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity, 2004, Eq. 13.
    """
    x, y = (values + 1.0 for values in _pair(images, others))  # luminance is that of intensities, from 0 upwards
    side = min(11, *x.shape[1:3])
    half = (side - 1) // 2
    window = np.exp(-0.5 * (np.arange(-half, half + 1) / 1.5) ** 2)
    window /= window.sum()

    def local(values):
        for axis in (1, 2):
            values = correlate1d(values, window, axis=axis)
        return values[:, half : values.shape[1] - half, half : values.shape[2] - half]

    mean_x, mean_y = local(x), local(y)
    var_x, var_y = local(x * x) - mean_x**2, local(y * y) - mean_y**2
    covariance = local(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * _RANGE) ** 2, (0.03 * _RANGE) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return similarity.mean(axis=(1, 2, 3))


def _pair(images, others):
    images, others = np.asarray(images, "float64"), np.asarray(others, "float64")
    if images.shape != others.shape or images.ndim != 4:
        raise ValueError(
            f"images, others: expected two arrays (N, H, W, C) of one shape, received {images.shape} and {others.shape}."
        )
    for name, values in (("images", images), ("others", others)):
        if not (np.abs(values) <= 1.0 + 1e-6).all():  # NaN too
            raise ValueError(f"{name}: expected values in [-1, 1], received some outside, or NaN.")
    return images, others
