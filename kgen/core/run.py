"""The folder that a training run leaves behind: a preset's, with what else the run leaves beside it."""

import datetime
import json
import os
import pathlib
import platform
import shutil
import warnings

import keras

import kgen
from kgen import backend
from kgen.core import facts, loading, pictures, presets
from kgen.core.saving import aside

FILES = (
    "model.keras",
    "metrics.json",
    facts.NAME,
    *presets.NAMES,
    "model_card.md",
)  # the last is where kgen 0.1 wrote the card
KINDS = (".png", ".txt", ".wav")  # samples and other pictures, texts and sounds


def environment():
    """Versions and hardware, as they go into metrics.json."""
    import importlib.metadata

    framework = keras.config.backend()
    cpu = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        cpu = next(
            (line.split(":")[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line), cpu
        )
    # Those that this process may use, where the system says so.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "versions": {
            "kgen": kgen.__version__,
            "keras": keras.__version__,
            framework: importlib.metadata.version(framework),
            "python": platform.python_version(),
        },
        "hardware": {"cpu": cpu, "cores": cores, "gpus": backend.gpus()},
    }


class Run:
    """Writes what a run leaves in a folder: a preset with its card, the model to train on from, samples, figures and SavedModels.

    The folder is a preset's: ``kgen.load(folder)`` and ``kgen.from_preset(folder)`` read the preset in it, and ``kgen.load(folder /
    "model.keras")`` the compiled model, from which ``fit`` goes on.

    Nothing that another run left there is overwritten: its files move to ``archive/<n>/`` before the first new one is written, and
    an export becomes the next version beside the older ones.

    Args:
        out: the folder, such as ``"saved_models/ddpm_digits"``. It becomes TF Serving's base path.
    """

    def __init__(self, out):
        self.folder = pathlib.Path(out)
        if self.folder.exists() and not self.folder.is_dir():
            raise NotADirectoryError(f"out: expected a folder, {self.folder} is a file.")
        self._fresh = False
        self._metrics, self._asked = {}, []

    def path(self, name):
        """The path of a file in the folder; the first call moves an earlier run's files out of the way."""
        if not self._fresh:
            self._fresh = True
            self.folder.mkdir(parents=True, exist_ok=True)
            old = [p for p in self.folder.iterdir() if p.name in FILES or p.suffix in KINDS]
            if old:
                archive = self.folder / "archive"
                taken = [int(p.name) for p in archive.glob("*") if p.name.isdigit()]
                versions = [int(p.name) for p in self.folder.glob("*") if p.name.isdigit()]
                target = archive / str(max([*taken, *(v - 1 for v in versions), 0]) + 1)
                target.mkdir(parents=True)
                for file in old:
                    shutil.move(file, target / file.name)
        return self.folder / name

    def save_model(self, model):
        """Writes ``model.keras``, everything that training needs to go on, and of one of kgen's models the preset too.

        Warns where the model cannot be a preset, since it holds a class or a function that nobody else has.
        """
        path = self.path("model.keras")
        with aside(path) as temporary:
            model.save(temporary)
        if isinstance(model, kgen.GenerativeModel):
            try:
                self.save_preset(model)
            except ValueError as error:
                warnings.warn(f"{self.folder}: no preset was written: {error}", RuntimeWarning, stacklevel=2)

    def save_preset(self, model, *, dtype=None, license=None):
        """Writes the preset: ``config.json``, ``model.safetensors``, ``metadata.json``, and the card, ``README.md``.

        Of networks whose average the model keeps, it has the averaged weights alone: it samples as the model does, and training it on
        starts from the averages.

        Args:
            model: one of kgen's.
            dtype: None, or "float16" to store kernels in half precision, for half the size.
            license: what the weights may be used for, such as "cc-by-4.0".
        Raises:
            ValueError: the model holds a class that is neither kgen's, Keras's nor registered, or a function: a preset is data.
        """
        self.path("")
        presets.place(model, self.folder, dtype=dtype, averaged=True, license=license)
        self._asked = presets.asked(model)

    def save_samples(self, images, columns=None):
        """Writes ``samples.png``, a grid of images (N, H, W, C) in [-1, 1]."""
        pictures.save_grid(images, self.path("samples.png"), columns)

    def save_picture(self, name, images, columns=None, names=None):
        """Writes ``<name>.png``, a grid of images (N, H, W, C) in [-1, 1]: reconstructions, interpolations, completions ... To the left of
        each row may stand a text of ``names``."""
        pictures.save_grid(images, self.path(f"{name}.png"), columns, names)

    def save_density(self, name, panels, extent=None):
        """Writes ``<name>.png``: points and densities of the plane side by side (see ``kgen.core.pictures.save_density``)."""
        pictures.save_density(panels, self.path(f"{name}.png"), extent)

    def save_curves(self, history):
        """Writes ``training.png``: what was logged in each epoch. Takes what ``fit`` returns."""
        pictures.save_curves(history.history, self.path("training.png"))

    def save_facts(self, model, x, *, log_prob=None, **conditions):
        """Writes ``facts.json``, what the page of ``kgen demo`` shows of the data beside the model: see ``kgen.core.facts.measure``.

        Args:
            model: one of kgen's.
            x: test examples.
            log_prob: dict of what ``model.log_prob`` is given beside them, or None for no likelihood.
            **conditions: those of the examples, such as ``labels=``.
        """
        facts.write(self.path(facts.NAME).parent, facts.measure(model, x, log_prob=log_prob, **conditions))

    def save_text(self, name, text):
        """Writes ``<name>.txt``."""
        with aside(self.path(f"{name}.txt")) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def save_metrics(self, figures, **settings):
        """Writes ``metrics.json``.

        Args:
            figures: dict from a figure's name to a dict with ``value``, ``unit`` and whatever qualifies it (``floor``, ``samples``).
            **settings: how the run was made: seed, epochs, seconds ...
        """
        self._metrics = {
            "recipe": self.folder.name,
            "figures": figures,
            "settings": settings,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            **environment(),
        }
        with aside(self.path("metrics.json")) as temporary:
            text = json.dumps(self._metrics, indent=2, default=lambda v: v.item())  # numpy's numbers too
            temporary.write_text(text + "\n", encoding="utf-8")

    def write_card(self, description):
        """Writes the card, ``README.md``: what the model is, what it is conditioned on, its figures beside their floors, and how it was made."""
        lines = [
            f"# {self.folder.name}",
            "",
            description.strip(),
            "",
            *self._asked,
            "| figure | value | floor | unit | samples |",
            "|---|---|---|---|---|",
        ]
        for name, figure in self._metrics.get("figures", {}).items():
            cells = [_number(figure.get(k)) for k in ("value", "floor", "unit", "samples")]
            lines.append(f"| {name.replace('_', ' ')} | {' | '.join(cells)} |")
        lines += ["", "A floor is the same figure between training and test data.", ""]
        for part in ("settings", "versions", "hardware"):
            values = ", ".join(f"{k} {v}" for k, v in self._metrics.get(part, {}).items())
            lines.append(f"- {part}: {values}")
        path, text = self.path("README.md"), "\n".join(lines) + "\n"
        if presets.is_preset(self.folder):
            return presets.describe(self.folder, text)
        with aside(path) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def export(self, model):
        """Exports ``model`` as the next SavedModel version in the folder; returns the version's path."""
        self.path("")
        return kgen.serving.export(model, self.folder)


def to_preset(folder, *, dtype=None, license=None):
    """Makes the folder of a run of kgen 0.1 a preset's, from its ``model.keras``, in place; nothing is removed but ``model_card.md``.

    Args:
        folder: the run's.
        dtype, license: as in ``Run.save_preset``.
    Returns:
        the size of ``model.safetensors`` in bytes.
    """
    folder = pathlib.Path(folder)
    old = folder / "model_card.md"
    card = {"description": old.read_text(encoding="utf-8")} if old.exists() else {}
    if not card and presets.is_preset(folder):
        card = {"description": (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)[-1]}
    presets.place(loading.load(folder / "model.keras"), folder, dtype=dtype, averaged=True, license=license, **card)
    old.unlink(missing_ok=True)
    return (folder / "model.safetensors").stat().st_size


def _number(value):
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
