"""Disentanglement on factors that are known: as codes by themselves, mixed, and in noise."""

import itertools

import numpy as np
import pytest

import kgen.metrics as metrics

GRID = np.array(list(itertools.product(range(3), range(4), range(4), range(16)))).T  # the last one repeats all others
FACTORS = dict(zip("abc", GRID[:3], strict=True))
RNG = np.random.default_rng(0)


def test_factors_as_codes_are_disentangled_and_turned_ones_are_not():
    codes = np.stack([*FACTORS.values(), RNG.normal(size=len(GRID[0]))], 1).astype(float)[:, [1, 3, 0, 2]]
    assert metrics.mutual_information_gap(codes[:, [0, 2, 3]], FACTORS) == pytest.approx(1.0)
    found = metrics.disentanglement_completeness(codes, FACTORS)
    assert all(value > 0.98 for value in found.values())
    # A linear machine finds three of four values in one latent's order at best: the gap is that to guessing.
    assert metrics.attribute_predictability(codes, FACTORS) > 0.25
    turned = (codes[:, [0, 2, 3]] - codes[:, [0, 2, 3]].mean(0)) @ np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    assert metrics.mutual_information_gap(turned, FACTORS) < 0.3
    found = metrics.disentanglement_completeness(turned, FACTORS)
    assert found["disentanglement"] < 0.7 and found["completeness"] < 0.7
    both = np.repeat(codes[:, :1], 2, axis=1)  # two latents that say the same: no gap
    assert metrics.mutual_information_gap(both, {"b": FACTORS["b"]}) == pytest.approx(0.0)


def test_information_of_a_noisy_copy_is_that_of_its_channel():
    # A bit that is flipped with probability 1/4 carries ln 2 - H(1/4) nats; the second latent carries none.
    bit = np.tile([0, 0, 0, 0, 1, 1, 1, 1], 500)
    seen = np.tile([0, 0, 0, 1, 1, 1, 1, 0], 500)
    other = np.tile([0, 1], 2000)
    h = -(0.25 * np.log(0.25) + 0.75 * np.log(0.75))
    found = metrics.mutual_information_gap(np.stack([other, seen], 1), {"bit": bit})
    assert found == pytest.approx((np.log(2) - h) / np.log(2), abs=1e-9)


def test_the_report_has_all_and_wrong_arguments_are_named():
    codes = RNG.normal(size=(200, 2))
    factors = {"a": np.arange(200) % 2, "b": np.arange(200) % 3}
    report = metrics.disentanglement_report(codes, factors)
    assert set(report) == {"mig", "sap", "disentanglement", "completeness", "informativeness"}
    assert report["mig"]["value"] < 0.15 and report["mig"]["samples"] == 200
    with pytest.raises(ValueError, match="codes: expected finite numbers"):
        metrics.mutual_information_gap(codes[:, :1], factors)
    with pytest.raises(ValueError, match="factors: a: expected 200 ints of at least two values"):
        metrics.attribute_predictability(codes, {"a": np.zeros(200)})
    with pytest.raises(ValueError, match="factors: expected at least two"):
        metrics.disentanglement_completeness(codes, {"a": factors["a"]})
