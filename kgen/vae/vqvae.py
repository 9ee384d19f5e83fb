"""The vector-quantised variational autoencoder.

An encoder maps x to a map of vectors z, each is replaced by the nearest code e_k of a codebook, and a decoder maps the codes' vectors
back. The loss of an example is the mean of |x - decoder(e_k)|^2 over its values, plus the quantiser's.

Reference:
    van den Oord et al., Neural discrete representation learning, 2017, Eq. 3, arXiv 1711.00937.
"""

import keras
import numpy as np
from keras import ops

from kgen import backend
from kgen.core import TensorSpec, checks, random
from kgen.layers import FiniteScalarQuantizer, VectorQuantizer
from kgen.vae import defaults
from kgen.vae.autoencoder import Autoencoder, check_network

MEMORY = 0.99  # decay of the running average of how often each code is used at each position


@keras.saving.register_keras_serializable(package="kgen")
class VQVAE(Autoencoder):
    """A VQ-VAE: images to maps of integer codes, and back.

    It has no prior over codes but the frequency of each code at each position, seen in training: ``sample`` draws every position from
    it independently, and so shows textures rather than objects. For samples worth looking at, fit a prior to the codes,
    ``kgen.hybrid.PriorRefit(model, CodePixelCNN([model.code_shape], model.num_codes))``, or put ``kgen.hybrid.LatentDiffusion`` on
    top. There is no ``log_prob``: the squared error names no distribution of x.

    Args:
        shape: shape of one example: (H, W, C) for images in [-1, 1], or any shape together with ``encoder`` and ``decoder``.
        num_codes: number of codes K; 256 by default.
        code_dim: length of a code's vector; 16 by default.
        encoder: maps (B, *shape) to vectors (B, *code_shape, code_dim). Convolutions that halve the sides up to twice by default.
        decoder: maps vectors (B, *code_shape, code_dim) to (B, *shape).
        quantizer: a ``VectorQuantizer`` or ``FiniteScalarQuantizer`` in place of ``num_codes`` and ``code_dim``; by default the first,
            with a codebook of moving averages.
    """

    likelihood = "implicit"
    log_names = ("loss", "reconstruction", "quantization", "perplexity")
    latent_name = "codes"
    described = {"sample": "decoded independent codes", "encode": "int32 codes", "decode": "reconstructions"}

    def __init__(
        self,
        shape,
        num_codes=None,
        code_dim=None,
        *,
        encoder=None,
        decoder=None,
        quantizer=None,
        name="vqvae",
        dtype=None,
    ):
        super().__init__(conditions=[], name=name, dtype=dtype)
        self.shape = checks.shape("shape", shape)
        self.quantizer = _quantizer(quantizer, num_codes, code_dim)
        self.num_codes, self.code_dim = self.quantizer.num_codes, self.quantizer.dim
        self.set_networks(encoder, decoder)
        self.usage = self.add_weight(
            shape=(*self.code_shape, self.num_codes),
            initializer="zeros",
            trainable=False,
            dtype="float32",
            aggregation="mean",
            name="usage",
        )

    def set_networks(self, encoder, decoder):
        """Sets ``encoder``, ``decoder`` and ``code_shape`` from what the constructor was given: networks, or None for the default ones."""
        if encoder is None:
            encoder = defaults.map_encoder(self.shape, self.code_dim, self.dtype_policy)
        self.encoder = encoder
        x = keras.KerasTensor((None, *self.shape))
        found = check_network("encoder", encoder, x, (None, self.code_dim), "vectors as long as the codes")
        self.code_shape = found[:-1]
        if decoder is None:
            decoder = defaults.map_decoder(self.latent_shape, self.shape, self.dtype_policy)
        self.decoder = decoder
        z = keras.KerasTensor((None, *self.latent_shape))
        check_network("decoder", decoder, z, self.shape)

    @property
    def latent_shape(self):
        return (*self.code_shape, self.code_dim)

    # Training.

    def objective(self, batch, training):
        """Mean squared error plus the quantiser's loss."""
        x = ops.cast(batch.x, "float32")
        z = self.encoder(x, training=training)
        vectors, codes, quantization, perplexity = self.quantizer(z, training=training)
        output = ops.cast(self.decoder(vectors, training=training), "float32")
        errors = ops.square(x - output)
        reconstruction = ops.mean(ops.reshape(errors, (ops.shape(x)[0], -1)), axis=-1)
        if training:
            self.count(codes)
        logs = {"reconstruction": reconstruction, "quantization": quantization, "perplexity": perplexity}
        return reconstruction + quantization, logs

    def count(self, codes):
        """Takes the codes of a batch, (B, *code_shape), into how often each is used."""
        used = backend.replica_sum(ops.sum(ops.one_hot(codes, self.num_codes, dtype="float32"), axis=0))
        used = used / ops.maximum(backend.replica_sum(ops.cast(ops.shape(codes)[0], "float32")), 1.0)
        self.usage.assign(MEMORY * self.usage + (1.0 - MEMORY) * used)

    # What takes and gives tensors, and is compiled and served; see ``Autoencoder``.

    def latent_rows(self, x):
        """The encoder's vectors before quantisation: float32 tensor (B, *code_shape, code_dim), for x (B, *shape)."""
        return ops.cast(self.encoder(x), "float32")

    def from_latent_rows(self, z):
        """Examples of the codes nearest to vectors z (B, *code_shape, code_dim): float32 tensor (B, *shape)."""
        return self.decode_rows(self.quantizer.nearest(z))

    def encode_rows(self, x):
        """The codes of x: int32 tensor (B, *code_shape), for x (B, *shape)."""
        return self.quantizer.nearest(self.latent_rows(x))

    def decode_rows(self, codes):
        """Examples of codes (B, *code_shape): float32 tensor (B, *shape); images are kept in [-1, 1]."""
        output = ops.cast(self.decoder(self.quantizer.lookup(codes)), "float32")
        return ops.clip(output, -1.0, 1.0) if len(self.shape) == 3 else output

    def sample_rows(self, seeds):
        """Examples (B, *shape) of codes drawn each by itself, for row seeds (B, 2)."""
        # Before any training every code is as likely as every other.
        logits = ops.log(ops.convert_to_tensor(self.usage) + 1e-9)
        logits = ops.broadcast_to(logits, (ops.shape(seeds)[0], *self.code_shape, self.num_codes))
        return self.decode_rows(random.categorical(seeds, logits))

    # The protocol.

    def call(self, x, training=False):
        """The reconstruction of x."""
        return self.decoder(self.quantizer(self.encoder(x, training=training), training=training)[0], training=training)

    def sample(self, n, *, seed=None, batch_size=None, **conditions):
        """Draws each position's code by its frequency in training, independently, and decodes them (see the class).

        Args:
            n: how many.
            seed: int, or None for another result each time. Row i depends on (seed, i) alone.
            batch_size: rows per compiled call; at most 256 by default.
            **conditions: none; a VQ-VAE has no conditions.
        Returns:
            numpy float32 array (n, *shape).
        """
        arrays = {"seeds": self.row_seeds(n, seed)}
        return self.run_examples("sample", self.sample_rows, arrays, conditions, batch_size=batch_size, progress=True)

    def decode(self, codes, *, batch_size=None):
        """The examples of codes: numpy float32 array (B, *shape), for integers (B, *code_shape) in [0, num_codes)."""
        codes = checks.data_array("codes", codes)
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
        return self.run_rows("decode", self.decode_rows, [codes.astype("int32")], batch_size=batch_size)

    def latent_spec(self):
        return TensorSpec(self.code_shape, "int32", "codes", 0, self.num_codes - 1)

    def endpoints(self):
        sample, *others = super().endpoints()
        return [*others, sample]  # the first one is what a server answers by: the codes, rather than textures

    def get_config(self):
        config = super().get_config()
        del config["ema"]
        return {
            **config,
            "shape": list(self.shape),
            "encoder": keras.saving.serialize_keras_object(self.encoder),
            "decoder": keras.saving.serialize_keras_object(self.decoder),
            "quantizer": keras.saving.serialize_keras_object(self.quantizer),
        }


def _quantizer(quantizer, num_codes, code_dim):
    if quantizer is None:
        return VectorQuantizer(256 if num_codes is None else num_codes, 16 if code_dim is None else code_dim)
    if not isinstance(quantizer, (VectorQuantizer, FiniteScalarQuantizer)):
        raise TypeError(
            f"quantizer: expected a kgen.layers.VectorQuantizer or FiniteScalarQuantizer, received {quantizer!r}."
        )
    if num_codes is not None or code_dim is not None:
        raise ValueError("num_codes, code_dim: the quantizer that was passed says both; leave them out.")
    return quantizer


def _text(shape):
    return ", ".join(map(str, shape))
