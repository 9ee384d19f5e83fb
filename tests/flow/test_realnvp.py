"""Real NVP of images: its scales, against autodiff, and what its arguments mean."""

import keras
import numpy as np
import pytest
from flow.autodiff import jacobian
from keras import ops

from kgen.flow import ActNorm, Coupling, RealNVP, Split, Squeeze, channel_halves, convolutional_conditioner

pytestmark = pytest.mark.skipif(keras.config.backend() == "torch", reason="flows run on tensorflow and jax")

RNG = np.random.default_rng(0)


def test_it_is_a_bijection_with_autodiffs_log_det():
    flow = RealNVP((4, 4, 1), couplings=2, scales=2, widths=(4,), num_classes=3)
    for v in flow.chain.trainable_variables:
        v.assign(ops.convert_to_numpy(v) + 0.1 * RNG.normal(size=v.shape))
    x, y = RNG.normal(size=(8, 4, 4, 1)).astype("float32"), RNG.integers(0, 3, 8)
    condition = ops.one_hot(ops.convert_to_tensor(y), 3, dtype="float32")
    z, slopes = jacobian(lambda x: flow.chain.encode(x, condition)[0], x)
    expected = np.linalg.slogdet(slopes)[1] - 0.5 * (z**2 + np.log(2 * np.pi)).sum(-1)
    np.testing.assert_allclose(flow.log_prob(x, labels=y), expected, atol=1e-4)
    np.testing.assert_allclose(flow.decode(flow.encode(x, y), y), x, atol=1e-5)
    other = flow.log_prob(x, labels=(y + 1) % 3)
    assert (np.abs(other - expected) > 1e-3).all()  # the networks see the class


def test_scales_halve_the_sides_and_half_of_the_channels_leaves():
    flow = RealNVP((8, 8, 1), couplings=2, widths=(4,))
    assert flow.chain.parts == ((4, 4, 2), (4, 4, 2)) and flow.z_shape == (64,)
    kinds = [type(s) for s in flow.chain.steps]
    pair = [ActNorm, Coupling]
    assert kinds == [*pair, Squeeze, *pair, Split, *pair, *pair]
    masks = [s.mask for s in flow.chain.steps if isinstance(s, Coupling)]
    assert masks[0].shape == (8, 8, 1) and masks[0].mean() == 0.5
    np.testing.assert_array_equal(masks[1], channel_halves((4, 4, 4)))  # the upper two pixels of each square
    assert RealNVP((4, 4, 1), couplings=1, widths=(2,)).z_shape == (4, 4, 1)
    assert RealNVP((28, 28, 1), couplings=1, widths=(2,)).chain.parts[-1] == (7, 7, 4)


def test_dense_networks_for_other_rows_and_on_demand():
    for flow in (RealNVP((6,)), RealNVP((4, 4, 1), convolutional=False, widths=(16,))):
        assert flow.z_shape == flow.shape and len(flow.chain.steps) == 16
        assert all(s.network_name == "dense" for s in flow.chain.steps if isinstance(s, Coupling))


def test_a_configuration_of_0_1_has_dense_networks():
    flow = RealNVP((4, 4, 1), couplings=2, widths=(8,), convolutional=False)
    config = {k: v for k, v in flow.get_config().items() if k not in ("convolutional", "scales")}
    again = RealNVP.from_config(config)
    assert [w.shape for w in again.weights] == [w.shape for w in flow.weights]
    assert again.get_config() == flow.get_config()
    new = RealNVP.from_config(RealNVP((4, 4, 1), couplings=2, scales=2, widths=(8,)).get_config())
    assert new.z_shape == (16,) and new.get_config()["scales"] == 2


def test_a_convolutional_network_starts_at_zero_and_knows_the_place():
    network = convolutional_conditioner((4, 4, 1), 2, widths=(4,))
    x = ops.zeros((1, 4, 4, 1))
    assert tuple(network(x).shape) == (1, 4, 4, 1, 2) and float(ops.max(ops.abs(network(x)))) == 0
    for v in network.trainable_variables:
        v.assign(RNG.normal(size=v.shape))
    inner = ops.convert_to_numpy(network(x))[0, 1:3, 1:3, 0, 0]
    assert np.ptp(inner) > 1e-3  # of a black image, without a border in reach of the centre's differences


def test_a_configuration_asks_for_no_more_than_it_may():
    cases = [
        (lambda: RealNVP((2048, 2048, 1), couplings=2**20), "couplings: expected at most 256, received 1048576"),
        (lambda: RealNVP((2,) * 22, couplings=2**20), "couplings: expected at most 256"),
        (lambda: RealNVP((8, 8, 1), scales=4), r"scales: expected at most 3, since .* \(8, 8, 1\), received 4"),
        (lambda: RealNVP((7, 8, 1), scales=2), "scales: expected at most 1"),
        (lambda: RealNVP((8, 8, 1), scales=0), "scales: expected an integer of at least 1"),
        (lambda: RealNVP((4,), scales=2), "scales: expected None without convolutions, received 2"),
        (lambda: RealNVP((4,), convolutional=True), r"convolutional: expected False for rows that are no images"),
        (lambda: RealNVP((4, 4, 1), widths=()), "widths: a convolutional network needs the channels of at least one"),
        (lambda: Coupling(mask=[0, 1], network="deep"), "network: expected one of 'dense', 'convolutional'"),
        (lambda: convolutional_conditioner((4,), 2), r"a convolutional network takes images \(H, W, C\), received"),
    ]
    for call, message in cases:
        with pytest.raises(ValueError, match=message):
            call()
