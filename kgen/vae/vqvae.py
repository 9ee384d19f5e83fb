"""The vector-quantised variational autoencoder.

An encoder maps x to a map of vectors z, each is replaced by the nearest code e_k of a codebook, and a decoder maps the codes' vectors
back. The loss of an example is the mean of |x - decoder(e_k)|^2 over its values, plus the quantiser's.

Reference:
    van den Oord et al., Neural discrete representation learning, 2017, Eq. 3, arXiv 1711.00937.
"""

import keras
import numpy as np
from keras import ops

from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks, random
from kgen.core.endpoints import SEED
from kgen.layers import VectorQuantizer
from kgen.networks import SpatialDecoder, SpatialEncoder

MEMORY = 0.99  # decay of the running average of how often each code is used at each position


@keras.saving.register_keras_serializable(package="kgen")
class VQVAE(GenerativeModel):
    """A VQ-VAE: images to maps of integer codes, and back.

    It has no prior over codes but the frequency of each code at each position, seen in training: ``sample`` draws every position from
    it independently, and so shows textures rather than objects. For samples worth looking at, put ``kgen.hybrid.LatentDiffusion`` on
    top, or an autoregressive model of the codes that ``encode`` gives. There is no ``log_prob``: the squared error names no
    distribution of x.

    Args:
        image_shape: shape of one example: (H, W, C) for images in [-1, 1], or any shape together with ``encoder`` and ``decoder``.
        num_codes: number of codes K; 256 by default.
        code_dim: length of a code's vector; 16 by default.
        encoder: maps (B, *image_shape) to vectors (B, *code_shape, code_dim). Convolutions that halve the sides up to twice by default.
        decoder: maps vectors (B, *code_shape, code_dim) to (B, *image_shape).
        quantizer: a ``VectorQuantizer`` in place of ``num_codes`` and ``code_dim``; by default one with a codebook of moving averages.
    """

    likelihood = "implicit"
    log_names = ("loss", "reconstruction", "quantization", "perplexity")

    def __init__(
        self,
        image_shape,
        num_codes=None,
        code_dim=None,
        *,
        encoder=None,
        decoder=None,
        quantizer=None,
        name="vqvae",
        dtype=None,
    ):
        super().__init__(name=name, dtype=dtype)
        self.image_shape = checks.shape("image_shape", image_shape)
        self.quantizer = _quantizer(quantizer, num_codes, code_dim)
        self.num_codes, self.code_dim = self.quantizer.num_codes, self.quantizer.dim
        channels = _channels(self.image_shape)
        if encoder is None:
            encoder = SpatialEncoder(_three(self.image_shape, "encoder"), self.code_dim, channels)
        self.encoder = encoder
        self.code_shape = self._check_encoder()
        if decoder is None:
            shape = (*self.code_shape, self.code_dim)
            decoder = SpatialDecoder(shape, _three(self.image_shape, "decoder")[-1], channels)
        self.decoder = decoder
        self._check_decoder()
        self.usage = self.add_weight(
            shape=(*self.code_shape, self.num_codes),
            initializer="zeros",
            trainable=False,
            dtype="float32",
            aggregation="mean",
            name="usage",
        )

    def _check_encoder(self):
        """Calls the encoder on a shape: it must take examples and return vectors as long as the codes. Returns the shape of the codes."""
        try:
            output = self.encoder(keras.KerasTensor((None, *self.image_shape)))
        except Exception as error:
            raise ValueError(
                f"encoder: expected a network of inputs (B, {_text(self.image_shape)}); it failed: {error}"
            ) from error
        if len(output.shape) < 2 or output.shape[-1] != self.code_dim:
            raise ValueError(
                f"encoder: expected outputs (B, ..., {self.code_dim}), vectors as long as the codes, received {tuple(output.shape)}."
            )
        return tuple(output.shape[1:-1])

    def _check_decoder(self):
        shape = (*self.code_shape, self.code_dim)
        try:
            output = self.decoder(keras.KerasTensor((None, *shape)))
        except Exception as error:
            raise ValueError(
                f"decoder: expected a network of inputs (B, {_text(shape)}), the encoder's outputs; it failed: {error}"
            ) from error
        if tuple(output.shape[1:]) != self.image_shape:
            raise ValueError(
                f"decoder: expected outputs (B, {_text(self.image_shape)}), received {tuple(output.shape)}."
            )

    # Training.

    def check_data(self, x, y=None):
        (checks.images if len(self.image_shape) == 3 else checks.rows)("x", x, self.image_shape)
        if y is not None:
            raise ValueError("y: a VQ-VAE has no labels. Train by fit(x).")

    def objective(self, batch, training):
        """Mean squared error plus the quantiser's loss."""
        x = ops.cast(batch.x, "float32")
        z = self.encoder(x, training=training)
        vectors, codes, quantization, perplexity = self.quantizer(z, training=training)
        output = ops.cast(self.decoder(vectors, training=training), "float32")
        errors = ops.square(x - output)
        reconstruction = ops.mean(ops.reshape(errors, (ops.shape(x)[0], -1)), axis=-1)
        if training:
            used = ops.mean(ops.one_hot(codes, self.num_codes, dtype="float32"), axis=0)
            self.usage.assign(MEMORY * self.usage + (1.0 - MEMORY) * used)
        logs = {"reconstruction": reconstruction, "quantization": quantization, "perplexity": perplexity}
        return reconstruction + quantization, logs

    # What takes and gives tensors, and is compiled and served.

    def latent(self, x):
        """The encoder's vectors before quantisation: float32 tensor (B, *code_shape, code_dim), for x (B, *image_shape)."""
        return ops.cast(self.encoder(x), "float32")

    def from_latent(self, z):
        """The decoder's output for the codes nearest to vectors z (B, *code_shape, code_dim): float32 tensor (B, *image_shape)."""
        return self._decode(self.quantizer.nearest(z))

    def _decode(self, codes):
        output = ops.cast(self.decoder(self.quantizer.lookup(codes)), "float32")
        return ops.clip(output, -1.0, 1.0) if len(self.image_shape) == 3 else output

    def _encode(self, x):
        return self.quantizer.nearest(self.latent(x))

    def _sample(self, seeds):
        # Before any training every code is as likely as every other.
        logits = ops.log(ops.convert_to_tensor(self.usage) + 1e-9)
        logits = ops.broadcast_to(logits, (ops.shape(seeds)[0], *self.code_shape, self.num_codes))
        return self._decode(random.categorical(seeds, logits))

    # The protocol.

    def call(self, x, training=False):
        """The reconstruction of x."""
        return self.decoder(self.quantizer(self.encoder(x, training=training), training=training)[0], training=training)

    def sample(self, n, *, seed=None, batch_size=None):
        """Draws each position's code by its frequency in training, independently, and decodes them (see the class).

        Args:
            n: how many.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            batch_size: rows per compiled call; at most 256 by default.
        Returns:
            numpy float32 array (n, *image_shape).
        """
        return self.run_rows("sample", self._sample, [self.row_seeds(n, seed)], batch_size=batch_size, progress=True)

    def encode(self, x, *, batch_size=None):
        """The codes of examples: numpy int32 array (B, *code_shape) in [0, num_codes), for x (B, *image_shape)."""
        return self.run_rows("encode", self._encode, [self._data(x)], batch_size=batch_size)

    def decode(self, codes, *, batch_size=None):
        """The examples of codes: numpy float32 array (B, *image_shape), for integers (B, *code_shape) in [0, num_codes)."""
        codes = np.asarray(codes)
        if codes.shape[1:] != self.code_shape or codes.ndim == 0 or len(codes) == 0:
            raise ValueError(f"codes: expected shape (N, {_text(self.code_shape)}), N >= 1, received {codes.shape}.")
        if not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(
                f"codes: expected integers in [0, {self.num_codes}), as encode gives them, received {codes.dtype}."
            )
        if codes.min() < 0 or codes.max() >= self.num_codes:
            raise ValueError(
                f"codes: expected integers in [0, {self.num_codes}), the codebook's, received values from {codes.min()} to {codes.max()}."
            )
        return self.run_rows("decode", self._decode, [codes.astype("int32")], batch_size=batch_size)

    def reconstruct(self, x, *, batch_size=None):
        """``decode(encode(x))``: numpy float32 array (B, *image_shape)."""
        return self.run_rows(
            "reconstruct", lambda x: self._decode(self._encode(x)), [self._data(x)], batch_size=batch_size
        )

    def interpolate(self, a, b, steps=8):
        """Decodes points on the straight line between the encoder's vectors of two sets of examples, each quantised.

        Args:
            a, b: float arrays (B, *image_shape).
            steps: number of points, ends included, at least 2.
        Returns:
            numpy float32 array (B, steps, *image_shape); the first and last columns are the reconstructions of a and b.
        """
        checks.pairs(a, b, steps)
        a, b = self._data(a), self._data(b)

        def run(a, b):
            z_a, z_b = self.latent(a), self.latent(b)
            return ops.stack([self.from_latent(z_a + s * (z_b - z_a)) for s in np.linspace(0, 1, steps)], axis=1)

        return self.run_rows(("interpolate", steps), run, [a, b])

    def _data(self, x):
        x = np.asarray(x)
        self.check_data(x)
        return x.astype("float32")

    def endpoints(self):
        images = ("images",) if len(self.image_shape) == 3 else ()
        low, high = (-1.0, 1.0) if images else (None, None)
        x = TensorSpec(self.image_shape, "float32", "example", low, high)
        codes = TensorSpec(self.code_shape, "int32", "codes", 0, self.num_codes - 1)
        shown = {"images": "reconstructions"}
        return [
            Endpoint("encode", lambda x: {"codes": self._encode(x)}, {"x": x}, {"codes": "int32 codes"}),
            Endpoint("decode", lambda codes: {"images": self._decode(codes)}, {"codes": codes}, shown, images),
            Endpoint("reconstruct", lambda x: {"images": self._decode(self._encode(x))}, {"x": x}, shown, images),
            Endpoint(
                "sample",
                lambda seed: {"images": self._sample(seed)},
                {"seed": SEED},
                {"images": "decoded independent codes"},
                images,
            ),
        ]

    def get_config(self):
        config = super().get_config()
        del config["ema"]
        return {
            **config,
            "image_shape": list(self.image_shape),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "quantizer": keras.saving.serialize_keras_object(self.quantizer),
        }


def _quantizer(quantizer, num_codes, code_dim):
    if quantizer is None:
        return VectorQuantizer(256 if num_codes is None else num_codes, 16 if code_dim is None else code_dim)
    if not isinstance(quantizer, VectorQuantizer):
        raise TypeError(f"quantizer: expected a kgen.layers.VectorQuantizer, received {quantizer!r}.")
    if num_codes is not None or code_dim is not None:
        raise ValueError("num_codes, code_dim: the quantizer that was passed says both; leave them out.")
    return quantizer


def _channels(shape):
    """Stages of 32 and 64 channels: as many as halve both sides evenly, and leave 2 pixels or more."""
    sides, count = shape[:2], 0
    while len(shape) == 3 and count < 2 and all(s % 2 == 0 and s >= 4 for s in sides):
        sides, count = [s // 2 for s in sides], count + 1
    return (32, 64)[:count]


def _three(shape, name):
    if not _channels(shape):
        raise ValueError(
            f"image_shape: the default {name} needs (H, W, C) with even sides, received {shape}. Pass {name}=."
        )
    return shape


def _text(shape):
    return ", ".join(map(str, shape))
