"""The language model: exact likelihood, a chain whose entropy is known, and generation."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen import backend
from kgen.autoregressive import GPT, BPETokenizer, ByteTokenizer
from kgen.networks import CausalTransformer

RNG = np.random.default_rng(0)
TEXT = "the cat sat on the mat, the dog sat on the log. " * 20


def rough(model):
    """Weights far from their small start, so that what a model writes depends on all it has read."""
    rng = np.random.default_rng(1)
    for weight in model.weights:
        if "float" in weight.dtype and len(weight.shape) == 2:
            weight.assign(0.4 * rng.standard_normal(weight.shape).astype("float32"))
    return model


def numbers(**kwargs):
    return rough(GPT(7, 32, layers=2, heads=2, width=16, **kwargs))


@pytest.fixture(scope="module")
def model():
    return numbers()


@pytest.fixture(scope="module")
def writer():
    return rough(GPT(context=64, layers=1, heads=2, width=16, tokenizer=ByteTokenizer(("<|end|>",))))


def log_softmax(logits):
    logits = logits.astype("float64")
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


@functools.lru_cache(4)
def compiled(model):
    return backend.jit(model, model.variables)


def logits_of(model, tokens):
    """The logits of tokens (B, T), in one compiled pass of 32 for every T: what follows a token says nothing about its logits."""
    padded = np.pad(tokens, ((0, 0), (0, 32 - np.shape(tokens)[1]))).astype("int32")
    return ops.convert_to_numpy(compiled(model)(ops.convert_to_tensor(padded)))[:, : np.shape(tokens)[1]]


def uncached(model, prompt, count):
    """The most probable tokens, one full forward pass each."""
    row = [7, *prompt]
    for _ in range(count):
        row.append(int(logits_of(model, [row])[0, -1].argmax()))
    return row[1 + len(prompt) :]


# Likelihood.


def test_log_prob_is_the_sum_of_its_tokens(model):
    x = RNG.integers(0, 7, (3, 20)).astype("int32")
    begun = np.concatenate([np.full((3, 1), 7, "int32"), x[:, :-1]], axis=1)
    each = log_softmax(logits_of(model, begun))
    expected = np.take_along_axis(each, x[..., None], axis=-1).sum((1, 2))
    np.testing.assert_allclose(model.log_prob(x), expected, rtol=1e-5)
    np.testing.assert_allclose(
        model.log_prob([row[:n] for row, n in zip(x, (20, 20, 20), strict=True)]), expected, rtol=1e-5
    )
    ragged = model.log_prob([x[0, :5], x[1, :20], x[2, :1]])
    np.testing.assert_allclose(ragged[[0, 2]], [model.log_prob(x[:1, :5])[0], model.log_prob(x[2:, :1])[0]], rtol=1e-5)
    model.compile("adam")
    assert model.evaluate(x, verbose=0, return_dict=True)["loss"] == pytest.approx(-expected.mean() / 20, rel=1e-5)


def test_probabilities_of_all_sequences_sum_to_one():
    small = rough(GPT(3, 4, layers=1, heads=1, width=8))
    every = np.stack(np.meshgrid(*[np.arange(3)] * 4), axis=-1).reshape(-1, 4)
    assert np.exp(small.log_prob(every).astype("float64")).sum() == pytest.approx(1.0, abs=1e-5)


@pytest.mark.parametrize(("n", "stride"), [(100, 8), (100, None), (32, 16), (33, 32), (5, 16)])
def test_sliding_windows(model, n, stride):
    x = RNG.integers(0, 7, n).astype("int32")
    found = model.sliding_log_prob(x, stride=stride)
    assert found.shape == (n,)
    np.testing.assert_allclose(found[:32].sum(), model.log_prob(x[None, :32])[0], rtol=1e-4)
    stride = stride or 16
    for i in range(32, n):  # the window that gives token i begins where stride says
        start = min(-(-(i - 31) // stride) * stride, n - 32)
        window = x[None, start : i + 1]
        expected = model.log_prob(window)[0] - model.log_prob(window[:, :-1])[0]
        np.testing.assert_allclose(found[i], expected, atol=1e-4)
        if i > 40:
            break


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_entropy_rate_of_a_markov_chain():
    """A chain of three states: the model comes within 0.01 nats of the chain's own likelihood, and writes its transitions."""
    chain = np.array([[0.8, 0.15, 0.05], [0.1, 0.3, 0.6], [0.45, 0.05, 0.5]])
    values, vectors = np.linalg.eig(chain.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    stationary /= stationary.sum()
    entropy_rate = -(stationary[:, None] * chain * np.log(chain)).sum()

    def draw(n, length, rng):
        x = np.empty((n, length), "int32")
        x[:, 0] = rng.choice(3, size=n, p=stationary)
        for i in range(1, length):
            x[:, i] = (rng.random((n, 1)) > chain[x[:, i - 1]].cumsum(-1)).sum(-1)
        return x

    x, held_out = draw(3000, 16, np.random.default_rng(1)), draw(4000, 16, np.random.default_rng(2))
    gpt = GPT(3, 16, layers=1, heads=2, width=16, ema=0.99)
    gpt.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, 240)))
    gpt.fit(x, batch_size=100, epochs=8, verbose=0)
    # The first token carries the entropy of the stationary distribution, each later one the entropy rate.
    first = -(stationary * np.log(stationary)).sum()
    own = np.log(stationary)[held_out[:, 0]] + np.log(chain)[held_out[:, :-1], held_out[:, 1:]].sum(-1)
    reached = -gpt.log_prob(held_out).mean()
    assert -own.mean() / 16 == pytest.approx((first + 15 * entropy_rate) / 16, abs=0.01)
    assert -0.001 <= (reached + own.mean()) / 16 < 0.01  # per token, above what no model can go below
    rate = (reached - first) / 15
    assert rate == pytest.approx(entropy_rate, abs=0.02)
    written = gpt.sample(500, seed=0)
    counts = np.zeros((3, 3))
    np.add.at(counts, (written[:, :-1].ravel(), written[:, 1:].ravel()), 1)
    np.testing.assert_allclose(counts / counts.sum(-1, keepdims=True), chain, atol=0.05)


# Generation.


def test_greedy_is_the_most_probable_token_of_a_full_pass(model):
    prompts = [[1], [3, 0, 2, 6, 5], [4, 4, 1]]
    found = model.generate(prompts, max_new_tokens=12, temperature=0)
    for prompt, row in zip(prompts, found, strict=True):
        assert row.dtype == np.int32
        np.testing.assert_array_equal(row, uncached(model, prompt, 12))
    np.testing.assert_array_equal(model.generate(prompts[1], max_new_tokens=12, temperature=0), found[1])
    np.testing.assert_array_equal(model.generate(None, max_new_tokens=5, temperature=0), uncached(model, [], 5))


def test_a_row_depends_on_its_prompt_and_its_seed_alone(model):
    prompt = [3, 0, 2]
    row = model.generate([[1], prompt], max_new_tokens=10, seed=4)[1]
    longer = model.generate([[5] * 20, prompt, [2]], max_new_tokens=10, seed=4)
    np.testing.assert_array_equal(longer[1], row)
    np.testing.assert_array_equal(
        model.generate([[5] * 20, prompt, [2]], max_new_tokens=10, seed=4, batch_size=2)[1], row
    )
    shorter = model.generate([[1], prompt], max_new_tokens=4, seed=4)[1]
    np.testing.assert_array_equal(shorter, row[:4])
    assert not np.array_equal(model.generate([[1], prompt], max_new_tokens=10, seed=5)[1], row)


def test_filters_narrow_what_is_written(model):
    greedy = model.generate([[1], [2, 3]], max_new_tokens=8, temperature=0)
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}, {"temperature": 1e-4}):
        for a, b in zip(model.generate([[1], [2, 3]], max_new_tokens=8, seed=0, **narrow), greedy, strict=True):
            np.testing.assert_array_equal(a, b)
    wide = model.generate([1], max_new_tokens=8, seed=0)
    np.testing.assert_array_equal(
        model.generate([1], max_new_tokens=8, seed=0, top_k=7, top_p=1.0, min_p=0.0, repetition_penalty=1.0), wide
    )


def test_the_repetition_penalty_holds_back_what_was_there(model):
    row = [2, 5]
    for token in model.generate([2, 5], max_new_tokens=5, temperature=0, repetition_penalty=3.0):
        logits = logits_of(model, [[7, *row]])[0, -1, :7]
        seen = np.isin(np.arange(7), row)
        assert token == np.where(seen, np.where(logits > 0, logits / 3, logits * 3), logits).argmax()
        row.append(token)
    assert row[2:] != list(model.generate([2, 5], max_new_tokens=5, temperature=0))


def test_stop_tokens(model):
    free = model.generate([[1], [2, 3]], max_new_tokens=20, seed=3)
    for stop in (int(free[0][4]), [int(free[0][4]), int(free[1][2])]):
        stopped = model.generate([[1], [2, 3]], max_new_tokens=20, seed=3, stop=stop)
        for row, whole in zip(stopped, free, strict=True):
            met = np.flatnonzero(np.isin(whole, stop))
            np.testing.assert_array_equal(row, whole[: met[0] if len(met) else None])
    assert len(model.generate([1], max_new_tokens=20, seed=3, stop=int(free[0][0]))) == 0


def test_text_in_text_out(writer):
    alone = writer.generate("the ", max_new_tokens=20, seed=0)
    assert isinstance(alone, str)
    several = writer.generate(["the ", "a longer prompt: é"], max_new_tokens=20, seed=0)
    assert several[0] == alone and isinstance(several[1], str)
    tokens = writer.generate(writer.tokenizer.encode("the "), max_new_tokens=20, seed=0)
    assert writer.tokenizer.decode(tokens) == alone
    np.testing.assert_allclose(
        writer.log_prob(["the", "é"]), [writer.log_prob("the")[0], writer.log_prob([[195, 169]])[0]], rtol=1e-5
    )


@pytest.mark.parametrize("stop", [None, "e", "<|end|>"])
def test_streamed_as_not_streamed(writer, stop, capsys):
    whole = writer.generate("the ", max_new_tokens=50, seed=1, stop=stop)
    pieces = []
    assert writer.generate("the ", max_new_tokens=50, seed=1, stop=stop, stream=pieces.append) == whole
    assert "".join(pieces) == whole and (len(pieces) > 3 or stop == "e")
    writer.generate("the ", max_new_tokens=50, seed=1, stop=stop, stream=True)
    assert capsys.readouterr().out == whole + "\n"


def test_tokens_stream_too(model):
    pieces = []
    row = model.generate([1], max_new_tokens=20, seed=1, stream=pieces.append)
    np.testing.assert_array_equal(np.concatenate(pieces), row)


def test_samples_have_the_length_that_was_asked_for(model):
    assert model.sample(2, seed=0).shape == (2, 32)
    short = model.sample(3, seed=0, length=5, top_k=3)
    assert short.shape == (3, 5) and short.dtype == np.int32
    np.testing.assert_array_equal(model.sample(2, seed=0)[:, :5], model.sample(2, seed=0, length=5))


def test_averaged_weights_write():
    averaged = numbers(ema=0.9)
    for weight in averaged.ema_network.weights:
        weight.assign(np.zeros(weight.shape, "float32"))
    assert averaged.log_prob([[1, 2]])[0] == pytest.approx(2 * np.log(1 / 7), rel=1e-5)
    assert set(averaged.generate([1], max_new_tokens=30, seed=0)) == set(range(7))  # all equally probable


def test_a_begin_token_of_the_vocabulary_and_a_network_of_ones_own():
    network = CausalTransformer(7, 20, layers=1, heads=1, width=8, positions="learned")
    own = rough(GPT(7, 16, network=network, begin_token=6))
    assert own(ops.convert_to_tensor([[6, 1]])).shape[-1] == 7
    assert np.isfinite(own.log_prob([[1, 2, 6]])).all() and own.sample(2, seed=0).shape == (2, 16)


@pytest.mark.parametrize(
    "tokenizer", [ByteTokenizer(("<|end|>",)), BPETokenizer.train(TEXT, 270)], ids=["bytes", "bpe"]
)
def test_the_tokenizer_is_in_the_file(tokenizer, tmp_path):
    model = rough(GPT(context=32, layers=1, heads=1, width=8, tokenizer=tokenizer, positions="learned"))
    model.save(tmp_path / "m.keras")
    loaded = kgen.load(tmp_path / "m.keras")
    assert loaded.tokenizer == tokenizer
    assert loaded.generate("the cat", max_new_tokens=8, seed=0) == model.generate("the cat", max_new_tokens=8, seed=0)


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_it_learns_a_text_and_continues_it():
    tokenizer = BPETokenizer.train(TEXT, 270)
    model = GPT(context=16, layers=1, heads=2, width=32, tokenizer=tokenizer, dropout=0.05)
    model.compile(keras.optimizers.Adam(5e-3))
    windows = kgen.data.TokenWindows(tokenizer.encode(TEXT), 16, batch_size=32, steps=40)
    model.fit(windows, epochs=5, verbose=0)
    assert "the dog sat on the log." in model.generate("on the mat,", temperature=0)
    assert -model.sliding_log_prob(TEXT).sum() / len(TEXT) < 0.2  # nats per character


# Errors.


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: m.generate([1, 7]),
            r"prompt: expected tokens in \[0, 7\), the vocabulary, received values from 1 to 7",
        ),
        (lambda m: m.generate([[1], [-1]]), r"prompt: expected tokens in \[0, 7\).*from -1 to -1"),
        (lambda m: m.generate([1] * 32), "prompt: expected at most 31 tokens, as the context is 32.*received 32"),
        (
            lambda m: m.generate([1] * 30, max_new_tokens=3),
            "max_new_tokens: the context of 32 has room for 2 after a prompt of 30",
        ),
        (
            lambda m: m.generate([]),
            "prompt: expected at least one token, received an empty one. None begins from nothing",
        ),
        (lambda m: m.generate([[1], []]), r"prompt: expected at least one token, received an empty one \(row 1\)"),
        (
            lambda m: m.generate([[[1]]]),
            r"prompt: expected tokens \(n,\) or a list of such rows, received a row of shape \(1, 1\)",
        ),
        (lambda m: m.generate("abc"), "prompt: this model has no tokenizer"),
        (lambda m: m.generate([1], top_k=0), "top_k: expected an integer of at least 1, received 0"),
        (lambda m: m.generate([1], top_k=8), r"top_k: expected an integer in \[1, 7\], the vocabulary, received 8"),
        (lambda m: m.generate([1], top_p=0.0), r"top_p: expected a number in \(0, 1\], received 0.0"),
        (lambda m: m.generate([1], top_p=1.1), r"top_p: expected a number in \[0, 1\], received 1.1"),
        (lambda m: m.generate([1], min_p=-0.1), r"min_p: expected a number in \[0, 1\], received -0.1"),
        (lambda m: m.generate([1], temperature=-1), r"temperature: expected a number in \[0, 100\], received -1"),
        (
            lambda m: m.generate([1], repetition_penalty=0.5),
            r"repetition_penalty: expected a number in \[1, 100\], received 0.5",
        ),
        (lambda m: m.generate([1], max_new_tokens=0), "max_new_tokens: expected an integer of at least 1, received 0"),
        (lambda m: m.generate([1], stop=7), r"stop: expected tokens in \[0, 7\)"),
        (lambda m: m.generate([1], stop="."), "stop: this model has no tokenizer"),
        (lambda m: m.generate([[1], [2]], stream=print), "stream: expected one prompt, received 2"),
        (lambda m: m.generate([1], stream=True), "stream: tokens are not printed"),
        (lambda m: m.sample(0), "n: expected an integer of at least 1, received 0"),
        (lambda m: m.sample(1, length=33), "length: expected at most context=32, received 33"),
        (lambda m: m.log_prob([[1] * 33]), "x: expected at most context=32 tokens, received 33. sliding_log_prob"),
        (lambda m: m.sliding_log_prob([1], stride=33), "stride: expected at most context=32, received 33"),
        (lambda m: m.sliding_log_prob([[1], [2]]), "x: expected one text, received 2"),
    ],
)
def test_errors(model, call, message):
    with pytest.raises(ValueError, match=message):
        call(model)


def test_errors_of_text(writer):
    with pytest.raises(ValueError, match="prompt: expected at least one token, received an empty one"):
        writer.generate("")
    with pytest.raises(ValueError, match="stop: expected text of one token, received 'end', which is 3"):
        writer.generate("a", stop="end")
    with pytest.raises(TypeError, match="prompt: expected a text, tokens .* received 5"):
        writer.generate(5)
    with pytest.raises(TypeError, match="prompt: expected integer tokens, received float64"):
        writer.generate([1.5])


def test_errors_of_training_data(model):
    model.compile("adam")
    with pytest.raises(
        ValueError, match=r"x: expected tokens in \[0, 7\), the vocabulary, received values from 0 to 9"
    ):
        model.fit(np.arange(10)[None])
    with pytest.raises(
        ValueError, match=r"x: expected tokens \(N, L\), 1 <= L <= context=32, received shape \(4, 33\)"
    ):
        model.fit(np.zeros((4, 33), "int32"))
    with pytest.raises(TypeError, match="x: expected integer tokens, received float32"):
        model.fit(np.zeros((4, 8), "float32"))
    with pytest.raises(ValueError, match="y: a GPT has no labels"):
        model.fit(np.zeros((4, 8), "int32"), np.zeros(4))


def test_errors_of_making():
    with pytest.raises(ValueError, match="vocabulary_size: expected the number of tokens, or a tokenizer"):
        GPT()
    with pytest.raises(ValueError, match="vocabulary_size: the tokenizer has 256 tokens, received 100"):
        GPT(100, tokenizer=ByteTokenizer())
    with pytest.raises(TypeError, match="tokenizer: expected a Tokenizer"):
        GPT(tokenizer="bytes")
    with pytest.raises(ValueError, match=r"begin_token: expected a number in \[0, 4\], received 5"):
        GPT(5, 8, begin_token=5)
    with pytest.raises(
        ValueError, match="network: expected a vocabulary of 6 .5 tokens, and a begin token.*received 5 and 8"
    ):
        GPT(5, 8, network=CausalTransformer(5, 8, layers=1, width=8))
    with pytest.raises(TypeError, match="network: expected a keras.Model or layer, received function"):
        GPT(5, 8, network=lambda tokens: tokens)
