"""Verifies an export: `kgen verify`."""

import sys

import click

from kgen.tools.command import as_batch_sizes, use_backend


@click.command()
@click.argument("path")
@click.option(
    "--model", help="What was exported, as kgen export takes it; PATH/model.keras or the preset in PATH, if not given."
)
@click.option("--batch-sizes", help="Rows of the requests, separated by commas; by default those that were exported.")
@click.option("--backend", help="tensorflow, jax or torch: what the model is computed on.")
def verify(path, model, batch_sizes, backend):
    """Compare what the newest export in PATH, a folder or a preset's name, answers with what its model computes, time it, and replay its
    warm-up requests. Exit code 1 if anything differs.

    \b
    Examples:
      kgen verify ddpm_digits
      kgen verify /srv/models/digits --model ddpm_digits --batch-sizes 1,32
      kgen verify /srv/models/mine --model mine.keras
    """
    sizes = as_batch_sizes(batch_sizes)
    use_backend(backend)
    import kgen
    from kgen.core.loading import locate

    report = kgen.serving.verify(locate(path), None if model is None else kgen.load(model), batch_sizes=sizes)
    click.echo(report)
    if not report.ok:
        sys.exit(1)
