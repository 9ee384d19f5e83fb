"""``python -m benchmarks.solver_overhead``: what a solver costs beside the network's calls.

One U-Net draws with each sampler, in the most steps that cost at most so many calls, and with a sampler that does nothing but call it as often,
all in the same compiled loop. Rounds go through all of them in turn, and what is given are the medians of each round's ratios. kgen runs on the
backend that KERAS_BACKEND names.
"""

import os
import statistics
import time

import click
import keras

from benchmarks import ddpm, machine, sizes
from benchmarks.langevin import PAUSE
from benchmarks.samplers import SAMPLERS, made
from kgen.diffusion import Sampler


class NetworkAlone(Sampler):
    """The network's answer is what it is given next: a loop around calls, and no arithmetic but theirs."""

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        return (denoise(carry[0], t).data,)


@click.command()
@click.option("--size", type=click.Choice(list(sizes.UNETS)), default="28x28", show_default=True)
@click.option("--batch", default=1, show_default=True)
@click.option("--calls", default=20, show_default=True, help="Calls of the network.")
@click.option("--rounds", default=7, show_default=True, help="Repetitions of each.")
def main(size, batch, calls, rounds):
    """Measures every sampler's own cost on this machine's CPU. Run it on a machine that does nothing else."""
    model = ddpm.model(size)
    found = {name: made(name, calls) for name in SAMPLERS}
    jobs = {name: sampler for name, sampler in found.items() if sampler is not None}
    alone = {count: NetworkAlone(count) for count in {s.calls() for s in jobs.values()}}
    click.echo(machine.describe(len(os.sched_getaffinity(0))))
    click.echo(f"{size}, batch {batch}, on {keras.config.backend()}: medians of {rounds} rounds")

    def seconds(sampler):
        time.sleep(PAUSE)
        start = time.perf_counter()
        model.sample(batch, seed=0, sampler=sampler)
        return time.perf_counter() - start

    for sampler in [*jobs.values(), *alone.values()]:
        seconds(sampler)  # compiles
    own, ratios = {name: [] for name in jobs}, {name: [] for name in jobs}
    for _ in range(rounds):
        base = {count: seconds(sampler) for count, sampler in alone.items()}
        for name, sampler in jobs.items():
            own[name].append(seconds(sampler))
            ratios[name].append(own[name][-1] / base[sampler.calls()])
    click.echo("sampler                            steps  calls        ms  beside the network alone")
    for name, sampler in jobs.items():
        milliseconds, ratio = 1000 * statistics.median(own[name]), statistics.median(ratios[name])
        click.echo(
            f"{name:34s} {sampler.steps:5d}  {sampler.calls():5d}  {milliseconds:8.1f}  {100 * (ratio - 1):+6.1f} %"
        )


if __name__ == "__main__":
    main()
