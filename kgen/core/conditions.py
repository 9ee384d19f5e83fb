"""Conditions: what a sample is to be like. A label, a vector, a picture, or a sequence of tokens.

A condition checks its data, can be hidden from the network (each alone, which is what guidance needs), has a null value that means
"not given", and describes itself: endpoints, the command line, clients and cards are made from that description.

The value of a condition is one tensor or several, each with a name: a label is ``{"label": (B,)}``, a masked sequence
``{"text": (B, L), "text_mask": (B, L)}``. Networks get them as a list, in the order of ``specs``, after what they always get.
"""

import keras
import numpy as np
from keras import ops

from kgen.core import checks, random
from kgen.core.config import Configured
from kgen.core.endpoints import TensorSpec


class Condition(Configured):
    """Base class.

    Args:
        name: under which it is given: in ``fit({..., name: ...})``, ``sample(name=...)`` and to a server.
        dropout: share of training examples from which it is hidden, in [0, 1]. Above 0 it may be left out when sampling, and guidance
            knows what it does.
    """

    kind = "condition"
    given = True  # False: made from the data itself, by ``made``; ``fit`` is not asked for it

    def __init__(self, name, dropout=0.0):
        if not isinstance(name, str) or not name.isidentifier() or name in RESERVED:
            raise ValueError(
                f"name: expected a Python name other than {', '.join(sorted(RESERVED))}, received {name!r}."
            )
        self.name = name
        self.dropout = checks.in_range("dropout", dropout, 0.0, 1.0)

    @property
    def optional(self):
        """Whether it may be left out: the network has learned what its null value means."""
        return self.dropout > 0

    @property
    def keyword(self):
        """Its name among the arguments of ``sample``."""
        return self.name

    def specs(self):
        """Its tensors: a dict from each one's name to its ``TensorSpec``."""
        raise NotImplementedError

    def check(self, value, n, argument=None):
        """The value of ``n`` rows as numpy arrays.

        Args:
            value: what a user gave.
            n: number of rows.
            argument: what to call it in an error; its name by default.
        Returns:
            dict from the name of each tensor to an array (n, ...).
        Raises:
            ValueError, TypeError: shape, range, dtype or number of rows.
        """
        raise NotImplementedError

    def rows(self, value, n, argument=None):
        """As ``check``, where one value may stand for all rows."""
        shapes = [spec.shape for spec in self.specs().values()]
        one = np.ndim(value) == len(shapes[0])
        return self.check(np.broadcast_to(value, (n, *np.shape(value))) if one else value, n, argument or self.keyword)

    def tensors(self, value):
        """A batch's value, as ``fit`` was given it, as tensors by name and of the right dtypes."""
        (name, spec), *_ = self.specs().items()
        value = value[name] if isinstance(value, dict) else value
        return {name: ops.cast(ops.reshape(value, (-1, *spec.shape)), spec.dtype)}

    def made(self, x, seeds):
        """Its tensors by name, made from the data x (B, ...) and row seeds (B, 2), where it is not ``given``."""
        raise NotImplementedError

    def null(self):
        """What means "not given": a dict from each tensor's name to a number that fills it."""
        return dict.fromkeys(self.specs(), 0)

    def hide(self, values, hidden):
        """``values`` with the null value in the rows where ``hidden`` (B,) is true."""
        null = self.null()
        return {name: ops.where(_like(hidden, v), ops.cast(null[name], v.dtype), v) for name, v in values.items()}


def _like(rows, value):
    return ops.reshape(rows, (-1, *[1] * (len(value.shape) - 1)))


@keras.saving.register_keras_serializable(package="kgen")
class LabelCondition(Condition):
    """One of several classes; label ``num_classes`` means "no class".

    Args:
        num_classes: their number, or a list of their names, by which they can be asked for: ``sample(4, labels="cat")``.
        name, dropout: as in ``Condition``.
    """

    kind = "label"

    def __init__(self, num_classes, name="label", dropout=0.0):
        super().__init__(name, dropout)
        if isinstance(num_classes, (list, tuple)):
            num_classes = [str(c) for c in num_classes]
            if len(set(num_classes)) < len(num_classes) or not num_classes:
                raise ValueError(f"num_classes: expected the names of the classes, each once, received {num_classes}.")
        else:
            num_classes = checks.positive_int("num_classes", num_classes)
        self.num_classes = num_classes

    @property
    def count(self):
        """How many classes there are."""
        return self.num_classes if isinstance(self.num_classes, int) else len(self.num_classes)

    @property
    def keyword(self):
        return "labels" if self.name == "label" else self.name

    @property
    def choices(self):
        """The classes' names, or None."""
        return None if isinstance(self.num_classes, int) else tuple(self.num_classes)

    def specs(self):
        high = self.count if self.optional else self.count - 1
        doc = f"class; {self.count} means no class" if self.optional else "class"
        default = self.count if self.optional else None
        spec = TensorSpec((), "int32", doc, 0, high, default, kind=self.kind, choices=self.choices)
        return {self.name: spec}

    def check(self, value, n, argument=None):
        argument = argument or self.name
        value = np.asarray(value)
        if value.dtype.kind in "US" and self.choices:
            for name in np.unique(value):
                checks.one_of(argument, str(name), self.choices)
            value = np.vectorize(self.choices.index, otypes=["int32"])(value)
        return {self.name: checks.labels(argument, value, self.count, n)}

    def rows(self, value, n, argument=None):
        return self.check(np.full((n,), value) if np.ndim(value) == 0 else value, n, argument or self.keyword)

    def null(self):
        return {self.name: self.count}


@keras.saving.register_keras_serializable(package="kgen")
class VectorCondition(Condition):
    """Some numbers, such as attributes or an embedding; zeros mean "not given".

    Args:
        size: how many numbers.
        low, high: the range that they lie in, or None.
        unit: what they are measured in, for whoever gives them.
        name, dropout: as in ``Condition``.
    """

    kind = "vector"

    def __init__(self, size, low=None, high=None, unit=None, name="vector", dropout=0.0):
        super().__init__(name, dropout)
        self.size = checks.positive_int("size", size)
        self.low, self.high, self.unit = low, high, unit

    def specs(self):
        doc = f"{self.size} numbers" + (f", {self.unit}" if self.unit else "")
        return {self.name: TensorSpec((self.size,), "float32", doc, self.low, self.high, kind=self.kind)}

    def check(self, value, n, argument=None):
        argument = argument or self.name
        value = np.asarray(value)
        value = value.astype("float32") if value.dtype.kind in "iu" else value
        checks.rows(argument, value, (self.size,))
        checks.count(argument, value, n)
        low, high = (-np.inf if self.low is None else self.low), (np.inf if self.high is None else self.high)
        if value.min() < low or value.max() > high:
            raise ValueError(
                f"{argument}: expected values in [{low:g}, {high:g}], received [{value.min():g}, {value.max():g}]."
            )
        return {self.name: value.astype("float32")}


@keras.saving.register_keras_serializable(package="kgen")
class ImageCondition(Condition):
    """A picture, floats in [-1, 1]; zeros, a grey that is the mean of the range, mean "not given".

    Args:
        shape: (H, W, C).
        name, dropout: as in ``Condition``.
    """

    kind = "image"

    def __init__(self, shape, name="condition", dropout=0.0):
        super().__init__(name, dropout)
        self.shape = checks.shape("shape", shape)
        if len(self.shape) != 3:
            raise ValueError(f"shape: expected (H, W, C), received {self.shape}.")

    def specs(self):
        return {self.name: TensorSpec(self.shape, "float32", "picture in [-1, 1]", -1.0, 1.0, kind=self.kind)}

    def check(self, value, n, argument=None):
        argument, value = argument or self.name, np.asarray(value)
        checks.images(argument, value, self.shape)
        checks.count(argument, value, n)
        return {self.name: value.astype("float32")}

    def get_config(self):
        return {**super().get_config(), "shape": list(self.shape)}


@keras.saving.register_keras_serializable(package="kgen")
class SequenceCondition(Condition):
    """Tokens with a mask: a caption, or any other sequence of up to ``length`` integers. A mask of zeros means "not given".

    The mask is 1 where a token counts. Where only tokens are given, those other than ``padding`` count.

    Args:
        length: number of tokens of a row, those that do not count included.
        vocabulary_size: tokens are in [0, vocabulary_size).
        padding: the token that fills a row.
        tokenizer: a ``kgen.text`` tokenizer, by which texts can be given in place of tokens; or None.
        name, dropout: as in ``Condition``.
    """

    kind = "sequence"

    def __init__(self, length, vocabulary_size, padding=0, tokenizer=None, name="text", dropout=0.0):
        super().__init__(name, dropout)
        self.length = checks.positive_int("length", length)
        self.vocabulary_size = checks.positive_int("vocabulary_size", vocabulary_size)
        self.padding = int(checks.in_range("padding", padding, 0, self.vocabulary_size - 1))
        if isinstance(tokenizer, dict):
            tokenizer = keras.saving.deserialize_keras_object(tokenizer)
        self.tokenizer = tokenizer

    @property
    def mask_name(self):
        return f"{self.name}_mask"

    def specs(self):
        tokens = TensorSpec((self.length,), "int32", "tokens", 0, self.vocabulary_size - 1, kind=self.kind)
        mask = TensorSpec((self.length,), "float32", "1 where a token counts, 0 elsewhere", 0.0, 1.0, kind="mask")
        return {self.name: tokens, self.mask_name: mask}

    def encode(self, texts):
        """Tokens (N, length) of texts, cut off where they are longer and padded where they are shorter."""
        if self.tokenizer is None:
            raise ValueError(
                f"{self.name}: texts need a tokenizer; make the condition with tokenizer=, or pass tokens."
            )
        rows = np.full((len(texts), self.length), self.padding, "int32")
        for row, text in zip(rows, texts, strict=True):
            tokens = np.asarray(self.tokenizer.encode(text), "int32")[: self.length]
            row[: len(tokens)] = tokens
        return rows

    def check(self, value, n, argument=None):
        argument = argument or self.name
        mask = None
        if isinstance(value, dict):
            value, mask = value[self.name], value.get(self.mask_name)
        value = np.asarray(value)
        if value.dtype.kind in "USO":
            value = self.encode([str(v) for v in value])
        if value.ndim != 2 or value.shape[1] != self.length or value.dtype.kind not in "iu":
            raise ValueError(
                f"{argument}: expected int tokens (N, {self.length}), received {value.dtype} of shape {value.shape}."
            )
        checks.count(argument, value, n)
        if value.min() < 0 or value.max() >= self.vocabulary_size:
            raise ValueError(
                f"{argument}: expected tokens in [0, {self.vocabulary_size}), received values from {value.min()} to {value.max()}."
            )
        mask = value != self.padding if mask is None else np.asarray(mask)
        if mask.shape != value.shape or not np.isin(mask, (0, 1)).all():
            raise ValueError(
                f"{self.mask_name}: expected zeros and ones of shape {value.shape}, received {mask.shape}."
            )
        return {self.name: value.astype("int32"), self.mask_name: mask.astype("float32")}

    def rows(self, value, n, argument=None):
        if isinstance(value, str):
            value = [value] * n
        if not isinstance(value, dict) and np.ndim(value) == 1 and np.asarray(value).dtype.kind in "iu":
            value = np.broadcast_to(value, (n, len(value)))
        return self.check(value, n, argument or self.keyword)

    def tensors(self, value):
        given = value if isinstance(value, dict) else {self.name: value}
        tokens = ops.cast(ops.reshape(given[self.name], (-1, self.length)), "int32")
        mask = given.get(self.mask_name)
        mask = ops.not_equal(tokens, self.padding) if mask is None else ops.reshape(mask, (-1, self.length))
        return {self.name: tokens, self.mask_name: ops.cast(mask, "float32")}

    def null(self):
        return {self.name: self.padding, self.mask_name: 0}

    def get_config(self):
        tokenizer = self.tokenizer and keras.saving.serialize_keras_object(self.tokenizer)
        return {**super().get_config(), "tokenizer": tokenizer}


RESERVED = {
    *(
        "x",
        "y",
        "z",
        "t",
        "n",
        "seed",
        "seeds",
        "guidance",
        "strength",
        "steps",
        "sampler",
        "batch_size",
        "labels",
        "frames",
    ),
}


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
