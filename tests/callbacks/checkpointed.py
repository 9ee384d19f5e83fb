"""A program that trains a model with checkpoints and kills itself where it is told.

    python checkpointed.py FOLDER FAMILY STEP [write]

It dies by SIGKILL after step STEP of the model FAMILY, or with "write" half-way through writing the checkpoint of that step.
"""

import os
import pathlib
import signal
import sys

# Keras would import TensorFlow to look for its types, which takes longer than the training here.
if __name__ == "__main__" and os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
    sys.modules["tensorflow"] = None

import keras
import numpy as np

import kgen
from kgen.autoregressive import GPT
from kgen.diffusion import DDPM
from kgen.gan import GAN
from kgen.networks import MLP

EPOCHS, BATCH, ROWS = 3, 8, 44  # six steps an epoch, the last of them smaller


def ddpm():
    return DDPM((3,), network=MLP((3,), (3,), widths=(16,), time=True), ema=0.9)


def gan():
    dense, norm, drop = keras.layers.Dense, keras.layers.BatchNormalization, keras.layers.Dropout
    generator = keras.Sequential([keras.Input((2,)), dense(8, "relu"), norm(), dense(3)], name="generator")
    judge = keras.Sequential([keras.Input((3,)), dense(8, "relu"), drop(0.3, seed=5), dense(1)], name="discriminator")
    return GAN((3,), 2, generator=generator, discriminator=judge, n_critic=2, ema=0.9)


def gpt():
    return GPT(7, 6, layers=1, heads=2, width=8, dropout=0.2)


FAMILIES = {"ddpm": ddpm, "gan": gan, "gpt": gpt}


def data(family):
    rng = np.random.default_rng(0)
    if family == "gpt":
        return {"x": kgen.data.TokenWindows(rng.integers(0, 7, 400), 6, batch_size=BATCH, steps=6)}
    return {"x": rng.uniform(-1, 1, (ROWS, 3)).astype("float32"), "batch_size": BATCH}


def made(family):
    keras.utils.set_random_seed(1)
    model = FAMILIES[family]()
    model.compile("adam")
    return model


def everything(model):
    """The model's variables and its optimizers', as numpy arrays."""
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(v).copy() for v in variables]


class Kill(keras.callbacks.Callback):
    """SIGKILL after a number of steps."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(keras.ops.convert_to_numpy(next(iter(members(self.model))).iterations)) >= self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def members(model):
    return getattr(model.optimizer, "members", {"": model.optimizer}).values()


def half_written(name):
    """Makes ``np.savez`` die half-way through the file of that name."""
    write = np.savez

    def savez(file, **arrays):
        write(file, **arrays)
        if name in str(file):
            with open(file, "r+b") as f:
                f.truncate(os.path.getsize(file) // 2)
                os.fsync(f.fileno())
            os.kill(os.getpid(), signal.SIGKILL)

    np.savez = savez


def train(family, folder, *callbacks):
    model = made(family)
    checkpoint = kgen.callbacks.Checkpoint(folder, every=2)
    history = model.fit(**data(family), epochs=EPOCHS, verbose=0, callbacks=[*callbacks, checkpoint])
    return model, history.history


def main(folder, family, step, write=None):
    callbacks = []
    if write:
        half_written(f"step-{int(step):09d}")
    else:
        callbacks = [Kill(int(step))]
    train(family, pathlib.Path(folder) / family, *callbacks)


if __name__ == "__main__":
    main(*sys.argv[1:])
