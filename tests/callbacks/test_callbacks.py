"""Callbacks: pictures while training, and stopping by hand."""

import os
import signal
import sys
import types

import keras
import numpy as np
import pytest
from PIL import Image

from kgen.callbacks import GracefulStop, SampleGrid
from kgen.networks import MLP
from kgen.vae import VAE


@pytest.fixture
def model():
    model = VAE((4, 4, 1), 2, encoder=MLP((4, 4, 1), (4,), widths=()), decoder=MLP((2,), (4, 4, 1), widths=()))
    model.compile("adam")
    return model


X = np.random.default_rng(0).uniform(-1, 1, (64, 4, 4, 1)).astype("float32")


def test_sample_grid_writes_a_picture_every_so_many_epochs(model, tmp_path):
    model.fit(X, epochs=4, verbose=0, callbacks=[SampleGrid(tmp_path / "samples", n=9, every=2)])
    files = sorted(p.name for p in (tmp_path / "samples").iterdir())
    assert files == ["epoch_0002.png", "epoch_0004.png"]
    assert Image.open(tmp_path / "samples" / files[0]).size == (3 * 33 - 1, 3 * 33 - 1)
    with pytest.raises(ValueError, match="every: expected an integer of at least 1, received 0"):
        SampleGrid(tmp_path, every=0)


def test_sample_grids_go_to_tensorboard_and_wandb_too(model, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    logged = []
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(Image=lambda path: ("image", path)))
    run = types.SimpleNamespace(log=logged.append)
    grid = SampleGrid(tmp_path / "samples", n=4, log_dir=tmp_path / "logs", wandb=run)
    model.fit(X, epochs=2, verbose=0, callbacks=[grid])
    assert [entry["epoch"] for entry in logged] == [0, 1]
    assert logged[1]["samples"] == ("image", str(tmp_path / "samples" / "epoch_0002.png"))
    (file,) = (tmp_path / "logs").iterdir()
    assert file.read_bytes().count(b"\x89PNG") == 2


class PressCtrlC(keras.callbacks.Callback):
    def __init__(self, times):
        super().__init__()
        self.times = times

    def on_train_batch_end(self, batch, logs=None):
        if batch == 2:
            for _ in range(self.times):
                os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_ends_training_and_keeps_what_was_trained(model, capsys):
    before = signal.getsignal(signal.SIGINT)
    weights = model.get_weights()
    stop = GracefulStop()
    history = model.fit(X, epochs=50, batch_size=8, verbose=0, callbacks=[stop, PressCtrlC(1)])
    assert stop.interrupted and stop.epochs == 1
    assert len(history.epoch) <= 1
    assert "what was trained is kept" in capsys.readouterr().out
    assert any(np.abs(a - b).max() > 0 for a, b in zip(weights, model.get_weights(), strict=True))
    assert model.sample(2, seed=0).shape == (2, 4, 4, 1)
    assert signal.getsignal(signal.SIGINT) is before
    history = model.fit(X, epochs=2, verbose=0, callbacks=[stop])
    assert not stop.interrupted and stop.epochs == 2 and len(history.epoch) == 2


def test_a_second_ctrl_c_aborts(model):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, epochs=50, batch_size=8, verbose=0, callbacks=[GracefulStop(), PressCtrlC(2)])
    assert signal.getsignal(signal.SIGINT) is before
