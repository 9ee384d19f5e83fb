"""The ``kgen`` command: train a recipe, then sample, evaluate and export what it left."""

import ast
import difflib
import importlib
import importlib.util
import inspect
import os
import pathlib
import sys

import click

import kgen

BACKENDS = ("tensorflow", "jax", "torch")


def recipes():
    """Dict from a recipe's name to the first line of its docstring, without importing any."""
    spec = importlib.util.find_spec("kgen.recipes")
    if spec is None or not spec.submodule_search_locations:
        raise click.ClickException(kgen.NO_RECIPES)
    folder = pathlib.Path(spec.submodule_search_locations[0])
    found = {}
    for file in sorted(folder.glob("*.py")):
        if file.stem != "__init__":
            found[file.stem] = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split("\n")[0]
    return found


def use_backend(name):
    """Chooses the Keras backend: the one named, else the environment's, else Keras's own choice. Checks that it is installed."""
    name = name or os.environ.get("KERAS_BACKEND")
    if name is not None:
        if name not in BACKENDS:
            raise click.UsageError(f"--backend: expected one of {', '.join(BACKENDS)}, received {name!r}.")
        if importlib.util.find_spec(name) is None:
            hint = "pip install tensorflow" if name == "tensorflow" else f'pip install -e ".[{name}]"'
            raise click.UsageError(f"--backend: {name} is not installed. Install it by: {hint}")
        os.environ["KERAS_BACKEND"] = name
    import_quietly()


def import_quietly():
    """Imports Keras without the notes that TensorFlow's C++ code prints before any setting of its own can stop them."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        importlib.import_module("keras")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


class Group(click.Group):
    """A command group whose errors are one line and exit code 2; ``--debug`` shows the traceback."""

    def main(self, args=None, **kwargs):
        arguments = list(sys.argv[1:] if args is None else args)
        debug = "--debug" in arguments
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow's start-up notes help nobody here
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # TensorFlow uses oneDNN by itself on some processors only
        try:
            return super().main([a for a in arguments if a != "--debug"], standalone_mode=False, **kwargs)
        except click.exceptions.Exit as error:
            sys.exit(error.exit_code)
        except (click.exceptions.Abort, KeyboardInterrupt):
            click.echo("kgen: stopped.", err=True)
            sys.exit(130)
        except click.ClickException as error:
            if debug:
                raise
            click.echo(f"kgen: {error.format_message()}", err=True)
            sys.exit(2)
        except Exception as error:
            if debug:
                raise
            message = " ".join(str(error).split()) or type(error).__name__
            click.echo(f"kgen: {message}", err=True)
            sys.exit(2)


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="kgen")
def main():
    """Generative models in Keras 3.

    \b
    Examples:
      kgen recipes
      kgen train ddpm_digits
      kgen train vae_digits --data photos/ --image-size 32 --epochs 20 --out saved_models/vae_photos
      kgen sample saved_models/ddpm_digits -n 64 --labels 7 --out sevens.png
      kgen evaluate saved_models/ddpm_digits --data digits
      kgen export saved_models/ddpm_digits --out /srv/models/digits

    Add --debug to any command for a full traceback.
    """


@main.command("recipes")
def list_recipes():
    """List the recipes that `kgen train` knows."""
    found = recipes()
    width = max(map(len, found), default=0)
    for name, line in found.items():
        click.echo(f"{name:<{width}}  {line}")


@main.command("presets")
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


@main.command()
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


@main.command()
@click.argument("path")
@click.option("-n", type=click.IntRange(1), help="Number: 16 images, 1000 points or one text, if not given.")
@click.option(
    "--seed", type=click.IntRange(0), default=None, help="Same seed, same samples; otherwise new ones each time."
)
@click.option("--labels", help="A class for all samples, or as many as there are samples: 7 or 0,1,2,3.")
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
def sample(path, n, seed, labels, prompt, out, backend, **options):
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
    from kgen.core import pictures
    from kgen.core.saving import aside

    model = kgen.load(path)
    if labels is not None:
        try:
            values = [int(v) for v in labels.split(",")]
        except ValueError:
            raise click.UsageError(f"--labels: expected integers such as 7 or 0,1,2,3, received {labels!r}.") from None
        given["labels"] = values[0] if len(values) == 1 else values
    tokenizer = getattr(model, "tokenizer", None)
    if prompt is not None and tokenizer is None:
        raise click.UsageError(f"--prompt: {type(model).__name__} does not continue text.")
    if texts and tokenizer is not None:
        return write_texts(model, prompt, n or 1, seed, given)
    if out.exists():
        raise click.UsageError(f"--out: {out} exists. Name another file, or remove it first.")
    check_options(model, model.sample, given)
    if n is None:
        n = 1000 if getattr(model, "shape", None) == (2,) else 16
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


def check_options(model, function, given):
    """Raises UsageError for an option that the model's function does not take."""
    unknown = [k for k in given if k not in inspect.signature(function).parameters]
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


@main.command()
@click.argument("path")
@click.option("--data", required=True, help="Dataset name or path: what the samples are compared with.")
@click.option("-n", type=click.IntRange(50), default=1000, show_default=True, help="Number of samples.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of samples and split.")
@click.option(
    "--extractor",
    help="Frozen classifier whose features are used: digits, fashion_mnist, or a .keras file. By default that of --data.",
)
@click.option("--backend", help="tensorflow, jax or torch.")
def evaluate(path, data, n, seed, extractor, backend):
    """Measure the model in PATH: each figure beside its floor, the same figure between training and test data.

    \b
    Example:
      kgen evaluate saved_models/ddpm_digits --data digits
    """
    use_backend(backend)
    import json

    import numpy as np

    import kgen

    model = kgen.load(path)
    classifier = kgen.metrics.load_classifier(extractor or data)
    train, y = kgen.data.load(data, split="train", seed=seed)
    test, y_test = kgen.data.load(data, split="test", seed=seed)
    labels, checked = {}, {}
    classes = getattr(model, "num_classes", None)
    if classes is not None:
        labels = {"labels": np.arange(n, dtype="int32") % classes}
        if y is not None and y.max() < classes:  # as the data have them, so that the floor differs in nothing else
            labels = {"labels": np.resize(y, n)}
            checked = {**labels, "test_labels": y_test}
    samples = model.sample(n, seed=seed, **labels)
    report = kgen.metrics.fidelity_report(samples, train=train, test=test, extractor=classifier, **checked)
    click.echo(json.dumps(report, indent=2))


def as_batch_sizes(text):
    """The integers of a text such as "1,8,32"; None of None."""
    try:
        return None if text is None else [int(v) for v in text.split(",")]
    except ValueError:
        raise click.UsageError(f"--batch-sizes: expected integers such as 1,8,32, received {text!r}.") from None


@main.command()
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
@click.option("--backend", help="tensorflow, jax or torch.")
def export(path, out, format, batch_sizes, backend):
    """Export the model in PATH as a bundle that TF Serving answers from; the SERVING.md written there says how to start it.

    \b
    Examples:
      kgen export saved_models/ddpm_digits
      kgen export my_model.keras --out /srv/models/mine --batch-sizes 1,8,64
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
    if format != "tf":
        return export_files(kgen.load(path), out, format)
    given = {} if sizes is None else {"batch_sizes": sizes}
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


@main.command()
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
@click.option("--seeds", type=click.IntRange(1), default=2, show_default=True, help="Models of each family.")
@click.option(
    "--out", type=click.Path(), default="compare", show_default=True, help="Folder for compare.md, .json, .png."
)
@click.option("--backend", help="tensorflow, jax or torch.")
def compare(data, image_size, minutes, families, seeds, out, backend):
    """Train one model of each family for the same time on your data, and say which is best at what.

    \b
    Examples:
      kgen compare --data digits --minutes 2
      kgen compare --data photos/ --image-size 32 --families diffusion,gan,vae --minutes 10 --out photos_compared

    The same command after an interruption goes on with the models that are missing.
    """
    use_backend(backend)
    import kgen.compare

    size = None if image_size is None else (image_size,) * 2
    names = None if families is None else families.split(",")
    report = kgen.compare.run(
        data, minutes=minutes, families=names, seeds=seeds, out=out, image_size=size, say=click.echo
    )
    click.echo(f"{report['recommendation']}\nDone: {pathlib.Path(out) / 'compare.md'}")


@main.command()
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
    from kgen import judge as judging

    if answers:
        return click.echo(judging.report(list(answers))["text"])
    if pathlib.Path(out).exists():  # before a model draws samples for minutes
        raise click.UsageError(f"--out: {out} exists. Name another file, or remove it first.")
    images = [judging.read(source, n, seed) for source in (a, b)]
    judging.page(*images, out, question=question, n=n, seed=seed, names=(a, b))
    click.echo(f"Open {out} in a browser; then: kgen judge --answers answers.json")


@main.command()
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


if __name__ == "__main__":
    main()
