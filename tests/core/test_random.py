import keras
import numpy as np
import pytest
import scipy.stats
from keras import ops

from kgen import backend
from kgen.core import random


def word(*values):
    return ops.convert_to_tensor(np.array(values, "uint32"))


def seeds(n, seed=0):
    return ops.convert_to_tensor(random.row_seeds(seed, n))


# Known answers of Threefry-2x32, 20 rounds: key, counter, output. Random123's kat_vectors.
@pytest.mark.parametrize(
    ("key", "counter", "expected"),
    [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers(key, counter, expected):
    def encrypt(k0, k1, c0, c1):
        return ops.stack(random.threefry((k0, k1), (c0, c1)))

    words = [word(w) for w in (*key, *counter)]
    for run in (encrypt, backend.jit(encrypt)):
        out = ops.convert_to_numpy(run(*words)).astype("uint64").ravel()
        assert tuple(int(w) & 0xFFFFFFFF for w in out) == expected
        assert out.max() < 2**32


# Independence of batch and row.


def test_row_seeds_depend_on_the_seed_and_the_row_alone():
    whole = random.row_seeds(0, 8)
    assert whole.shape == (8, 2) and whole.dtype == np.int32 and (whole >= 0).all()
    np.testing.assert_array_equal(whole[:4], random.row_seeds(0, 4))
    np.testing.assert_array_equal(whole[3:6], random.row_seeds(0, 3, start=3))
    everything = np.concatenate([random.row_seeds(s, 500) for s in (0, 1, 2**31, 2**61)])
    assert len(np.unique(everything, axis=0)) == 2000


@pytest.mark.parametrize("draw", [random.uniform, random.normal, random.gumbel])
@pytest.mark.parametrize("shape", [(), (5,), (3, 2, 2)])
def test_a_row_is_the_same_in_any_batch(draw, shape):
    whole = ops.convert_to_numpy(draw(seeds(6), shape, draw=3))
    assert whole.shape == (6, *shape)
    for i in range(6):
        row = ops.convert_to_numpy(draw(seeds(6)[i : i + 1], shape, draw=3))[0]
        # Uniform numbers are exact; a vectorised logarithm may round the last bit otherwise in another batch.
        np.testing.assert_allclose(row, whole[i], rtol=0, atol=0 if draw is random.uniform else 1e-6)


@pytest.mark.parametrize("draw", [random.uniform, random.normal, random.gumbel])
def test_compiled_draws_are_the_same_and_may_be_named_by_a_tensor(draw):
    compiled = backend.jit(lambda s, k: draw(s, (7,), draw=k))
    for k in (0, 1, 2**31 - 1):
        eager = ops.convert_to_numpy(draw(seeds(4), (7,), draw=k))
        traced = ops.convert_to_numpy(compiled(seeds(4), ops.convert_to_tensor(k, dtype="int32")))
        np.testing.assert_allclose(traced, eager, atol=1e-6)


def test_a_shorter_row_of_uniforms_is_the_start_of_a_longer_one():
    np.testing.assert_array_equal(
        ops.convert_to_numpy(random.uniform(seeds(3), (4,))),
        ops.convert_to_numpy(random.uniform(seeds(3), (9,)))[:, :4],
    )


# Statistics. Each p-value is that of one fixed seed: a wrong generator gives about 0.


@pytest.mark.parametrize(
    ("draw", "distribution"), [(random.uniform, "uniform"), (random.normal, "norm"), (random.gumbel, "gumbel_r")]
)
@pytest.mark.parametrize("layout", ["rows", "elements", "draws"])
def test_draws_follow_their_distribution_along_every_axis(draw, distribution, layout):
    if layout == "rows":
        x = draw(seeds(20_000), ())
    elif layout == "elements":
        x = draw(seeds(1), (20_000,))
    else:
        x = ops.concatenate([draw(seeds(100), (10,), draw=k) for k in range(20)])
    x = ops.convert_to_numpy(x).ravel().astype("float64")
    assert np.isfinite(x).all()
    assert scipy.stats.kstest(x, distribution).pvalue > 1e-3


def test_gumbel_moments():
    x = ops.convert_to_numpy(random.gumbel(seeds(200), (1000,))).astype("float64")
    assert x.mean() == pytest.approx(np.euler_gamma, abs=4 * np.pi / np.sqrt(6 * x.size))
    assert x.var() == pytest.approx(np.pi**2 / 6, rel=0.02)


def test_rows_elements_and_draws_are_uncorrelated():
    x = np.stack([ops.convert_to_numpy(random.normal(seeds(200), (50,), draw=k)) for k in range(4)]).astype("float64")
    n = 200 * 50
    pairs = {
        "draws": (x[0], x[1]),
        "rows": (x[0, :-1], x[0, 1:]),
        "elements": (x[0, :, :-1], x[0, :, 1:]),
        "the two halves of a Box-Muller pair": (x[0, :, 0::2], x[0, :, 1::2]),
        "their squares": (x[0, :, 0::2] ** 2, x[0, :, 1::2] ** 2),
    }
    for name, (a, b) in pairs.items():
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5.0 / np.sqrt(n / 2), name


def test_uniform_is_strictly_inside_its_interval_on_a_grid_of_2_to_the_23():
    x = ops.convert_to_numpy(random.uniform(seeds(2), (50_000,))).astype("float64")
    assert x.min() > 0.0 and x.max() < 1.0
    np.testing.assert_array_equal((x * 2**23) % 1.0, 0.5)


def test_categorical_frequencies():
    p = np.array([0.1, 0.2, 0.3, 0.4])
    logits = ops.tile(ops.convert_to_tensor(np.log(p).astype("float32") + 3.0)[None], (10_000, 1))
    drawn = ops.convert_to_numpy(random.categorical(seeds(10_000), logits))
    assert drawn.shape == (10_000,) and drawn.dtype == np.int32
    assert scipy.stats.chisquare(np.bincount(drawn, minlength=4), 10_000 * p).pvalue > 1e-3


def test_categorical_never_draws_what_is_impossible():
    logits = ops.convert_to_tensor(np.tile([0.0, -np.inf, 0.0], (300, 5, 1)).astype("float32"))
    drawn = ops.convert_to_numpy(random.categorical(seeds(300), logits))
    assert drawn.shape == (300, 5) and set(drawn.ravel()) == {0, 2}


def test_categorical_compiles():
    """TensorFlow's XLA took minutes for argmax of 16 scores and more: whatever ``jit`` compiles here must end, and draw the same."""
    logits = ops.convert_to_tensor(np.random.default_rng(0).standard_normal((50, 3, 40)).astype("float32"))
    eager = random.categorical(seeds(50), logits)
    np.testing.assert_array_equal(
        *map(ops.convert_to_numpy, (backend.jit(random.categorical, compiler="xla")(seeds(50), logits), eager))
    )


def test_bernoulli_frequencies():
    p = ops.tile(ops.convert_to_tensor([[0.0, 0.25, 1.0]]), (10_000, 1))
    drawn = ops.convert_to_numpy(random.bernoulli(seeds(10_000), p))
    assert drawn[:, 0].max() == 0.0 and drawn[:, 2].min() == 1.0
    assert scipy.stats.binomtest(int(drawn[:, 1].sum()), 10_000, 0.25).pvalue > 1e-3


def test_folded_seeds_are_new_streams():
    folded = [ops.convert_to_numpy(random.fold_in(seeds(500), k)) for k in range(4)]
    assert all((f >= 0).all() for f in folded)
    assert len(np.unique(np.concatenate([*folded, random.row_seeds(0, 500)]), axis=0)) == 2500
    a, b = (ops.convert_to_numpy(random.normal(ops.convert_to_tensor(f), (20,))) for f in folded[:2])
    assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 0.05


# The same numbers on every backend, and in every later version: a seed in a paper stays good.


def test_the_numbers_are_those_of_every_backend_and_version():
    rows = random.row_seeds(7, 2)
    np.testing.assert_array_equal(rows, [[1950946485, 1579002332], [1482444951, 667273704]])
    np.testing.assert_array_equal(random.row_seeds(2**61 + 12345, 1, start=1000), [[293322022, 168465288]])
    rows = ops.convert_to_tensor(rows)
    folded = ops.convert_to_numpy(random.fold_in(rows, 9))
    np.testing.assert_array_equal(folded, [[590645387, 1951727649], [237569286, 1359669395]])
    for draw, expected in [
        (random.uniform, [[0.73168129, 0.20199734, 0.45004565], [0.64192158, 0.17282325, 0.05256933]]),
        (random.normal, [[-0.35753205, -0.70497614, -1.77838349], [-0.03403015, 0.94096768, -0.78532100]]),
        (random.gumbel, [[1.16343796, -0.46969157, 0.22513774], [0.81353307, -0.56274569, -1.08032012]]),
    ]:
        np.testing.assert_allclose(ops.convert_to_numpy(draw(rows, (3,), draw=5)), expected, atol=1e-6)


# Errors.


@pytest.mark.parametrize("seed", [-1, 2**62, 0.5, "zero", True])
def test_a_seed_that_is_none_is_refused(seed):
    with pytest.raises(ValueError, match=r"seed: expected an integer in \[0, 2\*\*62\) or None, received"):
        random.row_seeds(seed, 2)


def test_no_seed_is_a_new_one_that_set_random_seed_fixes():
    first = random.row_seeds(None, 2)
    assert (random.row_seeds(None, 2) != first).any()
    keras.utils.set_random_seed(0)
    np.testing.assert_array_equal(random.row_seeds(None, 2), first)
