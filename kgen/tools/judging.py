"""Which of two pictures is real, or better? A page that asks a person, and what the answers say: ``kgen judge``."""

import base64
import html
import io
import json
import pathlib

import numpy as np

import kgen
from kgen.core import checks, pictures
from kgen.core.saving import aside

QUESTIONS = {"real": "Which of the two is real?", "better": "Which of the two is better?"}
_PAGE = pathlib.Path(__file__).with_name("judge.html")


def page(a, b, out, *, question="real", n=50, seed=0, names=("A", "B")):
    """Writes a page that shows pairs of pictures, one of A and one of B, in random order, and keeps what a person answers.

    It is one file without links to anything: it can be sent to whoever is to judge. Answers stay in the person's browser, so that the
    page can be closed and opened again, and are saved by a button as a file of JSON for ``report``.

    Args:
        a: float array (N, H, W, C) in [-1, 1], C = 1 or 3; for the question "real", real images.
        b: float array (M, H', W', C) in [-1, 1]: the model's, or another model's.
        out: path of the page, ``judge.html`` for example.
        question: "real" or "better".
        n: number of pairs, at most as many as there are images of either.
        seed: int, of which pictures meet and on which side.
        names: what A and B are called in the report; the page does not show them before the end.
    Raises:
        ValueError: an argument is out of its range, or there is nothing to show.
        FileExistsError: ``out`` is there already.
    """
    checks.one_of("question", question, QUESTIONS)
    out = pathlib.Path(out)
    if out.exists():
        raise FileExistsError(f"out: {out} exists. Name another file, or remove it first.")
    sets = [_images(name, images) for name, images in (("a", a), ("b", b))]
    n = min(checks.positive_int("n", n), *map(len, sets))
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(len(images), n, replace=False) for images in sets]
    flipped = rng.integers(0, 2, n)
    pairs = []
    for i in range(n):
        sides = [_png(images[rows[i]]) for images, rows in zip(sets, chosen, strict=True)]
        pairs.append({"left": sides[flipped[i]], "right": sides[1 - flipped[i]], "leftIs": "AB"[flipped[i]]})
    content = {"question": question, "names": list(names), "seed": seed, "pairs": pairs}
    # A name may hold anything, and what looks like a tag could end the script.
    text = _PAGE.read_text(encoding="utf-8").replace("__TITLE__", html.escape(QUESTIONS[question]))
    text = text.replace("__CONTENT__", json.dumps(content).replace("<", "\\u003c"))
    with aside(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


def report(answers):
    """What the answers say.

    Args:
        answers: path of the file that the page saved, or a list of such paths, of several people.
    Returns:
        dict: ``rate``, the share of pairs for which A was chosen; ``low`` and ``high``, its 95 % confidence interval (Wilson);
        ``p_value`` of such a rate, or one farther from 1/2, if nobody could tell; ``answers``, how many; ``question``; ``names``; and
        ``text``, a sentence.
    Raises:
        ValueError: a file is not such a file, or the files are of different pages, or hold no answer.
        FileNotFoundError: a file is not there.
    """
    from scipy.stats import binomtest

    paths = [answers] if isinstance(answers, (str, pathlib.Path)) else list(answers)
    if not paths:
        raise ValueError("answers: expected at least one file, received none.")
    kept = [_answers(path) for path in paths]
    first = kept[0]
    if any((k["question"], k["names"]) != (first["question"], first["names"]) for k in kept):
        raise ValueError("answers: expected files of one page, these are of different questions or names.")
    chosen = [choice for k in kept for choice in k["answers"]]
    if not chosen:
        raise ValueError("answers: expected at least one answer, received none.")
    test = binomtest(chosen.count("A"), len(chosen))
    interval = test.proportion_ci(method="wilson")
    rate = test.statistic
    a, b = first["names"]
    what = "was taken for the real one" if first["question"] == "real" else f"was found better than {b}"
    text = (
        f"{a} {what} in {100 * rate:.0f} % of {len(chosen)} pairs (95 % interval {100 * interval.low:.0f} to "
        f"{100 * interval.high:.0f} %). "
        + ("That is not what guessing gives." if test.pvalue < 0.05 else "Guessing could have given this.")
    )
    figures = {"rate": rate, "low": interval.low, "high": interval.high, "p_value": test.pvalue}
    return {
        **{k: float(v) for k, v in figures.items()},
        "answers": len(chosen),
        "question": first["question"],
        "names": first["names"],
        "text": text,
    }


def read(source, n, seed=0):
    """Images of what a person names: a dataset, a folder or file of images, a saved model or the name of a pretrained one.

    Args:
        source: name or path, text.
        n: how many at most; a model draws as many.
        seed: int, of a model's samples.
    Returns:
        float array (n or fewer, H, W, C) in [-1, 1].
    Raises:
        FileNotFoundError: there is neither data nor a model of that name.
        ValueError: it does not hold images.
    """
    from kgen.core import loading, presets

    path = pathlib.Path(source)
    is_file_of_ours = path.suffix == ".keras" or (path / "model.keras").exists() or presets.is_preset(path)
    if presets.is_address(source) or is_file_of_ours or (not path.exists() and source in loading.shipped()):
        model = kgen.load(source)
        classes = getattr(model, "num_classes", None)
        labels = {} if classes is None else {"labels": np.arange(n, dtype="int32") % classes}
        return model.sample(n, seed=seed, **labels)
    images, _ = kgen.data.load(source, split="test" if not path.exists() else None)
    return images[np.random.default_rng(seed).permutation(len(images))[:n]]


def _images(name, images):
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or len(images) == 0:
        raise ValueError(f"{name}: expected images (N, H, W, 1 or 3), received shape {images.shape}.")
    if images.dtype.kind != "f" or not (np.abs(images) <= 1.0 + 1e-6).all():
        raise ValueError(f"{name}: expected floats in [-1, 1], received {images.dtype} with other values, or NaN.")
    return images


def _png(image):
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pictures.grid(image[None], min_side=192)).save(buffer, "png")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _answers(path):
    path = pathlib.Path(path)
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        sound = (
            kept["question"] in QUESTIONS and len(kept["names"]) == 2 and all(c in ("A", "B") for c in kept["answers"])
        )
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError):
        sound = False
    if not sound:
        raise ValueError(f"answers: {path} is not a file that the page of kgen judge saved.")
    return kept
