import keras
import numpy as np
import pytest
from core.one_loss import OneLoss

from kgen import metrics
from kgen.callbacks import Checkpoint, Measure
from kgen.networks import MLP
from kgen.vae import VAE

X = np.random.default_rng(0).normal(size=(128, 2)).astype("float32")


def compiled(model):
    model.compile("adam")
    return model


def test_metrics_are_in_the_history_and_other_callbacks_see_them():
    model = compiled(OneLoss(dim=2))
    measure = Measure([metrics.FrechetDistance(), metrics.PrecisionRecall()], X, n=64, every=2)
    stop = keras.callbacks.EarlyStopping("recall", mode="max", patience=50)
    history = model.fit(X, epochs=4, verbose=0, callbacks=[measure, stop]).history
    assert len(history["loss"]) == 4 and stop.best is not None
    assert len(history["frechet_distance"]) == len(history["precision"]) == len(history["recall"]) == 2
    last = metrics.frechet_distance(X, model.sample(64, seed=0))
    assert history["frechet_distance"][-1] == pytest.approx(last, rel=1e-6)


def test_reconstructions_and_likelihoods():
    images = np.random.default_rng(0).uniform(-1, 1, (32, 4, 4, 1)).astype("float32")
    encoder, decoder = MLP((4, 4, 1), (4,), widths=(8,)), MLP((2,), (4, 4, 1), widths=(8,))
    model = compiled(VAE((4, 4, 1), 2, encoder=encoder, decoder=decoder))
    measure = Measure(metrics.ReconstructionError(), images)
    history = model.fit(images, epochs=2, verbose=0, callbacks=[measure]).history
    error = np.mean((np.clip(model.reconstruct(images), -1, 1) - images) ** 2)
    assert history["reconstruction_error"][-1] == pytest.approx(error, rel=1e-5)
    bits = metrics.BitsPerDim()
    bits.update_state(np.array([2.0, 4.0]))
    assert bits.result() == (3.0, 1.0)


def test_a_checkpoint_goes_by_what_is_measured_every_other_epoch(tmp_path):
    model = compiled(OneLoss(dim=2))
    checkpoint = Checkpoint(tmp_path, monitor="frechet_distance")
    history = model.fit(X, epochs=4, verbose=0, callbacks=[Measure(metrics.FrechetDistance(), X, every=2), checkpoint])
    assert len(history.history["frechet_distance"]) == 2 and (tmp_path / "best.npz").exists()


def test_a_metric_that_measured_on_other_data_forgets_them():
    metric, model = metrics.FrechetDistance(), OneLoss(dim=2)
    near = metric.of_model(model, X, lambda: X[:64])["frechet_distance"]
    far = metric.of_model(model, X + 100, lambda: X[:64])["frechet_distance"]
    assert near < 1 and far == pytest.approx(metrics.frechet_distance(X + 100, X[:64]), rel=1e-6)
    metric.update_state(real=X)  # by hand: these stay
    assert metric.has_real


def test_bits_per_dim_of_a_model_by_its_options():
    class Likely:
        def bits_per_dim(self, x, labels):
            return np.asarray(labels) + np.zeros(len(x))

    bits = metrics.BitsPerDim(labels=3)
    assert bits.of_model(Likely(), X, None) == {"bits_per_dim": 3.0}
    with pytest.raises(ValueError, match="BitsPerDim: expected bits per dimension; call update_state"):
        metrics.BitsPerDim().result()


def test_wrong_arguments():
    with pytest.raises(ValueError, match="metrics: expected figures of different names, received 'precision' twice"):
        Measure([metrics.PrecisionRecall(k=1), metrics.PrecisionRecall(k=2)], X)
    with pytest.raises(TypeError, match="PrecisionRecall: 'K' is no argument of it; expected some of .*'k'"):
        metrics.PrecisionRecall(K=3)
    with pytest.raises(
        TypeError, match=r"metrics: expected objects such as kgen.metrics.FrechetDistance\(\), received <function"
    ):
        Measure(metrics.frechet_distance, X)
    with pytest.raises(ValueError, match="x: expected at least one example"):
        Measure(metrics.FrechetDistance(), X[:0])
    with pytest.raises(ValueError, match="ReconstructionError: expected a model that reconstructs, received OneLoss"):
        compiled(OneLoss(dim=2)).fit(X, verbose=0, callbacks=[Measure(metrics.ReconstructionError(), X)])
