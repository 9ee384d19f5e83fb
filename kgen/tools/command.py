"""What every subcommand of ``kgen`` shares: the group, its errors, the choice of a backend."""

import ast
import importlib
import importlib.util
import os
import pathlib
import sys

import click

import kgen

BACKENDS = ("tensorflow", "jax", "torch")
backend_option = click.option("--backend", help="tensorflow, jax or torch.")


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


def as_batch_sizes(text):
    """The integers of a text such as "1,8,32"; None of None."""
    try:
        return None if text is None else [int(v) for v in text.split(",")]
    except ValueError:
        raise click.UsageError(f"--batch-sizes: expected integers such as 1,8,32, received {text!r}.") from None
