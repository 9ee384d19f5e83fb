"""What a tab is about: a model, what it is called and how Python opens it, and the facts beside it."""

import dataclasses
import math
import pathlib

import kgen
from kgen.core import facts, loading, presets
from kgen.core.endpoints import TensorSpec
from kgen.core.views import NUMBERS, PICTURES, View, picture, shape_of


@dataclasses.dataclass(frozen=True)
class Subject:
    """``name`` heads the tab, ``source`` is what ``kgen.load`` takes, or None where the model was given itself."""

    model: object
    name: str
    source: str | None
    facts: dict
    views: tuple


def of(model):
    """The ``Subject`` of a model, or of what ``kgen.load`` takes.

    Raises:
        ValueError: the model offers nothing to show.
    """
    name, source, known = None, None, {}
    if not isinstance(model, kgen.GenerativeModel):
        source = str(model)
        model = kgen.load(source)
        if not presets.is_address(source):
            path = loading.locate(source)
            known = facts.read(path if path.is_dir() else path.parent)
        name = pathlib.PurePath(source.partition("#")[0]).name.removesuffix(".keras") or source
    name = name or model.name
    views = (*model.views(), *of_facts(model, known))
    if not views:
        raise ValueError(
            f"{name}: this {type(model).__name__} offers nothing to show: it has no endpoint of samples or pictures. A model says what it can "
            "show by endpoints(), or by views()."
        )
    return Subject(model, name, source, known, views)


def of_facts(model, known):
    """The views that need to know of the data."""
    shape, found = shape_of(model), []
    conditions = tuple(c.name for c in model.conditions if c.given)
    if len(shape) != 3:
        return found
    if "latent" in known:
        latent = known["latent"]
        decode = {e.name: e for e in model.endpoints()}.get("decode")
        served = {} if decode is None else decode.inputs
        known_inputs = {"z", *model.conditions.specs()}
        if "z" in served and set(served) <= known_inputs and math.prod(served["z"].shape) == len(latent["mean"]):
            z = TensorSpec(served["z"].shape, "float32", "standard deviations", -3.0, 3.0, 0.0, kind="axes")
            own = tuple(c for c in conditions if c in decode.inputs)
            found.append(
                View(
                    "latent",
                    "Latent sliders",
                    "decode",
                    PICTURES,
                    {"z": z},
                    {},
                    seeded=False,
                    conditions=own,
                    endpoint="decode",
                )
            )
    if "log_prob" in known:
        served = {e.name: e for e in model.endpoints()}.get("log_prob")
        options = known["log_prob"]["options"]
        levels = options.get("levels", served.inputs["x"].levels if served else None)
        own = {"x": dataclasses.replace(picture(shape), levels=levels)}
        asked = tuple(c.name for c in model.conditions if c.given and not c.optional)  # as the facts were measured
        found.append(
            View(
                "log_prob",
                "Log-likelihood",
                "log_prob",
                NUMBERS,
                own,
                {},
                dict(options),
                seeded=False,
                conditions=asked,
            )
        )
    return found
