"""Asking a model for what a view shows: in pieces of rows, with progress and a stop, and the lines that ask for the same elsewhere."""

import dataclasses
import functools
import importlib
import inspect
import json
import shlex
import threading
import urllib.parse

import numpy as np

from kgen.core import random
from kgen.core.rows import watched
from kgen.core.views import OWN_SEED, POINTS

PIECE = 16  # rows of one compiled call
PORT = 8501  # of TF Serving's REST interface
WORD = 2**16  # characters of a command's argument; Linux passes on twice as many


class Stopped(Exception):
    """The visitor asked to stop."""


@dataclasses.dataclass
class Request:
    """What a visitor asks for: a view, and its answers by keyword."""

    subject: object
    view: object
    n: int
    seed: int | None
    answers: dict

    @property
    def keywords(self):
        """What Python is called with, by keyword."""
        given = {k: a.value for k, a in self.answers.items() if a.value is not None and k not in self.view.given}
        own = {"seed": self.seed} if self.view.seeded else {}
        piece = (
            {"batch_size": PIECE} if self.n > PIECE and self.view.shows != POINTS and self.takes("batch_size") else {}
        )
        options, counts = self.view.options, {}
        if any(
            options[k].choices for k in given if k in options
        ):  # another choice may have counts of its own: those shown are said
            counts = {k: s.default for k, s in options.items() if s.dtype.startswith("int") and s.default is not None}
        return {**self.view.keywords, **own, **counts, **given, **piece}

    @property
    def function(self):
        room, _, name = self.view.call.rpartition(".")
        if not room:
            return getattr(self.subject.model, name)
        return getattr(importlib.import_module(room), name)

    def takes(self, keyword):
        parameters = inspect.signature(self.function).parameters
        return keyword in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    def given(self):
        """The arrays, texts and pairs of samples that lead the call, in the view's order."""
        found = []
        for name, spec in self.view.given.items():
            value = self.answers[name].value
            if spec.kind == "sample":
                found.append(self.subject.model.sample(1, seed=value, **self.conditions()))
            elif spec.kind in ("mask", OWN_SEED) or spec.dtype == "string":
                found.append(value)
            else:
                found.append(np.repeat(np.asarray(value)[None], self.n, axis=0))
        return found

    def conditions(self):
        """What conditions were answered, by keyword."""
        known = {k for c in self.subject.model.conditions for k in (c.keyword, *c.specs())}
        return {k: a.value for k, a in self.answers.items() if k in known and a.value is not None}

    def ask(self, progress=lambda done, count: None, stop=None, **more):
        """What the model answers, of fewer rows than were asked for where it was stopped.

        Args:
            progress: called as ``progress(done, count)`` after each piece.
            stop: an event; the work ends after the piece in which it is set, with the rows that there are.
            **more: further keywords of the call.
        Raises:
            Stopped: what there was makes no result.
        """
        stop, ended = stop or threading.Event(), False

        def watch(done, count):
            nonlocal ended
            progress(done, count)
            ended = ended or (done < count and stop.is_set())
            return done < count and ended

        with watched(watch):
            first = [self.subject.model] if "." in self.view.call else []
            rows = ([self.n] if self.view.counted else []) + self.given()
            try:
                return self.function(*first, *rows, **self.keywords, **more)
            except Exception as error:
                if ended and not isinstance(error, Stopped):  # a later stage wanted as many rows as were asked for
                    raise Stopped("Stopped, before there was anything to show.") from error
                raise

    @functools.cached_property
    def body(self):
        """See ``body``: asked for twice, by the files and by the command."""
        return body(self)


def python(request):
    """The lines of Python that give the same."""
    view, arrays = request.view, {k: v for a in request.answers.values() for k, v in a.arrays.items()}
    source = request.subject.source
    lines = ["import kgen"] + (["import numpy as np"] if arrays else [])
    lines += ["", f"model = kgen.load({source!r})" if source else "# model is the one that the page was made of"]
    words = {k: a.code for k, a in request.answers.items() if a.value is not None}
    given = []
    known = {k: words[k] for k in request.conditions()}
    for name, spec in view.given.items():
        if spec.kind == "sample":
            lines.append(f"{name} = model.sample({_arguments(['1'], {'seed': words[name], **known})})")
        elif spec.dtype == "string":
            if request.answers[name].value is None:
                continue
            lines.append(f"{name} = {words[name]}")
        elif spec.kind == OWN_SEED:
            lines.append(f"{name} = {words[name]}")
        else:
            rows = f".repeat({request.n}, axis=0)" if request.n > 1 else ""
            lines.append(f"{name} = {words[name]}" + ("" if spec.kind == "mask" else f"[None]{rows}"))
        given.append(name)
    leading = [str(request.n), *given] if view.counted else given
    if "." in view.call:
        leading.insert(0, "model")
    keywords = {k: words.get(k, repr(v)) for k, v in request.keywords.items()}
    call = view.call if "." in view.call else f"model.{view.call}"
    return "\n".join([*lines, f"{view.shows} = {call}({_arguments(leading, keywords)})"]) + "\n"


def _arguments(leading, keywords):
    return ", ".join([*leading, *(f"{k}={v}" for k, v in keywords.items())])


def body(request):
    """The request that a server answers with the same, as a dict for JSON; or a text that says why there is none."""
    view, model = request.view, request.subject.model
    endpoint = {e.name: e for e in [*model.endpoints(), *model.further_endpoints()]}.get(view.endpoint)
    if endpoint is None:
        return "A server has no endpoint for this."
    rows = model.conditions.rows(request.n, request.conditions()) if view.conditions else {}
    found, rest = {}, dict(request.keywords)
    for name in (*rest, *request.answers):
        if (
            name in ("seed", "batch_size")
            or name in view.keywords
            or name in view.given
            or name in request.conditions()
        ):
            rest.pop(name, None)
    for name, spec in endpoint.inputs.items():
        if name == "seed":
            value = random.row_seeds(request.seed, request.n)
        elif name in rows:
            value = rows[name]
        elif name in view.given:
            value = np.asarray(request.answers[name].value)
            if spec.kind == "mask" or name == "mask":
                value = np.broadcast_to(value.reshape(*value.shape, *[1] * (len(spec.shape) - value.ndim)), spec.shape)
            value = np.repeat(value[None], request.n, axis=0).astype(spec.dtype)
        else:
            value = np.full((request.n,), rest.pop(name, spec.default), spec.dtype)
        found[name] = value.tolist()
    if rest:
        return f"A server takes no {', '.join(rest)}: leave it as it is, or ask Python."
    return {"signature_name": endpoint.name, "inputs": found}


def curl(request):
    """The command that asks a TF Serving with an export of the model for the same; what is long is read from the file beside the result."""
    found = request.body
    if isinstance(found, str):
        return f"# {found}\n"
    address = f"http://localhost:{PORT}/v1/models/{urllib.parse.quote(request.subject.name, safe='')}:predict"
    text = json.dumps(found, separators=(",", ":"))
    return f"curl -s {address} -d {shlex.quote(text) if len(text) <= WORD else '@request.json'}\n"
