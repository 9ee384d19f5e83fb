"""Latent diffusion: a diffusion model of what a trained autoencoder makes of the data.

z = (E(x) - shift) / scale, with shift and scale such that each channel of z has mean 0 and standard deviation 1 over the data. A DDPM
learns the distribution of z; a sample is D(shift + scale z). The autoencoder (E, D) stays as it was trained. The latents are many times
smaller than the images, and so are the network and the time that sampling takes. t = 0 is clean data, t = 1 is noise.

Reference:
    Rombach et al., High-resolution image synthesis with latent diffusion models, 2022, section 3 and appendix G, arXiv 2112.10752
    (there one scale for all channels; quantisation belongs to the decoder, as here).
"""

import keras
import numpy as np
from keras import ops

from kgen.core import Batch, Endpoint, GenerativeModel, TensorSpec, checks
from kgen.core.inputs import first_rows
from kgen.diffusion import DDPM, samplers
from kgen.hybrid.presets import default_denoiser
from kgen.vae import VAE, VQVAE

MEASURED = 10_000  # examples that shift and scale are measured on, at most


@keras.saving.register_keras_serializable(package="kgen")
class LatentDiffusion(GenerativeModel):
    """A diffusion model in the latent space of a trained autoencoder.

    The latent is a VAE's posterior mean (d,), or the vectors (h, w, c) that a VQ-VAE's encoder returns, which are quantised where they
    are decoded. There is no ``log_prob``: the diffusion model bounds the density of latents, which is not one of the data.

    Args:
        autoencoder: a trained ``kgen.vae.VAE`` or ``kgen.vae.VQVAE``. The model keeps a frozen copy.
        network: maps [z_t, t], or [z_t, t, label] where there are classes, to a tensor like z_t. By default a U-Net for latents
            (h, w, c), dense layers for vectors.
        schedule, prediction, num_classes, label_dropout, sampler, ema: as in ``kgen.diffusion.DDPM``.
    """

    likelihood = "implicit"

    def __init__(
        self,
        autoencoder,
        *,
        network=None,
        schedule="cosine",
        prediction="velocity",
        num_classes=None,
        label_dropout=0.1,
        sampler="ddim",
        ema=0.999,
        name="latent_diffusion",
        dtype=None,
    ):
        super().__init__(ema=ema, name=name, dtype=dtype)
        self.autoencoder = _frozen_copy(autoencoder)
        self.image_shape = self.autoencoder.image_shape
        self.latent_shape = tuple(_latent(self.autoencoder, ops.zeros((1, *self.image_shape))).shape[1:])
        self.num_classes = None if num_classes is None else checks.positive_int("num_classes", num_classes)
        if network is None:
            network = default_denoiser(self.latent_shape, self.num_classes)
        self.prior = DDPM(
            self.latent_shape,
            network=network,
            schedule=schedule,
            prediction=prediction,
            num_classes=num_classes,
            label_dropout=label_dropout,
            sampler=sampler,
            clip=False,  # latents have no bounds
            ema=ema,
            name="prior",
            dtype=dtype,
        )
        channels = self.latent_shape[-1:]
        self.shift = self.add_weight(
            shape=channels, initializer="zeros", trainable=False, dtype="float32", name="shift"
        )
        # Zero until it is measured.
        self.scale = self.add_weight(
            shape=channels, initializer="zeros", trainable=False, dtype="float32", name="scale"
        )

    # Training.

    def check_data(self, x, y=None):
        self.autoencoder.check_data(x)
        if self.num_classes is None and y is not None:
            raise ValueError("y: this model has no classes. Train by fit(x), or make it with num_classes=.")
        if self.num_classes is not None:
            if y is None:
                raise ValueError(f"y: this model has {self.num_classes} classes and needs labels: fit(x, labels).")
            checks.labels("y", y, self.num_classes, len(x))

    def adapt(self, x, *, batch_size=None):
        """Measures the shift and scale of the latents of ``x``; ``fit`` does it where nobody did, with its own data: of a dataset with
        the first batches that hold 10,000 rows.

        Args:
            x: float array (N, *image_shape), of which up to 10,000 evenly spaced rows are used.
            batch_size: rows per compiled call; at most 256 by default.
        """
        x = self._data(x)
        x = x[:: -(-len(x) // MEASURED)]
        z = self.run_rows("latent", lambda x: _latent(self.autoencoder, x), [x], batch_size=batch_size)
        z = z.reshape(-1, z.shape[-1]).astype("float64")
        scale = z.std(axis=0)
        if not (scale > 0).any():
            raise ValueError(
                f"x: expected examples with different latents, received {len(x)} whose latents are all the same."
            )
        self.shift.assign(z.mean(axis=0))
        # A channel that never varies carries nothing, and is left at its own size.
        self.scale.assign(np.where(scale > 0, scale, 1.0))

    def prepare(self, x, y):
        if not self._adapted():
            first = checks.as_array(x)
            first = first_rows(x, MEASURED)[0] if first is None else first
            if first is None:
                raise ValueError(
                    "x: the scale of the latents cannot be measured on an iterator; call adapt(array of examples) first."
                )
            self.adapt(first)
        self._check_adapted()

    def _adapted(self):
        return bool(ops.convert_to_numpy(self.scale).any())

    def objective(self, batch, training):
        """The diffusion loss of the latents (see ``DDPM.objective``)."""
        z = ops.stop_gradient(self._encode(ops.cast(batch.x, "float32")))
        return self.prior.objective(Batch(z, batch.y, batch.weight), training)

    def update_averages(self, finite):
        self.prior.update_averages(finite)

    def call(self, inputs, training=False):
        """The network's output for [z_t, t] or [z_t, t, label]."""
        return self.prior(inputs, training=training)

    # What takes and gives tensors, and is compiled and served.

    def _encode(self, x):
        return (_latent(self.autoencoder, x) - self.shift) / self.scale

    def _decode(self, z):
        return _from_latent(self.autoencoder, self.shift + self.scale * z)

    def _sample(self, sampler, seeds, label=None, guidance=None):
        return self._decode(self.prior._sample(sampler, seeds, label, guidance))

    # The protocol.

    def sample(self, n, *, seed=None, labels=None, guidance=None, steps=None, sampler=None, batch_size=None):
        """Draws latents by the diffusion model and decodes them, in one compiled call.

        Args:
            n, seed, labels, guidance, steps, sampler, batch_size: as in ``DDPM.sample``.
        Returns:
            numpy float32 array (n, *image_shape); images are in [-1, 1].
        Raises:
            ValueError: n, labels, guidance, steps or sampler out of range; the model has not been trained.
        """
        self._check_adapted()
        seeds = self.row_seeds(n, seed)
        sampler = samplers.get(self.prior.sampler if sampler is None else sampler, steps)
        arrays = [seeds, *self.prior._conditions(n, labels, guidance)]

        def run(seeds, label=None, strength=None):
            return self._sample(sampler, seeds, label, strength)

        return self.run_rows(("sample", sampler, len(arrays)), run, arrays, batch_size=batch_size, loop=True)

    def encode(self, x, *, batch_size=None):
        """The scaled latents: numpy float32 array (B, *latent_shape), for x (B, *image_shape)."""
        self._check_adapted()
        return self.run_rows("encode", self._encode, [self._data(x)], batch_size=batch_size)

    def decode(self, z, *, batch_size=None):
        """The examples of scaled latents: numpy float32 array (B, *image_shape), for z (B, *latent_shape)."""
        self._check_adapted()
        z = np.asarray(z)
        checks.rows("z", z, self.latent_shape)
        return self.run_rows("decode", self._decode, [z.astype("float32")], batch_size=batch_size)

    def reconstruct(self, x, *, batch_size=None):
        """``decode(encode(x))``, the autoencoder's own: numpy float32 array (B, *image_shape)."""
        return self.autoencoder.reconstruct(x, batch_size=batch_size)

    def _check_adapted(self):
        if not self._adapted():
            raise ValueError(
                f"{self.name}: the scale of the latents is not known yet. Train the model by fit, or call adapt(x)."
            )

    def _data(self, x):
        x = checks.data_array("x", x)
        self.autoencoder.check_data(x)
        return x.astype("float32")

    def endpoints(self):
        self._check_adapted()
        images = ("images",) if len(self.image_shape) == 3 else ()
        low, high = (-1.0, 1.0) if images else (None, None)
        x = TensorSpec(self.image_shape, "float32", "example", low, high)
        z = TensorSpec(self.latent_shape, "float32", "scaled latent")
        prior = self.prior.endpoints()[0]

        def sample(seed, label=None, guidance=None):
            return {"images": self._sample(self.prior.sampler, seed, label, guidance)}

        return [
            Endpoint("sample", sample, prior.inputs, {"images": f"decoded samples, {self.prior.sampler!r}"}, images),
            Endpoint("encode", lambda x: {"z": self._encode(x)}, {"x": x}, {"z": "scaled latents"}),
            Endpoint("decode", lambda z: {"images": self._decode(z)}, {"z": z}, {"images": "decoded latents"}, images),
        ]

    def get_config(self):
        prior = self.prior.get_config()
        names = ("network", "schedule", "prediction", "num_classes", "label_dropout", "sampler")
        return {
            **super().get_config(),
            "autoencoder": keras.saving.serialize_keras_object(self.autoencoder),
            **{name: prior[name] for name in names},
        }


def _frozen_copy(autoencoder):
    """A copy that is not trained and has no optimizer: the caller's own goes on as it was."""
    if not isinstance(autoencoder, (VAE, VQVAE)):
        raise TypeError(f"autoencoder: expected a trained kgen.vae.VAE or kgen.vae.VQVAE, received {autoencoder!r}.")
    copy = type(autoencoder).from_config(autoencoder.get_config())
    copy.set_weights(autoencoder.get_weights())
    copy.trainable = False
    return copy


def _latent(autoencoder, x):
    """What diffuses: float32 tensor (B, *latent_shape), for x (B, *image_shape)."""
    if isinstance(autoencoder, VQVAE):
        return autoencoder.latent(x)
    return autoencoder.posterior.mean(autoencoder._encode(x))


def _from_latent(autoencoder, z):
    """The examples of latents: float32 tensor (B, *image_shape)."""
    return autoencoder.from_latent(z) if isinstance(autoencoder, VQVAE) else autoencoder._mean(z)
