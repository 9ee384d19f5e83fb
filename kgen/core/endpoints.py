"""What a model offers to a server: functions with their input specifications."""

import dataclasses
from collections.abc import Callable


@dataclasses.dataclass(frozen=True)
class TensorSpec:
    """One input of an endpoint.

    Args:
        shape: shape of one row; the batch dimension leads and is not named.
        dtype: "float32", "int32" ...
        doc: what it is: range, unit.
        low, high: the inclusive range that is accepted, or None where there is no bound.
        default: what clients send where a user gives nothing, as the model's own method does, a number that fills the shape; None where
            one must be given.
        kind: what it is to whoever gives it: "label", "vector", "image", "sequence", "mask", or "number" and "array" of anything else.
        choices: names of the values from 0 on, such as those of classes, or None.
        unit: what it is measured in, or None.
        levels: how many equally spaced values from ``low`` to ``high`` there are, where no other is taken; or None.
    """

    shape: tuple
    dtype: str
    doc: str
    low: float | None = None
    high: float | None = None
    default: float | None = None
    kind: str = "array"
    choices: tuple | None = None
    unit: str | None = None
    levels: int | None = None


@dataclasses.dataclass(frozen=True)
class Endpoint:
    """A function worth serving.

    Args:
        name: the signature's name.
        function: maps tensors, one keyword per input, each with a leading batch dimension, to a dict of tensors with
            the same leading dimension. Row i of every output depends on row i of every input alone.
        inputs: dict from an input's name to its ``TensorSpec``.
        outputs: dict from an output's name to what it is: range, unit.
        images: names of outputs that are images in [-1, 1] (N, H, W, C); a server also offers them as uint8 and as PNG.
        call: how Python is asked for the same: a method of the model, or the dotted name of a public function that takes the model first;
            the method of the endpoint's name, if None.
        keywords: dict of what such a call is always given beside the inputs.
    """

    name: str
    function: Callable
    inputs: dict
    outputs: dict
    images: tuple = ()
    call: str | None = None
    keywords: dict = dataclasses.field(default_factory=dict)


SEED = TensorSpec(
    (2,), "int32", "row seed: any two integers; kgen.core.random.row_seeds(seed, n) gives those of sample(n, seed=seed)"
)
