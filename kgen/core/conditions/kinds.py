"""The kinds of conditions: label, vector, image, sequence with mask."""

import pathlib

import keras
import numpy as np
from keras import ops

from kgen.core import checks
from kgen.core.conditions.condition import Condition, read_numbers
from kgen.core.endpoints import TensorSpec


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
        names = checks.texts(value)
        if names is not None and self.choices:
            for name in np.unique(names):
                checks.one_of(argument, str(name), self.choices)
            value = np.vectorize(self.choices.index, otypes=["int32"])(names)
        return {self.name: checks.labels(argument, value, self.count, n)}

    def read(self, text):
        return int(text) if text.isdigit() else text

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
        within = (self.low is None or self.low <= 0) and (self.high is None or self.high >= 0)
        default = 0.0 if self.optional and within else None  # a server refuses what is out of range
        doc, bounds = f"{self.size} numbers", (self.low, self.high, default)
        return {self.name: TensorSpec((self.size,), "float32", doc, *bounds, kind=self.kind, unit=self.unit)}

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

    def read(self, text):
        return read_numbers(text, float, f"{self.size} numbers, such as 0.5,1")


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
        default = 0.0 if self.optional else None
        return {self.name: TensorSpec(self.shape, "float32", "picture in [-1, 1]", -1.0, 1.0, default, kind=self.kind)}

    def check(self, value, n, argument=None):
        argument, value = argument or self.name, np.asarray(value)
        checks.images(argument, value, self.shape)
        checks.count(argument, value, n)
        return {self.name: value.astype("float32")}

    def read(self, text):
        """The picture in the file ``text``, as large as the condition."""
        from PIL import Image

        if not pathlib.Path(text).is_file():
            raise ValueError(f"expected the file of a picture, received {text!r}.")
        picture = Image.open(text).convert({1: "L", 3: "RGB", 4: "RGBA"}[self.shape[-1]]).resize(self.shape[1::-1])
        return np.asarray(picture, "float32").reshape(self.shape) / 127.5 - 1

    def get_config(self):
        return {**super().get_config(), "shape": list(self.shape)}


@keras.saving.register_keras_serializable(package="kgen")
class SequenceCondition(Condition):
    """Tokens with a mask: a caption, or any other sequence of up to ``length`` integers. A mask of zeros means "not given".

    The mask is 1 where a token counts. Where only tokens are given, those other than ``padding`` count. An endpoint demands both: a default
    of the mask would hide the tokens of who leaves out the mask alone.

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
        texts = checks.texts(value)
        if texts is not None:
            value = self.encode([str(v) for v in texts])
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

    def read(self, text):
        if self.tokenizer is not None:
            return text
        return read_numbers(text, int, f"{self.length} tokens, integers such as 3,1,2")

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
