"""Rows out of range: replaced before the endpoint sees them, and marked in what it answers.

A server that batches answers several clients at once, and a graph that fails, fails for all of them. So each row is answered, and one with a
value outside of its input's specification is marked: ``valid`` is false, ``error`` says why, and its outputs are NaN, 0, False or empty texts.
"""

import math

VALID, ERROR = "valid", "error"
DOCS = {
    VALID: "False for a row with a value out of range, whose other outputs are NaN, 0, False or empty",
    ERROR: "what is wrong with such a row; empty for the others",
}


def accept(endpoint, inputs):
    """Finds the rows that are within the specifications, and puts values in range into the others.

    Args:
        endpoint: the ``Endpoint``.
        inputs: dict of TensorFlow tensors (N, ...), one for each of its inputs.
    Returns:
        ``(inputs, valid, error)``: the inputs with what is out of range replaced, a bool tensor (N,), and a string tensor (N,).
    """
    import tensorflow as tf

    rows = tf.shape(next(iter(inputs.values())))[0]
    limits = {name: _limits(endpoint.inputs[name], value.dtype) for name, value in inputs.items()}
    limits = {name: ends for name, ends in limits.items() if ends is not None}
    valid, inside = tf.fill([rows], True), {}
    for name, ends in limits.items():
        low, high = (tf.constant(end, inputs[name].dtype) for end in ends)
        inside[name] = (inputs[name] >= low) & (inputs[name] <= high)  # NaN is neither
        valid &= tf.reduce_all(tf.reshape(inside[name], [rows, -1]), 1)

    def replaced():
        found, error = dict(inputs), tf.fill([rows], "")
        for name in reversed(limits):  # of several inputs that are wrong the first is named
            spec, value = endpoint.inputs[name], inputs[name]
            found[name] = tf.where(inside[name], value, tf.constant(_stand_in(spec, limits[name]), value.dtype))
            good = tf.reshape(inside[name], [rows, -1])
            first = tf.argmin(tf.cast(good, tf.int32), 1)
            received = tf.gather(tf.reshape(value, [rows, -1]), first, batch_dims=1)
            floats = value.dtype.is_floating
            number = tf.strings.as_string(tf.cast(received, tf.float64) if floats else received, shortest=floats)
            text = tf.strings.join([f"{name}: expected {_wanted(spec)}, received ", number])
            error = tf.where(tf.reduce_all(good, 1), error, text)
        return found, error

    # Most requests are in range, and are not copied.
    found, error = tf.cond(tf.reduce_all(valid), lambda: (dict(inputs), tf.fill([rows], "")), replaced)
    return {name: tf.ensure_shape(value, inputs[name].shape) for name, value in found.items()}, valid, error


def mark(outputs, valid):
    """Outputs (N, ...) with NaN, 0, False or empty texts in the rows that are not valid.

    Args:
        outputs: dict of TensorFlow tensors.
        valid: bool tensor (N,).
    Returns:
        dict of tensors.
    """
    import tensorflow as tf

    def marked(output):
        nan = output.dtype.is_floating or output.dtype.is_complex
        nothing = tf.constant(math.nan, output.dtype) if nan else tf.zeros([], output.dtype)
        return tf.where(tf.reshape(valid, [-1] + [1] * (output.shape.rank - 1)), output, nothing)

    found = tf.cond(
        tf.reduce_all(valid), lambda: dict(outputs), lambda: {name: marked(value) for name, value in outputs.items()}
    )
    return {name: tf.ensure_shape(value, outputs[name].shape) for name, value in found.items()}


def _limits(spec, dtype):
    """The smallest and the largest number that an input takes, both of its dtype; None where it takes all that there are."""
    if dtype.is_bool:
        return None
    least, most = (limit if dtype.is_integer else float(limit) for limit in (dtype.min, dtype.max))
    low = least if spec.low is None else max(least, spec.low)
    high = most if spec.high is None else min(most, spec.high)
    if not dtype.is_integer:  # infinity is never in range
        return low, high
    limits = math.ceil(low), math.floor(high)
    return None if limits == (least, most) else limits


def _stand_in(spec, limits):
    """A number in range: the default, or the one that is nearest to 0."""
    return min(max(0, limits[0]), limits[1]) if spec.default is None else spec.default


def _wanted(spec):
    low, high = spec.low, spec.high
    if low is None and high is None:
        return "finite numbers"
    if low is None or high is None:
        return f"numbers of at least {low}" if high is None else f"numbers of at most {high}"
    return f"values in [{low}, {high}]"
