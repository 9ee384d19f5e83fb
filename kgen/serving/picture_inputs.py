"""Pictures that come to a server as uint8 or as PNG files, where an endpoint takes floats in [-1, 1].

An endpoint with an input of kind "image" is served under three names: its own, ``<name>_uint8`` and ``<name>_png``, whose image inputs are
called ``<input>_uint8`` (N, H, W, C) and ``<input>_png_bytes`` (N,). All three run the same graph.

A server decodes the rows of several clients in one call, and a file that cannot be decoded fails the call. So each file's header and end are
looked at first, before anything is decoded: one that is no PNG, has another size or is cut off is marked in its row alone, and a picture of
millions of pixels is never opened. What is broken inside of a whole file still fails the call.
"""

UINT8, PNG = "uint8", "png"
FORMS = (UINT8, PNG)
_NAMES = {
    UINT8: "{}_uint8",
    PNG: "{}_png_bytes",
}  # REST decodes base64 wherever it stands; the name says it as that of an output does
_HEAD, _END = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"\x00\x00\x00\x00IEND\xaeB`\x82"


def images_of(endpoint):
    """Names of the inputs that are pictures: a tuple."""
    return tuple(n for n, s in endpoint.inputs.items() if s.kind == "image" and s.shape[-1] in (1, 3, 4))


def forms_of(endpoint):
    """The forms in which its pictures may come beside floats; () where there are none."""
    return FORMS if images_of(endpoint) else ()


def names(endpoint, form):
    """Dict from the name of each image input to what it is called in a form; {} for floats (None)."""
    return {} if form is None else {n: _NAMES[form].format(n) for n in images_of(endpoint)}


def specs(endpoint, form):
    """What a signature takes: dict from a name to a ``tf.TensorSpec``, a batch dimension in front."""
    import tensorflow as tf

    called, found = names(endpoint, form), {}
    for name, spec in endpoint.inputs.items():
        shape, dtype = [None, *spec.shape], spec.dtype
        if name in called:
            name = called[name]
            shape, dtype = (shape, tf.uint8) if form == UINT8 else ([None], tf.string)
        found[name] = tf.TensorSpec(shape, dtype, name=name)
    return found


def to_floats(endpoint, form, inputs):
    """A signature's inputs as the endpoint takes them.

    Args:
        endpoint: the ``Endpoint``.
        form: "uint8", "png", or None for floats.
        inputs: dict of TensorFlow tensors, named as in ``specs``.
    Returns:
        ``(inputs, error)``: dict of tensors under the endpoint's own names, and a string tensor (N,): what is wrong with a row's file, or
        ""; None where there are no files.
    """
    import tensorflow as tf

    called, error = {v: k for k, v in names(endpoint, form).items()}, None
    found = {}
    for name, value in inputs.items():
        if name in called:
            shape = endpoint.inputs[called[name]].shape
            if form == PNG:
                text, value = _decoded(name, value, shape)
                error = text if error is None else tf.where(error == "", text, error)
            value = tf.cast(value, tf.float32) / 127.5 - 1.0
        found[called.get(name, name)] = value
    return found, error


def _decoded(name, files, shape):
    """``(error, pixels)``: string tensor (N,) and uint8 tensor (N, H, W, C), grey where a file is not what is expected."""
    import tensorflow as tf

    height, width, channels = shape
    blank = tf.constant(b"\0" * 24)  # so that a short text has the places that are looked at
    padded = tf.strings.join([files, blank])
    size = tf.reshape(tf.io.decode_raw(tf.strings.substr(padded, 16, 8), tf.uint8), [-1, 8])
    place = tf.constant([2**24, 2**16, 2**8, 1], tf.int64)  # big-endian
    across, down = (tf.reduce_sum(tf.cast(size[:, i : i + 4], tf.int64) * place, 1) for i in (0, 4))
    is_png = tf.strings.substr(padded, 0, len(_HEAD)) == _HEAD
    fits = (down == height) & (across == width)
    whole = tf.strings.substr(tf.strings.join([blank, files]), -len(_END), len(_END)) == _END
    wanted = f"{name}: expected a PNG file of {height}x{width} pixels, received "
    other = tf.strings.join([wanted, "one of ", tf.strings.as_string(down), "x", tf.strings.as_string(across)])
    error = tf.where(whole, tf.zeros_like(files), wanted + "one that is cut off")
    error = tf.where(is_png, tf.where(fits, error, other), wanted + "something else")
    grey = tf.io.encode_png(tf.fill([height, width, channels], tf.constant(128, tf.uint8)))

    def pixels(file):
        return tf.ensure_shape(tf.io.decode_png(file, channels), shape)

    output = tf.TensorSpec(shape, tf.uint8)
    return error, tf.map_fn(pixels, tf.where(error == "", files, grey), fn_output_signature=output)
