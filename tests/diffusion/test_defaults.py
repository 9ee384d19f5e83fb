"""The networks of those who bring none, and a diffusion model around a transformer."""

import keras
import numpy as np
import pytest

from kgen.diffusion import (
    DDPM,
    EDM,
    DDIMSampler,
    DPMSolverMultistepSampler,
    EDMPrediction,
    EDMSampler,
    FlowMatching,
    HeunSampler,
    Reflow,
    VelocityPrediction,
    reflow_pairs,
)
from kgen.diffusion.defaults import default_network
from kgen.networks import DiT, UNet

COMPILE = {"jit_compile": False} if keras.config.backend() == "tensorflow" else {}


def test_sequences_get_a_unet_of_theirs():
    network = default_network((10, 3), outputs=2)
    assert isinstance(network, UNet) and network.output.shape == (None, 10, 6)
    assert len(network.get_config()["channels"]) == 2 and any(network.get_config()["attention"])
    assert len(default_network((7, 1)).get_config()["channels"]) == 1  # an odd length cannot be halved
    model = DDPM((8, 2), network=UNet((8, 2), (4,), 1, (), groups=2))
    assert not model.is_image
    with pytest.raises(ValueError, match=r"x: expected shape \(N, 8, 2\), received \(4, 12, 2\)"):
        model.check_examples(np.zeros((4, 12, 2), "float32"))
    with pytest.raises(ValueError, match=r"network: expected a network that takes \[x_t, t\].*\(B, 12, 2\)"):
        DDPM((12, 2), network=UNet((8, 2), (4,), 1, (), groups=2))


def test_images_are_drawn_with_noise_on_the_way_and_small_ones_by_a_narrow_network():
    image = DDPM((28, 28, 1), ema=None)
    assert image.sampler == DPMSolverMultistepSampler(30, stochastic=True)
    assert image.network.get_config()["channels"] == [16, 32, 64] and image.network.count_params() < 1e6
    assert DDPM((2,), ema=None).sampler == DDPM((8, 2), ema=None).sampler == DDIMSampler(50)
    assert DDPM.from_config(image.get_config()).sampler == image.sampler


def test_samplers_and_predictions_follow_the_process():
    karras = DPMSolverMultistepSampler(30, stochastic=True, grid="karras")
    network = UNet((4, 4, 1), (4,), 1, (False,), groups=2)
    given = {"network": network, "ema": None}
    assert EDM((4, 4, 1), **given).sampler == DDPM((4, 4, 1), schedule="edm", **given).sampler == karras
    assert EDM((2,), ema=None).sampler == HeunSampler(18)
    assert FlowMatching((4, 4, 1), **given).sampler == EDMSampler(10, grid="uniform")
    assert FlowMatching((2,), ema=None).sampler == DDIMSampler(50)
    reflow = Reflow((4, 4, 1), **given)
    assert reflow.sampler == DDIMSampler(50) and Reflow.from_config(reflow.get_config()).sampler == reflow.sampler
    # x_t of "edm" and "ve" is up to 80 and 50 times as large as the data: no network is given that as it is.
    assert DDPM((2,), schedule="ve", ema=None).prediction == DDPM((2,), schedule="edm", ema=None).prediction
    assert DDPM((2,), schedule="edm", ema=None).prediction == EDMPrediction()
    assert DDPM((2,), schedule="sub_vp", ema=None).prediction == VelocityPrediction()
    pairs = reflow_pairs(
        FlowMatching((4, 4, 1), **given), 2, seed=0
    )  # by the flow, though samples have noise on the way
    again = FlowMatching((4, 4, 1), sampler=DDIMSampler(50), **given).sample(2, seed=0)
    np.testing.assert_allclose(pairs["image"], again, atol=1e-5)


@pytest.mark.once("the sizes of a network are no backend's")
@pytest.mark.parametrize(
    "shape, channels, attention, millions",
    [
        ((7, 7, 4), [64], [True], 0.96),
        ((8, 8, 3), [32, 64], [False, True], 0.7),
        ((14, 14, 1), [32, 64], [False, True], 0.7),
        ((27, 27, 1), [64], [False], 0.85),
        ((28, 28, 3), [16, 32, 64], [False, True, True], 0.7),
        ((30, 30, 3), [64, 128], [False, True], 2.8),
        ((32, 32, 3), [64, 128, 128], [False, True, True], 4.6),
        ((64, 64, 3), [64, 128, 128, 256], [False, False, True, True], 18.5),
    ],
)
def test_width_depth_and_attention_follow_the_sides(shape, channels, attention, millions):
    network = default_network(shape)
    config = network.get_config()
    assert (config["channels"], config["attention"]) == (channels, attention)
    assert abs(network.count_params() / 1e6 / millions - 1) < 0.02


def test_networks_made_by_default_compute_in_the_models_precision():
    for shape in ((8, 8, 1), (2,)):
        network = DDPM(shape, ema=None, dtype="mixed_bfloat16").network
        assert {layer.compute_dtype for layer in network.layers if layer.weights} <= {"bfloat16", "float32"}
        assert any(layer.compute_dtype == "bfloat16" for layer in network.layers if layer.weights)


@pytest.mark.once("test_same_everywhere holds the training of every backend to the same numbers")
def test_a_transformer_learns():
    keras.utils.set_random_seed(0)
    x = np.broadcast_to(np.where(np.eye(4)[..., None] > 0, 0.8, -0.8), (64, 4, 4, 1)).astype("float32")
    network = DiT((4, 4, 1), width=16, depth=1, heads=2, num_classes=2, remat=True)
    model = DDPM((4, 4, 1), network=network, num_classes=2, prediction="data", sampler=DDIMSampler(3), ema=None)
    model.compile(keras.optimizers.Adam(1e-2), **COMPILE)
    history = model.fit(x, np.arange(64) % 2, batch_size=32, epochs=30, verbose=0).history["loss"]
    assert history[-1] < 0.25 * history[0]
    assert np.abs(model.sample(8, labels=1, seed=0) - x[:8]).mean() < 0.4  # 0.8 of an untrained one
