"""Editing in a latent space: directions that mean something, arithmetic, and ways between points that stay where the data are."""

import numpy as np

from kgen.core.sphere import slerp

__all__ = ["analogy", "attribute_vector", "edit", "slerp"]


def attribute_vector(model, having, lacking):
    """The direction of an attribute: the mean latent vector of examples that have it less that of examples that do not.

    Args:
        model: a model with ``encode``, such as a VAE.
        having, lacking: float arrays (N, ...) and (M, ...), examples.
    Returns:
        numpy float32 array (latent_dim,); add some of it to a latent vector and ``decode``.
    Raises:
        ValueError: there are no examples, or the model has no latent vectors.
    Reference:
        White, Sampling Generative Networks, 2016, Section 3.2, arXiv 1609.04468.
    """
    return _encode(model, "having", having).mean(0) - _encode(model, "lacking", lacking).mean(0)


def edit(model, x, direction, amounts):
    """Decodes examples moved along a direction.

    Args:
        model: a model with ``encode`` and ``decode``.
        x: float array (N, ...), examples.
        direction: float array (latent_dim,), such as an ``attribute_vector``.
        amounts: numbers; 0 is the reconstruction.
    Returns:
        numpy float32 array (N, len(amounts), ...).
    """
    z = _encode(model, "x", x)
    direction = np.asarray(direction, "float32")
    if direction.shape != z.shape[1:]:
        raise ValueError(
            f"direction: expected shape {z.shape[1:]}, the model's latent vectors', received {direction.shape}."
        )
    moved = z[:, None] + np.atleast_1d(amounts).astype("float32")[None, :, None] * direction
    return _decode(model, moved)


def analogy(model, a, b, c):
    """What c is as b is to a: decodes encode(b) - encode(a) + encode(c), row by row.

    Args:
        model: a model with ``encode`` and ``decode``.
        a, b, c: float arrays (N, ...), examples.
    Returns:
        numpy float32 array (N, ...).
    """
    a, b, c = (_encode(model, name, x) for name, x in (("a", a), ("b", b), ("c", c)))
    if not len(a) == len(b) == len(c):
        raise ValueError(f"a, b, c: expected as many of each, received {len(a)}, {len(b)} and {len(c)}.")
    return _decode(model, b - a + c)


def _encode(model, name, x):
    if not (hasattr(model, "encode") and hasattr(model, "decode")):
        raise ValueError(f"model: expected one with encode and decode, {type(model).__name__} has no latent space.")
    if len(x) == 0:
        raise ValueError(f"{name}: expected at least one example, received none.")
    z = model.encode(x)
    if z.ndim != 2 or z.dtype.kind != "f":
        raise ValueError(
            f"model: expected latent vectors (N, D), those of this {type(model).__name__} are {z.dtype} {z.shape}."
        )
    return z


def _decode(model, z):
    flat = model.decode(z.reshape(-1, z.shape[-1]).astype("float32"))
    return flat.reshape(*z.shape[:-1], *flat.shape[1:])
