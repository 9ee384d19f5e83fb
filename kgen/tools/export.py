"""Exports a model: `kgen export`."""

import pathlib
import sys

import click

from kgen.tools.command import as_batch_sizes, use_backend


@click.command()
@click.argument("path")
@click.option(
    "--out",
    type=click.Path(),
    help="TF Serving base path; the next version is written there. By default the run's folder.",
)
@click.option(
    "--format",
    type=click.Choice(["tf", "onnx", "litert"]),
    default="tf",
    show_default=True,
    help="Of TF Serving, or a file for each function that draws no random numbers.",
)
@click.option(
    "--batch-sizes", help="Rows to which the server pads, such as 1,8,32; requests have no more than the last."
)
@click.option(
    "--endpoints",
    metavar="NAME,NAME",
    help="What is exported, such as sample,inpaint,translate; what the model offers unasked, if not given.",
)
@click.option("--backend", help="tensorflow, jax or torch.")
def export(path, out, format, batch_sizes, endpoints, backend):
    """Export the model in PATH as a bundle that TF Serving answers from; the SERVING.md written there says how to start it.

    \b
    Examples:
      kgen export saved_models/ddpm_digits
      kgen export my_model.keras --out /srv/models/mine --batch-sizes 1,8,64
      kgen export ddpm_digits --out /srv/models/digits --endpoints sample,inpaint
      kgen export vae_digits --format onnx --out onnx/
    """
    sizes = as_batch_sizes(batch_sizes)
    use_backend(backend)
    import kgen
    from kgen.core import presets
    from kgen.core.loading import locate

    if not presets.is_address(path):
        path = locate(path)
    elif out is None:
        raise click.UsageError("--out: name the folder to export to.")
    out = out or (path if path.is_dir() else path.with_suffix(""))
    if format != "tf" and endpoints is not None:
        raise click.UsageError(
            "--endpoints: for --format tf alone; files are written of all that draw no random numbers."
        )
    if format != "tf":
        return export_files(kgen.load(path), out, format)
    given = {} if sizes is None else {"batch_sizes": sizes}
    if endpoints is not None:
        given["endpoints"] = [name.strip() for name in endpoints.split(",")]
    click.echo(f"Exported: {kgen.serving.export(kgen.load(path), out, **given)}")


def export_files(model, out, format):
    """Writes the endpoints that can be written as files; says which could not, and why. Exit code 1 if none could."""
    import kgen

    found = kgen.serving.export_portable(model, out, format=format)
    for name, result in found.items():
        written = isinstance(result, pathlib.Path)
        click.echo(f"Exported: {result}" if written else f"Not exported: {name}: {result}", err=not written)
    if not any(isinstance(result, pathlib.Path) for result in found.values()):
        sys.exit(1)
