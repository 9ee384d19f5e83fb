"""Writing tokens: how the next one is chosen, and the compiled loop that keeps keys and values.

Prompts of different lengths end in one column, so that every row writes to the same slot of the cache; each row has its own
positions and sees nothing before its own start. A step reads one token and attends to the cache.
"""

import dataclasses
import math

from keras import ops

from kgen.core import random


@dataclasses.dataclass(frozen=True)
class Choice:
    """What is done to the logits before a token is drawn: the part that a compiled function is made for.

    The numbers themselves are a float32 tensor (B, 4), one row each: temperature, top_p, min_p, repetition penalty.

    Args:
        greedy: whether the most probable token is taken and nothing drawn.
        top_k: number of tokens to choose from, or None for all.
        top_p, min_p, repetition: whether these are in use.
    """

    greedy: bool = False
    top_k: int | None = None
    top_p: bool = False
    min_p: bool = False
    repetition: bool = False


def in_top_k(logits, k):
    """Whether a token is among the k most probable (or as probable as the last of them): boolean (B, V).

    Args:
        logits: float tensor (B, V).
        k: int in [1, V].
    Reference:
        Fan et al., Hierarchical neural story generation, 2018, section 5.3, arXiv 1805.04833.
    """
    return logits >= ops.top_k(logits, k)[0][:, -1:]


def in_top_p(logits, p):
    """Whether a token is in the nucleus, the fewest most probable tokens whose probabilities sum to p or more: boolean (B, V).

    Args:
        logits: float tensor (B, V).
        p: float tensor (B,), in (0, 1].
    Reference:
        Holtzman et al., The curious case of neural text degeneration, 2020, section 3.1, arXiv 1904.09751.
    """
    descending = -ops.sort(-logits, axis=-1)
    probabilities = ops.softmax(descending, axis=-1)
    before = ops.cumsum(probabilities, axis=-1) - probabilities
    smallest = ops.min(ops.where(before < p[:, None], descending, math.inf), axis=-1, keepdims=True)
    return logits >= smallest


def in_min_p(logits, p):
    """Whether a token is at least p times as probable as the most probable one: boolean (B, V).

    Args:
        logits: float tensor (B, V).
        p: float tensor (B,), in [0, 1].
    Reference:
        Nguyen et al., Turning up the heat: min-p sampling for creative and coherent LLM outputs, 2024, arXiv 2407.01082.
    """
    return logits >= ops.max(logits, axis=-1, keepdims=True) + ops.log(p)[:, None]


def penalise(logits, seen, penalty):
    """Makes tokens that were there before less probable: positive logits are divided by the penalty, negative ones multiplied.

    Args:
        logits: float tensor (B, V).
        seen: boolean tensor (B, V).
        penalty: float tensor (B,), at least 1.
    Reference:
        Keskar et al., CTRL, 2019, section 4.1, arXiv 1909.05858.
    """
    penalty = penalty[:, None]
    return ops.where(seen, ops.where(logits > 0, logits / penalty, logits * penalty), logits)


def next_token(logits, seen, seeds, draw, numbers, choice):
    """Draws one token of each row: the penalty first, then temperature, top-k, top-p, min-p, each on what the one before left.

    argmax(l + T g), with Gumbel noise g, draws from softmax(l / T), and takes the most probable token at T = 0.

    Args:
        logits: float32 tensor (B, V).
        seen: boolean tensor (B, V); read only with ``choice.repetition``.
        seeds: int32 tensor (B, 2).
        draw: int or int32 scalar tensor, the number of the token.
        numbers, choice: see ``Choice``.
    Returns:
        int32 tensor (B,).
    """
    if choice.repetition:
        logits = penalise(logits, seen, numbers[:, 3])
    if choice.greedy:
        return ops.cast(ops.argmax(logits, axis=-1), "int32")
    temperature = numbers[:, 0:1]
    sharpness = 1.0 / ops.maximum(temperature, 1e-6)
    if choice.top_k is not None:
        logits = ops.where(in_top_k(logits, choice.top_k), logits, -math.inf)
    if choice.top_p:
        logits = ops.where(in_top_p(logits * sharpness, numbers[:, 1]), logits, -math.inf)
    if choice.min_p:
        logits = ops.where(in_min_p(logits * sharpness, numbers[:, 2]), logits, -math.inf)
    noise = random.gumbel(seeds, (logits.shape[-1],), draw=draw)
    return random.argmax(logits + temperature * noise)


def read_prompts(network, vocabulary_size, begin, choice, slots, tokens, length, seeds, numbers):
    """Reads prompts in one pass and draws the first token of each.

    Args:
        network: a ``CausalTransformer``, or what else has its ``prefill`` and ``step``.
        vocabulary_size: V: logits beyond it, such as the begin token's, are left out.
        begin: the token that is put in front of each prompt.
        choice: ``Choice``.
        slots: slots of the cache, at least P + 1 and one for each token that is to be written but the last.
        tokens: int32 tensor (B, P), P >= 1: prompts, from the left.
        length: int32 tensor (B,): how many of each row's tokens are its prompt, 0 to P.
        seeds: int32 tensor (B, 2).
        numbers: float32 tensor (B, 4), see ``Choice``.
    Returns:
        tuple ``(token, start, seen, *cache)``: int32 (B,), the first token; int32 (B,), the column where each row starts; boolean
        (B, V), the tokens so far ((B, 1) where no penalty needs them); the cache.
    """
    width = tokens.shape[1]
    start = width - length
    # Columns 0 .. P: the begin token stands in column ``start``, the prompt after it, the last token in column P.
    source = ops.arange(width + 1, dtype="int32") - start[:, None] - 1
    moved = ops.take_along_axis(tokens, ops.maximum(source, 0), axis=1)
    logits, cache = network.prefill(ops.where(source >= 0, moved, begin), start, slots)
    logits = logits[:, :vocabulary_size]
    seen = ops.zeros_like(tokens[:, :1]) > 0
    if choice.repetition:
        real = ops.arange(width, dtype="int32") < length[:, None]
        seen = ops.any(ops.logical_and(_is(tokens, vocabulary_size), real[..., None]), axis=1)
    token = next_token(logits, seen, seeds, 0, numbers, choice)
    if choice.repetition:
        seen = ops.logical_or(seen, _is(token, vocabulary_size))
    return token, start, seen, *cache


def write_tokens(
    network, vocabulary_size, choice, room, first, until, shift, stop, token, done, seeds, numbers, start, seen, *cache
):
    """The loop: tokens ``first`` to ``until - 1`` of each row, or fewer where all rows have met a stop token.

    Args:
        network, vocabulary_size, choice: as in ``read_prompts``.
        room: int, at least ``until - first``: the width of the result.
        first, until: int32 scalar tensors; token 0 is the one that ``read_prompts`` drew.
        shift: int32 scalar tensor: the slot of token 0.
        stop: int32 tensor (S,) of stop tokens.
        token: int32 tensor (B,), token ``first - 1``.
        done: boolean tensor (B,): rows that have met a stop token.
        seeds, numbers: as in ``read_prompts``.
        start, seen, *cache: what ``read_prompts`` or the last call of this function returned.
    Returns:
        tuple ``(tokens, token, done, start, seen, *cache)``: int32 (B, room), zeros after the last token that was written; the rest for the
        next call.
    """

    columns = ops.arange(room, dtype="int32")

    def proceed(t, token, done, *_):
        return ops.logical_and(t < until, ops.logical_not(ops.all(done)))

    def write(t, token, done, tokens, seen, *cache):
        logits, cache = network.step(token, t - 1 + shift, start, cache)
        token = next_token(logits[:, :vocabulary_size], seen, seeds, t, numbers, choice)
        tokens = ops.where(columns == t - first, token[:, None], tokens)
        done = ops.logical_or(done, ops.any(token[:, None] == stop, axis=-1))
        if choice.repetition:
            seen = ops.logical_or(seen, _is(token, vocabulary_size))
        return t + 1, token, done, tokens, seen, *cache

    tokens = ops.zeros_like(token)[:, None] + ops.zeros((1, room), dtype="int32")
    _, token, done, tokens, seen, *cache = ops.while_loop(proceed, write, (first, token, done, tokens, seen, *cache))
    return tokens, token, done, start, seen, *cache


def complete(network, vocabulary_size, begin, choice, count, tokens, length, seeds, numbers):
    """``count`` tokens after each prompt, in one function: int32 (B, count). The arguments are those of ``read_prompts``."""
    slots = tokens.shape[1] + count  # the begin token comes, the last token written goes
    token, *state = read_prompts(network, vocabulary_size, begin, choice, slots, tokens, length, seeds, numbers)
    if count == 1:
        return token[:, None]
    first, until, shift = (ops.convert_to_tensor(v, dtype="int32") for v in (1, count, tokens.shape[1] + 1))
    none = ops.convert_to_tensor([-1], dtype="int32")
    loop = (first, until, shift, none, token, token < 0, seeds, numbers)
    written, *_ = write_tokens(network, vocabulary_size, choice, count - 1, *loop, *state)
    return ops.concatenate([token[:, None], written], axis=1)


def _is(tokens, vocabulary_size):
    """Boolean tensor (..., V): whether a token is the one of each column."""
    return tokens[..., None] == ops.arange(vocabulary_size, dtype="int32")
