"""The vector-quantised variational autoencoder of several levels: maps of codes, each at a finer resolution than those above it.

An encoder goes up to the top level; from there a decoder goes down, and what a level quantises depends on x and on the codes above it. What
the top has said, the levels below need not say again. The loss of an example is the mean of |x - decoder(codes)|^2 over its values, plus the
quantiser's of each level.

Reference:
    Razavi et al., Generating diverse high-fidelity images with VQ-VAE-2, 2019, Algorithm 1, arXiv 1906.00446.
"""

import itertools
import math

import keras
from keras import ops

from kgen.core import checks
from kgen.layers import VectorQuantizer
from kgen.networks import LadderDecoder, LadderEncoder
from kgen.vae import defaults
from kgen.vae.vqvae import VQVAE


@keras.saving.register_keras_serializable(package="kgen")
class VQVAE2(VQVAE):
    """A VQ-VAE of two levels or more, counted from the top, 0, each with a codebook of its own, by moving averages.

    ``encode`` gives the codes of all levels in one row, from the top, each map row by row: int32 (B, n); ``decode`` takes such rows,
    and ``levels_of`` takes them apart. Codes cost the sum over levels of h w log2(num_codes) bits. ``sample`` draws each code by itself, as
    ``VQVAE`` does; objects come from ``kgen.hybrid.PriorRefit(model, CodePixelCNN(model.code_shapes, model.num_codes))``, where each level
    is drawn given those above it.

    Args:
        shape: shape of one example, (H, W, C) for images in [-1, 1]; any shape together with ``encoder`` and ``decoder``.
        num_codes: number of codes of each level; 256 by default.
        code_dim: length of a code's vector; 16 by default.
        code_shapes: shape of each level's map of codes from the top, ((7, 7), (14, 14)), or () for one code. By default that of ``decoder``,
            or the image halved twice and once.
        encoder: maps x (B, *shape) to a list of features, one for each level: a ``LadderEncoder`` by default.
        decoder: a ``LadderDecoder`` with ``stochastic=False``, or a network with its ``latent_shapes`` and ``descend``, of vectors
            (*code_shape, code_dim).
    Raises:
        ValueError: shapes that do not fit each other.
    """

    def __init__(
        self,
        shape,
        num_codes=None,
        code_dim=None,
        *,
        code_shapes=None,
        encoder=None,
        decoder=None,
        name="vqvae2",
        dtype=None,
    ):
        shape = checks.shape("shape", shape)
        if code_shapes is None and decoder is None:
            code_shapes = defaults.code_maps(shape)
        elif code_shapes is None:
            code_shapes = [s[:-1] for s in decoder.latent_shapes]
        self.code_shapes = tuple(checks.shape("code_shapes", s) for s in code_shapes)
        levels = range(len(self.code_shapes))
        self.log_names = ("loss", "reconstruction", "quantization", *(f"perplexity_{i}" for i in levels))
        super().__init__(shape, num_codes, code_dim, encoder=encoder, decoder=decoder, name=name, dtype=dtype)
        more = [VectorQuantizer(self.num_codes, self.code_dim, name=f"quantizer_{i}") for i in levels[1:]]
        self.quantizers = [self.quantizer, *more]

    def set_networks(self, encoder, decoder):
        vectors = tuple((*shape, self.code_dim) for shape in self.code_shapes)
        channels = [64] * len(vectors) + [32]
        if encoder is None:
            encoder = LadderEncoder(self.shape, vectors, channels, 2, dtype=self.dtype_policy)
        if decoder is None:
            decoder = LadderDecoder(vectors, self.shape, channels, 2, False, dtype=self.dtype_policy)
        if tuple(map(tuple, decoder.latent_shapes)) != vectors:
            raise ValueError(
                f"decoder: expected one of vectors {vectors}, of code_shapes and code_dim, received one of {decoder.latent_shapes}."
            )
        self.encoder, self.decoder = encoder, decoder
        self.code_shape = (sum(math.prod(shape) for shape in self.code_shapes),)
        try:
            x = keras.KerasTensor((None, *self.shape))
            found, _ = self._down(self.encoder(x), lambda i, z: z[..., : self.code_dim])
        except Exception as error:
            raise ValueError(f"encoder: expected features for each of {vectors}; it failed on them: {error}") from error
        found = tuple(tuple(z.shape[1:]) for z in found)
        if found != vectors:
            raise ValueError(
                f"decoder: expected a vector of {self.code_dim} for each code, as stochastic=False gives, received {found}."
            )

    def _down(self, features, chosen, training=False):
        """The vectors of each level, before quantisation, and the output, where ``chosen(i, vectors)`` is what goes on downwards."""
        vectors = []

        def choose(i, found):
            vectors.append(ops.cast(found, "float32"))
            return chosen(i, vectors[-1])

        output = self.decoder.descend(choose, keras.tree.flatten(features), training=training)
        return vectors, output

    def levels_of(self, codes):
        """The levels' maps of rows of codes, int (B, n): a list of (B, *code_shapes[i]) from the top; of vectors (B, n, d) alike."""
        ends = list(itertools.accumulate(math.prod(shape) for shape in self.code_shapes))[:-1]
        parts = ops.split(codes, ends, axis=1) if ends else [codes]
        rest = tuple(codes.shape[2:])
        return [ops.reshape(p, (-1, *shape, *rest)) for p, shape in zip(parts, self.code_shapes, strict=True)]

    def _row(self, maps, rest=()):
        count = len(rest)
        flat = [ops.reshape(m, (-1, math.prod(m.shape[1 : len(m.shape) - count]), *rest)) for m in maps]
        return ops.concatenate(flat, axis=1)

    # Training.

    def objective(self, batch, training):
        """Mean squared error plus the quantisers' losses."""
        x = ops.cast(batch.x, "float32")
        codes, losses, logs = [], [], {}

        def quantized(i, z):
            vectors, found, loss, logs[f"perplexity_{i}"] = self.quantizers[i](z, training=training)
            codes.append(found)
            losses.append(loss)
            return vectors

        output = self._down(self.encoder(x, training=training), quantized, training)[1]
        errors = ops.square(x - ops.cast(output, "float32"))
        reconstruction = ops.mean(ops.reshape(errors, (ops.shape(x)[0], -1)), axis=-1)
        if training:
            self.count(self._row(codes))
        quantization = sum(losses)
        return reconstruction + quantization, {"reconstruction": reconstruction, "quantization": quantization, **logs}

    # What takes and gives tensors; see ``VQVAE``.

    def _nearest(self, i, z):
        return self.quantizers[i].lookup(self.quantizers[i].nearest(z))

    def latent_rows(self, x):
        """The vectors before quantisation, of all levels from the top: float32 tensor (B, n, code_dim), for x (B, *shape)."""
        return self._row(self._down(self.encoder(x), self._nearest)[0], (self.code_dim,))

    def from_latent_rows(self, z):
        """Examples of the codes nearest to vectors z (B, n, code_dim): float32 tensor (B, *shape)."""
        return self.decode_rows(self._codes(self.levels_of(z)))

    def _codes(self, vectors):
        return self._row([quantizer.nearest(z) for quantizer, z in zip(self.quantizers, vectors, strict=True)])

    def encode_rows(self, x):
        """The codes of x, all levels from the top: int32 tensor (B, n), for x (B, *shape)."""
        return self._codes(self._down(self.encoder(x), self._nearest)[0])

    def decode_rows(self, codes):
        """Examples of codes (B, n): float32 tensor (B, *shape); images are kept in [-1, 1]."""
        maps = self.levels_of(codes)
        output = self.decoder.descend(lambda i, _: self.quantizers[i].lookup(maps[i]))
        return ops.clip(output, -1.0, 1.0) if len(self.shape) == 3 else output

    def call(self, x, training=False):
        """The reconstruction of x."""
        return self._down(self.encoder(x, training=training), lambda i, z: self.quantizers[i](z)[0], training)[1]

    def get_config(self):
        config = super().get_config()
        del config["quantizer"]
        return {
            **config,
            "num_codes": self.num_codes,
            "code_dim": self.code_dim,
            "code_shapes": [list(shape) for shape in self.code_shapes],
        }
