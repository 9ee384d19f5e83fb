"""``python -m benchmarks.langevin``: kgen's Langevin chains beside torchebm's, in the same energy network with the same weights.

Both run the same number of unadjusted steps of the same size in chains that start at the same points; the first two moments of where
they end must agree before anything is timed. Rounds alternate, the medians are compared. It needs torchebm (pip install torchebm
--no-deps). kgen runs on the backend that KERAS_BACKEND names.
"""

import os
import statistics
import time

import click
import keras
import numpy as np

from benchmarks import machine
from kgen import energy

STEP_SIZE = 0.1  # kgen's; torchebm's step_size is eta = eps^2 / 2
PAUSE = 0.2  # seconds between turns: thread pools spin for a while after their last work


def network_of(dim, width):
    layers = [keras.layers.Dense(width, activation="silu") for _ in range(2)]
    return keras.Sequential([keras.Input((dim,)), *layers, keras.layers.Dense(1)])


def kgen_job(network, start, steps):
    """A function that runs the chains once and returns where they end, as numpy."""
    from keras import ops

    from kgen import backend
    from kgen.core import random

    sampler = energy.LangevinSampler(STEP_SIZE, steps)

    def target(x):
        return network(x)[:, 0] + 0.5 * ops.sum(ops.square(x), axis=-1)

    run = backend.jit(lambda x, seeds: sampler.run(target, x, seeds), network.variables, compiler="xla")
    seeds = ops.convert_to_tensor(random.row_seeds(0, len(start)))
    x = ops.convert_to_tensor(start)
    return lambda: ops.convert_to_numpy(run(x, seeds)["x"])


def torchebm_job(weights, start, steps):
    """The same by torchebm."""
    import torch
    from torchebm.core import BaseModel
    from torchebm.samplers import LangevinDynamics

    class Network(BaseModel):
        def __init__(self):
            super().__init__()
            (w1, b1), (w2, b2), (w3, b3) = zip(weights[::2], weights[1::2], strict=True)
            self.layers = torch.nn.Sequential(
                linear(w1, b1), torch.nn.SiLU(), linear(w2, b2), torch.nn.SiLU(), linear(w3, b3)
            )

        def forward(self, x):
            return self.layers(x)[:, 0] + 0.5 * x.square().sum(-1)

    def linear(w, b):
        layer = torch.nn.Linear(*w.shape)
        layer.load_state_dict({"weight": torch.from_numpy(w.T.copy()), "bias": torch.from_numpy(b)})
        return layer

    sampler = LangevinDynamics(Network(), step_size=STEP_SIZE**2 / 2, device="cpu")
    x = torch.from_numpy(start)
    return lambda: sampler.sample(x=x.clone(), n_steps=steps).numpy()


def compare(dim, chains, width, steps, rounds):
    """``(medians, first, spread)``: seconds per run of each, of the first run of each, and the watch on the machine."""
    keras.utils.set_random_seed(0)
    network = network_of(dim, width)
    start = np.random.default_rng(0).standard_normal((chains, dim)).astype("float32")
    weights = [np.array(w) for w in network.get_weights()]
    jobs = {"kgen": kgen_job(network, start, steps), "torchebm": torchebm_job(weights, start, steps)}
    first, ends = {}, {}
    for name, job in jobs.items():
        before = time.perf_counter()
        ends[name] = job()
        first[name] = time.perf_counter() - before
    a, b = ends.values()
    error = 6 * np.sqrt(2 / chains)
    if np.abs(a.mean(0) - b.mean(0)).max() > error or np.abs(a.std(0) - b.std(0)).max() > error:
        raise SystemExit(
            f"The chains do not agree: means {a.mean(0)} and {b.mean(0)}, deviations {a.std(0)} and {b.std(0)}."
        )
    seconds = {name: [] for name in jobs}
    names = list(jobs)
    for r in range(rounds):
        for name in names[r % 2 :] + names[: r % 2]:
            time.sleep(PAUSE)
            before = time.perf_counter()
            jobs[name]()
            seconds[name].append(time.perf_counter() - before)
    return {name: statistics.median(values) for name, values in seconds.items()}, first


SETTINGS = [(2, 64, 64), (2, 1024, 64), (2, 1024, 256), (64, 256, 256)]  # dimensions, chains, width


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Repetitions of each.")
@click.option("--steps", default=500, show_default=True, help="Langevin steps in a run.")
@click.option("--threads", default=len(os.sched_getaffinity(0)), show_default=True, help="torch's threads.")
def main(rounds, steps, threads):
    """Measures kgen's Langevin sampler beside torchebm's on this machine's CPU. Run it on a machine that does nothing else."""
    import torch
    import torchebm

    torch.set_num_threads(threads)
    click.echo(machine.describe(threads))
    click.echo(f"kgen on {keras.config.backend()}, torchebm {torchebm.__version__} on torch {torch.__version__}")
    click.echo(f"{steps} steps, {rounds} rounds; ms for a whole run, medians; first run with compilation")
    click.echo("dimensions  chains  width      kgen  torchebm  ratio  first run")
    for dim, chains, width in SETTINGS:
        medians, first = compare(dim, chains, width, steps, rounds)
        ours, theirs = 1000 * medians["kgen"], 1000 * medians["torchebm"]
        click.echo(
            f"{dim:10d}  {chains:6d}  {width:5d}  {ours:8.1f}  {theirs:8.1f}  {theirs / ours:5.1f}  {first['kgen']:7.1f} s"
        )


if __name__ == "__main__":
    main()
