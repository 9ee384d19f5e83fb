"""Networks that know nothing of kgen in the autoregressive models."""

import itertools

import keras
import numpy as np
import pytest
from keras import layers, ops

import kgen
from kgen.autoregressive import GPT, PixelCNN
from kgen.layers import DownRightShiftedConv2D, DownShiftedConv2D

VOCABULARY, CONTEXT = 5, 12


def tokens_network(rows=VOCABULARY + 1, padding="causal", outputs=None):
    stack = [
        layers.Embedding(rows, 8),
        layers.Conv1D(16, 3, padding=padding, activation="silu"),
        layers.Dense(outputs or rows),
    ]
    return keras.Sequential([keras.Input((None,), dtype="int32"), *stack])


def rough(model):
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if "float" in weight.dtype:
            weight.assign(0.6 * rng.standard_normal(weight.shape).astype("float32"))
    return model


def gpt(network=None, **kwargs):
    return rough(GPT(VOCABULARY, CONTEXT, network=network or tokens_network(), **kwargs))


def greedy(model, prompt, count):
    row = [VOCABULARY, *prompt]
    for _ in range(count):
        logits = ops.convert_to_numpy(model.network(np.array([row], "int32")))[0, -1, :VOCABULARY]
        row.append(int(logits.argmax()))
    return row[1 + len(prompt) :]


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_language_model_of_any_causal_network(recurrent, tmp_path):
    network = None
    if recurrent:
        stack = [
            layers.Embedding(VOCABULARY + 1, 4),
            layers.LSTM(6, return_sequences=True),
            layers.Dense(VOCABULARY + 1),
        ]
        network = keras.Sequential([keras.Input((None,), dtype="int32"), *stack])
    model = gpt(network)
    prompts = [[1, 2, 3, 4, 0, 1], [2], [3, 3, 1]]
    written = model.generate(prompts, max_new_tokens=6, temperature=0)
    for prompt, row in zip(prompts, written, strict=True):
        np.testing.assert_array_equal(row, greedy(model, prompt, 6))
    pieces = []
    model.generate(prompts[0], max_new_tokens=6, temperature=0, stream=lambda piece: pieces.extend(piece))
    np.testing.assert_array_equal(pieces, written[0])  # up to the last token of the context
    if not recurrent:
        model.save(tmp_path / "m.keras")
        again = kgen.load(tmp_path / "m.keras")
        np.testing.assert_array_equal(again.sample(3, seed=0), model.sample(3, seed=0))


def test_its_samples_follow_its_likelihood():
    model = rough(GPT(2, 2, network=tokens_network(3)))
    every = np.array(list(itertools.product(range(2), repeat=2)), "int32")
    p = np.exp(model.log_prob(every))
    np.testing.assert_allclose(p.sum(), 1.0, atol=1e-5)
    x = model.sample(4000, seed=0, batch_size=4000)
    found = np.bincount(2 * x[:, 0] + x[:, 1], minlength=4) / 4000
    np.testing.assert_allclose(found, p, atol=4 * (0.25 / 4000) ** 0.5)


def test_it_trains_with_an_average():
    model = gpt(ema=0.9)
    x = np.tile(np.arange(12) % 3, (64, 1)).astype("int32")
    model.compile(keras.optimizers.Adam(1e-2))
    losses = model.fit(x, batch_size=16, epochs=5, verbose=0).history["loss"]
    assert losses[-1] < 0.7 * losses[0]


SHAPE, LEVELS = (3, 3, 1), 3
SIZE = 2 * 3  # two components of a weight, a mean and a scale


def pixels_network(num_classes=None, padding=None):
    x = keras.Input(SHAPE)
    above = DownShiftedConv2D(8, (2, 3))(layers.ZeroPadding2D(((1, 0), (0, 0)))(x))[:, :-1]
    left = DownRightShiftedConv2D(8, (1, 2))(layers.ZeroPadding2D(((0, 0), (1, 0)))(x))[:, :, :-1]
    h = layers.Activation("silu")(layers.Add()([above, left]))
    inputs = x
    if num_classes is not None:
        label = keras.Input((), dtype="int32")
        inputs = [x, label]
        h = layers.Add()([h, layers.Reshape((1, 1, 8))(layers.Embedding(num_classes, 8)(label))])
    if padding:
        h = layers.Conv2D(8, 3, padding=padding)(h)
    return keras.Model(inputs, layers.Dense(SIZE)(h))


def pixelcnn(network, **kwargs):
    return rough(PixelCNN(SHAPE, components=2, levels=LEVELS, network=network, ema=None, **kwargs))


def test_an_image_model_of_any_network_that_sees_the_past_alone(tmp_path):
    model = pixelcnn(pixels_network(2), num_classes=2)
    values = np.linspace(-1, 1, LEVELS, dtype="float32")
    every = np.array(list(itertools.product(values, repeat=9)), "float32").reshape(-1, *SHAPE)
    p = np.exp(model.log_prob(every, labels=1, batch_size=len(every)).astype("float64"))
    np.testing.assert_allclose(p.sum(), 1.0, atol=1e-4)
    x = model.sample(2000, seed=0, labels=1, batch_size=2000)
    means, deviations = (p[:, None] * every.reshape(-1, 9)).sum(0), every.std()
    np.testing.assert_allclose(x.reshape(-1, 9).mean(0), means, atol=4 * deviations / 2000**0.5)
    mask = np.zeros(SHAPE[:2], bool)
    mask[0] = True
    filled = model.inpaint(x[:4], mask, seed=1, labels=1)
    np.testing.assert_array_equal(filled[:, 0], x[:4, 0])
    model.save(tmp_path / "m.keras")
    again = kgen.load(tmp_path / "m.keras")
    np.testing.assert_array_equal(again.sample(3, seed=0, labels=0), model.sample(3, seed=0, labels=0))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: gpt(tokens_network(outputs=4)),
            r"network: expected .* to logits \(B, T, 6\); for T = 8 it returned \(2, 8, 4\)",
        ),
        (lambda: gpt(tokens_network(padding="same")), "this one looks ahead.*Make it causal"),
        (lambda: gpt(keras.layers.Conv2D(3, 3)), r"network: expected a network from int32 tokens .* it failed on them"),
        (lambda: pixelcnn(pixels_network(padding="same")), "sees a pixel or what comes after it.*Mask or shift"),
        (lambda: pixelcnn(pixels_network(2)), "it failed on them"),
        (lambda: pixelcnn(keras.Sequential([keras.Input(SHAPE), layers.Dense(5)])), r"it returned \(2, 3, 3, 5\)"),
    ],
)
def test_a_network_that_does_not_do_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
