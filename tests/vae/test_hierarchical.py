"""The hierarchical VAE: a linear one of two layers in closed form, its divergences layer by layer, the contract."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen import backend
from kgen.core import Batch
from kgen.core.random import row_seeds
from kgen.networks import MLP, LadderDecoder, LadderEncoder
from kgen.vae import VAE, GaussianLikelihood, HierarchicalVAE

from contract import *  # noqa: F403
from contract import Case, trained_models


def small():
    encoder = LadderEncoder((4, 4, 1), ((2,), (3,)), (8, 8, 8))
    decoder = LadderDecoder(((2,), (3,)), (4, 4, 1), (8, 8, 8), blocks=0)
    return HierarchicalVAE((4, 4, 1), encoder=encoder, decoder=decoder, free_bits=0.01, kl_warmup=5, ema=0.9)


trained = trained_models({"hierarchical vae": Case(small, log_prob={"num_samples": 3})})

X = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")


def linear(shapes=((1,), (2,)), scale=1.0, **kwargs):
    """Every map in it is linear, and the prior's scales are the same for all z: x is normal."""
    keras.utils.set_random_seed(0)
    channels = (4,) * (len(shapes) + 1)
    encoder = LadderEncoder((3,), shapes, channels, blocks=0)
    decoder = LadderDecoder(shapes, (3,), channels, blocks=0)
    rng = np.random.default_rng(1)
    for network in (encoder, decoder):
        network.set_weights([0.4 * rng.normal(size=w.shape) for w in network.get_weights()])
    heads = [*(p.get_layer("posterior") for p in decoder.posteriors), *(p.get_layer("prior") for p in decoder.priors)]
    for head in heads:
        kernel, bias = head.get_weights()
        kernel[:, kernel.shape[1] // 2 :] = 0.0
        head.set_weights([kernel, bias])
    return HierarchicalVAE((3,), encoder=encoder, decoder=decoder, observation=GaussianLikelihood(scale), **kwargs)


def objective(model, x, training=False, weight=None):
    batch = Batch(
        ops.convert_to_tensor(x), seeds=ops.convert_to_tensor(row_seeds(1, len(x))), conditions={}, weight=weight
    )
    losses, logs = model.objective(batch, training)
    return {k: ops.convert_to_numpy(v) for k, v in {"loss": losses, **logs}.items()}


def test_the_terms_of_a_linear_model_are_those_of_its_joint_posterior():
    model = linear()
    d, rows = model.latent_dim, 4000
    # What is linear is known by what it makes of zeros and of each unit vector.
    units = np.concatenate([np.zeros((1, d)), np.eye(d)]).astype("float32")
    decoded = ops.convert_to_numpy(model.decoder(units)).astype("float64")
    b, w = decoded[0], (decoded[1:] - decoded[0]).T
    precision = np.linalg.inv(w @ w.T + np.eye(3))
    residual = X - b
    exact = -0.5 * (np.einsum("ni,ij,nj->n", residual, precision, residual) + 3 * np.log(2 * np.pi))
    exact += 0.5 * np.linalg.slogdet(precision)[1]
    encoded = model.encoder(np.repeat(X[:1], 1 + d, axis=0))
    drawn = ops.convert_to_numpy(model.through(model.decoder, encoded, {}, ops.convert_to_tensor(units))[1])
    m, c = drawn[0].astype("float64"), (drawn[1:] - drawn[0]).T.astype("float64")
    assert np.abs(c[1:, 0]).max() > 0.1  # the lower layer's posterior knows the upper layer's draw

    def divergence(m, c):
        return 0.5 * (m @ m + np.square(c).sum() - len(m) - np.linalg.slogdet(c @ c.T)[1])

    found = objective(model, np.repeat(X[:1], rows, axis=0))
    error = np.square(X[0] - b - w @ m).sum() + np.square(w @ c).sum()
    fit = -0.5 * (error + 3 * np.log(2 * np.pi))
    joint, top = divergence(m, c), divergence(m[:1], c[:1, :1])
    np.testing.assert_allclose(found["kl_0"], top, rtol=1e-4)
    for name, value in {"kl_1": joint - top, "kl": joint, "reconstruction": -fit, "loss": joint - fit}.items():
        assert abs(found[name].mean() - value) < 5 * found[name].std() / rows**0.5, name
    np.testing.assert_allclose(found["kl_0"] + found["kl_1"], found["kl"], rtol=1e-5)
    np.testing.assert_allclose(found["kl"] + found["reconstruction"], found["loss"], rtol=1e-5)
    # The ELBO is below the likelihood, and the bound of many samples near it.
    bound = model.log_prob(np.repeat(X, 16, axis=0), num_samples=50).reshape(4, 16).mean(1)
    assert -found["loss"].mean() < exact[0] - 0.5
    np.testing.assert_allclose(bound, exact, atol=0.15)


def test_each_layer_has_its_free_bits():
    model = linear()
    plain = objective(model, X)
    low, high = sorted((plain["kl_0"].mean(), plain["kl_1"].mean()))
    assert high > 1.1 * low
    for free, cost in [(0.5 * low, low + high), (0.5 * (low + high), 0.5 * (low + high) + high), (1e3, 2e3)]:
        model.free_bits = free
        found = objective(model, X)
        np.testing.assert_allclose(found["kl"], plain["kl"], rtol=1e-5)
        np.testing.assert_allclose((found["loss"] - found["reconstruction"]).mean(), cost, rtol=1e-4)


def test_one_layer_is_a_plain_vae():
    ladder = linear(shapes=((2,),))
    x = keras.Input((3,))
    encoder = keras.Model(x, ladder.decoder.posteriors[0](ladder.encoder(x)))
    plain = VAE((3,), 2, encoder=encoder, decoder=ladder.decoder, observation=ladder.observation)
    a, b = objective(ladder, X), objective(plain, X)
    for name in b:
        np.testing.assert_allclose(a[name], b[name], rtol=1e-5, err_msg=name)
    np.testing.assert_array_equal(a["kl_0"], a["kl"])


def test_maps_of_latents_are_one_vector_whose_layers_stand_from_the_top():
    shapes, channels = ((1, 1, 3), (2, 2, 2)), (4, 4, 4)
    encoder, decoder = LadderEncoder((4, 4, 1), shapes, channels), LadderDecoder(shapes, (4, 4, 1), channels)
    model = HierarchicalVAE((4, 4, 1), encoder=encoder, decoder=decoder)
    assert model.latent_shapes == shapes and model.latent_dim == 11
    x = ops.convert_to_tensor(np.random.default_rng(0).uniform(-1, 1, (2, 4, 4, 1)).astype("float32"))
    run = backend.jit(
        lambda x: (model.posterior_rows(x), model.encode_rows(x), model.reconstruct_rows(x)), model.variables
    )
    parameters, z, _ = (ops.convert_to_numpy(v) for v in run(x))
    np.testing.assert_allclose(parameters[:, :11], z, atol=1e-6)
    parts = [z[:, :3].reshape(2, 1, 1, 3), z[:, 3:].reshape(2, 2, 2, 2)]
    same = ops.convert_to_numpy(decoder.descend(lambda i, _: ops.convert_to_tensor(parts[i])))
    np.testing.assert_allclose(same, ops.convert_to_numpy(decoder(z)), atol=1e-5)
    # Before training every layer's prior is N(0, I), whatever stands above; and each layer's posterior knows the draw above it.
    above = decoder.merges[0]([parts[0]])
    assert not np.abs(ops.convert_to_numpy(decoder.priors[0](above)[1])).any()
    moved = model.through(decoder, encoder(x), {}, ops.ones((2, 11)))[0]
    assert np.abs(ops.convert_to_numpy(moved) - parameters)[:, 3:11].max() > 1e-3
    half = HierarchicalVAE((6, 6, 1), dtype="mixed_bfloat16")  # its default networks
    assert half.latent_shapes == ((1, 1, 16), (3, 3, 2))
    assert half.decoder.merges[0].get_layer("enter").compute_dtype == "bfloat16"


def test_wrong_arguments():
    encoder, decoder = LadderEncoder((3,), ((1,), (2,)), (4, 4, 4)), LadderDecoder(((1,), (2,)), (3,), (4, 4, 4))
    for call, kind, message in [
        (
            lambda: HierarchicalVAE((3,), decoder=MLP((3,), (3,))),
            TypeError,
            "decoder: expected a kgen.networks.LadderDecoder",
        ),
        (
            lambda: HierarchicalVAE((3,), ((2,),), encoder=encoder, decoder=decoder),
            ValueError,
            "expected the decoder's",
        ),
        (
            lambda: HierarchicalVAE((3,), encoder=MLP((3,), (4,)), decoder=decoder),
            ValueError,
            r"encoder: expected a network of x \(B, 3\) that returns features for each of the layers \(\(1,\), \(2,\)\)",
        ),
        (lambda: LadderEncoder((3,), ((1,), (2,)), (4, 4)), ValueError, "channels: expected 3 numbers"),
        (lambda: LadderEncoder((4, 4, 1), ((1,), (2, 2, 1)), (4, 4, 4)), ValueError, "expected vectors"),
        (lambda: LadderEncoder((4, 4, 1), ((3, 3, 1),), (4, 4)), ValueError, "expected maps whose sides divide"),
    ]:
        with pytest.raises(kind, match=message):
            call()
