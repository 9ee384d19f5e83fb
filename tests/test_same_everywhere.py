"""The same weights and seed give the same samples on TensorFlow, JAX and torch.

The expected samples in ``samples.json`` were drawn on TensorFlow by ``python tests/test_same_everywhere.py``; each backend must agree.
"""

import json
import pathlib

import keras
import numpy as np
import pytest

from kgen.diffusion import DDPM, AncestralSampler, DDIMSampler, DPMSolverMultistepSampler, samplers
from kgen.networks import MLP, UNet
from kgen.vae import VAE, DiscretizedLogisticLikelihood

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


def agree(found, case):
    expected = np.array(json.loads(FILE.read_text())[case], "float32")
    np.testing.assert_allclose(found, expected, atol=1e-3, rtol=1e-5)


@pytest.mark.xla
@pytest.mark.parametrize("case", CASES)
def test_samples_are_those_of_every_other_backend(case):
    agree(CASES[case](), case)


@pytest.mark.parametrize("case", SOLVERS)
def test_solvers_are_those_of_every_other_backend(case):
    agree(SOLVERS[case](), f"solver {case}")


if __name__ == "__main__":
    keras.utils.set_random_seed(0)
    draws = CASES | {f"solver {case}": draw for case, draw in SOLVERS.items()}
    values = {case: np.asarray(draw(), "float64").round(6).tolist() for case, draw in draws.items()}
    FILE.write_text(json.dumps(values) + "\n")
