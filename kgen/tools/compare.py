"""Compares families and systems: `kgen compare`."""

import pathlib

import click

from kgen.tools.command import use_backend


def _names(text):
    return [name.strip() for name in text.split(",") if name.strip()]


@click.command()
@click.option("--data", default="digits", show_default=True, help="Dataset name, or a path to your own.")
@click.option("--image-size", type=click.IntRange(1), help="Side to which images of --data are resized.")
@click.option(
    "--minutes",
    type=click.FloatRange(0, min_open=True),
    default=2.0,
    show_default=True,
    help="Of training, each model.",
)
@click.option("--families", help="Some of diffusion, vae, gan, flow, autoregressive, energy; by default all that fit.")
@click.option(
    "--systems", help="Models of kgen beside the families', such as stylegan2,sngan, with their own defaults."
)
@click.option("--seeds", type=click.IntRange(1), default=2, show_default=True, help="Models of each family.")
@click.option(
    "--out", type=click.Path(), default="compare", show_default=True, help="Folder for compare.md, .json, .png."
)
@click.option("--backend", help="tensorflow, jax or torch.")
def compare(data, image_size, minutes, families, systems, seeds, out, backend):
    """Train one model of each family, and systems by name, for the same time on your data, and say which is best at what.

    \b
    Examples:
      kgen compare --data digits --minutes 2
      kgen compare --data photos/ --image-size 32 --families diffusion,gan,vae --minutes 10 --out photos_compared
      kgen compare --data digits --families gan --systems sngan,stylegan2

    The same command after an interruption goes on with the models that are missing.
    """
    use_backend(backend)
    from kgen.tools import comparing

    size = None if image_size is None else (image_size,) * 2
    names = None if families is None else _names(families)
    more = _names(systems or "")
    settings = {"minutes": minutes, "families": names, "systems": more, "seeds": seeds, "out": out, "image_size": size}
    report = comparing.run(data, **settings, say=click.echo)
    click.echo(f"{report['recommendation']}\nDone: {pathlib.Path(out) / 'compare.md'}")
