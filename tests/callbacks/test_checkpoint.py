"""Checkpoints: whatever breaks training off, it goes on as if nothing had happened."""

import errno
import itertools
import json
import os
import pathlib
import random
import signal
import subprocess
import sys

import keras
import numpy as np
import pytest
from callbacks import checkpointed
from core.one_loss import Location, OneLoss
from core.state import differing, state
from core.two_player import TwoPlayer

import kgen
from kgen.callbacks import Checkpoint

ROWS = np.random.default_rng(0).normal(size=(22, 4)).astype("float32")


def made(make=OneLoss, rate=1e-2):
    keras.utils.set_random_seed(0)
    model = make(dim=4, ema=0.9)
    model.compile(keras.optimizers.Adam(rate))
    return model


class Break(Exception):
    pass


class BreakAt(keras.callbacks.Callback):
    """Breaks off in one batch of one epoch, by an exception or by ``action``."""

    def __init__(self, epoch, batch, action=None):
        super().__init__()
        self.where, self.action, self.now = (epoch, batch), action, None

    def on_epoch_begin(self, epoch, logs=None):
        self.now = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.now, batch) == self.where:
            if self.action is None:
                raise Break
            self.action()


def fit(model, folder, *callbacks, epochs=3, x=ROWS, **options):
    given = {"batch_size": 4, "verbose": 0, **options}
    checkpoint = Checkpoint(folder, **{k: given.pop(k) for k in list(given) if k in CHECKPOINT})
    return model.fit(x, epochs=epochs, callbacks=[*callbacks, checkpoint], **given).history


CHECKPOINT = ("every", "keep", "monitor", "mode", "resume", "seed", "rollback", "lower_rate", "spike")


@pytest.mark.once(
    "what is in a checkpoint and when it is written is the same on every backend; the tests below read one on each"
)
@pytest.mark.xla  # as the processes that are killed compile
def test_killed_at_random_steps_and_in_a_write_it_ends_bit_for_bit_the_same(tmp_path):
    rng = random.Random(pathlib.Path(__file__).stat().st_mtime_ns)  # other steps for everyone who edits this
    kills = [("gan", 6, "write"), ("ddpm", rng.randrange(3, 17)), ("gpt", rng.randrange(3, 17))]
    program = pathlib.Path(checkpointed.__file__)
    for arguments in kills:
        command = [sys.executable, str(program), str(tmp_path), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
    for family, *_ in kills:
        ended, end = checkpointed.train(family, tmp_path / family)  # goes on here, to the end
        through, history = checkpointed.train(family, tmp_path / "through" / family)
        assert end == history, f"{family} {kills}"
        for value, wanted in zip(checkpointed.everything(ended), checkpointed.everything(through), strict=True):
            np.testing.assert_array_equal(value, wanted, err_msg=f"{family} {kills}")


@pytest.mark.parametrize(
    ("make", "every", "where"),
    [(OneLoss, 1, (1, 2)), (OneLoss, None, (2, 0)), (TwoPlayer, 4, (1, 1))],
)
def test_broken_off_and_taken_up_again(make, every, where, tmp_path):
    through = made(make)
    history = fit(through, tmp_path / "through", every=every)
    with pytest.raises(Break):
        fit(made(make), tmp_path / "broken", BreakAt(*where), every=every)
    model = made(make)
    assert fit(model, tmp_path / "broken", every=every) == history
    assert differing(state(model), state(through)) == []
    again = made(make)
    assert fit(again, tmp_path / "broken", every=every) == history  # it had come to its end: nothing more is done
    assert differing(state(again), state(through)) == []
    longer = fit(again, tmp_path / "broken", epochs=4, every=every)
    assert {k: v[:3] for k, v in longer.items()} == history and {len(v) for v in longer.values()} == {4}


def test_weights_classes_held_out_rows_and_other_callbacks_go_on_too(tmp_path):
    class Steps(keras.callbacks.Callback):
        count = 0

        def on_train_batch_end(self, batch, logs=None):
            self.count += 1

    def options():
        stop = keras.callbacks.EarlyStopping("val_loss", patience=1, min_delta=10.0, restore_best_weights=True)
        weights = np.linspace(0.5, 1.5, len(ROWS), dtype="float32")
        return (Steps(), stop), {"sample_weight": weights, "validation_split": 0.25, "every": 1, "epochs": 6}

    callbacks, given = options()
    through = made()
    history = fit(through, tmp_path / "through", *callbacks, **given)
    assert len(history["val_loss"]) == 2  # it was stopped early
    count = callbacks[0].count
    callbacks, given = options()
    with pytest.raises(Break):
        fit(made(), tmp_path / "broken", *callbacks, BreakAt(1, 1), **given)
    for _ in range(2):  # the second time it is over
        callbacks, given = options()
        model = made()
        assert fit(model, tmp_path / "broken", *callbacks, BreakAt(9, 9), **given) == history
        assert callbacks[0].count == count and callbacks[1].wait == 1
        assert differing(state(model), state(through)) == []


@keras.saving.register_keras_serializable(package="kgen_tests")
class Parts(Location):
    """The mean of whatever parts the data and what stands beside it have."""

    def objective(self, batch, training):
        ops = keras.ops
        parts = [ops.cast(p, "float32") for p in keras.tree.flatten((batch.x, batch.y)) if p is not None]
        return sum(i * ops.sum(ops.square(p - self.mean), axis=-1) for i, p in enumerate(parts, 1)), {}

    def check_data(self, x, y=None):
        return x, {}


@pytest.mark.parametrize(
    ("x", "y"),
    [
        ({"image": ROWS, "text": -2 * ROWS}, None),
        (ROWS, {"label": np.arange(22.0)[:, None]}),
        ((ROWS, 3 * ROWS[::-1]), None),
    ],
    ids=["dict", "dict of labels", "pair"],
)
def test_structures_of_arrays_go_on_within_an_epoch(x, y, tmp_path):
    def model():
        keras.utils.set_random_seed(0)
        found = Parts(dim=4)
        found.compile(keras.optimizers.Adam(1e-2))
        return found

    options = {"x": x, "y": y, "every": 1, "validation_split": 0.2, "sample_weight": np.linspace(0.5, 1.5, 22)}
    through = model()
    history = fit(through, tmp_path / "through", **options)
    assert int(through.optimizer.iterations) == 3 * 5  # of 17 rows, since the last five of the 22 are held out
    in_place, by_keras = model(), model()
    fit(in_place, tmp_path / "in place", shuffle=False, **options)
    by_keras.fit(epochs=3, batch_size=4, shuffle=False, verbose=0, **{k: v for k, v in options.items() if k != "every"})
    assert differing(state(in_place), state(by_keras)) == []  # these are the rows that Keras trains on
    with pytest.raises(Break):
        fit(model(), tmp_path / "broken", BreakAt(1, 2), **options)
    resumed = model()
    assert fit(resumed, tmp_path / "broken", **options) == history
    assert differing(state(resumed), state(through)) == []
    with pytest.raises(
        ValueError, match=r"x, y, sample_weight: expected as many rows in every array, received \[21, 22\]"
    ):
        fit(model(), tmp_path / "unequal", **{**options, "sample_weight": np.ones(21)})


def test_other_datasets_go_on_between_epochs(tmp_path):
    tf = pytest.importorskip("tensorflow")
    rows = tf.data.Dataset.from_tensor_slices(ROWS[:20]).batch(4)
    through = made()
    fit(through, tmp_path / "through", x=rows, batch_size=None)
    with pytest.raises(Break):
        fit(made(), tmp_path / "broken", BreakAt(1, 2), x=rows, batch_size=None)
    model = made()
    fit(model, tmp_path / "broken", x=rows, batch_size=None)
    assert differing(state(model), state(through)) == []
    with pytest.raises(ValueError, match="every: checkpoints within an epoch need arrays or a keras.utils.PyDataset"):
        fit(made(), tmp_path / "third", x=rows, batch_size=None, every=2)


def test_sigterm_saves_and_leaves_with_its_own_code(tmp_path, capsys):
    through = made()
    fit(through, tmp_path / "through", every=100)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as left:
        fit(made(), tmp_path / "broken", BreakAt(1, 2, lambda: os.kill(os.getpid(), signal.SIGTERM)), every=100)
    assert left.value.code == 75 and "SIGTERM: saved" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) is before
    assert [p.name for p in sorted((tmp_path / "broken").iterdir())][-1] == "step-000000009.npz"
    model = made()
    fit(model, tmp_path / "broken", every=100)
    assert differing(state(model), state(through)) == []


def test_the_newest_whole_one_is_loaded_the_last_and_the_best_are_kept(tmp_path):
    through = made()
    history = fit(through, tmp_path, keep=2, every=4, monitor="loss", epochs=4)
    names = sorted(p.name for p in tmp_path.iterdir())
    written = [0]  # every fourth step, where the loss of an epoch is the best so far, and at the end
    for step in range(1, 25):
        losses = history["loss"][: step // 6]
        best = step % 6 == 0 and losses[-1] == min(losses)
        if step - written[-1] >= 4 or best or step == 24:
            written.append(step)
    assert names == ["best.npz", *(f"step-{step:09d}.npz" for step in written[-2:])]
    with np.load(tmp_path / "best.npz") as best:
        kept = json.loads(best["state"].tobytes())
    assert kept["best"] == min(history["loss"]) and kept["epoch"] == np.argmin(history["loss"]) + 1
    file = tmp_path / "step-000000024.npz"
    whole = file.read_bytes()
    damages = [whole[: len(whole) // 2], b"", whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:]]
    for damaged in damages:
        file.write_bytes(damaged)
        model = made()
        with pytest.warns(RuntimeWarning, match="step-000000024.npz is damaged and left out"):
            fit(model, tmp_path, keep=2, every=4, monitor="loss", epochs=4)
        assert differing(state(model), state(through)) == []


def test_a_full_disk_costs_a_checkpoint_and_not_the_training(tmp_path, monkeypatch):
    through = made()
    fit(through, tmp_path / "through")
    real, calls = np.savez, []

    def savez(file, **arrays):
        calls.append(file)
        if len(calls) == 3:
            pathlib.Path(file).write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(file, **arrays)

    monkeypatch.setattr(np, "savez", savez)
    model = made()
    with pytest.warns(RuntimeWarning, match="No checkpoint at step 12: .*No space left on device.* Training goes on"):
        fit(model, tmp_path / "full")
    assert differing(state(model), state(through)) == []
    assert sorted(p.name for p in (tmp_path / "full").iterdir()) == [f"step-{i:09d}.npz" for i in (0, 6, 18)]


@keras.saving.register_keras_serializable(package="kgen_tests")
class Poisoned(Location):
    """Where two rows above 100 come together in one batch the loss is ``poison``; alone they do nothing."""

    poison = float("nan")

    def objective(self, batch, training):
        ops = keras.ops
        poisoned = ops.sum(ops.cast(batch.x[:, 0] > 100, "float32")) > 1.5
        losses = ops.sum(ops.square(ops.where(batch.x > 100, 0.0, batch.x) - self.mean), axis=-1)
        return ops.where(poisoned, self.poison, losses), {}


def poisoned_rows(seed):
    """40 rows with two above 100 that come into one batch of 4 in the second epoch of order 0, and not in those after a rollback."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 1)).astype("float32")

    def batches(epoch, attempt):
        return np.random.default_rng([0, epoch, attempt]).permutation(40).reshape(10, 4)

    def together(pair):
        return [(e, a) for e in range(3) for a in range(2) for b in batches(e, a) if pair <= set(b.tolist())]

    first, second = next(p for p in itertools.combinations(batches(1, 0)[6], 2) if together(set(p)) == [(1, 0)])
    x[[first, second]] = 101.0
    return x


@pytest.mark.parametrize(("poison", "kind"), [(float("nan"), "not finite"), (1e6, "spike")])
def test_a_fault_leads_back_to_the_last_checkpoint(poison, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(Poisoned, "poison", poison)
    x = poisoned_rows(0)

    def model():
        keras.utils.set_random_seed(0)  # the same seed for each
        found = Poisoned()
        found.compile(keras.optimizers.SGD(0.01))
        return found

    options = {"x": x, "every": 5, "spike": 50.0}
    through = model()
    with pytest.warns(RuntimeWarning, match=f"{kind} in 'loss' at step 17: back to step 15, rollback 1 of 2"):
        history = fit(through, tmp_path / "through", rollback=2, lower_rate=0.5, **options)
    (event,) = history["events"]
    assert (event["kind"], event["epoch"], event["batch"], event["to_step"]) == (kind, 1, 6, 15)
    assert event["learning_rate"] == pytest.approx(0.005) == float(through.optimizer.learning_rate)
    assert len(history["loss"]) == 3 and np.isfinite(history["loss"]).all() and max(history["loss"]) < 100
    with pytest.warns(RuntimeWarning, match="Training stopped"):
        stopped = fit(model(), tmp_path / "stopped", **options)
    assert len(stopped["loss"]) < 3 or not np.isfinite(stopped["loss"]).all()
    with pytest.warns(RuntimeWarning, match="rollback 1 of 2"), pytest.raises(Break):
        fit(model(), tmp_path / "broken", BreakAt(2, 3), rollback=2, lower_rate=0.5, **options)
    resumed = model()
    assert fit(resumed, tmp_path / "broken", rollback=2, lower_rate=0.5, **options) == history
    assert differing(state(resumed), state(through)) == []


def test_ctrl_c_in_the_last_batch_is_not_the_end(tmp_path):
    through = made()
    fit(through, tmp_path / "through")
    for where in ((1, 5), (1, 2)):  # the last batch of an epoch, and one within it
        folder = tmp_path / str(where[1])
        stop = kgen.callbacks.GracefulStop()
        press = BreakAt(*where, lambda: os.kill(os.getpid(), signal.SIGINT))
        stopped = fit(made(), folder, stop, press)
        assert stop.interrupted and len(stopped["loss"]) == 2
        stop, model = kgen.callbacks.GracefulStop(), made()
        fit(model, folder, stop, BreakAt(9, 9))
        assert not stop.interrupted and stop.epochs == 3
        assert differing(state(model), state(through)) == []


def test_a_schedule_that_multiplies_the_rate_does_so_once_an_epoch(tmp_path):
    def slower():
        return keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.5)

    through = made()
    fit(through, tmp_path / "through", slower(), every=1)
    with pytest.raises(Break):
        fit(made(), tmp_path / "broken", slower(), BreakAt(1, 2), every=1)
    model = made()
    fit(model, tmp_path / "broken", slower(), BreakAt(9, 9), every=1)
    assert differing(state(model), state(through)) == []


def test_wrong_arguments(tmp_path):
    fit(made(), tmp_path / "made", epochs=1)
    with pytest.raises(
        FileExistsError, match="holds checkpoints of another training. Go on from them with resume=True"
    ):
        fit(made(), tmp_path / "made", resume=False)
    with pytest.raises(ValueError, match="is of another model: a OneLoss with .* this is a TwoPlayer"):
        fit(made(TwoPlayer), tmp_path / "made")
    with pytest.raises(ValueError, match="seed: .* was made with seed 0, received 1"):
        fit(made(), tmp_path / "made", seed=1)
    with pytest.raises(ValueError, match=r"monitor: expected one of the logged \['error', 'loss'\], received 'los'"):
        fit(made(), tmp_path / "other", monitor="los")
    with pytest.warns(RuntimeWarning, match="monitor: 'val_loss' was never logged, so that no best.npz was kept"):
        fit(made(), tmp_path / "val", monitor="val_loss", epochs=1)
    averaged = made()
    averaged.compile(keras.optimizers.Adam(use_ema=True))
    with pytest.raises(ValueError, match="optimizer: use_ema=True .* Use the model's own average instead"):
        fit(averaged, tmp_path / "averaged")
    rate = keras.optimizers.schedules.CosineDecay(1e-3, 10)
    with pytest.raises(ValueError, match="lower_rate: adam.* follows a CosineDecay, which cannot be lowered"):
        fit(made(rate=rate), tmp_path / "third", rollback=1, lower_rate=0.5)
    for arguments, message in (
        ({"every": 0}, "every: expected an integer of at least 1, received 0"),
        ({"keep": 0}, "keep: expected an integer of at least 1"),
        ({"mode": "most"}, "mode: expected 'min' or 'max', received 'most'"),
        ({"lower_rate": 2.0}, "lower_rate: expected a number in"),
        ({"spike": 0.5}, "spike: expected a number in"),
    ):
        with pytest.raises(ValueError, match=message):
            Checkpoint(tmp_path, **arguments)
