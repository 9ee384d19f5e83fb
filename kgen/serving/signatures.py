"""The functions of a SavedModel: an endpoint, checks of its inputs and marks on its rows around it, and pictures made of its images."""

import contextlib
import errno
import inspect
import logging

from kgen.serving import marking, picture_inputs

_PNG_CHANNELS = (1, 3, 4)


def trace(endpoints, default, max_rows):
    """Traces every endpoint twice: for a stock server, and compiled by XLA. One that takes pictures takes them as uint8 and as PNG too.

    Args:
        endpoints: list of ``Endpoint``.
        default: the name of the one that ``serving_default`` is.
        max_rows: the most rows that a request may have.
    Returns:
        ``(variables, functions, outputs)``: an object that tracks the variables in use, a dict from each signature's name to
        its function, and one to its outputs, a dict of ``tf.TensorSpec``, which ``save`` fills.
    """
    import tensorflow as tf

    functions, outputs, used = {}, {}, {}
    with quiet():
        for endpoint in endpoints:
            specs = {n: tf.TensorSpec([None, *s.shape], s.dtype, name=n) for n, s in endpoint.inputs.items()}
            plain = _trace_plain(endpoint, specs)
            compiled = tf.function(_body(endpoint), autograph=False, jit_compile=True).get_concrete_function(**specs)
            used |= {id(v): v for v in (*plain.variables, *compiled.variables)}
            # Around what is traced here. These are traced when they are saved, and would be then if they were before.
            around = {endpoint.name: (plain, None), f"{endpoint.name}_xla": (compiled, None)}
            around |= {f"{endpoint.name}_{form}": (plain, form) for form in picture_inputs.forms_of(endpoint)}
            for name, (function, form) in around.items():
                outputs[name] = {}
                functions[name] = _signature(endpoint, function, max_rows, form, outputs[name])
    functions["serving_default"] = functions[default]
    tracked = tf.Module()
    tracked.weights = list(used.values())
    return tracked, functions, outputs


def save(variables, functions, folder):
    """Writes variables and functions of ``trace`` to a new folder.

    Raises:
        OSError: the disk is full or not writable.
    """
    import tensorflow as tf

    try:
        with quiet():
            tf.saved_model.save(variables, str(folder), signatures=functions)
    except tf.errors.OpError as error:  # how TensorFlow tells what the file system told it
        full = "No space left" in error.message
        raise OSError(
            errno.ENOSPC if full else errno.EIO, "No space left on device" if full else error.message
        ) from error


def _body(endpoint):
    """The function of both signatures: the endpoint's own, with its outputs checked."""
    import tensorflow as tf

    def body(**inputs):
        outputs = endpoint.function(**inputs)
        if not isinstance(outputs, dict):
            raise TypeError(
                f"Endpoint {endpoint.name!r}: expected a dict of outputs, received {type(outputs).__name__}."
            )
        outputs = {name: tf.convert_to_tensor(value) for name, value in outputs.items()}
        _check_outputs(endpoint, outputs)
        # Clients read float32; half precision stays inside.
        half = (tf.float16, tf.bfloat16)
        return {name: tf.cast(value, tf.float32) if value.dtype in half else value for name, value in outputs.items()}

    return body


def _trace_plain(endpoint, specs):
    """The endpoint without XLA. Raises ValueError where a part of it is compiled all the same."""
    import tensorflow as tf

    function = tf.function(_body(endpoint), autograph=False)
    with _no_compilation_within(tf):
        concrete = function.get_concrete_function(**specs)
    forced = [f.signature.name for f in concrete.graph.as_graph_def().library.function if f.attr["_XlaMustCompile"].b]
    if forced:
        raise ValueError(
            f"Endpoint {endpoint.name!r}: expected a function that runs without XLA, as on a stock TF Serving; XLA "
            f"compiles {', '.join(forced)} within it. Remove jit_compile=True there: signature '{endpoint.name}_xla' "
            "is compiled as a whole."
        )
    return concrete


def _check_outputs(endpoint, outputs):
    for name, value in outputs.items():
        if name in marking.DOCS:
            raise ValueError(
                f"Endpoint {endpoint.name!r}: expected outputs of other names than {', '.join(marking.DOCS)}, which say what "
                f"rows were refused, received {name!r}. Call it something else."
            )
        if not value.shape.rank or value.shape[0] is not None:
            raise ValueError(
                f"Endpoint {endpoint.name!r}: expected an output {name!r} with one row for each row of the inputs, "
                f"(None, ...), received shape {value.shape}. A server that batches requests cannot divide it."
            )
    for name in endpoint.images:
        if name not in outputs:
            raise ValueError(
                f"Endpoint {endpoint.name!r}: images names {name!r}, which is not among its outputs {sorted(outputs)}."
            )
        if outputs[name].shape.rank != 4 or not outputs[name].dtype.is_floating:
            raise ValueError(
                f"Endpoint {endpoint.name!r}: expected images {name!r} as floats (N, H, W, C), received "
                f"{outputs[name].dtype.name} {outputs[name].shape}."
            )


def _signature(endpoint, function, max_rows, form, found):
    """What a client calls: checks, the endpoint, pictures, marks.

    Args:
        endpoint: an ``Endpoint``.
        function: its function, traced.
        max_rows: the most rows that a request may have.
        form: that of the pictures it is given; None is floats.
        found: a dict that tracing fills with the outputs' specifications.
    """
    import tensorflow as tf

    specs = picture_inputs.specs(endpoint, form)

    # TensorFlow writes a signature's defaults, of one row, where it finds them in the Python function: those come last there.
    given = {n: s for n, s in endpoint.inputs.items() if n in specs}
    defaults = {
        n: tf.fill((1, *s.shape), tf.constant(s.default, s.dtype)) for n, s in given.items() if s.default is not None
    }
    names = sorted(specs, key=lambda name: (name in defaults, name))

    def signature(*values):
        # Servers do not compare a request with the signature's shapes: a graph would broadcast whatever it can.
        inputs = {n: tf.ensure_shape(v, specs[n].shape) for n, v in zip(names, values, strict=True)}
        with tf.control_dependencies(_row_checks(inputs, max_rows)):
            inputs = {name: tf.identity(value) for name, value in inputs.items()}
        inputs, broken = picture_inputs.to_floats(endpoint, form, inputs)
        inputs, valid, error = marking.accept(endpoint, inputs)
        if broken is not None:
            valid, error = valid & (broken == ""), tf.where(broken == "", error, broken)
        outputs = dict(function(**inputs))
        for name in endpoint.images:  # outside of what XLA compiles: it has no PNG encoder
            pixels = tf.cast(tf.clip_by_value(tf.round((outputs[name] + 1.0) * 127.5), 0.0, 255.0), tf.uint8)
            outputs[f"{name}_uint8"] = pixels
            if pixels.shape[-1] in _PNG_CHANNELS:
                png = "png_bytes" if len(endpoint.images) == 1 else f"{name}_png_bytes"  # REST encodes what ends so
                outputs[png] = tf.io.encode_png(pixels)
        outputs = marking.mark(outputs, valid) | {marking.VALID: valid, marking.ERROR: error}
        found.update({name: tf.TensorSpec(value.shape, value.dtype) for name, value in outputs.items()})
        return outputs

    empty = inspect.Parameter.empty
    signature.__signature__ = inspect.Signature(
        [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD, default=defaults.get(n, empty)) for n in names]
    )
    return tf.function(signature, [specs[n] for n in names], autograph=False)


def _row_checks(inputs, max_rows):
    """Assertions that run before all else. XLA would drop them, so that they stand around what it compiles."""
    import tensorflow as tf

    rows = tf.stack([tf.shape(value)[0] for value in inputs.values()])
    names = ", ".join(inputs)
    wanted = f"{names}: expected the same number of rows in each input"
    text = tf.strings.format(wanted + ", received {}", rows)
    same = tf.debugging.Assert(tf.reduce_all(rows == rows[0]), [text])
    text = tf.strings.format(f"{names}: expected 1 to {max_rows} rows, received {{}}", rows[0])
    return [same, tf.debugging.Assert((rows[0] >= 1) & (rows[0] <= max_rows), [text])]


@contextlib.contextmanager
def _no_compilation_within(tf):
    """``tf.function(jit_compile=True)`` compiles nothing.

    Keras wraps grouped convolutions in it, since TensorFlow cannot run them on a CPU once its optimizer has fused them
    with a bias. A stock server refuses what is compiled; a function that is not inlined keeps them apart from the bias.
    """
    original = tf.function

    def function(*args, jit_compile=None, **kwargs):
        if jit_compile:
            kwargs["experimental_attributes"] = {"_noinline": True}
        return original(*args, **kwargs)

    tf.function = function
    try:
        yield
    finally:
        tf.function = original


@contextlib.contextmanager
def quiet():
    """Silences what TensorFlow logs about saving and tracing; errors are raised all the same."""
    loggers = [logging.getLogger(name) for name in ("tensorflow", "absl", "tf2onnx")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
