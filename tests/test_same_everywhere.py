"""The same weights and seed give the same samples on TensorFlow, JAX and torch, and the same steps of training.

What is expected stands in ``samples.json``, found on TensorFlow by ``python tests/test_same_everywhere.py``; each backend must agree.
"""

import contextlib
import json
import pathlib
from unittest import mock

import keras
import numpy as np
import pytest
from hybrid.replicas import BATCH, SYSTEMS

from kgen.autoregressive import GPT, PixelCNN
from kgen.diffusion import DDPM, AncestralSampler, DDIMSampler, DPMSolverMultistepSampler, samplers
from kgen.energy import ContrastiveDivergence, EnergyModel
from kgen.flow import RealNVP
from kgen.gan import DCGAN
from kgen.layers import FiniteScalarQuantizer
from kgen.networks import MLP, UNet
from kgen.vae import VAE, VQVAE, DiscretizedLogisticLikelihood

FILE = pathlib.Path(__file__).with_name("samples.json")


def with_fixed_weights(model):
    """Weights from numpy's generator, so that they are the same whatever made the model."""
    rng = np.random.RandomState(0)
    for layer in (model.averaged(name) for name in ("network", "encoder", "decoder") if hasattr(model, name)):
        layer.set_weights([0.3 * rng.standard_normal(w.shape).astype("float32") for w in layer.get_weights()])
    return model


def ddpm(sampler):
    network = UNet((4, 4, 1), channels=(8, 16), blocks=1, attention=(False, True), num_classes=3)
    return with_fixed_weights(DDPM((4, 4, 1), network=network, num_classes=3, sampler=sampler))


def drawn(sampler):
    """Two samples of three numbers by four steps."""
    network = MLP((3,), (3,), widths=(8,), time=True)
    return with_fixed_weights(DDPM((3,), network=network, sampler=sampler)).sample(2, seed=16)


def vae():
    likelihood = DiscretizedLogisticLikelihood(2, levels=16)
    encoder, decoder = MLP((4, 4, 1), (6,), widths=(8,)), MLP((3,), (4, 4, likelihood.parameters), widths=(8,))
    return with_fixed_weights(VAE((4, 4, 1), 3, encoder=encoder, decoder=decoder, observation=likelihood))


def vqvae():
    encoder, decoder = MLP((4, 4, 1), (2, 2), widths=(8,)), MLP((2, 2), (4, 4, 1), widths=(8,))
    return VQVAE((4, 4, 1), encoder=encoder, decoder=decoder, quantizer=FiniteScalarQuantizer((5, 5)))


def energy():
    """Whose chains begin at the data: a buffer of them begins with numbers of the backend's own."""
    chains = ContrastiveDivergence(4, buffer_size=0)
    return EnergyModel((3,), MLP((3,), (1,), widths=(8,)), criterion=chains)


CASES = {
    "ddim": lambda: ddpm(DDIMSampler(5)).sample(2, seed=11, labels=[0, 2], guidance=2.0),
    "ancestral": lambda: ddpm(AncestralSampler(5)).sample(2, seed=12, labels=1),
    "vae mean": lambda: vae().sample(2, seed=13),
    "vae likelihood": lambda: vae().sample(2, seed=14, noise=True),
    "vae log_prob": lambda: vae().log_prob(np.full((2, 4, 4, 1), 1 / 15, "float32"), num_samples=3, seed=15),
}
SOLVERS = {
    **{name: lambda kind=kind: drawn(kind(4)) for name, kind in samplers.names().items()},
    "dpm_solver_multistep, order 3": lambda: drawn(DPMSolverMultistepSampler(4, order=3)),
    "dpm_solver_multistep, stochastic": lambda: drawn(DPMSolverMultistepSampler(4, stochastic=True)),
}


def fitted(make, x, *y, scale=0.3, epochs=2, batch_size=4):
    """The losses of two steps or more, and how far each weight went: the mean of its gradients' sum, from weights that are given."""
    model, rng, rate = make(), np.random.RandomState(1), 0.01
    numbers = [w for w in model.weights if w.trainable or np.ptp(keras.ops.convert_to_numpy(w)) > 0]
    for weight in (w for w in numbers if keras.backend.is_float_dtype(w.dtype)):
        weight.assign(scale * rng.standard_normal(weight.shape).astype("float32"))
    starts = [keras.ops.convert_to_numpy(w) for w in model.trainable_variables]
    model.compile(keras.optimizers.SGD(rate))
    data, sizes = ((x(),), {}) if callable(x) else ((x, *y), {"batch_size": batch_size})
    with contextlib.ExitStack() as stack:
        # Row seeds of a step, and the rows that revive dead codes, are the backend's own; what is drawn by the seeds is not.
        for name, drawn in (("randint", first_seeds), ("uniform", shares)):
            stack.enter_context(mock.patch.object(keras.random, name, drawn))
        history = model.fit(*data, **sizes, epochs=epochs, shuffle=False, verbose=0).history
    ends = [keras.ops.convert_to_numpy(w) for w in model.trainable_variables]
    ways = [np.abs(end - start).mean() / rate for end, start in zip(ends, starts, strict=True)]
    return np.array([*(v for name in sorted(history) for v in history[name]), *ways], "float32")


def first_seeds(*_, **__):
    return keras.ops.convert_to_tensor([[3, 17]], "int32")


def shares(shape, **_):
    return keras.ops.convert_to_tensor((np.arange(shape[0]) + 0.5) / shape[0], "float32")


IMAGES = np.random.RandomState(2).randint(0, 9, (8, 4, 4, 1)).astype("float32") / 4 - 1
TRAINED = {
    "ddpm": lambda: fitted(lambda: ddpm(DDIMSampler(5)), IMAGES, np.arange(8) % 3),
    "vae": lambda: fitted(vae, IMAGES),
    "gan": lambda: fitted(lambda: DCGAN((4, 4, 1), 3, widths=[4, 8]), IMAGES),
    "pixelcnn": lambda: fitted(lambda: PixelCNN((4, 4, 1), channels=6, blocks=1, components=2, levels=9), IMAGES),
    "gpt": lambda: fitted(lambda: GPT(9, 6, layers=1, heads=2, width=8), np.arange(48).reshape(8, 6) % 9),
    "vqvae": lambda: fitted(vqvae, IMAGES),
    "energy": lambda: fitted(energy, IMAGES[:, :3, 0, 0]),
    "flow": lambda: fitted(lambda: RealNVP((3,), couplings=2, widths=(8,)), IMAGES[:, :3, 0, 0]),
}
TRAINED |= {
    name: lambda system=system: fitted(*system, scale=0.1, epochs=1, batch_size=BATCH)
    for name, system in SYSTEMS.items()
}


def agree(found, case, atol=1e-3, rtol=1e-5):
    expected = np.array(json.loads(FILE.read_text())[case], "float32")
    np.testing.assert_allclose(found, expected, atol=atol, rtol=rtol)


@pytest.mark.xla
@pytest.mark.parametrize("case", CASES)
def test_samples_are_those_of_every_other_backend(case):
    agree(CASES[case](), case)


@pytest.mark.parametrize("case", SOLVERS)
def test_solvers_are_those_of_every_other_backend(case):
    agree(SOLVERS[case](), f"solver {case}")


@pytest.mark.parametrize("case", TRAINED)
def test_steps_of_training_are_those_of_every_other_backend(case):
    """Losses, gradients, batch statistics, chains and the random numbers in all of them."""
    if case == "flow" and keras.config.backend() == "torch":
        pytest.skip("flows have no torch backend")
    agree(TRAINED[case](), f"trained {case}", atol=5e-5, rtol=1e-3)  # the ways are sums of small gradients


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    draws = CASES | {f"solver {case}": draw for case, draw in SOLVERS.items()}
    draws |= {f"trained {case}": steps for case, steps in TRAINED.items()}
    values = {case: np.asarray(draw(), "float64").round(6).tolist() for case, draw in draws.items()}
    FILE.write_text(json.dumps(values) + "\n")
