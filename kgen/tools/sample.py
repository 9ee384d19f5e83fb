"""Draws samples: `kgen sample`."""

import inspect
import pathlib

import click

from kgen.tools.command import use_backend


@click.command()
@click.argument("path")
@click.option("-n", type=click.IntRange(1), help="Number: 16 images, 1000 points or one text, if not given.")
@click.option(
    "--seed", type=click.IntRange(0), default=None, help="Same seed, same samples; otherwise new ones each time."
)
@click.option(
    "--labels", help="A class for all samples, or as many as there are samples: 7 or 0,1,2,3; or names: cat,dog."
)
@click.option(
    "--condition",
    multiple=True,
    metavar="NAME=VALUE",
    help='Another condition of the model: text="a red hat", vector=0.5,1 or low=picture.png; may be given several times.',
)
@click.option(
    "--guidance", type=float, help="How strongly samples are drawn towards their class: 1 is off, 2 to 5 are usual."
)
@click.option("--steps", type=click.IntRange(1), help="Sampling steps, for diffusion models.")
@click.option("--prompt", help="Text that a language model continues, shown as it is written.")
@click.option("--max-new-tokens", type=click.IntRange(1), help="Length of a text; by default as long as the model can.")
@click.option("--temperature", type=float, help="Of tokens: below 1 is more careful, 0 takes the likeliest each time.")
@click.option("--top-k", type=int, help="Draw from the k likeliest tokens alone.")
@click.option("--top-p", type=float, help="Draw from the fewest tokens with this much probability together.")
@click.option("--min-p", type=float, help="Draw from tokens at least this many times as likely as the likeliest.")
@click.option("--repetition-penalty", type=float, help="Above 1, tokens that were there before become less likely.")
@click.option("--stop", help="A token's text, where a text ends.")
@click.option(
    "--out", type=click.Path(), help="A .png picture, or .npy for the array; samples.png, where samples can be seen."
)
@click.option("--backend", help="tensorflow, jax or torch.")
def sample(path, n, seed, labels, condition, prompt, out, backend, **options):
    """Draw samples from the model in PATH: a .keras file, a run's or a preset's folder, or a preset's name or address.

    \b
    Examples:
      kgen sample ddpm_digits -n 64 --seed 0 --out digits.png
      kgen sample saved_models/ddpm_digits -n 10 --labels 0,1,2,3,4,5,6,7,8,9 --guidance 3
      kgen sample saved_models/vae_digits -n 1000 --out samples.npy
      kgen sample saved_models/gpt_python --prompt "def " --temperature 0.8 --top-p 0.95
    """
    given = {k: v for k, v in options.items() if v is not None}
    texts, out = prompt is not None or out is None, pathlib.Path(out or "samples.png")
    if out.suffix not in (".png", ".npy"):
        raise click.UsageError(f"--out: expected a path that ends in .png or .npy, received {str(out)!r}.")
    use_backend(backend)
    import numpy as np

    import kgen
    from kgen.core import pictures, views
    from kgen.core.saving import aside

    model = kgen.load(path)
    if labels is not None:
        values = [v.strip() for v in labels.split(",")]
        if all(v.lstrip("-").isdigit() for v in values):
            values = [int(v) for v in values]
        elif not any(c.kind == "label" and c.choices for c in getattr(model, "conditions", ())):
            raise click.UsageError(f"--labels: expected integers such as 7 or 0,1,2,3, received {labels!r}.")
        given["labels"] = values[0] if len(values) == 1 else values
    given |= conditions_of(model, condition)
    writes = getattr(model, "tokenizer", None) is not None and callable(getattr(model, "generate", None))
    if prompt is not None and not writes:
        raise click.UsageError(f"--prompt: {type(model).__name__} does not continue text.")
    if texts and writes:
        return write_texts(model, prompt, n or 1, seed, given)
    if out.exists():
        raise click.UsageError(f"--out: {out} exists. Name another file, or remove it first.")
    check_options(model, model.sample, given)
    if n is None:
        n = 1000 if views.shape_of(model) == (2,) else 16
    samples = model.sample(n, seed=seed, **given)
    if out.suffix == ".npy":
        with aside(out) as temporary:
            np.save(temporary, samples)
    elif samples.ndim == 4:
        pictures.save_grid(samples, out)
    elif samples.shape[1:] == (2,):
        pictures.save_density({f"{n} samples": samples}, out)
    else:
        raise click.UsageError(
            f"--out: samples of shape {samples.shape[1:]} cannot be seen; write them to a .npy file."
        )
    click.echo(f"{n} samples: {out}")


def conditions_of(model, given):
    """What --condition NAME=VALUE says, as the model's own conditions describe themselves."""
    found = {}
    known = {c.name: c for c in getattr(model, "conditions", ()) if c.kind != "label" or c.keyword != "labels"}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or name not in known:
            names = ", ".join(f"{c.name} ({c.kind})" for c in known.values()) or "none"
            raise click.UsageError(
                f"--condition: expected NAME=VALUE, NAME one of this model's: {names}; received {text!r}."
            )
        try:
            found[name] = known[name].read(value)
        except (ValueError, OSError) as error:  # a file that is no picture, too
            raise click.UsageError(f"--condition {name}: {error}") from None
    return found


def check_options(model, function, given):
    """Raises UsageError for an option that the model's function does not take."""
    takes = set(inspect.signature(function).parameters) | {c.keyword for c in getattr(model, "conditions", ())}
    unknown = [k for k in given if k not in takes]
    if unknown:
        raise click.UsageError(f"--{unknown[0].replace('_', '-')}: {type(model).__name__} does not take it.")


def write_texts(model, prompt, n, seed, given):
    """Prints what a language model writes after a prompt, or from nothing, piece by piece, ``n`` times."""
    check_options(model, model.generate, given)
    for i in range(n):
        shown = [prompt or ""]  # before the first piece, so that an error stands alone

        def show(piece, shown=shown):
            click.echo("".join([*shown, piece]), nl=False)
            shown.clear()

        model.generate(prompt, seed=None if seed is None else seed + i, stream=show, **given)
        click.echo("".join(shown) + ("\n" if i == n - 1 else "\n\n" + "-" * 40 + "\n"))
