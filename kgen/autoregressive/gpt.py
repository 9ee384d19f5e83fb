"""The language model: a causal network over tokens, by default a transformer.

ln p(x) = sum_i ln p(x_i | begin, x_1 .. x_{i-1}), exact, in nats. The model itself puts a begin token in front of every sequence, so
that the first token has a probability like every other.

Reference:
    Radford et al., Language models are unsupervised multitask learners (GPT-2), 2019.
"""

import keras
import numpy as np
from keras import ops

from kgen.autoregressive import generation, prompts, uncached
from kgen.autoregressive.generation import Choice
from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks
from kgen.core.endpoints import SEED
from kgen.networks import CausalTransformer
from kgen.text.tokenizers import Tokenizer, token_array

STREAM_TOKENS = 16  # per piece: a compiled loop of this many steps, then a look at the terminal


@keras.saving.register_keras_serializable(package="kgen")
class GPT(GenerativeModel):
    """A GPT. It trains on tokens (N, L), L <= context; its loss is the mean cross-entropy, in nats per token.

    Args:
        vocabulary_size: V, the number of different tokens; that of the tokenizer if None.
        context: the longest sequence, in tokens.
        layers, heads, width, positions, dropout: of the network, as in ``kgen.networks.CausalTransformer``.
        network: a network instead of them. It maps int32 tokens (B, T), 1 <= T <= context, to logits (B, T, R), those at i from the tokens
            up to i alone; R counts the begin token where that has a number of its own. With the methods ``prefill`` and ``step`` of
            ``kgen.networks.CausalTransformer`` it generates from what it keeps; without them it is called on all tokens for each new one.
        tokenizer: a ``ByteTokenizer``, ``BPETokenizer`` or another ``Tokenizer``: the model then takes and gives text; it is saved in the
            model's file.
        begin_token: the token in front of every sequence, in [0, V), such as 50256 for GPT-2; one of its own, V, if None.
        ema: decay of averaged weights that everything but training uses, or None.
    """

    likelihood = "exact"

    def __init__(
        self,
        vocabulary_size=None,
        context=256,
        *,
        layers=4,
        heads=4,
        width=128,
        positions="rotary",
        dropout=0.0,
        network=None,
        tokenizer=None,
        begin_token=None,
        ema=None,
        name="gpt",
        dtype=None,
    ):
        super().__init__(ema=ema, name=name, dtype=dtype)
        if tokenizer is not None and not isinstance(tokenizer, Tokenizer):
            raise TypeError(f"tokenizer: expected a Tokenizer, such as ByteTokenizer(), received {tokenizer!r}.")
        if vocabulary_size is None and tokenizer is None:
            raise ValueError("vocabulary_size: expected the number of tokens, or a tokenizer, which knows it.")
        known = vocabulary_size if tokenizer is None else tokenizer.vocabulary_size
        if vocabulary_size not in (None, known):
            raise ValueError(f"vocabulary_size: the tokenizer has {known} tokens, received {vocabulary_size}.")
        self.vocabulary_size = checks.positive_int("vocabulary_size", known)
        self.context = checks.positive_int("context", context)
        self.tokenizer, self.begin_token = tokenizer, begin_token
        if begin_token is not None:
            checks.in_range("begin_token", begin_token, 0, self.vocabulary_size - 1)
        rows = self.vocabulary_size + (begin_token is None)
        if network is None:
            network = CausalTransformer(
                rows, context, layers, heads, width, positions, dropout, name="network", dtype=self.dtype_policy
            )
        if not isinstance(network, CausalTransformer):
            if not isinstance(network, keras.layers.Layer):
                raise TypeError(f"network: expected a keras.Model or layer, received {type(network).__name__}.")
            uncached.check_tokens(network, rows, self.context)
        elif network.vocabulary_size != rows or network.context < context:
            raise ValueError(
                f"network: expected a vocabulary of {rows} ({self.vocabulary_size} tokens"
                f"{', and a begin token' if begin_token is None else ''}) and a context of at least {context}, received "
                f"{network.vocabulary_size} and {network.context}."
            )
        self.network = network
        self._begin = self.vocabulary_size if begin_token is None else int(begin_token)
        self.keep_average_of("network")

    def default_optimizer(self):
        return keras.optimizers.AdamW(
            1e-3, weight_decay=0.1, beta_2=0.95, clipnorm=1.0
        )  # Brown et al. 2020, appendix B

    # Training.

    def check_data(self, x, y=None):
        if y is not None:
            raise ValueError("y: a GPT has no labels; what follows each token is what it learns. Train by fit(x).")
        if x.ndim != 2 or len(x) == 0 or not 1 <= x.shape[1] <= self.context:
            raise ValueError(
                f"x: expected tokens (N, L), 1 <= L <= context={self.context}, received shape {x.shape}. "
                "kgen.data.TokenWindows cuts a long row of tokens into such windows."
            )
        token_array("x", x, self.vocabulary_size)

    def objective(self, batch, training):
        return -ops.mean(self._token_log_probs(batch.x, self.network_for(training), training), axis=-1), {}

    def _token_log_probs(self, tokens, network=None, training=False):
        """ln p(x_i | what is before it): float32 (B, L) for int tokens (B, L)."""
        tokens = ops.cast(tokens, "int32")
        shifted = ops.concatenate([ops.full_like(tokens[:, :1], self._begin), tokens[:, :-1]], axis=1)
        network = self.averaged("network") if network is None else network
        return -keras.losses.sparse_categorical_crossentropy(
            tokens, self._logits(network, shifted, training), from_logits=True
        )

    def _logits(self, network, tokens, training=False):
        return ops.cast(network(tokens, training=training), "float32")[..., : self.vocabulary_size]

    def _writer(self):
        """The network that generates, with ``prefill`` and ``step``."""
        network = self.averaged("network")
        return network if uncached.is_cached(network) else uncached.Uncached(network, self.context)

    def call(self, tokens, training=False):
        """Logits (B, L, V) of the token after each of ``tokens`` (B, L), which include the begin token where there is to be one."""
        return self._logits(self.network, tokens, training)

    # Likelihood.

    def log_prob(self, x, *, batch_size=None):
        """ln p(x), exact: the sum over all tokens, the first one included.

        Args:
            x: int tokens (N, L), L <= context; with a tokenizer also a text or a list of texts of any lengths up to that.
            batch_size: rows per compiled call.
        Returns:
            numpy float32 array (N,), nats.
        """
        rows, _ = self._rows("x", x)
        longest = max(map(len, rows))
        if longest > self.context:
            raise ValueError(
                f"x: expected at most context={self.context} tokens, received {longest}. sliding_log_prob takes longer ones."
            )
        tokens, length = prompts.aligned(rows, longest)
        found = self.run_rows("log_prob", self._token_log_probs, [tokens], batch_size=batch_size, progress=True)
        return np.where(np.arange(longest) < length[:, None], found, 0.0).sum(axis=1).astype("float32")

    def sliding_log_prob(self, x, *, stride=None, batch_size=None):
        """ln p of each token of one long text, given what stands before it in a window of ``context`` tokens.

        The windows advance by ``stride``, and each gives the probabilities of its last ``stride`` tokens (the first window: of all). So
        a token is predicted from ``context - stride`` to ``context - 1`` tokens before it, and the begin token.

        Args:
            x: int tokens (n,); with a tokenizer also a text.
            stride: int in [1, context]; half the context by default.
            batch_size: windows per compiled call.
        Returns:
            numpy float32 array (n,), nats. Their sum, divided by the characters of the text, is minus its nats per character.
        """
        rows, alone = self._rows("x", x)
        if not alone:
            raise ValueError(f"x: expected one text, received {len(rows)}.")
        stride = self.context // 2 or 1 if stride is None else checks.positive_int("stride", stride)
        if stride > self.context:
            raise ValueError(f"stride: expected at most context={self.context}, received {stride}.")
        n = len(rows[0])
        tokens = np.concatenate([rows[0], np.zeros(max(self.context - n, 0), "int32")])
        # The last window ends where the text ends: it overlaps more, so that all windows are full.
        starts = [*range(0, len(tokens) - self.context, stride), len(tokens) - self.context]
        windows = np.stack([tokens[s : s + self.context] for s in starts])
        found = self.run_rows("log_prob", self._token_log_probs, [windows], batch_size=batch_size or 64, progress=True)
        result = np.empty(len(tokens), "float32")
        for start, row in reversed(list(zip(starts, found, strict=True))):  # of two windows the later one knows more
            fresh = 0 if start == 0 else self.context - stride
            result[start + fresh : start + self.context] = row[fresh:]
        return result[:n]

    # Generation.

    def sample(
        self,
        n,
        *,
        seed=None,
        length=None,
        temperature=1.0,
        top_k=None,
        top_p=None,
        min_p=None,
        repetition_penalty=None,
        batch_size=None,
    ):
        """Draws sequences from nothing but the begin token.

        Args:
            n: how many.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            length: tokens of each, at most the context, which is the default.
            temperature, top_k, top_p, min_p, repetition_penalty: as in ``generate``; as they are by default, p itself is sampled.
            batch_size: rows per compiled call; 64 by default.
        Returns:
            numpy int32 array (n, length). ``model.tokenizer.decode(row)`` is a row's text.
        """
        seeds = self.row_seeds(n, seed)
        length = self.context if length is None else checks.positive_int("length", length)
        if length > self.context:
            raise ValueError(f"length: expected at most context={self.context}, received {length}.")
        choice, numbers = prompts.choice_of(self.vocabulary_size, temperature, top_k, top_p, min_p, repetition_penalty)
        nothing = np.zeros((n, 1), "int32"), np.zeros(n, "int32")
        return self._write(*nothing, seeds, numbers, choice, length, batch_size=batch_size)

    def generate(
        self,
        prompt=None,
        *,
        max_new_tokens=None,
        temperature=1.0,
        top_k=None,
        top_p=None,
        min_p=None,
        repetition_penalty=None,
        stop=None,
        seed=None,
        stream=None,
        batch_size=None,
    ):
        """Continues prompts.

        The prompts are read in one pass and the new tokens written by one compiled loop, which ends early once every row has met a stop
        token. Prompts of different lengths are compiled for as powers of two, so that most calls find their function ready.

        Args:
            prompt: a text or a list of texts (with a tokenizer), int tokens (n,) or a list of them; None to begin from nothing.
            max_new_tokens: how many at most; by default as many as the context has room for.
            temperature: in [0, 100]; the logits are divided by it. 0 takes the most probable token each time.
            top_k: int in [1, V]: draws from the k most probable tokens alone.
            top_p: in (0, 1]: draws from the fewest tokens with this much probability together.
            min_p: in [0, 1]: draws from tokens at least this many times as probable as the most probable one.
            repetition_penalty: in [1, 100]: how much less probable tokens of the prompt and of what was written become.
            stop: a token, the name of a special or a text of one token, or a list of them: where a row ends. It is not in the result.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            stream: True prints one text piece by piece, 16 tokens at a time; or a function that is called with each piece (of tokens
                where there is no tokenizer).
            batch_size: rows per compiled call; 64 by default.
        Returns:
            what follows the prompt, without it: a str for a text, a list of str for a list; int32 arrays for tokens.
        Raises:
            TypeError, ValueError: an empty prompt, tokens outside of the vocabulary, more tokens than the context holds, a setting
                out of its range, a stop text of several tokens.
        """
        text = self.tokenizer is not None and (prompt is None or prompts.is_text(prompt))
        rows, alone = (
            ([np.zeros(0, "int32")], True)
            if prompt is None
            else self._rows("prompt", prompt, " None begins from nothing.")
        )
        count = prompts.room(rows, self.context, max_new_tokens)
        choice, numbers = prompts.choice_of(self.vocabulary_size, temperature, top_k, top_p, min_p, repetition_penalty)
        stops = prompts.stop_tokens(stop, self.vocabulary_size, self.tokenizer)
        if stream and not alone:
            raise ValueError(f"stream: expected one prompt, received {len(rows)}.")
        if stream is True and not text:
            raise ValueError("stream: tokens are not printed; pass a function that takes them.")
        tokens, length = prompts.aligned(rows, prompts.bucket(max(map(len, rows)), self.context))
        seeds = self.row_seeds(len(rows), seed)
        with prompts.Printer(stream, self.tokenizer if text else None, stops) as printer:
            written = self._write(tokens, length, seeds, numbers, choice, count, stops, batch_size, printer)
        results = [row[: prompts.first(np.isin(row, stops))] for row in written]
        if text:
            results = [self.tokenizer.decode(row) for row in results]
        return results[0] if alone else results

    def _write(self, tokens, length, seeds, numbers, choice, count, stops=(), batch_size=None, printer=None):
        """New tokens of each row, int32 (N, count): ``read_prompts`` once, ``write_tokens`` once, or once for each piece to print."""
        n = len(tokens)
        size = min(n, checks.positive_int("batch_size", 64 if batch_size is None else batch_size))
        parts = []
        for i in range(0, n, size):
            rows = np.minimum(np.arange(i, i + size), n - 1)  # one size, one compilation
            numbers_here = np.repeat(numbers[None], size, axis=0)
            part = self._write_rows(
                tokens[rows], length[rows], seeds[rows], numbers_here, choice, count, stops, printer
            )
            parts.append(part[: n - i])
        return np.concatenate(parts)

    def _write_rows(self, tokens, length, seeds, numbers, choice, count, stops, printer):
        read, write = self._compiled_halves(choice, tokens.shape[1], count)
        token, *state = read(*map(ops.convert_to_tensor, (tokens, length, seeds, numbers)))
        written = np.zeros((len(tokens), count), "int32")
        written[:, 0] = ops.convert_to_numpy(token)
        done = np.isin(written[:, 0], stops)
        piece = STREAM_TOKENS if printer else count
        stop, shift = _int(stops or [-1]), _int(tokens.shape[1] + 1)
        seeds, numbers = ops.convert_to_tensor(seeds), ops.convert_to_tensor(numbers)
        done_tensor, t = ops.convert_to_tensor(done), 1
        if printer:
            printer(written[0, :1])
        while t < count and not done.all():
            until = min(t + piece, count)
            new, token, done_tensor, *state = write(
                _int(t), _int(until), shift, stop, token, done_tensor, seeds, numbers, *state
            )
            written[:, t:until] = ops.convert_to_numpy(new)[:, : until - t]
            done = ops.convert_to_numpy(done_tensor)
            if printer:
                printer(written[0, t:until])
            t = until
        return written

    def _compiled_halves(self, choice, width, count):
        """``read_prompts`` and ``write_tokens``, for prompts padded to ``width`` and up to ``count`` tokens after them."""
        room = prompts.bucket(count, self.context)
        network, size, begin, slots = self._writer(), self.vocabulary_size, self._begin, width + room

        def read(*arrays):
            return generation.read_prompts(network, size, begin, choice, slots, *arrays)

        def write(*arrays):
            return generation.write_tokens(network, size, choice, room, *arrays)

        def compiled(name, function):
            return self.compiled_function((name, choice, slots, room), function, loop=True)

        return compiled("read", read), compiled("write", write)

    def _rows(self, name, x, hint=""):
        return prompts.as_rows(name, x, self.vocabulary_size, self.tokenizer, hint)

    def options(self, call):
        """What chooses tokens; of ``generate`` also where a text ends."""
        found = {
            "temperature": TensorSpec(
                (), "float32", "0 takes the likeliest token each time", 0.0, 2.0, 1.0, kind="number"
            ),
            "top_k": TensorSpec((), "int32", "draws from so many tokens alone", 1, self.vocabulary_size, kind="number"),
            "top_p": TensorSpec(
                (), "float32", "draws from the fewest tokens of this share", 0.0, 1.0, 1.0, kind="number"
            ),
            "min_p": TensorSpec((), "float32", "least share of the likeliest token's", 0.0, 1.0, 0.0, kind="number"),
            "repetition_penalty": TensorSpec(
                (), "float32", "above 1, tokens that were there become less likely", 1.0, 3.0, 1.0, kind="number"
            ),
        }
        if call == "generate":
            most = TensorSpec((), "int32", "tokens at most; as many as fit, if empty", 1, self.context, kind="number")
            end = TensorSpec((), "string", "a token's text, where the text ends", kind="text")
            return {"max_new_tokens": most, **found, "stop": end}
        return found if call == "sample" else {}

    def endpoints(self):
        half = self.context // 2
        network, size, begin = self._writer(), self.vocabulary_size, self._begin
        highest = size - 1

        def settings(temperature):
            one = ops.ones_like(temperature)
            return ops.stack([temperature, one, one, one], axis=-1)

        def sample(seed):
            nothing = seed[:, :1] * 0
            one = ops.ones_like(nothing[:, 0], dtype="float32")
            rows = (nothing, nothing[:, 0], seed, settings(one))
            return {"tokens": generation.complete(network, size, begin, Choice(), self.context, *rows)}

        def generate(tokens, length, seed, temperature):
            rows = (tokens, length, seed, settings(temperature))
            return {"tokens": generation.complete(network, size, begin, Choice(), self.context - half, *rows)}

        def log_prob(tokens, length):
            real = ops.arange(self.context, dtype="int32") < length[:, None]
            return {"log_prob": ops.sum(ops.where(real, self._token_log_probs(tokens), 0.0), axis=-1)}

        def row(n):
            return TensorSpec((n,), "int32", f"tokens from the left, anything after them; {n} of them", 0, highest)

        def length(n):
            return TensorSpec((), "int32", "how many of the row's tokens count", 0, n)

        written = "int32 tokens that follow"
        found = [
            Endpoint("sample", sample, {"seed": SEED}, {"tokens": f"int32 tokens (N, {self.context})"}),
            Endpoint(
                "log_prob",
                log_prob,
                {"tokens": row(self.context), "length": length(self.context)},
                {"log_prob": "nats, exact"},
            ),
        ]
        if half:
            temperature = TensorSpec((), "float32", "0 for the most probable token each time", 0.0, 100.0, 1.0)
            inputs = {"tokens": row(half), "length": length(half), "seed": SEED, "temperature": temperature}
            found.insert(1, Endpoint("generate", generate, inputs, {"tokens": f"{written} (N, {self.context - half})"}))
        return found

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary_size": self.vocabulary_size,
            "context": self.context,
            "network": keras.saving.serialize_keras_object(self.network),
            "tokenizer": self.tokenizer and keras.saving.serialize_keras_object(self.tokenizer),
            "begin_token": self.begin_token,
        }


def _int(value):
    """An int32 tensor."""
    return ops.convert_to_tensor(np.asarray(value, "int32"))
