"""The Euler-Maruyama method on the Ornstein-Uhlenbeck process dy = -a (y - m) dt + s dW, whose law is known."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen import backend
from kgen.core import random
from kgen.numerics import EulerMaruyama

A, M, S = 1.5, 0.5, 0.8
N = 20_000


def drift(t, y):
    return -A * (y - M)


def diffusion(t, y):
    return S


def run(y, seeds, steps, end=1.0):
    solver = EulerMaruyama(steps)
    compiled = backend.jit(lambda y, seeds: solver.solve(drift, diffusion, y, 0.0, end, seeds))
    return ops.convert_to_numpy(compiled(ops.convert_to_tensor(y), ops.convert_to_tensor(seeds)))


def test_moments_are_those_of_the_process():
    y = run(np.full((N, 1), 2.0, "float32"), random.row_seeds(0, N), steps=100)[:, 0]
    mean, variance = M + (2.0 - M) * np.exp(-A), S**2 / (2 * A) * (1 - np.exp(-2 * A))
    # What 100 steps of Euler's leave as an error is known too, and is less than what chance leaves.
    factor = 1 - A / 100
    of_steps = S**2 / 100 * (1 - factor**200) / (1 - factor**2)
    assert abs(of_steps - variance) < 0.01 * variance
    assert abs(y.mean() - (M + (2.0 - M) * factor**100)) < 4 * (variance / N) ** 0.5
    assert abs(y.mean() - mean) < 4 * (variance / N) ** 0.5 + 0.01
    assert abs(y.var() - of_steps) < 4 * variance * (2 / N) ** 0.5


def test_the_path_is_that_of_its_noise():
    """The strong error: beside the exact solution along the same Brownian path it halves with the step, as g is constant."""
    steps, n = 32, 500
    seeds = random.row_seeds(3, n)
    y_0 = np.linspace(-1, 1, n, dtype="float32")[:, None]
    z = np.stack(
        [
            ops.convert_to_numpy(random.normal(random.fold_in(ops.convert_to_tensor(seeds), i), (1,)))
            for i in range(steps)
        ]
    ).astype("float64")
    y, h = y_0.astype("float64"), 1 / steps
    for each in z:
        y = y - h * A * (y - M) + h**0.5 * S * each
    np.testing.assert_allclose(run(y_0, seeds, steps), y, atol=1e-5)
    # The exact solution: exp(-a (1 - t)) dW summed over the path, up to O(h) for what happens within a step.
    ages = 1 - (np.arange(steps) + 0.5) * h
    path = M + (y_0 - M) * np.exp(-A) + S * h**0.5 * (np.exp(-A * ages)[:, None, None] * z).sum(0)
    strong = np.sqrt(np.mean((y - path) ** 2))
    assert 1e-3 < strong < h


def test_a_row_depends_on_itself_and_leaves_have_noise_of_their_own():
    solver, seeds = EulerMaruyama(5), random.row_seeds(0, 4)

    def solve(y, seeds):
        tensors = keras.tree.map_structure(ops.convert_to_tensor, (y, y))
        end = ops.convert_to_tensor(np.linspace(1.0, 2.0, 4, dtype="float32")[: len(y)])
        found = solver.solve(lambda t, y: y, lambda t, y: (1.0, 0.5 * t[:, None]), tensors, end, 0.0, seeds)
        return [ops.convert_to_numpy(v) for v in found]

    y = np.zeros((4, 3), "float32")
    four, two = solve(y, seeds), solve(y[:2], seeds[:2])
    for a, b in zip(four, two, strict=True):
        np.testing.assert_allclose(a[:2], b, atol=1e-6)
    assert np.abs(np.corrcoef(four[0].ravel(), four[1].ravel())[0, 1]) < 0.9
    assert np.unique(four[0]).size == 12


def test_configuration():
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(EulerMaruyama(7)))
    assert again == EulerMaruyama(7) and again.calls() == 7
    with pytest.raises(ValueError, match="steps: expected an integer of at least 1"):
        EulerMaruyama(0)
