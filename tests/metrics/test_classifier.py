import json
import zipfile

import keras
import numpy as np
import pytest

import kgen
from kgen.data import builtin, emoji
from kgen.metrics import FrozenClassifier, classifiers, load_classifier, perceptual_distance

SHAPES = {"digits": (8, 8, 1), "fashion_mnist": (28, 28, 1), "emoji": (32, 32, 3)}
CLASSES = {"digits": 10, "fashion_mnist": 10, "emoji": 8}


def small_classifier(features_name="features"):
    images = keras.Input((4, 4, 2))
    x = keras.layers.Flatten()(images)
    x = keras.layers.Dense(6, activation="tanh", name=features_name)(x)
    return keras.Model(images, keras.layers.Dense(3, activation="softmax")(x))


@pytest.fixture(scope="module", params=list(SHAPES))
def shipped(request):
    return request.param, load_classifier(request.param)


def test_every_shipped_classifier_is_tested_here():
    assert classifiers() == sorted(SHAPES)


def test_a_shipped_classifier_says_what_it_is(shipped):
    name, classifier = shipped
    assert classifier.name == f"{name} classifier"
    assert classifier.shape == SHAPES[name]
    assert (classifier.num_features, classifier.num_classes) == (64, CLASSES[name])


def test_features_and_probabilities_of_a_shipped_classifier(shipped):
    name, classifier = shipped
    x = np.random.default_rng(0).uniform(-1, 1, (11, *SHAPES[name])).astype("float32")
    features, probabilities = classifier(x)
    assert features.shape == (11, 64) and probabilities.shape == (11, CLASSES[name])
    assert features.dtype == probabilities.dtype == np.float32
    assert isinstance(features, np.ndarray) and isinstance(probabilities, np.ndarray)
    assert np.isfinite(features).all() and (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    # The batch an image is in does not matter, nor how often it is asked for: nothing is in training mode.
    np.testing.assert_allclose(classifier.features(x, batch_size=4), features, atol=1e-5)
    np.testing.assert_allclose(classifier.probabilities(x[3:5]), probabilities[3:5], atol=1e-5)


def test_the_features_are_the_layer_before_the_probabilities(shipped):
    name, classifier = shipped
    path = kgen.metrics.classifier._FOLDER / f"{name}.keras"
    kernel, bias = keras.saving.load_model(path, compile=False).layers[-1].get_weights()
    x = np.random.default_rng(1).uniform(-1, 1, (5, *SHAPES[name])).astype("float32")
    features, probabilities = classifier(x)
    logits = features @ kernel + bias
    by_hand = np.exp(logits - logits.max(axis=1, keepdims=True))
    by_hand /= by_hand.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, by_hand, atol=1e-5)


def test_a_shipped_file_is_small_plain_and_without_an_optimizer(shipped):
    name, _ = shipped
    path = kgen.metrics.classifier._FOLDER / f"{name}.keras"
    assert path.stat().st_size <= 1_000_000
    model = keras.saving.load_model(path)
    assert not model.compiled
    with zipfile.ZipFile(path) as archive:
        assert not json.loads(archive.read("config.json")).get("compile_config")
    assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}
    assert not [layer.name for layer in model.layers if type(layer).__name__.startswith("Random")]


def test_a_frozen_classifier_has_nothing_to_train(shipped):
    assert shipped[1]._network.trainable_variables == []


def test_maps_are_the_last_of_each_size(shipped):
    name, classifier = shipped
    sides = {"digits": [8, 4], "fashion_mnist": [14, 7, 3], "emoji": [16, 8, 4]}[name]
    assert [tuple(h.shape[1:3]) for h in classifier.maps.outputs] == [(s, s) for s in sides]
    assert classifier.maps.trainable_variables == []
    x = np.random.default_rng(0).uniform(-1, 1, (2, *classifier.shape)).astype("float32")
    # What follows the last map makes the features of it.
    h = classifier.maps(x)[-1]
    network = classifier._network
    last = next(i for i, layer in enumerate(network.layers) if layer.output is classifier.maps.outputs[-1])
    for layer in network.layers[last + 1 :]:
        h = layer(h)
        if layer.name == "features":
            break
    np.testing.assert_allclose(keras.ops.convert_to_numpy(h), classifier.features(x), atol=1e-4)


def test_maps_of_larger_images_are_those_of_their_parts():
    classifier = load_classifier("emoji")
    x = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    maps = classifier.maps_of((64, 64, 3))
    assert classifier.maps_of((32, 32, 3)) is classifier.maps and maps.trainable_variables == []
    # Away from the border that a part has and the whole has not.
    for whole, part, inside in zip(maps(x), classifier.maps(x[:, :32, :32]), (14, 5, 1), strict=True):
        whole, part = (keras.ops.convert_to_numpy(h)[:, :inside, :inside] for h in (whole, part))
        np.testing.assert_allclose(whole, part, atol=1e-5)
    other = np.roll(x, 1, axis=1)
    assert (perceptual_distance(x, other, classifier) > 0.1).all()
    for wrong in ((64, 64, 1), (16, 64, 3), (64, 64)):
        with pytest.raises(
            ValueError, match=r"shape: expected \(H, W, 3\) from \(32, 32, 3\) on for the emoji classifier"
        ):
            classifier.maps_of(wrong)


def test_perceptual_distance_is_of_unit_vectors_at_each_place():
    classifier = load_classifier("digits")
    x, y = np.random.default_rng(0).uniform(-1, 1, (2, 5, 8, 8, 1)).astype("float32")
    expected = 0.0
    for a, b in zip(classifier.maps(x), classifier.maps(y), strict=True):
        a, b = (np.asarray(keras.ops.convert_to_numpy(h), "float64") for h in (a, b))
        cosine = (a * b).sum(-1) / np.sqrt((a**2).sum(-1) * (b**2).sum(-1) + 1e-20)
        expected = expected + (2 - 2 * cosine).mean((1, 2))
    np.testing.assert_allclose(perceptual_distance(x, y, classifier, batch_size=2), expected, rtol=1e-4)
    np.testing.assert_allclose(perceptual_distance(x, x, classifier), 0.0, atol=1e-6)


def test_digits_accuracy():
    x, y = kgen.data.load("digits", split="test")
    probabilities = load_classifier("digits").probabilities(x)
    assert np.mean(probabilities.argmax(axis=1) == y) >= 0.985


@pytest.mark.skipif(not builtin.DEBIAN_FOLDER.is_dir(), reason="dataset-fashion-mnist is not installed")
def test_fashion_mnist_accuracy():
    x, y = kgen.data.load("fashion_mnist", split="test")
    probabilities = load_classifier("fashion_mnist").probabilities(x[:500])
    assert np.mean(probabilities.argmax(axis=1) == y[:500]) >= 0.92


@pytest.mark.skipif(
    not all(emoji.PLACES[p].is_file() for p in ("unicode-data", "fonts-noto-color-emoji")),
    reason="unicode-data or fonts-noto-color-emoji is not installed",
)
def test_emoji_accuracy():
    x, y = kgen.data.load("emoji", split="test")
    probabilities = load_classifier("emoji").probabilities(x)
    assert np.mean(probabilities.argmax(axis=1) == y) >= 0.6  # a fifth are in the largest group


def test_a_classifier_is_loaded_from_a_path(tmp_path):
    model = small_classifier()
    model.save(tmp_path / "mine.keras")
    classifier = load_classifier(tmp_path / "mine.keras")
    assert classifier.name == "mine.keras classifier"
    x = np.random.default_rng(0).uniform(-1, 1, (3, 4, 4, 2)).astype("float32")
    assert classifier.features(x).shape == (3, 6)
    np.testing.assert_allclose(
        load_classifier(str(tmp_path / "mine.keras")).probabilities(x), model.predict(x, verbose=0), atol=1e-6
    )


def test_the_range_is_forgiven_half_a_grey_level():
    classifier = FrozenClassifier(small_classifier(), "small")
    x = np.full((1, 4, 4, 2), 1.0)
    np.testing.assert_array_equal(classifier.features(x), classifier.features(x + 0.003))


def test_images_of_twice_the_size_are_reduced_by_averages():
    classifier = FrozenClassifier(small_classifier(), "small")
    x = np.random.default_rng(0).uniform(-1, 1, (3, 4, 4, 2)).astype("float32")
    apart = np.random.default_rng(1).uniform(-0.1, 0.1, x.shape).astype("float32")
    larger = np.repeat(np.repeat(x, 2, axis=1), 2, axis=2)
    larger[:, ::2, ::2] += apart  # what one of four pixels has more, another has less
    larger[:, 1::2, ::2] -= apart
    np.testing.assert_allclose(classifier.features(0.9 * larger), classifier.features(0.9 * x), atol=1e-5)
    for wrong in (larger[:, :, ::2], larger[:, :2, :2]):
        with pytest.raises(ValueError, match="whole multiples of these"):
            classifier.features(wrong)


def test_unknown_names_and_missing_files_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"No classifier is named 'digit'; nearest: digits\. Shipped: digits, fashion"):
        load_classifier("digit")
    with pytest.raises(ValueError, match=r"'fashion-mnist'; nearest: fashion_mnist"):
        load_classifier("fashion-mnist")
    with pytest.raises(FileNotFoundError, match=r"There is no classifier file '.*missing\.keras'"):
        load_classifier(tmp_path / "missing.keras")
    with pytest.raises(
        TypeError, match=r"`name` must be a classifier's name or the path of a \.keras file, received 3"
    ):
        load_classifier(3)


def test_models_that_are_no_image_classifiers_are_refused():
    with pytest.raises(ValueError, match=r'must have a layer named "features" .* received a model with the layers'):
        FrozenClassifier(small_classifier("embedding"), "small")
    vector = keras.Input((5,))
    model = keras.Model(vector, keras.layers.Dense(3, name="features")(vector))
    with pytest.raises(ValueError, match=r"must map images \(B, H, W, C\) to class probabilities \(B, K\), rec"):
        FrozenClassifier(model, "vectors")
    images = keras.Input((4, 4, 2))
    x = keras.layers.Conv2D(3, 3, name="features")(images)
    with pytest.raises(
        ValueError, match=r'layer "features" must have output shape \(B, D\), received \(None, 2, 2, 3\)'
    ):
        FrozenClassifier(keras.Model(images, keras.layers.GlobalAveragePooling2D()(x)), "maps")


def test_wrong_images_are_named():
    classifier = FrozenClassifier(small_classifier(), "small classifier")
    with pytest.raises(TypeError, match=r"received dtype uint8\. Convert uint8 images by `x\.astype\('float32'\) / "):
        classifier.features(np.zeros((2, 4, 4, 2), np.uint8))
    for shape in ((4, 4, 2), (2, 4, 4, 1), (0, 4, 4, 2)):
        with pytest.raises(ValueError, match=r"shape \(N, 4, 4, 2\) for the small classifier, received"):
            classifier.features(np.zeros(shape, np.float32))
    with pytest.raises(ValueError, match=r"must lie in \[-1, 1\], received values from 0 to 255\. Convert images"):
        classifier.probabilities(np.linspace(0, 255, 64, dtype=np.float32).reshape(2, 4, 4, 2))
    with pytest.raises(ValueError, match="`x` must be finite, received NaN or infinity"):
        classifier(np.full((2, 4, 4, 2), np.nan, np.float32))
