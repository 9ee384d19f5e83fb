"""What users pass to a language model, checked and brought into the arrays that compiled functions take."""

import numpy as np
from keras import ops

from kgen.autoregressive.generation import Choice
from kgen.core import checks
from kgen.text.tokenizers import token_array


def is_text(x):
    """Whether ``x`` is a text or a list of texts, not tokens."""
    return isinstance(x, str) or (isinstance(x, (list, tuple)) and len(x) > 0 and isinstance(x[0], str))


def as_rows(name, x, vocabulary_size, tokenizer=None, hint=""):
    """Rows of tokens from a text, a list of texts, tokens (n,) or a list of those.

    Args:
        name: the argument's name, for errors.
        x: what the user passed.
        vocabulary_size: V.
        tokenizer: a ``Tokenizer``, or None.
        hint: what to do where there are no tokens.
    Returns:
        ``(rows, alone)``: a list of int32 arrays, none empty, and whether ``x`` was one sequence and not a list.
    Raises:
        TypeError, ValueError: no tokens, tokens that are no integers or outside of the vocabulary, a text without a tokenizer.
    """
    if is_text(x):
        if tokenizer is None:
            raise ValueError(f"{name}: this model has no tokenizer; pass tokens, or make it with GPT(tokenizer=...).")
        alone = isinstance(x, str)
        rows = [tokenizer.encode(text) for text in ([x] if alone else x)]
    else:
        x = ops.convert_to_numpy(x) if ops.is_tensor(x) else x
        if not hasattr(x, "__len__"):
            raise TypeError(f"{name}: expected a text, tokens (n,) or a list of them, received {x!r}.")
        alone = len(x) > 0 and np.ndim(x[0]) == 0
        rows = [token_array(name, row, vocabulary_size) for row in ([x] if alone else x)]
    for i, row in enumerate(rows or [np.zeros(0, "int32")]):
        if row.ndim != 1:
            raise ValueError(
                f"{name}: expected tokens (n,) or a list of such rows, received a row of shape {row.shape}."
            )
        if len(row) == 0:
            which = f" (row {i})" if len(rows) > 1 else ""
            raise ValueError(f"{name}: expected at least one token, received an empty one{which}.{hint}")
    return rows, alone


def aligned(rows, width):
    """Rows of different lengths as arrays: tokens int32 (N, width) from the left, zeros after them; lengths int32 (N,)."""
    tokens = np.zeros((len(rows), width), "int32")
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = row
    return tokens, np.array([len(row) for row in rows], "int32")


def bucket(n, most):
    """The size that ``n`` is compiled for: the next power of two, at least 16, at most ``most``."""
    return min(max(16, 1 << (n - 1).bit_length()), most)


def first(found):
    """The index of the first true value of a boolean array (n,); n if there is none."""
    return int(np.argmax(found)) if found.any() else len(found)


def room(rows, context, max_new_tokens):
    """The number of tokens to write after the longest prompt: what was asked for, or all that the context holds.

    Raises:
        ValueError: the context does not hold them.
    """
    longest = max(map(len, rows))
    left = context - longest
    if left < 1:
        raise ValueError(
            f"prompt: expected at most {context - 1} tokens, as the context is {context} and one is to follow, received {longest}. "
            "Pass its end alone."
        )
    if max_new_tokens is None:
        return left
    if checks.positive_int("max_new_tokens", max_new_tokens) > left:
        raise ValueError(
            f"max_new_tokens: the context of {context} has room for {left} after a prompt of {longest} tokens, received "
            f"{max_new_tokens}."
        )
    return int(max_new_tokens)


def choice_of(vocabulary_size, temperature, top_k, top_p, min_p, repetition_penalty):
    """The settings of ``generate``, checked: ``(Choice, numbers)``, numbers float32 (4,) as ``Choice`` names them."""
    temperature = checks.in_range("temperature", temperature, 0.0, 100.0)
    if top_k is not None and checks.positive_int("top_k", top_k) > vocabulary_size:
        raise ValueError(f"top_k: expected an integer in [1, {vocabulary_size}], the vocabulary, received {top_k}.")
    if top_p is not None and checks.in_range("top_p", top_p, 0.0, 1.0) == 0.0:
        raise ValueError(f"top_p: expected a number in (0, 1], received {top_p!r}.")
    if min_p is not None:
        checks.in_range("min_p", min_p, 0.0, 1.0)
    if repetition_penalty is not None:
        checks.in_range("repetition_penalty", repetition_penalty, 1.0, 100.0)
    numbers = np.array([temperature, *(1.0 if v is None else v for v in (top_p, min_p, repetition_penalty))], "float32")
    if temperature == 0.0:  # the most probable token passes every filter
        return Choice(greedy=True, repetition=repetition_penalty is not None), numbers
    return Choice(False, top_k, top_p is not None, min_p is not None, repetition_penalty is not None), numbers


def stop_tokens(stop, vocabulary_size, tokenizer=None):
    """The tokens that end a row: a list, from a token, the name of a special, a text of one token, or a list of these."""
    if stop is None:
        return []
    found = []
    for item in [stop] if isinstance(stop, str) or np.ndim(stop) == 0 else stop:
        if isinstance(item, str):
            if tokenizer is None:
                raise ValueError(f"stop: this model has no tokenizer; expected tokens, received {item!r}.")
            tokens = [tokenizer.specials[item]] if item in tokenizer.specials else tokenizer.encode(item)
            if len(tokens) != 1:
                raise ValueError(f"stop: expected text of one token, received {item!r}, which is {len(tokens)}.")
            item = tokens[0]
        found.append(int(token_array("stop", item, vocabulary_size)))
    return found


class Printer:
    """Shows what is written as it comes: a context, and a function of new tokens (n,), up to the first stop token.

    Args:
        stream: None or False for nothing, True to print, or a function of one piece.
        tokenizer: makes text of the tokens, or None to show them as they are.
        stops: list of tokens.
    """

    def __init__(self, stream, tokenizer, stops):
        self.stream, self.stops, self.ended = stream, stops, False
        self.decode = tokenizer.stream() if tokenizer else lambda tokens, final=False: tokens

    def __bool__(self):
        return bool(self.stream)

    def __enter__(self):
        return self

    def __call__(self, tokens):
        if not self.ended:
            end = first(np.isin(tokens, self.stops))
            self.ended = end < len(tokens)
            self._show(self.decode(tokens[:end]))

    def __exit__(self, *_):
        if self.stream:
            self._show(self.decode((), final=True))  # half a character, where the last one is not whole
        if self.stream is True:
            print(flush=True)

    def _show(self, piece):
        if len(piece) == 0:
            return
        if self.stream is True:
            print(piece, end="", flush=True)
        else:
            self.stream(piece)
