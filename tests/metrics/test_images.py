"""PSNR and SSIM: closed forms, and scikit-image where it is installed."""

import numpy as np
import pytest

from kgen.metrics import peak_signal_to_noise_ratio, structural_similarity


def images(n=3, side=20, channels=2, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, side, side, channels))


def test_psnr():
    x = np.zeros((2, 4, 4, 1))
    np.testing.assert_allclose(peak_signal_to_noise_ratio(x, x + 0.2), 10 * np.log10(4 / 0.04))
    assert np.isinf(peak_signal_to_noise_ratio(x, x)).all()


def test_ssim_of_equal_and_of_constant_images():
    x = images()
    np.testing.assert_allclose(structural_similarity(x, x), 1.0)
    a, b = np.full((1, 16, 16, 1), 0.5), np.full((1, 16, 16, 1), -0.25)
    c1 = 0.02**2  # intensities 1.5 and 0.75 of 2
    np.testing.assert_allclose(structural_similarity(a, b), (2 * 1.5 * 0.75 + c1) / (1.5**2 + 0.75**2 + c1), rtol=1e-6)
    small = images(side=8)
    assert (structural_similarity(small, -small) < 0).all() and structural_similarity(small, small).shape == (3,)


def test_ssim_in_one_window_is_the_formula():
    x, y = images(1, 11, 1), images(1, 11, 1, seed=1)
    w = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    w = np.outer(w, w)[None, :, :, None] / np.outer(w, w).sum()
    x, y = x + 1, y + 1
    mx, my = (w * x).sum(), (w * y).sum()
    vx, vy, c = (w * (x - mx) ** 2).sum(), (w * (y - my) ** 2).sum(), (w * (x - mx) * (y - my)).sum()
    c1, c2 = 0.02**2, 0.06**2
    expected = (2 * mx * my + c1) * (2 * c + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    np.testing.assert_allclose(structural_similarity(x - 1, y - 1), expected, rtol=1e-9)


def test_agrees_with_scikit_image():
    skimage = pytest.importorskip("skimage.metrics")
    x = images()
    y = np.clip(x + 0.3 * images(seed=1), -1, 1)
    options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 1.0}
    for a, b, ours in zip(x, y, structural_similarity(x, y), strict=True):
        a, b = (a + 1) / 2, (b + 1) / 2
        assert skimage.structural_similarity(a, b, channel_axis=-1, **options) == pytest.approx(ours, rel=1e-6)


def test_wrong_arguments():
    x = images()
    with pytest.raises(ValueError, match=r"images, others: expected two arrays \(N, H, W, C\) of one shape, received"):
        structural_similarity(x, x[:2])
    with pytest.raises(ValueError, match=r"others: expected values in \[-1, 1\]"):
        peak_signal_to_noise_ratio(x, 200 * x)
