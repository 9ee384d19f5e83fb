"""Networks of the user's own: whether they are what an autoregressive model needs, and generation that keeps nothing but what was drawn.

A network that keeps what it knows of earlier positions does better than this by methods of its own: ``CausalTransformer.prefill`` and ``step``,
``PixelNet.generate``. Any other is called anew on all that is there, for each token or pixel.
"""

import keras
import numpy as np
from keras import ops

CHECKED = 8  # tokens are enough to see that a network looks ahead


def is_cached(network):
    """Whether a network of tokens has ``prefill`` and ``step``, as ``kgen.networks.CausalTransformer`` has."""
    return hasattr(network, "prefill") and hasattr(network, "step")


class Uncached:
    """Gives a network of tokens the methods ``prefill`` and ``step``; what it keeps are the tokens, from the left.

    Args:
        network: maps int32 (B, T) to logits (B, T, V), position i from the tokens up to i.
        context: the most tokens that it is called on.
    """

    def __init__(self, network, context):
        self.network, self.context = network, context

    def prefill(self, tokens, start, slots):
        """As in ``CausalTransformer``; the cache is ``(tokens,)``, int32 (B, min(slots, context))."""
        width = min(slots, self.context)
        columns = ops.arange(width, dtype="int32") + start[:, None]
        kept = ops.take_along_axis(tokens, ops.minimum(columns, tokens.shape[1] - 1), axis=1)
        return self._logits(kept, tokens.shape[1] - 1 - start), (kept,)

    def step(self, token, slot, start, cache):
        """As in ``CausalTransformer``."""
        place = slot - start
        kept = ops.where(ops.arange(cache[0].shape[1], dtype="int32") == place[:, None], token[:, None], cache[0])
        return self._logits(kept, place), (kept,)

    def _logits(self, tokens, place):
        """Logits at one place of each row; the network does not see what stands after it."""
        logits = ops.cast(self.network(tokens, training=False), "float32")
        return ops.take_along_axis(logits, place[:, None, None], axis=1)[:, 0]


def check_tokens(network, rows, context):
    """Calls a network on tokens: it must return logits (B, T, rows), and must not look ahead.

    Raises:
        ValueError: it fails, returns another shape, or its logits at a token depend on later tokens.
    """
    wanted = f"expected a network from int32 tokens (B, T), T <= {context}, to logits (B, T, {rows})"
    length = min(context, CHECKED)
    tokens = np.random.default_rng(0).integers(0, rows, (1, length)).astype("int32")
    if length > 1:
        tokens = np.concatenate([tokens, tokens])
        tokens[1, -1] = (tokens[1, -1] + 1) % rows
    found = _call(network, tokens, wanted)
    if tuple(found.shape[1:]) != (length, rows):
        raise ValueError(f"network: {wanted}; for T = {length} it returned {tuple(found.shape)}.")
    if length > 1 and not isinstance(found, keras.KerasTensor) and _differ(*ops.convert_to_numpy(found)[:, :-1]):
        raise ValueError(
            f"network: {wanted}, each from the tokens up to its own; this one looks ahead: another last token changed earlier logits. "
            'Make it causal (Conv1D(padding="causal"), use_causal_mask=True, a recurrent layer).'
        )


def check_pixels(network, shape, size, num_classes):
    """Calls a network on images: it must return (B, H, W, size), and at a pixel must see neither it nor those after it in raster order.

    Raises:
        ValueError: it fails, returns another shape, or sees what it may not.
    """
    given = "images (B, H, W, C)" if num_classes is None else "[images (B, H, W, C), labels int32 (B,)]"
    wanted = f"expected a network from {given} to (B, {shape[0]}, {shape[1]}, {size})"
    one = np.random.default_rng(0).uniform(-1, 1, shape).astype("float32")
    other = one.reshape(-1, shape[-1]).copy()
    middle = len(other) // 2
    other[middle] = -other[middle]
    x = np.stack([one, other.reshape(shape)])
    found = _call(network, x if num_classes is None else [x, np.zeros(2, "int32")], wanted)
    if tuple(found.shape[1:]) != (*shape[:2], size):
        raise ValueError(f"network: {wanted}; it returned {tuple(found.shape)}.")
    if isinstance(found, keras.KerasTensor):
        return
    found = ops.convert_to_numpy(found).reshape(2, -1, size)[:, : middle + 1]
    if _differ(*found):
        raise ValueError(
            f"network: {wanted}, each pixel's from the pixels before it in raster order; this one sees a pixel or what comes after it. "
            "Mask or shift its convolutions (kgen.layers.DownShiftedConv2D, DownRightShiftedConv2D)."
        )


def _call(network, inputs, wanted):
    try:
        return network(keras.tree.map_structure(ops.convert_to_tensor, inputs), training=False)
    except Exception as error:
        raise ValueError(f"network: {wanted}; it failed on them: {error}") from error


def _differ(a, b):
    """Whether two arrays differ by more than rounding."""
    return np.abs(a - b).max() > 1e-4 * max(np.abs(a).max(), 1e-3)


def generate_pixels(network, shape, draw, inputs, label=None):
    """As ``PixelNet.generate``, by the definition: the whole network for every pixel."""
    height, width, channels = shape
    count = height * width
    inputs = [ops.reshape(t, (-1, count, *t.shape[3:])) for t in inputs]

    def pixel(k, x):
        images = ops.reshape(x, (-1, *shape))
        numbers = ops.cast(network(images if label is None else [images, label], training=False), "float32")
        numbers = ops.take(ops.reshape(numbers, (-1, count, numbers.shape[-1])), k, axis=1)
        drawn = draw(numbers, [ops.take(t, k, axis=1) for t in inputs])
        here = ops.reshape(ops.equal(ops.arange(count), k), (1, -1, 1))
        return ops.where(here, drawn[:, None], x)

    x = ops.zeros((ops.shape(inputs[0])[0], count, channels))
    return ops.reshape(ops.fori_loop(0, count, pixel, x), (-1, *shape))
