"""Models trained on one device, on replicas, or by several processes, each of which runs ``distributed.py OUT.npz PROCESS PORT``."""

import contextlib
import os
import pathlib
import sys
import warnings

# Keras would import TensorFlow to look for its types, which takes longer than the training here.
if __name__ == "__main__" and os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
    sys.modules["tensorflow"] = None

import keras
import numpy as np
from keras import layers, ops

sys.path.append(str(pathlib.Path(__file__).parent.parent))
from core.one_loss import Location, OneLoss
from core.state import state

from kgen import backend
from kgen.core import GenerativeModel


class Duel(GenerativeModel):
    """Two players without randomness or batch statistics: a step on several devices must be that on one.

    A row is (x, z): data (2,) and noise (2,). The discriminator has a gradient penalty.
    """

    log_names = ("discriminator_loss", "generator_loss")

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.generator = keras.Sequential([keras.Input((2,)), layers.Dense(8, "tanh"), layers.Dense(2)])
        self.discriminator = keras.Sequential([keras.Input((2,)), layers.Dense(8, "tanh"), layers.Dense(1)])
        self.keep_average_of("generator")

    @property
    def players(self):
        return {
            "discriminator": self.discriminator.trainable_variables,
            "generator": self.generator.trainable_variables,
        }

    def losses_of(self, batch):
        x, z = batch.x[:, :2], batch.x[:, 2:]
        fake = self.generator(z)

        def judge(v):
            return self.discriminator(v)[:, 0]

        slope = ops.sum(ops.square(backend.grad(judge, x)), axis=-1)
        return judge(fake) - judge(x) + slope, -judge(fake)

    def update(self, batch):
        def loss_of(i, name):
            losses = self.losses_of(batch)[i]
            return ops.mean(losses), {name: losses}

        logs = {}
        for i, player in enumerate(("discriminator", "generator")):
            loss_fn = lambda i=i, player=player: loss_of(i, f"{player}_loss")  # noqa: E731
            logs |= self.minimize(loss_fn, self.players[player], self.optimizer[player])
        return logs

    def measure(self, batch):
        discriminator, generator = self.losses_of(batch)
        return {"discriminator_loss": discriminator, "generator_loss": generator}


def bad_batch(scope):
    """State after a good batch, and after another with NaN on the second replica alone; whether training stopped."""
    import tensorflow as tf

    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    x[13, 2] = np.nan
    data, results = tf.data.Dataset.from_tensor_slices((x,)).batch(8), {}
    for name, batches in [("good", data.take(1)), ("bad", data)]:
        with scope():
            model = Location(4)
            model.compile("adam")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", RuntimeWarning)
            model.fit(batches, verbose=0)
        results[f"{name}/stopped"] = any("Training stopped" in str(w.message) for w in caught)
        results |= {f"{name}/state/{i}": v for i, v in enumerate(state(model, "weight", "optimizer").values())}
    return results


def rows_before(scope):
    """``backend.first_row`` on each of two replicas, for batches that are shared unevenly too."""
    import tensorflow as tf

    results = {}
    with scope():
        strategy = tf.distribute.get_strategy()
    for counts in [(3, 5), (4, 4), (2, 0), (0, 7)]:

        def row(counts=counts):
            context = tf.distribute.get_replica_context()
            return backend.first_row(tf.constant(counts)[context.replica_id_in_sync_group])

        rows = tf.function(lambda row=row: strategy.run(row))()
        results[f"{counts[0]}+{counts[1]}"] = [int(v) for v in strategy.experimental_local_results(rows)]
    return results


def trained(scope=contextlib.nullcontext, process=None):
    """Dict from a model and a figure or weight of it to its value; of a process, from its half of each batch."""
    share = slice(None) if process is None else slice(4 * process, 4 * process + 4)
    size = 8 if process is None else 4

    def mine(x):  # of each batch of 8 rows, those of this process
        return x.reshape(-1, 8, x.shape[-1])[:, share].reshape(-1, x.shape[-1])

    results = {}

    def train(name, make, x, size):
        keras.utils.set_random_seed(0)
        with scope():
            model = make()
            model.compile(keras.optimizers.Adam(0.01, epsilon=1e-3))
        history = model.fit(x, batch_size=size, shuffle=False, verbose=0).history
        figures = model.evaluate(x, batch_size=size, verbose=0, return_dict=True)
        results.update({f"{name}/fit/{k}": v for k, v in history.items()})
        results.update({f"{name}/evaluate/{k}": v for k, v in figures.items()})
        results.update({f"{name}/weight/{i}": v for i, v in enumerate(state(model, "weight").values())})

    x = np.random.default_rng(0).normal(size=(24, 4)).astype("float32")
    train("Location", lambda: Location(4, l2=0.1), mine(x), size)
    train("Duel", lambda: Duel(ema=0.9), mine(x), size)
    train("OneLoss", lambda: OneLoss(ema=0.9), mine(x), size)
    if keras.config.backend() == "tensorflow":
        train("uneven", lambda: Duel(ema=0.9), x[:17], 8)  # the last batch leaves the second replica without rows
    return results


def main(out, process, port):
    import jax

    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    process = int(process)
    keras.distribution.initialize(f"localhost:{port},localhost:{port}", num_processes=2, process_id=process)
    keras.distribution.set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False))
    np.savez(out, **trained(process=process))


if __name__ == "__main__":
    main(*sys.argv[1:])
