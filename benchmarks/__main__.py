"""``python -m benchmarks``: measures kgen beside its peers and writes ``benchmarks/RESULTS.md``."""

import os
import pathlib
import tempfile

import click

from benchmarks import agreement, machine, plan, report
from benchmarks.workers import Worker, take_turns

PARTS = ("a", "b", "c", "d", "e")
BACKENDS = tuple(plan.KGEN)


def _choice(allowed):
    def check(_, parameter, value):
        chosen = tuple(v.strip() for v in value.split(","))
        if not set(chosen) <= set(allowed):
            expected = f"expected some of {', '.join(allowed)}, separated by commas"
            raise click.BadParameter(f"{expected}; received {value!r}.", param=parameter)
        return chosen

    return check


@click.command()
@click.option("--rounds", type=click.IntRange(min=1), help="Repetitions of each program; 9 by default, 2 with --quick.")
@click.option(
    "--quick",
    is_flag=True,
    help="A trial run of a few minutes with meaningless figures: two rounds, short, small batches.",
)
@click.option(
    "--only",
    default=",".join(PARTS),
    callback=_choice(PARTS),
    help="Parts: a diffusion, b VAE, c overhead, d language model, e steps of other families; a,b for two of them.",
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
    cores = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, cores)  # the workers inherit it
    if only == ("c",) and backends == ("torch",):
        raise click.UsageError("Part c compares compiled steps: it needs tensorflow or jax among --backends.")
    rounds = rounds or (2 if quick else 9)
    compiled = not quick if compiled is None else compiled
    out = out or (None if quick else pathlib.Path(__file__).parent / "RESULTS.md")

    workers = {backend: Worker("kgen", len(cores), backend) for backend in backends}
    if set(only) & {"a", "b", "d", "e"}:
        workers["peers"] = Worker("peers", len(cores))
    try:
        versions = {}
        for worker in workers.values():
            versions |= worker.ask("call", job="versions", arguments={})["result"]
        with tempfile.TemporaryDirectory() as folder:
            _say("Comparing outputs")
            references, differences = agreement.check(workers, backends, only, pathlib.Path(folder))
            comparisons, watch = [], machine.watch([os.getpid(), *(w.process.pid for w in workers.values())])
            if "a" in only:
                comparisons += plan.diffusion(workers, references, quick, compiled)
            if "b" in only:
                comparisons += plan.vae(workers, references, quick, compiled)
            if "c" in only:
                comparisons += plan.overhead(workers, quick)
            if "d" in only:
                comparisons += plan.gpt(workers, references, quick, compiled)
            if "e" in only:
                comparisons += plan.steps(workers, quick, compiled)
            for i, comparison in enumerate(comparisons):
                _say(f"{i + 1}/{len(comparisons)} ({comparison.part}) {comparison.title}")
                take_turns(comparison.contenders, rounds, comparison.steps, watch, _say)
                measured = comparisons[: i + 1]
                text = report.render(measured, differences, versions, rounds, len(cores), watch.share, quick)
                if out:  # after each comparison: what an interrupted run has measured is kept
                    report.write(out, text)
    finally:
        for worker in workers.values():
            worker.close()
    click.echo(text)


def _say(text):
    click.echo(text, err=True)


if __name__ == "__main__":
    main()
