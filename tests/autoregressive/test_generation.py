"""How the next token is chosen: every filter against its formula in numpy, and draws against their distribution."""

import numpy as np
import pytest
from keras import ops

from kgen.autoregressive import generation
from kgen.autoregressive.generation import Choice, next_token
from kgen.core import random

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(6, 12)).astype("float32") * 2


def softmax(logits):
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def tensor(x, dtype="float32"):
    return ops.convert_to_tensor(np.asarray(x, dtype))


def numbers(n, temperature=1.0, top_p=1.0, min_p=1.0, penalty=1.0):
    return tensor(np.repeat([[temperature, top_p, min_p, penalty]], n, axis=0))


@pytest.mark.parametrize("k", [1, 3, 12])
def test_top_k(k):
    kept = ops.convert_to_numpy(generation.in_top_k(tensor(LOGITS), k))
    np.testing.assert_array_equal(kept, np.sort(LOGITS, axis=-1)[:, -k][:, None] <= LOGITS)
    assert (kept.sum(-1) == k).all()


def test_top_p():
    p = np.array([0.05, 0.3, 0.5, 0.9, 0.99, 1.0], "float32")
    kept = ops.convert_to_numpy(generation.in_top_p(tensor(LOGITS), tensor(p)))
    probabilities = softmax(LOGITS.astype("float64"))
    for row, keep, limit in zip(probabilities, kept, p, strict=True):
        order, total, nucleus = np.argsort(-row), 0.0, set()
        for token in order:  # the fewest whose probabilities sum to the limit
            if total >= limit:
                break
            nucleus.add(token)
            total += row[token]
        assert set(np.flatnonzero(keep)) == nucleus
    assert kept[0].sum() == 1 and kept[-1].all()


def test_min_p():
    p = np.array([0.0, 0.01, 0.1, 0.5, 0.9, 1.0], "float32")
    kept = ops.convert_to_numpy(generation.in_min_p(tensor(LOGITS), tensor(p)))
    probabilities = softmax(LOGITS)
    np.testing.assert_array_equal(kept, probabilities >= (1 - 1e-6) * p[:, None] * probabilities.max(-1, keepdims=True))
    assert kept[0].all() and kept[-1].sum() == 1


def test_repetition_penalty():
    seen = RNG.random(LOGITS.shape) < 0.5
    found = ops.convert_to_numpy(
        generation.penalise(tensor(LOGITS), ops.convert_to_tensor(seen), tensor(np.full(6, 1.5)))
    )
    expected = np.where(seen, np.where(LOGITS > 0, LOGITS / 1.5, LOGITS * 1.5), LOGITS)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


N = 20_000


@pytest.mark.parametrize(
    ("choice", "settings", "expected"),
    [
        (Choice(), {}, lambda l: softmax(l)),
        (Choice(), {"temperature": 0.5}, lambda l: softmax(2 * l)),
        (Choice(top_k=3), {"temperature": 2.0}, lambda l: softmax(np.where(l >= np.sort(l)[-3], l / 2, -np.inf))),
        (
            Choice(min_p=True),
            {"min_p": 0.2, "temperature": 2.0},
            lambda l: softmax(np.where(l >= l.max() + 2 * np.log(0.2), l / 2, -np.inf)),
        ),
        (
            Choice(repetition=True),
            {"penalty": 2.0},
            lambda l: softmax(np.where(np.arange(6) < 2, np.where(l > 0, l / 2, l * 2), l)),
        ),
    ],
    ids=["plain", "temperature", "top_k", "min_p", "penalty"],
)
def test_draws_have_their_distribution(choice, settings, expected):
    logits = np.array([1.0, -0.5, 2.0, 0.3, -1.0, 1.5])
    seen = tensor(np.repeat([np.arange(6) < 2], N, axis=0), "bool")
    drawn = next_token(
        tensor(np.repeat(logits[None], N, axis=0)),
        seen,
        ops.convert_to_tensor(random.row_seeds(1, N)),
        3,
        numbers(N, **settings),
        choice,
    )
    frequencies = np.bincount(ops.convert_to_numpy(drawn), minlength=6) / N
    probabilities = expected(logits)
    error = np.sqrt(probabilities * (1 - probabilities) / N)
    assert (np.abs(frequencies - probabilities) <= 4.5 * error + 1e-12).all()


def test_no_temperature_is_the_most_probable_token():
    seeds = ops.convert_to_tensor(random.row_seeds(0, 6))
    seen = tensor(np.zeros((6, 1)), "bool")
    for choice in (Choice(greedy=True), Choice(), Choice(top_k=4, top_p=True, min_p=True)):
        found = next_token(tensor(LOGITS), seen, seeds, 0, numbers(6, temperature=0.0, top_p=0.5, min_p=0.5), choice)
        np.testing.assert_array_equal(ops.convert_to_numpy(found), LOGITS.argmax(-1))


def test_rows_have_their_own_numbers():
    both = tensor([[0.0, 1, 1, 1], [1.0, 1, 1, 1]])
    logits = tensor(np.zeros((2, 50)) + np.linspace(0, 0.1, 50))
    draws = []
    for i in range(20):
        seeds = ops.convert_to_tensor(random.row_seeds(i, 2))
        draws.append(
            ops.convert_to_numpy(next_token(logits, tensor(np.zeros((2, 1)), "bool"), seeds, 0, both, Choice()))
        )
    first, second = np.array(draws).T
    assert (first == 49).all() and len(set(second)) > 5
