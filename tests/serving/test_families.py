"""The families' own endpoints behind a stock server, and behind one with XLA."""

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.core import random
from kgen.diffusion import DDPM, DDIMSampler
from kgen.networks import MLP, UNet
from kgen.vae import VAE


def small_ddpm():
    network = UNet((4, 4, 1), channels=(8,), blocks=1, attention=[True], num_classes=3)
    return DDPM((4, 4, 1), network=network, num_classes=3, sampler=DDIMSampler(4))


def small_vae():
    encoder, decoder = MLP((4, 4, 1), (4,), name="encoder"), MLP((2,), (4, 4, 1), name="decoder")
    return VAE((4, 4, 1), latent_dim=2, encoder=encoder, decoder=decoder)


def rows(spec, name, n=3):
    if name == "seed":
        return random.row_seeds(5, n)
    rng = np.random.default_rng(0)
    if spec.dtype == "int32":
        return rng.integers(spec.low, spec.high, (n, *spec.shape), endpoint=True).astype("int32")
    low, high = (-1.0, 1.0) if spec.low is None else (spec.low, min(spec.high, 3.0))
    return rng.uniform(low, high, (n, *spec.shape)).astype("float32")


# An export from JAX and torch takes a process of its own: one family shows that it finds kgen's classes.
MODELS = [small_ddpm, small_vae] if keras.config.backend() == "tensorflow" else [small_ddpm]


@pytest.mark.parametrize("make", MODELS)
def test_served_as_in_the_model(make, serve, tmp_path):
    keras.utils.set_random_seed(0)
    model = make()
    model.compile("adam")
    rng = np.random.default_rng(2)
    for weight in model.weights:  # a fresh U-Net returns zeros
        weight.assign(ops.convert_to_numpy(weight) + 0.1 * rng.standard_normal(weight.shape).astype("float32"))
    path = kgen.serving.export(model, tmp_path)
    inputs = {e.name: {name: rows(spec, name) for name, spec in e.inputs.items()} for e in model.endpoints()}
    stock = serve(path, {name: (name, given) for name, given in inputs.items()}, xla=False)
    compiled = serve(path, {name: (f"{name}_xla", given) for name, given in inputs.items()}, xla=True)
    for endpoint in model.endpoints():
        tensors = {name: ops.convert_to_tensor(value) for name, value in inputs[endpoint.name].items()}
        for name, expected in endpoint.function(**tensors).items():
            for answers in (stock, compiled):
                np.testing.assert_allclose(
                    answers[endpoint.name][name],
                    ops.convert_to_numpy(expected),
                    atol=1e-4,
                    rtol=1e-5,
                    err_msg=endpoint.name,
                )
