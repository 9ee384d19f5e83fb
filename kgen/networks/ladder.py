"""Networks of several layers of latents: features of x from the bottom up, and from the latents of the top layer down to x.

Layers are counted from the top, 0. Their latents are vectors (c,), or maps (h, w, c) whose sides grow downwards by whole factors.
"""

import itertools
import math

import keras
from keras import layers, ops

from kgen.layers import silu
from kgen.networks.configured import ConfiguredNetwork, under_policy


def _check(latent_shapes, shape, channels):
    latent_shapes, shape, channels = [tuple(s) for s in latent_shapes], tuple(shape), tuple(channels)
    ranks = {len(s) for s in latent_shapes}
    if ranks not in ({1}, {3}):
        raise ValueError(
            f"latent_shapes: expected vectors (c,) alone or maps (h, w, c) alone, such as (1, 1, 16), received {latent_shapes}."
        )
    if len(channels) != len(latent_shapes) + 1:
        raise ValueError(
            f"channels: expected {len(latent_shapes) + 1} numbers, one for each layer from the top and one for the data, received "
            f"{channels}."
        )
    sides = [s[:-1] for s in (*latent_shapes, shape)]
    if ranks == {3} and (
        len(shape) != 3
        or any(a > b or b % a for up, down in itertools.pairwise(sides) for a, b in zip(up, down, strict=True))
    ):
        raise ValueError(
            f"latent_shapes: expected maps whose sides divide those of the map below, down to the image's {shape}, received {latent_shapes}."
        )
    return latent_shapes, shape, channels


def _linear(maps, filters, kernel=1, **kwargs):
    return layers.Conv2D(filters, kernel, padding="same", **kwargs) if maps else layers.Dense(filters, **kwargs)


def _residual(h, blocks, name):
    """``blocks`` times h + A silu(B silu(h)), where B sees 3x3 pixels of maps."""
    maps, filters = len(h.shape) == 4, h.shape[-1]
    for i in range(blocks):
        out = _linear(maps, filters, 3, name=f"{name}_{i}_1")(silu(h))
        h = h + _linear(maps, filters, name=f"{name}_{i}_2")(silu(out))
    return h


def _factors(large, small):
    return tuple(a // b for a, b in zip(large, small, strict=True))


def _kernel(factors):
    return tuple(f if f > 2 else f + 2 for f in factors)


def _smaller(h, shape, filters, name):
    """h at the sides of a map ``shape`` with ``filters`` features; a vector of so many."""
    if len(h.shape) == 2:
        return layers.Dense(filters, name=name)(h)
    factors = _factors(h.shape[1:3], shape)
    return layers.Conv2D(filters, _kernel(factors), strides=factors, padding="same", name=name)(h)


def _larger(h, shape, filters, name):
    if len(h.shape) == 2 or tuple(h.shape[1:3]) == shape[:2]:
        return h if h.shape[-1] == filters else _linear(len(h.shape) == 4, filters, name=name)(h)
    factors = _factors(shape[:2], h.shape[1:3])
    return layers.Conv2DTranspose(filters, _kernel(factors), strides=factors, padding="same", name=name)(h)


@keras.saving.register_keras_serializable(package="kgen")
class LadderEncoder(ConfiguredNetwork):
    """From x upwards: strided convolutions and residual blocks, or dense layers, with features for each layer of latents.

    Args:
        input_shape: shape of one row: (H, W, C) for maps; any shape for vectors, which are of the flattened row.
        latent_shapes: shapes of the latents from the top, (c,) or (h, w, c) each.
        channels: width of the features of each layer from the top, and last that of the features at the size of x.
        blocks: residual blocks of each layer; 0 is linear.
    Call:
        x: float (B, *input_shape). Returns a list, from the top: float (B, *latent_shapes[i][:-1], channels[i]).
    Reference:
        Child, Very deep VAEs generalize autoregressive models, 2021, Figure 3, arXiv 2011.10650 (plain residual blocks).
    """

    def __init__(self, input_shape, latent_shapes, channels, blocks=1, name="encoder", **kwargs):
        latent_shapes, input_shape, channels = _check(latent_shapes, input_shape, channels)
        x = keras.Input(input_shape, name="x")
        maps = len(latent_shapes[0]) == 3
        h = x if maps or len(input_shape) == 1 else layers.Flatten(name="flatten")(x)
        if maps:  # at the image's size one convolution: a block there would take as long as all others
            h = silu(_linear(maps, channels[-1], 3, name="conv_in")(h))
        features = []
        for i, shape in reversed(list(enumerate(latent_shapes))):
            h = _residual(_smaller(h, shape[:-1], channels[i], f"up_{i}"), blocks, f"block_{i}")
            features.insert(0, h)
        super().__init__(x, features, name=name, **kwargs)
        self._arguments = {
            "input_shape": list(input_shape),
            "latent_shapes": [list(s) for s in latent_shapes],
            "channels": list(channels),
            "blocks": blocks,
            "name": name,
        }


@keras.saving.register_keras_serializable(package="kgen")
class LadderDecoder(keras.Model):
    """From the top downwards: each layer's latents are normal given those above, z_i = m_i(h) + s_i(h) u_i, and h goes on with them.

    It is told u, which is N(0, I) whatever stands above; the top layer has m = 0, s = 1, and so have all of them before training. With an
    encoder's features it finds the parameters of u's posterior on the way: relative to the prior, as NVAE has them.

    Args:
        latent_shapes, channels, blocks: as in ``LadderEncoder``; ``blocks`` before and after each layer's latents.
        output_shape: shape of one output row.
        stochastic: whether latents are drawn. If not, as codes are not, z_i = u_i, and what ``descend`` finds is a vector in place of a
            posterior's mean and scale.
    Call:
        u: float (B, D), all layers' latents from the top, flattened. Returns float32 (B, *output_shape).
    Reference:
        Sønderby et al., Ladder variational autoencoders, 2016, section 2.2, arXiv 1602.02282; Child 2021, Figure 3, arXiv 2011.10650;
        Vahdat & Kautz, NVAE: a deep hierarchical variational autoencoder, 2020, section 3.2, arXiv 2007.03898.
    """

    @under_policy
    def __init__(self, latent_shapes, output_shape, channels, blocks=1, stochastic=True, name="decoder", **kwargs):
        super().__init__(name=name, **kwargs)
        shapes, self.output_row, channels = _check(latent_shapes, output_shape, channels)
        self.latent_shapes, self.stochastic = tuple(shapes), bool(stochastic)
        self._arguments = {
            "latent_shapes": [list(s) for s in shapes],
            "output_shape": list(output_shape),
            "channels": list(channels),
            "blocks": blocks,
            "stochastic": self.stochastic,
            "name": name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }
        self.priors, self.posteriors, self.merges = [], [], []
        maps, above = len(shapes[0]) == 3, None
        for i, (shape, filters) in enumerate(zip(shapes, channels[:-1], strict=True)):
            h, entered = None, []
            if above is not None:
                start = keras.Input(above, name="h")
                h = _residual(_larger(start, shape, filters, "larger"), blocks, "block")
                prior = []
                if stochastic:
                    head = _linear(maps, 2 * shape[-1], kernel_initializer="zeros", dtype="float32", name="prior")
                    prior = [head(h)]
                self.priors.append(keras.Model(start, [h, *prior], name=f"prior_{i}"))
                h = keras.Input(h.shape[1:], name="h")
                entered = [h]
            seen = keras.Input((*shape[:-1], filters), name="seen")
            both = layers.Concatenate(name="join")([h, seen]) if entered else seen
            if blocks and entered:
                both = _residual(_linear(maps, filters, name="joined")(both), blocks, "block")
            numbers = (2 if stochastic else 1) * shape[-1]
            out = _linear(maps, numbers, dtype="float32", name="posterior")(both)
            self.posteriors.append(keras.Model([*entered, seen], out, name=f"posterior_{i}"))
            z = keras.Input(shape, name="z")
            after = _linear(maps, filters, name="enter")(z)
            after = _residual(h + after if entered else after, blocks, "block")
            self.merges.append(keras.Model([*entered, z], after, name=f"merge_{i}"))
            above = tuple(after.shape[1:])
        start = keras.Input(above, name="h")
        if maps:
            h = silu(_larger(start, self.output_row, channels[-1], "larger"))
            out = _linear(maps, self.output_row[-1], 3, dtype="float32", name="out")(h)
        else:
            h = silu(layers.Dense(channels[-1], name="dense")(start)) if blocks else start
            out = layers.Dense(math.prod(self.output_row), dtype="float32", name="out")(h)
            out = out if len(self.output_row) == 1 else layers.Reshape(self.output_row, name="reshape")(out)
        self.last = keras.Model(start, out, name="last")
        self.built = True

    def call(self, u, training=False):
        sizes = [math.prod(s) for s in self.latent_shapes]
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes) - 1)]
        parts = ops.split(u, ends, axis=-1) if ends else [u]
        return self.descend(lambda i, _: ops.reshape(parts[i], (-1, *self.latent_shapes[i])), training=training)

    def descend(self, choose, features=None, training=False):
        """The output, for latents that are chosen layer by layer.

        Args:
            choose: function of a layer's index and its posterior's parameters, float32 (B, h, w, 2 c) or (B, 2 c), means first, that
                returns the layer's u, (B, h, w, c) or (B, c). Where nothing is stochastic, of vectors (B, h, w, c) or (B, c).
            features: a list of features from the top, as ``LadderEncoder`` returns it; None for no posteriors, which are then None.
            training: bool.
        Returns:
            float32 tensor (B, *output_shape).
        """
        h, entered = None, []
        for i, merge in enumerate(self.merges):
            if i:
                h, *prior = keras.tree.flatten(self.priors[i - 1](h, training=training))
                entered = [h]
            posterior = None
            if features is not None:
                posterior = self.posteriors[i]([*entered, features[i]], training=training)
            z = ops.cast(choose(i, posterior), "float32")
            if i and prior:
                loc, raw = ops.split(ops.cast(prior[0], "float32"), 2, axis=-1)
                z = loc + ops.softplus(raw + 0.5413248546129181) * z  # softplus(ln(e - 1)) = 1
            h = merge([*entered, z], training=training)
        return self.last(h, training=training)

    def get_config(self):
        return dict(self._arguments)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)
