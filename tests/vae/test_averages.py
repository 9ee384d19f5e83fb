"""Averaged weights of a VAE, trained scale and prior among them; files of 0.1, which averaged the networks alone."""

import json
import zipfile

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.networks import MLP
from kgen.vae import VAE, GaussianLikelihood

X = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
PARTS = ("encoder", "decoder", "prior", "observation")


def make(**kwargs):
    keras.utils.set_random_seed(0)
    encoder, decoder = MLP((3,), (4,), widths=(8,)), MLP((2,), (3,), widths=(8,))
    model = VAE((3,), 2, encoder=encoder, decoder=decoder, prior="gaussian_mixture", **kwargs)
    model.compile(keras.optimizers.Adam(1e-2))
    return model


def weights(model, prefix):
    parts = [getattr(model, f"{prefix}{part}", None) for part in PARTS]
    return [w for part in parts if part is not None for w in part.get_weights()]


def test_everything_but_training_uses_the_averages():
    model = make(ema=0.9)
    model.fit(X, epochs=3, verbose=0)
    assert len(weights(model, "ema_")) == len(weights(model, "")) == 12
    assert all(np.abs(a - b).max() > 1e-4 for a, b in zip(weights(model, "ema_"), weights(model, ""), strict=True))

    def said():
        figures = model.evaluate(X, verbose=0, return_dict=True)
        return [*figures.values(), *model.sample(2, seed=0, noise=True).ravel(), *model.log_prob(X[:2], num_samples=2)]

    before = said()
    for part in PARTS:  # what is trained from here on does not show
        getattr(model, part).set_weights([w + 1.0 for w in getattr(model, part).get_weights()])
    np.testing.assert_array_equal(said(), before)


def test_evaluation_does_not_depend_on_the_batch_size():
    model = make()
    few, many = (model.evaluate(X, batch_size=n, verbose=0, return_dict=True) for n in (5, 64))
    for name in few:
        np.testing.assert_allclose(few[name], many[name], rtol=1e-5)


def test_what_has_no_weights_has_no_average():
    model = VAE((4, 4, 1), 2, ema=0.9, observation="bernoulli")
    assert hasattr(model, "ema_encoder") and not hasattr(model, "ema_prior") and not hasattr(model, "ema_observation")


def as_of_01(config):
    config = dict(config)
    config["likelihood"] = config.pop("observation")
    for name in ("ema_of", "conditions"):
        del config[name]
    return {**config, "kgen_version": "0.1.0"}


def test_a_file_of_01_answers_and_trains_as_it_did(tmp_path):
    model = make(ema=0.9, ema_of=["encoder", "decoder"], observation=GaussianLikelihood())
    model.fit(X, epochs=2, verbose=0)
    model.save(tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "new.keras") as new, zipfile.ZipFile(tmp_path / "old.keras", "w") as old:
        for name in new.namelist():
            data = new.read(name)
            if name == "config.json":
                config = json.loads(data)
                config["config"] = as_of_01(config["config"])
                data = json.dumps(config)
            old.writestr(name, data)
    loaded = kgen.load(tmp_path / "old.keras")
    assert loaded.ema_of == ["encoder", "decoder"]
    for each in (model, loaded):
        each.fit(X, verbose=0, shuffle=False)
    np.testing.assert_array_equal(loaded.sample(4, seed=0, noise=True), model.sample(4, seed=0, noise=True))
    assert loaded.get_config() == model.get_config()


def test_a_setting_that_was_read_is_not_changed():
    model = make()
    model.train_on_batch(X)
    model.sample(1, seed=0)
    with pytest.raises(AttributeError, match="beta: it cannot be changed"):
        model.beta = 2.0


def test_default_networks_compute_in_the_models_precision():
    model = VAE((8, 8, 1), 2, dtype="mixed_bfloat16")
    for network in (model.encoder, model.decoder):
        assert network.layers[-1].compute_dtype == "bfloat16"
    assert keras.backend.standardize_dtype(model.encode_rows(ops.zeros((1, 8, 8, 1))).dtype) == "float32"
