"""Convolutions that XLA's CPU compiler is fast at, where it does not make them so itself.

Its fast convolutions take images (B, H, W, C) and kernels (H, W, C, D). What JAX makes of a gradient has other orders of dimensions, and XLA
turns them round in the main computation alone: in a branch or a loop the same gradient is computed by its general code, several to forty
times as slow.
"""

import jax
from jax.extend.core import Literal


def canonical(fn):
    """``fn``, a function of tensors or structures of them, as the same operations with every convolution's dimensions in that order; elsewhere
    than on a CPU ``fn`` itself."""
    if jax.default_backend() != "cpu":
        return fn

    def run(*arguments):
        closed, shapes = jax.make_jaxpr(fn, return_shape=True)(*arguments)
        found = _evaluated(closed.jaxpr, closed.consts, jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(shapes), found)

    return run


def _evaluated(jaxpr, constants, arguments):
    values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*constants, *arguments], strict=True))

    def of(variable):
        return variable.val if isinstance(variable, Literal) else values[variable]

    for equation in jaxpr.eqns:
        primitive, operands, parameters = equation.primitive, [of(v) for v in equation.invars], equation.params
        if primitive.name == "conv_general_dilated":
            found = [_convolved(*operands, **parameters)]
        elif primitive.name in ("jit", "pjit"):
            inner = parameters["jaxpr"]
            found = _evaluated(inner.jaxpr, inner.consts, operands)
        else:
            bound = primitive.get_bind_params(parameters)
            functions, parameters = bound if isinstance(bound, tuple) else ((), bound)  # a pair before JAX 0.10
            found = primitive.bind(*functions, *operands, **parameters)
            found = found if primitive.multiple_results else [found]
        values.update(zip(equation.outvars, found, strict=True))
    return [of(v) for v in jaxpr.outvars]


def _convolved(x, kernel, *, dimension_numbers, window_strides, padding, lhs_dilation, rhs_dilation, **others):
    images, kernels, results = (
        dimension_numbers  # places of (batch, channels, *sides), (out, in, *sides), (batch, channels, *sides)
    )
    n = len(images)
    last = (0, n - 1, *range(1, n - 1))
    y = jax.lax.conv_general_dilated(
        x.transpose(images[0], *images[2:], images[1]),
        kernel.transpose(*kernels[2:], kernels[1], kernels[0]),
        window_strides,
        padding,
        lhs_dilation,
        rhs_dilation,
        jax.lax.ConvDimensionNumbers(last, (n - 1, n - 2, *range(n - 2)), last),
        **others,
    )
    back = {place: axis for axis, place in enumerate((results[0], *results[2:], results[1]))}
    return y.transpose(*(back[place] for place in range(n)))
