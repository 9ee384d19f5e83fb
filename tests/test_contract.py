"""What every model must keep: one test over all of them."""

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen import backend
from kgen.core import Batch, random
from kgen.diffusion import DDPM, AncestralSampler, DDIMSampler
from kgen.networks import MLP, UNet
from kgen.vae import VAE, CategoricalLikelihood, DiscretizedLogisticLikelihood

RNG = np.random.default_rng(0)
X = (np.round(np.clip(0.3 * RNG.normal(size=(64, 4, 4, 1)) + 0.4, -1, 1) * 4) / 4).astype("float32")
Y = RNG.integers(0, 3, 64).astype("int32")


def unet(**kwargs):
    return UNet((4, 4, 1), channels=(8,), blocks=1, attention=(True,), groups=4, **kwargs)


def vae(likelihood, posterior_size=4, **kwargs):
    encoder = MLP((4, 4, 1), (posterior_size,), widths=(16,))
    decoder = MLP((2,), (4, 4, getattr(likelihood, "parameters", 1)), widths=(16,))
    return VAE((4, 4, 1), 2, encoder=encoder, decoder=decoder, likelihood=likelihood, **kwargs)


MODELS = {
    "ddpm": (
        lambda: DDPM((4, 4, 1), network=MLP((4, 4, 1), (4, 4, 1), widths=(32,), time=True), sampler=DDIMSampler(3)),
        (X,),
    ),
    "ddpm with classes": (
        lambda: DDPM(
            (4, 4, 1),
            network=unet(num_classes=3, dropout=0.1),
            num_classes=3,
            prediction="noise",
            schedule="linear",
            sampler=AncestralSampler(3),
        ),
        (X, Y),
    ),
    "vae": (lambda: vae("gaussian", ema=0.9), (X,)),
    "vae bernoulli, full posterior": (lambda: vae("bernoulli", posterior_size=5, posterior="full"), (X,)),
    "vae categorical, mixture prior": (lambda: vae(CategoricalLikelihood(9), prior="gaussian_mixture"), (X,)),
    "vae discretized logistic": (lambda: vae(DiscretizedLogisticLikelihood(2, levels=9), kl_warmup=5), (X,)),
}


@pytest.fixture(scope="module", params=MODELS, ids=lambda name: name.replace(" ", "_").replace(",", ""))
def case(request):
    """A trained model, its data, its losses, and how to make another."""
    make, data = MODELS[request.param]
    keras.utils.set_random_seed(0)
    model = make()
    model.compile(keras.optimizers.Adam(1e-2))
    losses = model.fit(*data, batch_size=32, epochs=12, shuffle=False, verbose=0).history["loss"]
    return model, data, losses, make


def test_the_loss_falls(case):
    _, _, losses, _ = case
    assert np.isfinite(losses).all() and np.mean(losses[-3:]) < np.mean(losses[:3])


def test_every_trainable_weight_has_a_gradient(case):
    model, data, _, _ = case
    batch = Batch(*[ops.convert_to_tensor(d) for d in data])
    variables = model.trainable_variables

    def loss_fn():
        losses, logs = model.objective(batch, training=True)
        assert losses.shape == (64,)
        return ops.mean(losses), logs

    _, gradients = backend.value_and_grad(loss_fn, variables)
    missing = [
        v.path for v, g in zip(variables, gradients, strict=True) if g is None or not np.any(ops.convert_to_numpy(g))
    ]
    # The key's bias drops out of a softmax, which sees differences alone.
    assert [m for m in missing if not m.endswith("key/bias")] == []


def test_samples(case):
    model, _, _, _ = case
    eight = model.sample(8, seed=1)
    assert (
        eight.shape == (8, 4, 4, 1)
        and eight.dtype == np.float32
        and np.isfinite(eight).all()
        and np.abs(eight).max() <= 1
    )
    np.testing.assert_allclose(model.sample(4, seed=1), eight[:4], atol=1e-5)
    np.testing.assert_allclose(model.sample(8, seed=1, batch_size=3), eight, atol=1e-5)
    assert np.abs(model.sample(8, seed=2) - eight).max() > 1e-3
    assert np.abs(model.sample(2) - model.sample(2)).max() > 1e-4  # without a seed


def test_likelihood_or_a_reason(case):
    model, _, _, _ = case
    assert model.likelihood in ("exact", "bound", "unnormalised", "implicit")
    value = model.log_prob(X[:5], num_samples=4)
    assert value.shape == (5,) and np.isfinite(value).all()
    np.testing.assert_allclose(model.log_prob(X[:5], num_samples=4, batch_size=2), value, rtol=1e-4)


def test_saved_it_goes_on_as_if_it_had_never_stopped(case, tmp_path):
    _, data, _, make = case

    def fit(model, epochs):
        model.fit(*data, batch_size=32, epochs=epochs, shuffle=False, verbose=0)

    keras.utils.set_random_seed(1)
    stopped = make()
    stopped.compile(keras.optimizers.Adam(1e-3))
    fit(stopped, 1)
    stopped.save(tmp_path / "m.keras")
    fit(stopped, 1)
    resumed = kgen.load(tmp_path / "m.keras")
    fit(resumed, 1)
    for a, b in zip(
        stopped.variables + stopped.optimizer.variables, resumed.variables + resumed.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(ops.convert_to_numpy(a), ops.convert_to_numpy(b), err_msg=a.path)
    np.testing.assert_array_equal(stopped.sample(2, seed=0), resumed.sample(2, seed=0))


def test_configuration_round_trip(case):
    model, _, _, _ = case
    config = keras.saving.serialize_keras_object(model)
    again = keras.saving.deserialize_keras_object(config)
    assert again.get_config() == model.get_config()
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(again.sample(2, seed=0), model.sample(2, seed=0), atol=1e-6)


def test_endpoints_answer_rows(case):
    model, _, _, _ = case
    for endpoint in model.endpoints():
        values = {
            "seed": np.array([[1, 2], [3, 4]], "int32"),
            "label": np.array([0, 1], "int32"),
            "guidance": np.ones(2, "float32"),
        }
        inputs = {}
        for name, spec in endpoint.inputs.items():
            value = values.get(name, np.full((2, *spec.shape), 0.25, spec.dtype))
            assert value.shape == (2, *spec.shape) and value.dtype == spec.dtype
            inputs[name] = ops.convert_to_tensor(value)
        run = backend.jit(
            lambda *values, e=endpoint: e.function(**dict(zip(e.inputs, values, strict=True))), model.variables
        )
        outputs = run(*inputs.values())
        assert set(outputs) == set(endpoint.outputs) and set(endpoint.images) <= set(outputs)
        for value in outputs.values():
            assert value.shape[0] == 2


def test_eager_and_compiled_samples_agree(case):
    model, _, _, _ = case
    endpoint = next(e for e in model.endpoints() if e.name == "sample")
    inputs = {"seed": random.row_seeds(7, 3)}
    if "label" in endpoint.inputs:
        inputs |= {"label": np.full(3, model.num_classes, "int32"), "guidance": np.ones(3, "float32")}
    eager = endpoint.function(**{k: ops.convert_to_tensor(v) for k, v in inputs.items()})["images"]
    np.testing.assert_allclose(ops.convert_to_numpy(eager), model.sample(3, seed=7), atol=2e-5)
