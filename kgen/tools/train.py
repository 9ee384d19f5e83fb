"""Trains a recipe: `kgen train`."""

import difflib
import importlib
import inspect

import click

from kgen.tools.command import recipes, use_backend


@click.command()
@click.argument("recipe")
@click.option("--data", help="Dataset name, or a path to your own: .npy, .npz, or a folder of images.")
@click.option("--image-size", type=click.IntRange(1), help="Side to which images of --data are resized.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training data.")
@click.option("--batch-size", type=click.IntRange(1), help="Examples per training step.")
@click.option("--seed", type=click.IntRange(0), help="Seed of initial weights, split and training.")
@click.option("--out", type=click.Path(), help="Folder for model, samples, figures and SavedModels.")
@click.option(
    "--resume", is_flag=True, default=None, help="Go on where an earlier run with the same --out was broken off."
)
@click.option("--backend", help="tensorflow, jax or torch.")
def train(recipe, backend, **options):
    """Train RECIPE and leave model, samples, figures and a SavedModel in a folder.

    \b
    Examples:
      kgen train ddpm_digits
      kgen train ddpm_fashion_mnist --epochs 5 --backend jax
      kgen train vae_digits --data my_images.npz --out saved_models/mine

    Ctrl-C ends training early; samples, figures and export are still made from what was trained. The same command with --resume
    goes on from there, or from the last checkpoint of a run that was killed.
    """
    found = recipes()
    if recipe not in found:
        near = difflib.get_close_matches(recipe, found, n=3)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Known recipes: {', '.join(found)}."
        raise click.UsageError(f"there is no recipe {recipe!r}. {hint}")
    use_backend(backend)
    run = importlib.import_module(f"kgen.recipes.{recipe}").main
    given = {k: v for k, v in options.items() if v is not None}
    if "image_size" in given:
        given["image_size"] = (given["image_size"],) * 2
    unknown = [k for k in given if k not in inspect.signature(run).parameters]
    if unknown:
        raise click.UsageError(f"recipe {recipe} has no option --{unknown[0].replace('_', '-')}.")
    run(**given)
    click.echo(f"Done: {given.get('out', inspect.signature(run).parameters['out'].default)}")
