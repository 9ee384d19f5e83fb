"""A small model with a sampling loop, one export of it that the tests share, and a program that answers requests."""

import pickle
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

import kgen
from kgen.core import Endpoint, TensorSpec, random
from kgen.core.endpoints import SEED


@keras.saving.register_keras_serializable(package="kgen_tests")
class Toy(kgen.GenerativeModel):
    """A random walk through a network, of grey 6x6 images; one endpoint loops, the other does not."""

    def __init__(self, width=64, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.network = keras.Sequential([keras.Input((40,)), keras.layers.Dense(width, "tanh"), keras.layers.Dense(36)])
        # Grouped: Keras on TensorFlow compiles it by XLA, which a stock server refuses.
        self.smooth = keras.Sequential([keras.Input((6, 6, 2)), keras.layers.Conv2D(2, 3, padding="same", groups=2)])
        self.keep_average_of("network", "smooth")

    def objective(self, batch, training):
        x = ops.reshape(batch.x, (-1, 36))
        labels = ops.one_hot(batch.y, 4)
        y = ops.reshape(self.network(ops.concatenate([x, labels], -1)), (-1, 6, 6, 1))
        return ops.mean((self.smooth(ops.concatenate([y, -y], -1)) - batch.x) ** 2, axis=(1, 2, 3)), {}

    def walk(self, seed, label, scale):
        condition = ops.one_hot(label, 4)
        network, smooth = self.averaged("network"), self.averaged("smooth")

        def step(i, x):
            drift = network(ops.concatenate([x, condition], -1))
            return x + 0.2 * scale[:, None] * drift + 0.1 * random.normal(seed, (36,), draw=i + 1)

        x = ops.reshape(ops.fori_loop(0, 8, step, random.normal(seed, (36,))), (-1, 6, 6, 1))
        return {"images": ops.tanh(ops.mean(smooth(ops.concatenate([x, -x], -1)), -1, keepdims=True) + x)}

    def encode(self, x):
        mean = ops.mean(x, axis=(1, 2, 3))
        return {"mean": mean, "label": ops.cast(mean > 0.0, "int32")}

    def endpoints(self):
        label = TensorSpec((), "int32", "class", 0, 3, kind="label", choices=("cat", "dog", "hen", "cow"))
        scale = TensorSpec((), "float32", "drift", 0.0, 0.1, 0.05)  # 0.1 as float32 is larger than 0.1
        x = TensorSpec((6, 6, 1), "float32", "images in [-1, 1]", -1.0, 1.0, kind="image")
        sample = {"seed": SEED, "label": label, "scale": scale}
        return [
            Endpoint("sample", self.walk, sample, {"images": "images in [-1, 1]"}, images=("images",)),
            Endpoint("encode", self.encode, {"x": x}, {"mean": "mean", "label": "1 where it is above 0"}),
        ]

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable(package="kgen_tests")
class Scalar(Toy):
    """Its second endpoint returns one number for a whole batch."""

    def encode(self, x):
        return {"mean": ops.mean(x)}


def toy():
    keras.utils.set_random_seed(0)
    model = Toy(ema=0.5)
    model.compile(keras.optimizers.Adam(0.01))
    rng = np.random.default_rng(0)
    model.fit(rng.uniform(-1, 1, (16, 6, 6, 1)).astype("float32"), rng.integers(0, 4, 16), batch_size=8, verbose=0)
    return model


@pytest.fixture(scope="session")
def model():
    return toy()


@pytest.fixture(scope="session")
def exported(model, tmp_path_factory):
    return kgen.serving.export(model, tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="session")
def request_rows():
    """Inputs of ``sample``: eight rows."""
    labels = np.arange(8, dtype="int32") % 4
    return {"seed": random.row_seeds(7, 8), "label": labels, "scale": np.linspace(0, 0.1, 8, dtype="float32")}


# Runs in a process of its own: what a server would do, without Keras and TensorFlow's Python.
PROGRAM = """
import pickle, sys
from kgen.serving.capi import Session, StatusError

path, requests, answers, xla = sys.argv[1:]
with open(requests, "rb") as f:
    requests = pickle.load(f)
found = {}
with Session(path, xla=xla == "xla") as session:
    found["signatures"] = session.signatures()
    for name, (signature, inputs) in requests.items():
        try:
            found[name] = session.run(signature, inputs)
        except (StatusError, ValueError) as error:
            found[name] = str(error)
loaded = {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)
if loaded:
    sys.exit(f"The client imported {loaded}.")
with open(answers, "wb") as f:
    pickle.dump(found, f)
"""


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """``serve(path, requests, xla)``: dict from a request's name to its outputs, or to the text of its error."""

    def serve(path, requests, xla):
        folder = tmp_path_factory.mktemp("requests")
        (folder / "requests").write_bytes(pickle.dumps(requests))
        command = [
            sys.executable,
            "-c",
            PROGRAM,
            str(path),
            str(folder / "requests"),
            str(folder / "answers"),
            "xla" if xla else "stock",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr)
        return pickle.loads((folder / "answers").read_bytes())

    return serve
