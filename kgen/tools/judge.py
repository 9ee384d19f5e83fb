"""Lets a person judge: `kgen judge`."""

import pathlib

import click

from kgen.tools.command import use_backend


@click.command()
@click.argument("a", required=False)
@click.argument("b", required=False)
@click.option(
    "--question",
    type=click.Choice(["real", "better"]),
    default="real",
    show_default=True,
    help="What is asked of each pair.",
)
@click.option("-n", type=click.IntRange(1), default=50, show_default=True, help="Number of pairs.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of samples, pairs and sides.")
@click.option("--out", type=click.Path(), default="judge.html", show_default=True, help="The page.")
@click.option(
    "--answers",
    multiple=True,
    type=click.Path(),
    help="A file that the page saved: report it. More than one may be given.",
)
@click.option("--backend", help="tensorflow, jax or torch.")
def judge(a, b, question, n, seed, out, answers, backend):
    """Let a person say which of two pictures is real or better: makes a page of pairs of A and B, and reports the answers.

    A and B are datasets, folders or files of images, models or names of pretrained ones. For the question "real", A is the real one.

    \b
    Examples:
      kgen judge digits ddpm_digits
      kgen judge vae_digits ddpm_digits --question better --out vae_or_ddpm.html
      kgen judge --answers answers.json
    """
    if not answers and (a is None or b is None):
        raise click.UsageError(
            "name two, A and B: kgen judge digits ddpm_digits. Or report answers: --answers answers.json."
        )
    use_backend(backend)
    from kgen.tools import judging

    if answers:
        return click.echo(judging.report(list(answers))["text"])
    if pathlib.Path(out).exists():  # before a model draws samples for minutes
        raise click.UsageError(f"--out: {out} exists. Name another file, or remove it first.")
    images = [judging.read(source, n, seed) for source in (a, b)]
    judging.page(*images, out, question=question, n=n, seed=seed, names=(a, b))
    click.echo(f"Open {out} in a browser; then: kgen judge --answers answers.json")
