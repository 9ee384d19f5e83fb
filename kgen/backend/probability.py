"""The one place that imports TensorFlow Probability, on first use.

TFP supplies distributions and bijectors on TensorFlow and, through its JAX substrate, on JAX. There is none for
torch: there the same distribution names are ``kgen.backend.torch_distributions``. Importing TFP takes more than a
second, so nothing happens until a function below is called.
"""

import functools
import sys
import warnings

import keras
import numpy as np


def tfp():
    """The TFP module of the active Keras backend, or None on torch.

    Returns:
        ``tensorflow_probability`` on TensorFlow, ``tensorflow_probability.substrates.jax`` on JAX, None on torch.
    Raises:
        ImportError: TFP is not installed, or the backend is none of these three.
    """
    return _load(keras.config.backend())


def distributions():
    """The module that holds the distribution classes of the active Keras backend, under TFP's names.

    Raises:
        ImportError: as ``tfp``.
    """
    probability = tfp()
    if probability is not None:
        return probability.distributions
    from kgen.backend import torch_distributions

    return torch_distributions


def bijectors():
    """The module of TFP's bijectors for the active Keras backend.

    Raises:
        NotImplementedError: the backend is torch, which TFP does not run on.
        ImportError: as ``tfp``.
    """
    probability = tfp()
    if probability is None:
        raise NotImplementedError(
            "Normalising flows are made of the bijectors of TensorFlow Probability, which run on the backends 'tensorflow' and 'jax'; "
            "the backend is 'torch'. Set KERAS_BACKEND=tensorflow or KERAS_BACKEND=jax before Python starts. On torch, VAEs give a "
            "bound on the likelihood, and autoregressive models its exact value."
        )
    return probability.bijectors


def stateless_seed(seed):
    """The seed that ``distribution.sample(shape, seed=...)`` needs to give the same draw every time.

    The backends disagree about a bare int: TFP on TensorFlow mixes it with global state, TFP on JAX refuses it. All
    three agree about a pair of 32-bit words. The draws themselves differ between backends, and on TensorFlow between
    eager and XLA-compiled code; ``kgen.core.random`` has draws that do not.

    Args:
        seed: int in [0, 2**64), or an integer tensor (2,), such as ``keras.random.SeedGenerator.next()`` gives.
    Returns:
        integer tensor (2,): int32 on TensorFlow, uint32 on JAX (a raw PRNG key), int64 on torch.
    Raises:
        TypeError: ``seed`` is neither an int nor a tensor of shape (2,).
        ValueError: an int outside [0, 2**64).
    """
    dtype = {"tensorflow": "int32", "jax": "uint32"}.get(keras.config.backend(), "int64")
    if isinstance(seed, (int, np.integer)) and not isinstance(seed, bool):
        seed = int(seed)
        if not 0 <= seed < 2**64:
            raise ValueError(f"`seed` must lie in [0, 2**64); received {seed}.")
        words = np.array([seed >> 32, seed & 0xFFFFFFFF], "uint32")
        words = words.view("int32") if dtype == "int32" else words.astype(dtype)
        return keras.ops.convert_to_tensor(words, dtype=dtype)
    if tuple(getattr(seed, "shape", ())) != (2,):
        raise TypeError(
            f"`seed` must be an int or an integer tensor of shape (2,); received {seed!r}. "
            "Pass an int such as 0, or `keras.random.SeedGenerator(0).next()`."
        )
    return keras.ops.cast(seed, dtype)


@functools.cache
def _load(backend):
    if backend == "torch":
        return None
    if backend not in ("tensorflow", "jax"):
        raise ImportError(
            f"kgen runs on the Keras backends 'tensorflow', 'jax' and 'torch'; the backend is {backend!r}. "
            "Set KERAS_BACKEND before keras is imported."
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TFP's own use of distutils and of jax.core
            return _load_tensorflow() if backend == "tensorflow" else _load_jax()
    except ModuleNotFoundError as error:
        extra = "[tf]" if backend == "tensorflow" else ""
        raise ImportError(
            f"kgen.distributions needs TensorFlow Probability on the {backend} backend; {error.name!r} is missing. "
            f'Install it: pip install "tensorflow-probability{extra}".'
        ) from error


def _load_tensorflow():
    import tensorflow_probability

    # TFP loads these when they are first read; read them here, where its warnings are silenced.
    _ = tensorflow_probability.distributions, tensorflow_probability.bijectors
    return tensorflow_probability


def _load_jax():
    import jax
    from jax.interpreters import xla

    if not hasattr(xla, "pytype_aval_mappings"):  # gone since jax 0.7; TFP 0.25 reads it while importing
        xla.pytype_aval_mappings = jax._src.core.pytype_aval_mappings
    # The substrate imports TensorFlow, where it finds it, to copy docstrings and for nothing else: seconds and
    # noise for nothing.
    hide_tensorflow = "tensorflow" not in sys.modules
    if hide_tensorflow:
        sys.modules["tensorflow"] = None
    try:
        import tensorflow_probability.substrates.jax as substrate
    finally:
        if hide_tensorflow:
            del sys.modules["tensorflow"]
    _make_splines_compile(sys.modules[f"{substrate.__name__}.bijectors.rational_quadratic_spline"])
    return substrate


def _make_splines_compile(module):
    """Lets ``RationalQuadraticSpline`` run under ``jax.jit``: TFP 0.25 computes its shapes by array operations, which jit would trace."""
    import jax.numpy as jnp

    def padded(t, lhs, rhs=None):
        ends = [jnp.full((*t.shape[:-1], 1), v, t.dtype) if v is not None else t[..., :0] for v in (lhs, rhs)]
        return jnp.concatenate([ends[0], t, ends[1]], axis=-1)

    class StaticShapes:
        shape = staticmethod(lambda t: t.shape)
        broadcast_dynamic_shape = staticmethod(np.broadcast_shapes)

        def __getattr__(self, name, tf=module.tf):
            return getattr(tf, name)

    module._padded, module.tf = padded, StaticShapes()
