"""The files of a training that can go on: what is in one, how it is written, and which of them is read."""

import dataclasses
import json
import pathlib
import warnings
import zipfile
import zlib

import keras
import numpy as np

import kgen
from kgen.backend import keras_private
from kgen.callbacks.callback_list import as_plain
from kgen.core.saving import aside, check_version

_DAMAGED = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)


@dataclasses.dataclass
class Progress:
    """How far a training has come, apart from its variables."""

    epoch: int = 0
    batch: int = 0  # batches done of this epoch
    step: int = 0
    finished: bool = False  # ended before its last epoch, by a callback such as EarlyStopping
    attempt: int = 0  # rollbacks so far: the order of the data depends on it
    best: float | None = None  # of the monitored quantity
    events: list = dataclasses.field(default_factory=list)  # faults, and what was done
    recent: dict = dataclasses.field(default_factory=dict)  # the losses of the last steps, by name
    sums: dict = dataclasses.field(default_factory=dict)  # the losses' sums over this epoch


class CheckpointFiles:
    """The checkpoints in a folder: ``step-000000120.npz`` and so on, and ``best.npz``.

    Args:
        folder: where they are.
        keep: how many of the newest are kept.
    """

    def __init__(self, folder, keep):
        self.folder, self.keep = pathlib.Path(folder), keep

    def all(self):
        """The paths, oldest first; without ``best.npz``."""
        return sorted(self.folder.glob("step-*.npz"))

    def clear(self):
        """Removes them; the folder too, if nothing else is in it."""
        for file in self.folder.glob("*.npz"):
            file.unlink()
        if self.folder.exists() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    def open_folder(self):
        """Makes the folder, without what a process that was killed had not finished."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.glob(".*.npz"):
            left.unlink()

    def write(self, model, progress, seed, callbacks, arrays, best):
        """Writes a checkpoint and removes the oldest beyond ``keep``; one that cannot be written is warned of.

        Args:
            model: the compiled model, whose variables are up to date.
            progress: ``Progress``.
            seed: of the order of the data.
            callbacks, arrays: what ``Callbacks.state`` gives.
            best: whether it is ``best.npz`` too.
        Returns:
            whether it was written.
        """
        history = getattr(model, "history", None)
        state = {
            "kgen": kgen.__version__,
            "model": type(model).__name__,
            "variables": len(variables(model)),
            "seed": seed,
            **dataclasses.asdict(progress),
            "history": {k: v for k, v in history.history.items() if k != "events"} if history else {},
            "epochs": list(getattr(history, "epoch", [])),
            "callbacks": callbacks,
        }
        arrays = dict(arrays)
        for i, variable in enumerate(variables(model)):
            arrays[f"variable_{i}"] = as_plain(keras.ops.convert_to_numpy(variable))
        for i, variable in enumerate(model.metrics_variables):
            arrays[f"metric_{i}"] = as_plain(keras.ops.convert_to_numpy(variable))
        text = json.dumps(state, default=lambda v: v.item())
        arrays["state"] = np.frombuffer(text.encode(), np.uint8)
        try:
            written = f"step-{progress.step:09d}.npz"
            for name in [*(["best.npz"] if best else []), written]:  # the step's comes last: it says which was the best
                with aside(self.folder / name) as temporary:
                    np.savez(temporary, **arrays)
        except OSError as error:  # training is worth more than one checkpoint
            warnings.warn(
                f"No checkpoint at step {progress.step}: {error}. Training goes on.", RuntimeWarning, stacklevel=2
            )
            return False
        for old in [f for f in self.all() if f.name <= written][: -self.keep]:
            old.unlink()
        return True

    def newest(self):
        """The newest whole checkpoint: (file, state, arrays), or None. One that is damaged is renamed, with a warning."""
        for file in reversed(self.all()):
            try:
                with np.load(file, allow_pickle=False) as stored:
                    arrays = {name: stored[name] for name in stored.files}  # reading them checks each CRC
                return file, json.loads(arrays.pop("state").tobytes()), arrays
            except _DAMAGED as error:
                warnings.warn(f"{file} is damaged and left out: {error}.", RuntimeWarning, stacklevel=2)
                file.replace(file.with_suffix(".damaged"))
        return None


def progress_of(state):
    """The ``Progress`` in a checkpoint's state."""
    return Progress(**{field.name: state[field.name] for field in dataclasses.fields(Progress)})


def check_fits(file, state, arrays, model, seed, total):
    """Raises ValueError unless a checkpoint is of this model, this seed, and data of ``total`` batches (None where nobody knows)."""
    check_version(state["kgen"])
    here = variables(model)
    kept = [tuple(arrays[f"variable_{i}"].shape) for i in range(state["variables"])]
    if state["model"] != type(model).__name__ or kept != [tuple(v.shape) for v in here]:
        raise ValueError(
            f"{file} is of another model: a {state['model']} with {len(kept)} variables, this is a "
            f"{type(model).__name__} with {len(here)}"
            f"{'' if len(kept) != len(here) else ' of other shapes'}. Build and compile the model as it was, or name another "
            "folder."
        )
    if state["batch"] and total is None:
        raise ValueError(f"{file} is within an epoch of arrays; pass the same data to go on.")
    if state["batch"] and state["batch"] >= total:
        raise ValueError(
            f"{file} is after {state['batch']} batches of an epoch, this data has {total}. Pass the same data and batch_size."
        )
    if state["seed"] != seed:
        raise ValueError(f"seed: {file} was made with seed {state['seed']}, received {seed}.")


def variables(model):
    """All that a step changes but the metrics: weights, averages, seeds and optimizers, each once."""
    found = {id(v): v for v in [*model.variables, *model.optimizer.variables, keras_private.global_seed()]}
    for metric in model.metrics_variables:
        found.pop(id(metric), None)
    return list(found.values())


def assign(variables, arrays):
    """Puts arrays of a checkpoint into variables."""
    for variable, array in zip(variables, arrays, strict=True):
        dtype = keras.backend.standardize_dtype(variable.dtype)
        variable.assign(array.view(np.dtype(dtype)) if array.dtype == np.uint16 != dtype else array)
