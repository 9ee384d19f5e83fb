"""``python -m benchmarks``: measures kgen beside its peers and writes ``benchmarks/RESULTS.md``."""

import os
import pathlib
import tempfile

import click
import numpy as np

from benchmarks import plan, report, sizes
from benchmarks.workers import Worker, take_turns

PARTS = ("a", "b", "c")
BACKENDS = tuple(plan.KGEN)
TOLERANCE = (
    1e-4  # of outputs, relative to the largest; a sample goes through 50 networks and may differ by ten times that
)


def _choice(allowed):
    def check(_, parameter, value):
        chosen = tuple(v.strip() for v in value.split(","))
        if not set(chosen) <= set(allowed):
            raise click.BadParameter(
                f"expected some of {', '.join(allowed)}, separated by commas; received {value!r}.", param=parameter
            )
        return chosen

    return check


def _agreement(workers, backends, parts, folder):
    """Writes kgen's weights and outputs, one file for each network, and compares every backend and the peers with the first.

    Returns:
        ``(references, agreement)``: the files by network, and what ``report.render`` shows.
    """
    references, agreement = {}, []
    networks = [*(sizes.UNETS if "a" in parts else ()), *(["vae"] if "b" in parts else [])]
    for network in networks:
        job, arguments = ("vae", {}) if network == "vae" else ("ddpm", {"size": network})
        arrays, path = {}, ""
        for backend in backends:
            path = str(folder / f"{network}-{backend}.npz")
            names = workers[backend].ask("call", job=f"{job}.reference", arguments={**arguments, "path": path})[
                "result"
            ]
            arrays[plan.KGEN[backend]] = np.load(path)
            references.setdefault(network, path)
        theirs = str(folder / f"{network}-peer.npz")
        workers["peers"].ask(
            "outputs", job=f"{job}.outputs", arguments={**arguments, "reference": references[network]}, path=theirs
        )
        peer = np.load(theirs)
        for name in names:
            for who, ours in arrays.items():
                difference = float(np.abs(ours[name] - peer[name]).max() / np.abs(peer[name]).max())
                agreement.append((f"{network}, {name}", who, difference))
                if difference > TOLERANCE * (10 if name == "sample" else 1):
                    raise click.ClickException(
                        f"{network}, {name}: {who} and the peer differ by {difference:.1e}: these are not the same networks."
                    )
    return references, agreement


@click.command()
@click.option(
    "--rounds", type=click.IntRange(min=1), help="Repetitions of each program; 11 by default, 2 with --quick."
)
@click.option(
    "--quick",
    is_flag=True,
    help="A trial run of a few minutes with meaningless figures: two rounds, short, small batches.",
)
@click.option(
    "--only",
    default=",".join(PARTS),
    callback=_choice(PARTS),
    help="Parts: a diffusion, b VAE, c overhead; a,b for two of them.",
)
@click.option(
    "--backends", default=",".join(BACKENDS), callback=_choice(BACKENDS), help="kgen's backends.", show_default=True
)
@click.option("--threads", type=click.IntRange(min=1), help="Cores to use; all by default.")
@click.option(
    "--compile/--no-compile",
    "compiled",
    default=None,
    help="Whether the peers run under torch.compile too; not with --quick.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False),
    help="Where to write; benchmarks/RESULTS.md, or only the terminal with --quick.",
)
def main(rounds, quick, only, backends, threads, compiled, out):
    """Measures kgen beside its peers on this machine's CPU. Run it on a machine that does nothing else."""
    load = os.getloadavg()[0]
    cores = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, cores)  # the workers inherit it
    rounds = rounds or (2 if quick else 11)
    compiled = not quick if compiled is None else compiled
    out = out or (None if quick else pathlib.Path(__file__).parent / "RESULTS.md")

    workers = {backend: Worker("kgen", len(cores), backend) for backend in backends}
    if set(only) & {"a", "b"}:
        workers["peers"] = Worker("peers", len(cores))
    try:
        versions = {}
        for worker in workers.values():
            versions |= worker.ask("call", job="versions", arguments={})["result"]
        with tempfile.TemporaryDirectory() as folder:
            _say("Comparing outputs")
            references, agreement = _agreement(workers, backends, only, pathlib.Path(folder))
            comparisons = []
            if "a" in only:
                comparisons += plan.diffusion(workers, references, quick, compiled)
            if "b" in only:
                comparisons += plan.vae(workers, references, quick, compiled)
            if "c" in only:
                comparisons += plan.overhead(workers, quick)
            for i, comparison in enumerate(comparisons):
                _say(f"{i + 1}/{len(comparisons)} ({comparison.part}) {comparison.title}")
                take_turns(comparison.contenders, rounds, comparison.steps, _say)
    finally:
        for worker in workers.values():
            worker.close()
    text = report.render(comparisons, agreement, versions, rounds, len(cores), load, quick)
    click.echo(text)
    if out:
        report.write(out, text)


def _say(text):
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
