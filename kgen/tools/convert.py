"""Brings models from other libraries, and to them: `kgen convert`."""

import click

from kgen.tools.command import backend_option, use_backend

LIBRARIES = click.Choice(["diffusers"])


@click.command()
@click.argument("path")
@click.option(
    "--from", "source", type=LIBRARIES, help="The library that wrote PATH; what is written is a preset of kgen."
)
@click.option("--to", "target", type=LIBRARIES, help="The library that is to read what is written.")
@click.option("--out", type=click.Path(), required=True, help="The folder to write, which must not exist.")
@backend_option
def convert(path, source, target, out, backend):
    """Convert the model in PATH from another library's format, or to it.

    \b
    Examples:
      kgen convert google-ddpm/ --from diffusers --out my_ddpm
      kgen convert hf://user/repo@revision --from diffusers --out my_ddpm
      kgen convert ddpm_digits --to diffusers --out ddpm_digits_diffusers
    """
    if (source is None) == (target is None):
        raise click.UsageError("--from, --to: name one of them.")
    use_backend(backend)
    import kgen
    from kgen import interop
    from kgen.core import presets

    if source:
        presets.write(getattr(interop, source).load(path), out, averaged=True)
    else:
        getattr(interop, target).save(kgen.load(path), out)
    click.echo(f"Written: {out}")
