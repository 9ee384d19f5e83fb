"""The conditions of a model, together."""

import keras
import numpy as np
from keras import ops

from kgen.core import checks, random
from kgen.core.conditions.condition import Condition
from kgen.core.conditions.kinds import LabelCondition


class Conditions:
    """The conditions of a model, in their order: what every family asks in the same words.

    Args:
        conditions: list of ``Condition``, or their configurations.
    """

    def __init__(self, conditions=()):
        conditions = [conditions] if isinstance(conditions, (Condition, dict)) else list(conditions)
        found = [keras.saving.deserialize_keras_object(c) if isinstance(c, dict) else c for c in conditions]
        for c in found:
            if not isinstance(c, Condition):
                raise TypeError(f"conditions: expected Condition objects, such as LabelCondition(10), received {c!r}.")
        names = [name for c in found for name in c.specs()]
        if len(set(names)) < len(names):
            raise ValueError(f"conditions: expected each name once, received {names}. Give each a name= of its own.")
        self.all = tuple(found)

    def __iter__(self):
        return iter(self.all)

    def __len__(self):
        return len(self.all)

    def __getitem__(self, name):
        return {c.name: c for c in self.all}[name]

    def __eq__(self, other):
        return isinstance(other, Conditions) and self.all == other.all

    __hash__ = None

    @property
    def given(self):
        """Those that ``fit`` is given."""
        return [c for c in self.all if c.given]

    @property
    def droppable(self):
        """Whether any can be left out, which is what guidance compares with."""
        return any(c.optional for c in self.all)

    def specs(self):
        """Dict from the name of every tensor to its ``TensorSpec``."""
        return {name: spec for c in self.all for name, spec in c.specs().items()}

    def symbols(self):
        """Symbolic tensors of every value, to call a network on."""
        return [keras.KerasTensor((None, *spec.shape), spec.dtype) for spec in self.specs().values()]

    def separate(self, x, y, data_name):
        """Data and what conditions are given, from ``x`` and ``y`` as users write them.

        ``fit(x)``, ``fit(x, y)`` and ``fit({data_name: x, "label": y})`` say the same; ``y`` may be a dict too.

        Returns:
            ``(x, given)``: the data, and a dict from a condition's name to its value.
        Raises:
            ValueError: a condition is missing, or something is there that is none.
        """
        found = {}
        if isinstance(x, dict) and data_name in x:
            found = {k: v for k, v in x.items() if k != data_name}
            x = x[data_name]
        if isinstance(y, dict):
            found.update(y)
        elif y is not None:
            if not self.given:
                raise ValueError(
                    "y: this model has no classes. Train by fit(x); a model of classes is made with num_classes=."
                )
            if len(self.given) > 1:
                named = ", ".join(f"{c.name!r}: ..." for c in self.given)
                raise ValueError(f"y: this model has several conditions; pass them by name: fit(x, {{{named}}}).")
            found[self.given[0].name] = y
        known = {name: c.name for c in self.given for name in c.specs()}
        unknown = [name for name in found if name not in known]
        if unknown:
            raise ValueError(
                f"{unknown[0]}: expected {', '.join([repr(data_name), *map(repr, known)])}, received {unknown[0]!r} too."
            )
        given = {}
        for c in self.given:
            parts = {name: found[name] for name in c.specs() if name in found}
            if c.name not in parts:
                raise ValueError(self._missing(c, data_name))
            given[c.name] = parts[c.name] if len(parts) == 1 else parts
        return x, given

    def _missing(self, condition, data_name):
        if condition.kind == "label" and len(self.given) == 1:
            return f"y: this model has {condition.count} classes and needs labels: fit(x, labels)."
        named = ", ".join(f"{c.name!r}: ..." for c in self.given)
        return f"{condition.name}: it is missing. This model is trained by fit({{{data_name!r}: x, {named}}})."

    def check(self, given, n):
        """Raises ValueError or TypeError unless ``given`` (see ``separate``) fits ``n`` examples; returns the arrays by name."""
        found = {}
        for c in self.given:
            found.update(c.check(given[c.name], n, "y" if len(self.given) == 1 else c.name))
        return found

    def in_numbers(self, x, y, arrays, data_name):
        """``x`` and ``y``, arrays as users write them, with ``arrays``, what ``check`` made of them, in the place of texts."""

        def number(name, value):
            return arrays[name] if name in arrays and checks.texts(value) is not None else value

        if isinstance(x, dict):
            x = {name: value if name == data_name else number(name, value) for name, value in x.items()}
        if isinstance(y, dict):
            y = {name: number(name, value) for name, value in y.items()}
        elif y is not None and self.given:
            y = number(self.given[0].name, y)
        return x, y

    def of_batch(self, given, x, seeds):
        """The tensors of a batch by name, those that are made from the data included."""
        values = {}
        for c in self.all:
            values.update(c.tensors(given[c.name]) if c.given else c.made(x, seeds))
        return values

    def dropped(self, values, seeds):
        """``values`` with each condition hidden, by itself, from its share of the rows. Draws 0, 1 ... of ``seeds`` are used."""
        for i, c in enumerate(self.all):
            if c.dropout > 0:
                own = {name: values[name] for name in c.specs()}
                values = {**values, **c.hide(own, random.uniform(seeds, (), draw=i) < c.dropout)}
        return values

    def null(self, values, keep=()):
        """``values`` with every condition that can be left out at its null value, but those whose names are in ``keep``."""
        for c in self.all:
            if c.optional and c.name not in keep:
                own = {name: values[name] for name in c.specs()}
                hidden = ops.ones((ops.shape(next(iter(own.values())))[0],), dtype="bool")
                values = {**values, **c.hide(own, hidden)}
        return values

    def rows(self, n, given):
        """The arrays of ``n`` rows to sample: what users pass to ``sample``, by keyword.

        Args:
            n: number of rows.
            given: dict from a condition's keyword to its value; None or absent where it is left out.
        Returns:
            dict from the name of every tensor to an array (n, ...).
        Raises:
            ValueError: out of range, unknown, or missing and not optional.
        """
        found, arrays = self.some(n, given), {}
        for c in self.all:
            if c.name not in found and not c.optional:
                raise ValueError(self._needed(c, n))
            for (name, spec), fill in zip(c.specs().items(), c.null().values(), strict=True):
                arrays[name] = found[name] if c.name in found else np.full((n, *spec.shape), fill, spec.dtype)
        return arrays

    def some(self, n, given):
        """As ``rows``, of the conditions that are given alone."""
        given = {k: v for k, v in given.items() if v is not None}
        keywords = {c.keyword for c in self.all}
        for name in given:
            if name in ("label", "labels") and name not in keywords:
                raise ValueError(f"{name}: this model has no classes; make it with num_classes= to condition on them.")
            if name not in keywords and not any(name in c.specs() for c in self.all):
                raise TypeError(
                    f"{name}: expected {', '.join(sorted(keywords)) or 'no conditions'}, received {name!r}."
                )
        arrays = {}
        for c in self.all:
            masks = {name: given[name] for name in c.specs() if name in given and name != c.keyword}
            if c.keyword in given:
                arrays.update(c.rows({c.name: given[c.keyword], **masks} if masks else given[c.keyword], n))
        return arrays

    def _needed(self, c, n):
        if c.kind == "label":
            each = f"pass one int for all rows, or {n} of them in [0, {c.count})"
            return f"{c.keyword}: this model has {c.count} classes; {each}. It has not learned what no class would be."
        return f"{c.keyword}: this model needs it to sample: one for all rows, or {n} of them."

    def get_config(self):
        return [keras.saving.serialize_keras_object(c) for c in self.all]


def of_classes(num_classes, dropout=0.0):
    """``[LabelCondition]`` for ``num_classes`` classes (a number or names), or [] for None."""
    return [] if num_classes is None else [LabelCondition(num_classes, dropout=dropout)]
