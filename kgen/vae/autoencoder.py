"""What variational and vector-quantised autoencoders share: examples to latents and back, under conditions."""

import numpy as np

from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks
from kgen.core.endpoints import SEED


class Autoencoder(GenerativeModel):
    """Base class: a model of ``shape`` with an encoder, a decoder and something to draw latents from.

    A subclass writes what takes tensors. It is compiled and served, and models made of several use it. ``values`` are the tensors of the
    conditions by name; there are none where the model has no conditions.

    - ``sample_rows(seeds, **values)``: examples (B, *shape) for row seeds (B, 2);
    - ``encode_rows(x, **values)`` and ``decode_rows(z, **values)``: what ``encode`` and ``decode`` return;
    - ``latent_rows(x, **values)``: continuous latents, float32 (B, *latent_shape), for x (B, *shape);
    - ``from_latent_rows(z, **values)``: examples (B, *shape) for such latents.
    """

    latent_name = "z"  # what encode returns is called so where it is served
    described = {}  # what "sample", "encode" and "decode" return, in words

    @property
    def latent_shape(self):
        """The shape of one continuous latent."""
        raise NotImplementedError

    def latent_spec(self):
        """``TensorSpec`` of what ``encode`` returns."""
        raise NotImplementedError

    def check_examples(self, x):
        (checks.images if len(self.shape) == 3 else checks.rows)("x", x, self.shape)
        return super().check_examples(x)

    def latent_draw_rows(self, x, seeds, **values):
        """Latents of x as a prior is to know them, (B, *latent_shape): where there is a posterior, draws from it by row seeds (B, 2)."""
        return self.latent_rows(x, **values)

    def reconstruct_rows(self, x, **values):
        """The decoded latents of x: float32 tensor (B, *shape), for x (B, *shape)."""
        return self.decode_rows(self.encode_rows(x, **values), **values)

    def network_inputs(self, first, values):
        """What a network is called on: the tensor ``first``, or [first, *values] where there are conditions, in their order."""
        names = list(self.conditions.specs())
        if sorted(values) != sorted(names):
            raise TypeError(f"{self.name}: expected the conditions {names} by name, received {sorted(values)}.")
        return [first, *(values[name] for name in names)] if names else first

    def run_examples(self, key, function, arrays, conditions, **kwargs):
        """``run_rows`` over arrays by name and the conditions, by keyword, that a user gave with them."""
        count = len(next(iter(arrays.values())))
        return self.run_rows(key, function, {**arrays, **self.conditions.rows(count, conditions)}, **kwargs)

    def encode(self, x, *, batch_size=None, **conditions):
        """The latents of examples.

        Args:
            x: float array (B, *shape).
            batch_size: rows per compiled call; at most 256 by default.
            **conditions: as in ``sample``.
        Returns:
            numpy array (B, ...): a VAE's posterior means, float32 (B, latent_dim); a VQ-VAE's codes, int32 (B, *code_shape).
        """
        return self.run_examples("encode", self.encode_rows, {"x": self.examples(x)}, conditions, batch_size=batch_size)

    def reconstruct(self, x, *, batch_size=None, **conditions):
        """``decode(encode(x))``: numpy float32 array (B, *shape); arguments as in ``encode``."""
        arrays = {"x": self.examples(x)}
        return self.run_examples("reconstruct", self.reconstruct_rows, arrays, conditions, batch_size=batch_size)

    def interpolate(self, a, b, steps=8, *, batch_size=None, **conditions):
        """Decodes points on the straight line between the continuous latents of two sets of examples.

        Args:
            a, b: float arrays (B, *shape).
            steps: number of points, ends included, at least 2.
            batch_size, **conditions: as in ``encode``; row i of both has the same ones.
        Returns:
            numpy float32 array (B, steps, *shape); the first and last columns are the reconstructions of a and b.
        """
        checks.pairs(a, b, steps)
        z_a, z_b = (
            self.run_examples("latent", self.latent_rows, {"x": self.examples(x)}, conditions, batch_size=batch_size)
            for x in (a, b)
        )
        share = np.linspace(0, 1, steps, dtype="float32").reshape(1, steps, *[1] * len(self.latent_shape))
        z = (1 - share) * z_a[:, None] + share * z_b[:, None]
        values = {k: np.repeat(v, steps, axis=0) for k, v in self.conditions.rows(len(z), conditions).items()}
        arrays = {"z": z.reshape(-1, *self.latent_shape), **values}
        found = self.run_rows("from latent", self.from_latent_rows, arrays, batch_size=batch_size)
        return found.reshape(len(z), steps, *self.shape)

    def endpoints(self):
        images = ("images",) if len(self.shape) == 3 else ()
        low, high = (-1.0, 1.0) if images else (None, None)
        x = TensorSpec(self.shape, "float32", "example", low, high, kind="image" if images else "array")
        name, given = self.latent_name, self.conditions.specs()

        def sample(seed, **values):
            return {"images": self.sample_rows(seed, **values)}

        def encode(x, **values):
            return {name: self.encode_rows(x, **values)}

        def decode(**inputs):
            return {"images": self.decode_rows(inputs.pop(name), **inputs)}

        def reconstruct(x, **values):
            return {"images": self.reconstruct_rows(x, **values)}

        return [
            Endpoint("sample", sample, {"seed": SEED, **given}, {"images": self.described["sample"]}, images),
            Endpoint("encode", encode, {"x": x, **given}, {name: self.described["encode"]}),
            Endpoint(
                "decode", decode, {name: self.latent_spec(), **given}, {"images": self.described["decode"]}, images
            ),
            Endpoint("reconstruct", reconstruct, {"x": x, **given}, {"images": "reconstructions"}, images),
        ]


def check_network(name, network, inputs, output_shape, needs=""):
    """Calls a network on symbolic tensors: it must take them, and return rows of ``output_shape``.

    Args:
        name: the argument's name, for the error.
        network: what the user passed, or a default.
        inputs: a ``KerasTensor`` (B, ...), or a list of them.
        output_shape: shape of one row; None stands for any number of sizes before the last.
        needs: why, for the error; or nothing.
    Returns:
        the shape of one row of the output.
    Raises:
        ValueError: it fails on them, or returns another shape.
    """
    shapes = [_text(t.shape[1:]) for t in (inputs if isinstance(inputs, list) else [inputs])]
    try:
        output = network(inputs)
    except Exception as error:
        raise ValueError(
            f"{name}: expected a network of inputs {', '.join(shapes)}; it failed on them: {error}"
        ) from error
    found = tuple(output.shape[1:])
    if output_shape[0] is None:
        right, wanted = len(found) > 0 and found[-1] == output_shape[-1], f"(B, ..., {output_shape[-1]})"
    else:
        right, wanted = found == tuple(output_shape), _text(output_shape)
    if not right:
        needs = needs and f" ({needs})"
        raise ValueError(f"{name}: expected outputs {wanted}{needs}, received {tuple(output.shape)}.")
    return found


def _text(shape):
    return f"(B, {', '.join(map(str, shape))})" if len(shape) else "(B,)"
