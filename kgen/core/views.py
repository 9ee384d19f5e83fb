"""What a model can show to a person who turns its knobs: made from what its endpoints and conditions say of themselves."""

import dataclasses
import inspect

from kgen.core.endpoints import TensorSpec

PICTURES, FRAMES, POINTS, TEXT, NUMBERS = "pictures", "frames", "points", "text", "numbers"
OWN_SAMPLE = "sample"  # kind of what the model draws itself, from a seed that is asked for
OWN_SEED = "end"  # kind of such a seed, for a method that draws of it
FRAME_COUNT = 8


@dataclasses.dataclass(frozen=True)
class View:
    """One thing that a model can show, and how Python and a server are asked for it.

    Args:
        name: an identifier, one of each model.
        title: what a person reads.
        call: a method of the model, or the dotted name of a public function that takes the model first.
        shows: "pictures", "frames" (of one way each, (N, F, H, W, C)), "points" of the plane, "text" or "numbers".
        given: dict from an argument to the ``TensorSpec`` of what a person brings: "image", "mask", "sample" (which the model draws from a
            seed), "end" (such a seed itself) or "text".
        options: dict from a keyword to its ``TensorSpec``: what can be turned and has a default.
        keywords: dict from a keyword to what it always is.
        counted: whether the first argument is how many; if not, rows are those of what is given.
        seeded: whether ``seed=`` is taken.
        conditions: names of the model's conditions that are asked for.
        endpoint: the endpoint that answers the same, or None.
    """

    name: str
    title: str
    call: str
    shows: str
    given: dict = dataclasses.field(default_factory=dict)
    options: dict = dataclasses.field(default_factory=dict)
    keywords: dict = dataclasses.field(default_factory=dict)
    counted: bool = False
    seeded: bool = True
    conditions: tuple = ()
    endpoint: str | None = None


def of(model):
    """The views that follow from endpoints and the protocol's methods: a list of ``View``."""
    endpoints = {e.name: e for e in [*model.endpoints(), *model.further_endpoints()]}
    found = [view_of(model, e) for e in endpoints.values() if e.images or e.name == "sample"]
    found = {view.name: view for view in found if view is not None}
    draws = found.get("sample")
    is_image = shape_of(model)[-1:] in ((1,), (3,)) and len(shape_of(model)) == 3
    if draws is not None and is_image:
        both = draws.conditions
        if callable(getattr(model, "trajectory", None)):
            frames = TensorSpec((), "int32", "states on the way", 1, 50, FRAME_COUNT, kind="number")
            options = {**draws.options, "frames": frames}
            found["way"] = View("way", "From noise", "trajectory", FRAMES, {}, options, counted=True, conditions=both)
        if callable(getattr(model, "interpolate", None)):
            found["between"] = between("interpolate", "steps", both)
        elif callable(getattr(model, "interpolate_seeds", None)):
            found["between"] = between("interpolate_seeds", "steps", both, OWN_SEED, counted=True)
    if is_image and "reconstruct" not in found and callable(getattr(model, "reconstruct", None)):
        found["reconstruct"] = View(
            "reconstruct", "Reconstruct", "reconstruct", PICTURES, {"x": picture(shape_of(model))}, seeded=False
        )
    if getattr(model, "tokenizer", None) is not None and callable(getattr(model, "generate", None)):
        prompt = {"prompt": TensorSpec((), "string", "what is continued; nothing begins anew", kind="text")}
        found["generate"] = View(
            "generate", "Text", "generate", TEXT, prompt, options_of(model, "generate", endpoints.get("generate"))
        )
    order = sorted(found.values(), key=lambda view: view.name != "sample")  # what it draws comes first
    return [*order] if "generate" not in found else [found["generate"], *(v for v in order if v.name != "generate")]


def picture(shape, doc="picture"):
    """The ``TensorSpec`` of a picture of some shape."""
    return TensorSpec(tuple(shape), "float32", doc, -1.0, 1.0, kind="image")


def between(call, frames, conditions=(), kind=OWN_SAMPLE, counted=False):
    """The view of a way between two samples, by a function of both (or of their seeds) whose number of frames is called ``frames``."""
    ends = {name: TensorSpec((), "int32", f"which sample is end {name}", kind=kind) for name in "ab"}
    options = {frames: TensorSpec((), "int32", "frames, both ends included", 2, 32, FRAME_COUNT, kind="number")}
    return View(
        "between",
        "Between two samples",
        call,
        FRAMES,
        ends,
        options,
        counted=counted,
        seeded=False,
        conditions=conditions,
    )


def drawn_from(model, call, title, given, options=()):
    """The view of a method that makes the conditions of ``sample`` of what it is given, and takes ``options`` of ``sample``'s endpoint."""
    inputs = model.endpoints()[0].inputs
    chosen = {name: inputs[name] for name in options if name in inputs}
    asked = tuple(c.name for c in model.conditions if c.given)
    return View(call, title, call, PICTURES, given, chosen, conditions=asked)


def view_of(model, endpoint, **changes):
    """The view of an endpoint, or None where it takes what no person gives, such as a latent vector.

    ``changes`` are those of its fields.
    """
    call = endpoint.call or endpoint.name
    if "." not in call and not callable(getattr(model, call, None)):
        return None
    conditions = {name: c for c in model.conditions for name in c.specs()}
    made = [c for c in model.conditions if not c.given and not c.optional]
    if made:  # what it is made from, a view of the model's own asks for
        return None
    rest = {n: s for n, s in endpoint.inputs.items() if n != "seed" and n not in conditions}
    given = {n: s for n, s in rest.items() if s.shape != ()}
    if set(given) - {"x", "mask"} or ("mask" in given and "x" not in given):
        return None
    asked = {conditions[n].name for n in endpoint.inputs if n in conditions}
    shape = shape_of(model)
    shows = PICTURES if endpoint.images else POINTS if shape == (2,) else NUMBERS
    if getattr(model, "tokenizer", None) is not None and not endpoint.images:
        shows = TEXT
    fields = {
        "name": endpoint.name,
        "title": "Samples" if endpoint.name == "sample" else endpoint.name.replace("_", " ").capitalize(),
        "call": call,
        "shows": shows,
        "given": given,
        "options": {k: s for k, s in options_of(model, call, endpoint).items() if k not in endpoint.keywords},
        "keywords": dict(endpoint.keywords),
        "counted": not given,
        "seeded": "seed" in endpoint.inputs,
        "conditions": tuple(c.name for c in model.conditions if c.name in asked),
        "endpoint": endpoint.name,
    }
    return View(**{**fields, **changes})


def options_of(model, call, endpoint=None):
    """What can be turned of a call: the numbers among its endpoint's inputs that Python's function takes, and what ``options`` says."""
    conditions = model.conditions.specs()
    numbers = {} if endpoint is None else endpoint.inputs
    numbers = {n: s for n, s in numbers.items() if s.shape == () and n not in conditions and s.default is not None}
    own = {**numbers, **model.options(call.rpartition(".")[-1])}
    if "." in call:
        return own
    takes = inspect.signature(getattr(model, call)).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in takes.values())
    return {n: s for n, s in own.items() if anything or n in takes}


def shape_of(model):
    """The shape of one example, or () where the model does not say."""
    for name in ("shape", "visible_shape"):
        shape = getattr(model, name, None)
        if isinstance(shape, tuple):
            return shape
    return ()
