import keras
import numpy as np
import pytest

from kgen.metrics import FrozenClassifier, Inception, load_extractor


def mean_color(images):
    return images.mean((1, 2))


def test_names_objects_and_callables():
    assert isinstance(load_extractor("digits"), FrozenClassifier)
    found = load_extractor(mean_color)
    assert found.name == "mean_color" and found.features(np.zeros((2, 4, 4, 3))).shape == (2, 3)
    assert load_extractor(found) is found
    with pytest.raises(ValueError, match="No classifier is named 'inceptoin'"):
        load_extractor("inceptoin")


def test_inception_without_a_network_says_what_to_do(monkeypatch):
    def refused(*args, **kwargs):
        raise Exception("URL fetch failure on https://storage.example/inception.h5: None -- [Errno -2] Name unknown")

    monkeypatch.setattr(keras.applications, "InceptionV3", refused)
    with pytest.raises(
        OSError, match="'inception': its weights could not be downloaded. Run this once where there is a network"
    ):
        load_extractor("inception")


@pytest.mark.once("the network is Keras's")
def test_inception_takes_grey_and_color_images_of_any_size():
    inception = Inception(weights=None)  # random ones: the shapes and the way to them are the same
    grey = np.random.default_rng(0).uniform(-1, 1, (2, 8, 8, 1)).astype("float32")
    features, probabilities = inception(grey)
    assert features.shape == (2, 2048) and probabilities.shape == (2, 1000)
    np.testing.assert_allclose(probabilities.sum(1), 1.0, atol=1e-4)
    np.testing.assert_allclose(inception.features(grey.repeat(3, axis=-1)), features, atol=1e-4)
    for wrong, message in (
        (np.zeros((2, 8, 8, 3), "uint8"), "images: expected floats .* received uint8"),
        (np.zeros((2, 8, 8, 2)), "received float64 of shape"),
        (np.full((1, 8, 8, 3), 200.0), r"images: expected values in \[-1, 1\]"),
    ):
        with pytest.raises(ValueError, match=message):
            inception.features(wrong)
