"""Verifies an export: `kgen verify`."""

import sys

import click

from kgen.tools.command import as_batch_sizes, use_backend


@click.command()
@click.argument("path", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--model", type=click.Path(exists=True), help="The .keras file that was exported; PATH/model.keras, if not given."
)
@click.option("--batch-sizes", help="Rows of the requests, separated by commas; by default those that were exported.")
@click.option("--backend", help="tensorflow, jax or torch: what the model is computed on.")
def verify(path, model, batch_sizes, backend):
    """Compare what the newest export in PATH answers with what its model computes, time it, and replay its warm-up requests.
    Exit code 1 if anything differs.

    \b
    Examples:
      kgen verify saved_models/ddpm_digits
      kgen verify /srv/models/digits --model digits.keras --batch-sizes 1,32
    """
    sizes = as_batch_sizes(batch_sizes)
    use_backend(backend)
    import kgen

    report = kgen.serving.verify(path, None if model is None else kgen.load(model), batch_sizes=sizes)
    click.echo(report)
    if not report.ok:
        sys.exit(1)
