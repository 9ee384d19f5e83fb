"""Asks a TF Serving that answers from an export, over REST or gRPC, with numpy arrays in and out."""

import random
import time

import numpy as np

from kgen.core import checks
from kgen.serving import marking
from kgen.serving.bundle import BATCH_SIZES, choices
from kgen.serving.capi import StatusError, as_strings, check_fits
from kgen.serving.protobuf import DTYPES, STRING

_NAMED = 5  # of the rows that were refused


class RowsError(StatusError, ValueError):
    """The server refused some rows, in the answer itself: code INVALID_ARGUMENT. ``rows`` are their numbers, counted from 0."""

    def __init__(self, rows, reasons, n):
        named = "; ".join(f"row {row}: {reason}" for row, reason in list(zip(rows, reasons, strict=True))[:_NAMED])
        more = f"; and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        super().__init__("INVALID_ARGUMENT", f"{len(rows)} of {n} rows refused. {named}{more}.")
        self.rows = rows


class Client:
    """A model behind a server.

        client = kgen.serving.Client("localhost", "ddpm_digits")
        images = client.sample(16, seed=0)  # what model.sample(16, seed=0) gives

    Where a server does not answer, or has too much to do, a request is sent again after 0.1, 0.2, 0.4 ... seconds, more or less.

    Args:
        host: the server's name, with its port if that is not TF Serving's own (8501 for REST, 8500 for gRPC): "localhost", "gpu7:9000";
            for REST a URL too, such as "https://models.example.org".
        model: the name under which the server has the model: that of the folder of its versions, if kgen's files started it.
        protocol: "rest", which needs nothing installed, or "grpc", which is several times as fast with images and needs tensorflow-serving-api.
        version: number of a version; the newest if None.
        timeout: seconds that one request may take.
        retries: how often a request is sent again.
        batch_sizes: numbers of rows of single requests, those that the model was exported with; more rows go in several requests.
        export: the folder of the export, where this machine has it: classes go by their names then, ``labels="sneaker"``.
    Raises:
        ImportError: ``protocol="grpc"`` where tensorflow-serving-api is not installed.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        host,
        model,
        *,
        protocol="rest",
        version=None,
        timeout=60.0,
        retries=4,
        batch_sizes=BATCH_SIZES,
        export=None,
    ):
        from kgen.serving import transports

        checks.one_of("protocol", protocol, ("rest", "grpc"))
        timeout = checks.in_range("timeout", timeout, 0.001, 1e6)
        version = None if version is None else checks.positive_int("version", version)
        if isinstance(retries, bool) or not isinstance(retries, int) or retries < 0:
            raise ValueError(f"retries: expected an integer of at least 0, received {retries!r}.")
        self._retries = retries
        self._batch_sizes = sorted({checks.positive_int("batch_sizes", size) for size in batch_sizes}, reverse=True)
        if not self._batch_sizes:
            raise ValueError(f"batch_sizes: expected integers of at least 1, such as {BATCH_SIZES}, received none.")
        self._choices = {} if export is None else choices(export)
        self._transport = getattr(transports, protocol.capitalize())(host, model, version, timeout)
        self._signatures = None

    def signatures(self):
        """Dict from a signature's name to its ``Signature``: ``inputs`` and ``outputs``, dicts of ``Tensor``, and ``defaults`` of inputs.

        Raises:
            StatusError: the server does not answer, or has no such model.
        """
        if self._signatures is None:
            self._signatures = self._persistently(self._transport.signatures)
        return dict(self._signatures)

    def predict(self, signature="serving_default", /, **inputs):
        """Answers of one signature.

        Args:
            signature: its name; ``<name>_xla`` needs a server with XLA.
            **inputs: arrays with one row for each answer; a single number counts for all rows, and an input with a default may be
                left out. Pictures as files, ``x_png_bytes=[Path("cat.png").read_bytes(), ...]``, of signatures that end in ``_png``.
        Returns:
            dict from an output's name to a numpy array: images as float32 in [-1, 1] and as uint8, ``png_bytes`` as an object array
            of bytes. ``valid`` and ``error``, by which the server marks rows, are not in it: every row is valid.
        Raises:
            ValueError: there is no such signature, the inputs are not its inputs, or an integer does not fit the input's dtype.
            StatusError: the server refused the request (code INVALID_ARGUMENT), or did not answer (UNAVAILABLE, DEADLINE_EXCEEDED).
                Where rows have a value out of range, it is a ValueError too, and says which rows, which input and what is expected.
        """
        wanted = self.signatures()[checks.one_of("signature", signature, sorted(self.signatures()))]
        inputs = {name: self._number(name, value, wanted) for name, value in inputs.items()}
        rows, answers, start = _rows(signature, wanted, inputs), [], 0
        n = len(next(iter(rows.values())))
        for size in self._parts(n):
            part = {name: value[start : start + size] for name, value in rows.items()}
            answer = self._persistently(self._transport.predict, signature, wanted, part)
            if marking.DOCS.keys() <= answer.keys():  # versions exported by kgen 0.1 refuse whole requests instead
                valid, error = answer.pop(marking.VALID), answer.pop(marking.ERROR)
                if not valid.all():
                    raise RowsError(start + np.flatnonzero(~valid), [text.decode() for text in error[~valid]], n)
            answers.append(answer)
            start += size
        return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}

    def sample(self, n, *, seed=None, labels=None, **inputs):
        """Samples as ``model.sample(n, seed=seed)`` gives them: row i depends on (seed, i) alone.

        Args:
            n: how many.
            seed: int, or None for another result each time.
            labels: for a model with classes: one int for all rows, or (n,) ints; or names, see ``export``.
            **inputs: what else the signature takes, such as ``guidance=2.0`` or ``temperature=0.8``.
        Returns:
            numpy array (n, ...): images as floats in [-1, 1].
        Raises:
            ValueError: n, seed or labels out of range, or the model does not sample.
            StatusError: as in ``predict``.
        """
        from kgen.core.random import row_seeds

        if "sample" not in self.signatures():
            raise ValueError(f"This model does not sample. It has: {', '.join(sorted(self._signatures))}.")
        if labels is not None:
            if "label" not in self._signatures["sample"].inputs:
                raise ValueError("labels: this model has no classes.")
            inputs["label"] = labels
        answer = self.predict("sample", seed=row_seeds(seed, checks.positive_int("n", n)), **inputs)
        (name,) = (name for name in answer if not name.endswith(("_uint8", "_bytes")))
        return answer[name]

    def close(self):
        """Closes the connection."""
        self._transport.close()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def _number(self, name, value, signature):
        """``value`` with the number of each name that the export knows; what is no text, or is to be one, as it is."""
        if name not in signature.inputs or signature.inputs[name].dtype == STRING:
            return value
        names = checks.texts(np.asarray(value))
        if names is None:
            return value
        known = self._choices.get(name)
        if known is None:
            raise ValueError(f"{name}: the server knows no names. Pass numbers, or make the client with export=.")
        return np.vectorize(lambda text: known.index(checks.one_of(name, str(text), known)), otypes=["int32"])(names)

    def _parts(self, n):
        """n as a sum of batch sizes, the largest first: none is padded, and none is new to a server that compiled those of the export."""
        parts = []
        for size in self._batch_sizes:
            parts += [size] * (n // size)
            n %= size
        return parts + [n] * (n > 0)

    def _persistently(self, function, *arguments):
        for attempt in range(self._retries + 1):
            try:
                return function(*arguments)
            except StatusError as error:
                if error.code != "UNAVAILABLE" or attempt == self._retries:
                    raise
            # Clients that were turned away together are not to come back together.
            time.sleep(min(0.1 * 2**attempt, 10.0) * random.uniform(0.5, 1.5))
        return None


def _rows(name, signature, inputs):
    """The inputs as arrays of the signature's dtypes, all with the same number of rows."""
    wanted, defaults = signature.inputs, signature.defaults
    missing = sorted(set(wanted) - set(inputs) - set(defaults))
    unknown = sorted(set(inputs) - set(wanted))
    if missing or unknown:
        problem = f"{', '.join(missing)} missing" if missing else f"{', '.join(unknown)} unknown"
        raise ValueError(f"inputs: signature {name!r} takes {', '.join(sorted(wanted))}; {problem}.")
    arrays = {}
    for key, tensor in wanted.items():
        if tensor.dtype == STRING:
            arrays[key] = as_strings(key, inputs[key])
            continue
        value, dtype = np.asarray(inputs.get(key, defaults.get(key))), np.dtype(DTYPES[tensor.dtype])
        if not np.can_cast(value.dtype, dtype, "same_kind"):
            raise ValueError(f"{key}: expected {dtype}, received {value.dtype}.")
        check_fits(key, value, dtype)
        if value.shape[1:] != tensor.shape[1:]:
            shape = ", ".join("N" if size is None else str(size) for size in tensor.shape)
            raise ValueError(f"{key}: expected shape ({shape}), received {value.shape}.")
        arrays[key] = value.astype(dtype)
    sizes = {key: len(v) for key, v in arrays.items() if key in inputs and v.ndim == len(wanted[key].shape)}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"inputs: expected the same number of rows in each, received {sizes}.")
    n = next(iter(sizes.values()), 1)
    if n < 1:
        raise ValueError("inputs: expected at least one row, received none.")
    return {key: np.broadcast_to(v, (n, *wanted[key].shape[1:])) for key, v in arrays.items()}
