"""The steps of a flow against autodiff: log-determinants, inverses, what depends on what."""

import keras
import numpy as np
import pytest
from flow.autodiff import jacobian
from keras import ops

from kgen import backend
from kgen.flow import (
    MADE,
    ActNorm,
    AffineTransform,
    BijectorStep,
    Chain,
    Coupling,
    Dequantization,
    MaskedAutoregressive,
    Permutation,
    SplineTransform,
    checkerboard,
    dense_conditioner,
)

pytestmark = pytest.mark.skipif(keras.config.backend() == "torch", reason="flows run on tensorflow and jax")

SHAPE, CLASSES, ROWS = (2, 2, 1), 3, 64
MASK = checkerboard(SHAPE)
STEPS = {
    "affine coupling": lambda: Coupling("affine", mask=MASK, widths=(16,)),
    "spline coupling": lambda: Coupling(SplineTransform(5), mask=1 - MASK, widths=(16,)),
    "affine autoregression": lambda: MaskedAutoregressive("affine", widths=(16,)),
    "spline autoregression": lambda: MaskedAutoregressive("spline", widths=(16,)),
    "activation normalisation": ActNorm,
    "permutation": lambda: Permutation([2, 0, 3, 1]),
    "a bijector of TFP": lambda: BijectorStep(lambda: backend.tfp().bijectors.SinhArcsinh(skewness=0.3)),
    "chain": lambda: Chain(
        [ActNorm(), MaskedAutoregressive(widths=(16,)), Permutation(), Coupling("spline", mask=MASK, widths=(16,))]
    ),
}


def made(name, condition_size=CLASSES):
    """A step with weights away from their start."""
    step = STEPS[name]()
    step.build(SHAPE, condition_size)
    rng = np.random.default_rng(0)
    for v in step.weights:
        if "seed" not in v.path:
            # Less of what is not followed by an activation: in float32 the way back from far out is long.
            v.assign(ops.convert_to_numpy(v) + (0.05 if "direct" in v.path else 0.2) * rng.normal(size=v.shape))
    return step


def rows():
    rng = np.random.default_rng(1)
    x = ops.convert_to_tensor(rng.normal(size=(ROWS, *SHAPE)).astype("float32"))
    return x, ops.one_hot(ops.convert_to_tensor(rng.integers(0, CLASSES, ROWS)), CLASSES, dtype="float32")


@pytest.mark.parametrize("name", STEPS)
def test_log_det_is_autodiffs_and_there_and_back_is_where_one_was(name):
    step, (x, condition) = made(name), rows()
    z, log_det = step.encode(x, condition)
    assert tuple(z.shape) == (ROWS, *SHAPE) and tuple(log_det.shape) == (ROWS,)
    expected = np.linalg.slogdet(jacobian(lambda x: step.encode(x, condition)[0], x)[1])[1]
    np.testing.assert_allclose(ops.convert_to_numpy(log_det), expected, rtol=1e-5, atol=1e-5)
    back = step.decode(z, condition)
    np.testing.assert_allclose(ops.convert_to_numpy(back), ops.convert_to_numpy(x), atol=1e-5)


@pytest.mark.parametrize("name", ["affine autoregression", "spline autoregression"])
def test_an_autoregressive_jacobian_is_lower_triangular(name):
    step, (x, condition) = made(name), rows()
    _, j = jacobian(lambda x: step.encode(x, condition)[0], x)
    assert np.abs(np.triu(j, 1)).max() == 0
    assert (np.abs(np.tril(j, -1)).max(axis=0)[np.tril_indices(4, -1)] > 1e-4).all()  # and each dependency is there


@pytest.mark.parametrize("name", ["affine coupling", "spline coupling"])
def test_a_coupling_keeps_what_its_mask_says(name):
    step, (x, condition) = made(name), rows()
    z = ops.convert_to_numpy(step.encode(x, condition)[0])
    moved = np.abs(z - ops.convert_to_numpy(x)).max(axis=0)
    np.testing.assert_array_equal(moved > 0, step.mask == 0)


@pytest.mark.parametrize(
    "name", ["affine coupling", "spline coupling", "affine autoregression", "spline autoregression"]
)
def test_a_step_starts_as_the_identity_and_sees_its_condition(name):
    step, (x, condition) = STEPS[name](), rows()
    step.build(SHAPE, CLASSES)
    z, log_det = step.encode(x, condition)
    np.testing.assert_allclose(ops.convert_to_numpy(z), ops.convert_to_numpy(x), atol=2e-6)
    np.testing.assert_allclose(ops.convert_to_numpy(log_det), 0, atol=2e-6)
    step = made(name)
    other = ops.roll(condition, 1, axis=-1)
    difference = ops.convert_to_numpy(step.encode(x, condition)[0] - step.encode(x, other)[0])
    seen = np.abs(difference).reshape(ROWS, -1).max(axis=0) > 1e-3
    np.testing.assert_array_equal(seen, (step.mask == 0).ravel() if "coupling" in name else True)


def test_made_for_one_value_and_without_a_condition():
    layer = MADE(2, widths=(8,))
    one = ops.ones((4, 1))
    assert tuple(layer(one).shape) == (4, 1, 2)
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(one)), ops.convert_to_numpy(layer(3 * one)))


def shaken_made(size, d, condition_size=0, **kwargs):
    layer = MADE(size, condition_size, activation="tanh", **kwargs)
    layer.build((None, d))
    for i, weight in enumerate(layer.trainable_weights):
        weight.assign(0.3 * np.random.default_rng(i).normal(size=weight.shape))
    return layer


def seen_by(layer, d):
    """Which input moves which output: bool [input, output]."""
    x = np.random.default_rng(9).normal(size=(1, d)).astype("float32")
    moved = np.repeat(x, d, axis=0) + 0.5 * np.eye(d, dtype="float32")
    return np.abs(ops.convert_to_numpy(layer(moved) - layer(x))).max(axis=-1) > 1e-6


@pytest.mark.parametrize("widths", [(8, 6), (2,), (64,)])
def test_each_output_sees_all_values_before_its_own_and_no_other(widths):
    d = 40
    np.testing.assert_array_equal(seen_by(shaken_made(2, d, widths=widths), d), np.triu(np.ones((d, d), bool), 1))


def test_without_direct_connections_narrow_layers_see_all_over_the_row():
    d = 40
    seen = seen_by(shaken_made(1, d, widths=(8, 6), direct=False), d)
    assert not np.tril(seen).any()  # none sees itself or what comes after it
    furthest = [np.flatnonzero(seen[:, i]).max(initial=-1) for i in range(d)]
    assert furthest[-1] >= d - 1 - 2 * d / 6 and np.mean(np.arange(d) - furthest) < 10


@pytest.mark.parametrize("widths", [(8, 6), (64,)])
def test_the_condition_moves_every_output_the_first_as_well(widths):
    layer = shaken_made(1, 40, 3, widths=widths)
    x, classes = np.zeros((3, 40), "float32"), np.eye(3, dtype="float32")
    out = ops.convert_to_numpy(layer(x, ops.convert_to_tensor(classes)))[..., 0]
    assert (out.std(axis=0) > 0.01).all()


def test_a_class_shifts_the_first_value_of_a_long_row():
    # The first value alone tells the classes apart; the hidden layer is narrow, so that none of its units has degree 0.
    step = MaskedAutoregressive(widths=(4,))
    step.build((30,), 2)
    condition = ops.convert_to_tensor(np.eye(2, dtype="float32"))
    step.made.direct_kernel.assign(np.eye(*step.made.direct_kernel.shape, k=-30))  # class 0: the shift of value 0
    z = ops.convert_to_numpy(step.encode(ops.zeros((2, 30)), condition)[0])
    np.testing.assert_allclose(z[:, 0], [-1.0, 0.0], atol=1e-6)


def test_activation_normalisation_starts_from_the_data():
    step = ActNorm()
    step.build((3,))
    x = np.random.default_rng(0).normal([5, 0, -2], [0.1, 1, 10], size=(500, 3)).astype("float32")
    step.initialize(ops.convert_to_tensor(x))
    z = ops.convert_to_numpy(step.encode(ops.convert_to_tensor(x))[0])
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(z.std(0), 1, atol=1e-4)


def test_permutations():
    x = ops.convert_to_tensor(np.arange(8, dtype="float32").reshape(2, 4))
    for order, expected in (("reverse", [3, 2, 1, 0]), ([1, 3, 0, 2], [1, 3, 0, 2])):
        step = Permutation(order)
        step.build((4,))
        np.testing.assert_array_equal(ops.convert_to_numpy(step.encode(x)[0])[0], expected)


def test_a_spline_is_the_identity_outside_of_its_square_and_monotone_inside():
    x = ops.convert_to_tensor(np.linspace(-3, 3, 601, dtype="float32")[:, None])
    parameters = ops.convert_to_tensor(np.random.default_rng(0).normal(size=(1, 1, 17)).astype("float32"))
    bijector = SplineTransform(6, bound=2.0).bijector(ops.broadcast_to(parameters, (601, 1, 17)))
    z = ops.convert_to_numpy(bijector.inverse(x))[:, 0]
    x = ops.convert_to_numpy(x)[:, 0]
    outside = np.abs(x) > 2
    np.testing.assert_array_equal(z[outside], x[outside])
    assert (np.diff(z) > 0).all() and np.abs(z - x).max() > 0.1


def test_checkerboards():
    np.testing.assert_array_equal(checkerboard((2, 3)), [[1, 0, 1], [0, 1, 0]])
    np.testing.assert_array_equal(checkerboard((4,), 1), [0, 1, 0, 1])
    image = checkerboard((2, 2, 3))
    assert image.shape == (2, 2, 3) and (image == image[..., :1]).all()


@pytest.mark.parametrize("logit", [0.05, None])
def test_dequantisation_against_autodiff_and_back(logit):
    code = Dequantization(5, logit)
    x = np.linspace(-1, 1, 5, dtype="float32")[:, None]
    for noise in (0.02, 0.5, 0.98):
        y, log_det = code.encode(ops.convert_to_tensor(x), noise)
        np.testing.assert_allclose(ops.convert_to_numpy(code.decode(y)), x, atol=1e-6)
        # x is rounded, which has no derivative; the noise moves v as k does.
        u = ops.full((5, 1), noise)
        slope = backend.grad(lambda u: code.encode(ops.convert_to_tensor(x), u)[0][:, 0], u)
        np.testing.assert_allclose(ops.convert_to_numpy(log_det), np.log(ops.convert_to_numpy(slope)), atol=1e-5)


def test_wrong_arguments():
    def built(step, shape=(4,)):
        step.build(shape)

    cases = [
        (lambda: Coupling("cubic", mask=[1, 0]), "transform: expected one of 'affine', 'spline', received 'cubic'"),
        (lambda: Coupling(mask=[1, 1]), "mask: expected zeros and ones, some of each"),
        (lambda: Coupling(mask=[0.5, 1]), "mask: expected zeros and ones, some of each"),
        (lambda: built(Coupling(mask=[1, 0])), r"mask: expected the shape of a row, \(4,\), received \(2,\)"),
        (
            lambda: built(Coupling(mask=[1, 0, 1, 0], network=dense_conditioner((4,), 3))),
            r"network: expected outputs \(B, 4, 2\), 2 numbers for each value \(AffineTransform.*received \(B, 4, 3\)",
        ),
        (lambda: built(Permutation([0, 0, 1, 2])), "order: expected a permutation of 0 to 3"),
        (lambda: Permutation("random"), "order: expected one of 'reverse', received 'random'"),
        (lambda: AffineTransform(0), "limit: expected a number in"),
        (lambda: SplineTransform(0), "bins: expected an integer of at least 1, received 0"),
        (lambda: SplineTransform(8, min_bin=0.2), r"min_bin: expected a number in \[1e-06, 0.0625\], received 0.2"),
        (lambda: MaskedAutoregressive(widths=(0,)), "widths: expected an integer of at least 1, received 0"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
