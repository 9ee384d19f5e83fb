"""Lists what there is: `kgen recipes` and `kgen presets`."""

import click

from kgen.tools.command import recipes, use_backend


@click.command("recipes")
def list_recipes():
    """List the recipes that `kgen train` knows."""
    found = recipes()
    width = max(map(len, found), default=0)
    for name, line in found.items():
        click.echo(f"{name:<{width}}  {line}")


@click.command("presets")
def list_presets():
    """List the trained models that come with kgen, by the names that PATH may be in `kgen sample`, `evaluate` and `export`.

    \b
    PATH may also be a preset's folder, or its address:
      hf://user/repo@revision
      kaggle://user/model/framework/variation/version
      https://.../preset.zip#sha256=...
    """
    use_backend(None)
    from kgen.core.loading import shipped

    found, lines = shipped(), recipes()
    width = max(map(len, found), default=0)
    for name in found:
        click.echo(f"{name:<{width}}  {lines.get(name, '')}".rstrip())
