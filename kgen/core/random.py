"""Random numbers that depend on the row's seed alone: the same on every backend, for any batch, eager, compiled or served.

The generator is Threefry-2x32 with 20 rounds, a counter-based generator: a block cipher that maps (key, counter) to two random words.
Here the key is the row's seed and the counter is (element, draw). Nothing is stateful: a draw is named, not consumed.

Reference:
    Salmon et al., Parallel random numbers: as easy as 1, 2, 3, SC 2011.
"""

import math

import numpy as np
from keras import ops

from kgen import backend

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def _word(value):
    return ops.convert_to_tensor(np.uint32(value))  # ops.cast would be a second operation, each time


def threefry(key, counter):
    """Encrypts counters: Threefry-2x32 with 20 rounds.

    Args:
        key: pair of uint32 tensors.
        counter: pair of uint32 tensors that broadcast against the key.
    Returns:
        pair of uint32 tensors of the broadcast shape.
    Reference:
        Salmon et al. 2011, section 4.3; known answers from the Random123 library.
    """
    return _encrypt(*key, *counter)


def _cipher(k0, k1, c0, c1):
    add, rotate = backend.add_words, backend.rotate_word  # keras.ops took most of a small step's time on torch
    keys = (k0, k1, k0 ^ k1 ^ _word(_PARITY))
    x0, x1 = add(c0, keys[0]), add(c1, keys[1])
    for group in range(5):
        for r in _ROTATIONS[group % 2]:
            x0 = add(x0, x1)
            x1 = rotate(x1, r) ^ x0
        x0 = add(x0, keys[(group + 1) % 3])
        x1 = add(x1, add(keys[(group + 2) % 3], _word(group + 1)))
    return x0, x1


_encrypt = backend.traced_once(_cipher)


def _size(shape):
    return math.prod(shape) if shape else 1


def bits(seeds, shape, draw=0):
    """Two independent arrays of random words per row.

    Args:
        seeds: int32 tensor (N, 2), one seed per row. The sign bits are not used.
        shape: tuple of ints, the shape of one row.
        draw: int or int32 scalar tensor that names this draw; other names give independent numbers.
    Returns:
        pair of uint32 tensors (N, *shape).
    """
    return tuple(ops.reshape(w, (-1, *shape)) for w in _words(*_named(seeds, _size(shape), draw)))


def _named(seeds, size, draw):
    """Seeds (N, 2), the numbers of a row's elements (size,) and of the draw, as what is traced takes them."""
    return ops.cast(seeds, "int32"), ops.arange(size, dtype="int32"), ops.convert_to_tensor(draw, dtype="int32")


def _two_words(seeds, elements, draw):
    seeds, elements = _unsigned(seeds), ops.cast(elements, "uint32")[None]
    draw = ops.cast(draw, "uint32") + ops.zeros_like(elements)
    return _cipher(seeds[:, 0:1], seeds[:, 1:2], elements, draw)


_words = backend.traced_once(_two_words)


def _unsigned(seeds):
    """Seeds (N, 2) without their sign bits, as words."""
    return ops.cast(ops.bitwise_and(seeds, ops.cast(0x7FFFFFFF, "int32")), "uint32")


def _unit(words):
    """Words to floats strictly between 0 and 1: the middles of 2^23 equal cells, all of them exact in float32."""
    cells = ops.cast(ops.cast(ops.right_shift(words, _word(9)), "int32"), "float32")
    return (cells + 0.5) * 2.0**-23


def uniform(seeds, shape, draw=0):
    """Uniform numbers strictly between 0 and 1.

    Args:
        seeds, shape, draw: as in ``bits``.
    Returns:
        float32 tensor (N, *shape).
    """
    return ops.reshape(_uniforms(*_named(seeds, _size(shape), draw)), (-1, *shape))


@backend.traced_once
def _uniforms(seeds, elements, draw):
    return _unit(_two_words(seeds, elements, draw)[0])


def normal(seeds, shape, draw=0):
    """Standard normal numbers, by the Box-Muller transform of two words (|z| < 5.8).

    Args:
        seeds, shape, draw: as in ``bits``.
    Returns:
        float32 tensor (N, *shape).
    """
    size = _size(shape)
    pair = ops.stack(_normal_pairs(*_named(seeds, (size + 1) // 2, draw)), axis=-1)
    return ops.reshape(ops.reshape(pair, (-1, 2 * ((size + 1) // 2)))[:, :size], (-1, *shape))


@backend.traced_once
def _normal_pairs(seeds, elements, draw):
    u, v = _two_words(seeds, elements, draw)
    radius, angle = ops.sqrt(-2.0 * ops.log(_unit(u))), 2.0 * math.pi * _unit(v)
    return radius * ops.cos(angle), radius * ops.sin(angle)


def gumbel(seeds, shape, draw=0):
    """Standard Gumbel numbers, -ln(-ln u).

    Args:
        seeds, shape, draw: as in ``bits``.
    Returns:
        float32 tensor (N, *shape).
    """
    return -ops.log(-ops.log(uniform(seeds, shape, draw)))


def argmax(scores):
    """The index of the largest of the last axis, for scores with noise from here in them.

    ``ops.argmax`` would do, but TensorFlow's XLA, on a CPU and from 16 scores on, copies the whole cipher into that reduction, each
    use of a word as often as it is used: its compilation did not end in 200 s. Nothing is copied into ``top_k``.

    Args:
        scores: float32 tensor (..., K).
    Returns:
        int32 tensor (...), in [0, K).
    """
    return ops.cast(ops.top_k(scores, 1)[1][..., 0], "int32")


def categorical(seeds, logits, draw=0):
    """Categorical draws by the Gumbel maximum.

    Args:
        seeds: int32 tensor (N, 2).
        logits: float tensor (N, ..., K), unnormalised log-probabilities.
        draw: as in ``bits``.
    Returns:
        int32 tensor (N, ...), in [0, K).
    """
    noise = gumbel(seeds, tuple(logits.shape[1:]), draw)
    return argmax(ops.cast(logits, "float32") + noise)


def bernoulli(seeds, probabilities, draw=0):
    """Bernoulli draws.

    Args:
        seeds: int32 tensor (N, 2).
        probabilities: float tensor (N, ...), in [0, 1].
        draw: as in ``bits``.
    Returns:
        float32 tensor (N, ...), zeros and ones.
    """
    u = uniform(seeds, tuple(probabilities.shape[1:]), draw)
    return ops.cast(u < ops.cast(probabilities, "float32"), "float32")


def fold_in(seeds, data):
    """New row seeds that depend on the old ones and on ``data``: a stream of its own for each value.

    Args:
        seeds: int32 tensor (N, 2).
        data: int or int32 scalar tensor.
    Returns:
        int32 tensor (N, 2), not negative.
    """
    return _folded(ops.cast(seeds, "int32"), ops.convert_to_tensor(data, dtype="int32"))


@backend.traced_once
def _folded(seeds, data):
    seeds = _unsigned(seeds)
    # The element 2^31 - 1 is one that no array has, so that no number drawn from ``seeds`` is also a seed.
    a, b = _cipher(seeds[:, 0], seeds[:, 1], _word(0x7FFFFFFF), ops.cast(data, "uint32"))
    return ops.stack([_positive(a), _positive(b)], axis=-1)


def row_stream(base, start, rows):
    """Row seeds of ``rows`` places from ``start`` on, in a stream that ``base`` names.

    Args:
        base: int32 tensor (1, 2).
        start, rows: int or int32 scalar tensors.
    Returns:
        int32 tensor (rows, 2), not negative.
    """
    base = _unsigned(base)
    places = ops.cast(ops.arange(rows, dtype="int32") + ops.cast(start, "int32"), "uint32")
    a, b = threefry((base[:, 0], base[:, 1]), (places, ops.zeros_like(places)))
    return ops.stack([_positive(a), _positive(b)], axis=-1)


def _positive(words):
    return ops.cast(ops.right_shift(words, _word(1)), "int32")


def new_seed():
    """A seed that nobody chose: from Python's generator, so that ``keras.utils.set_random_seed`` still fixes it."""
    import random as python_random

    return python_random.getrandbits(62)


def row_seeds(seed, n, start=0):
    """The seeds of rows ``start`` to ``start + n - 1`` of ``sample(..., seed=seed)``: row i depends on (seed, i) alone.

    Args:
        seed: int in [0, 2^62), or None for one that nobody chose.
        n: number of rows.
        start: index of the first row.
    Returns:
        numpy int32 array (n, 2), not negative.
    Raises:
        ValueError: ``seed`` is not an integer in [0, 2^62).
    """
    if seed is None:
        seed = new_seed()
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not 0 <= seed < 2**62:
        raise ValueError(f"seed: expected an integer in [0, 2**62) or None, received {seed!r}.")
    seed = int(seed)
    key = (ops.cast(seed & 0x7FFFFFFF, "uint32"), ops.cast(seed >> 31, "uint32"))
    rows = ops.cast(ops.arange(start, start + n, dtype="int32"), "uint32")
    words = threefry(key, (rows, ops.zeros_like(rows)))
    return np.stack([ops.convert_to_numpy(_positive(w)) for w in words], axis=-1).astype("int32")
