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

from kgen.core import Endpoint, GenerativeModel, TensorSpec, checks
from kgen.core.conditions import Conditions, of_classes
from kgen.core.inputs import first_rows
from kgen.diffusion import DDPM
from kgen.hybrid.frozen import frozen_copy

MEASURED = 10_000  # examples that shift and scale are measured on, at most


def _of_prior(name):
    """A property: what the diffusion model of the latents has under this name."""
    return property(lambda self: getattr(self.prior, name), doc=f"The diffusion model's ``{name}``.")


@keras.saving.register_keras_serializable(package="kgen")
class LatentDiffusion(GenerativeModel):
    """A diffusion model in the latent space of a trained autoencoder.

    The latent is a VAE's posterior mean (d,), an AutoencoderKL's, which is a map (h, w, c), or the vectors (h, w, c) that a VQ-VAE's encoder
    returns, which are quantised where they are decoded. There is no ``log_prob``: the diffusion model bounds the density of latents, which
    is not one of the data.

    Args:
        autoencoder: a trained autoencoder, such as ``VAE`` or ``VQVAE`` of ``kgen.vae``, or ``AutoencoderKL``. The model keeps a frozen copy.
        network: maps [z_t, t, *conditions] to a tensor like z_t. By default a U-Net for latents (h, w, c), dense layers for vectors.
        schedule, prediction, times, weight, num_classes, label_dropout, conditions, sampler, ema: as in ``kgen.diffusion.DDPM``.
    """

    likelihood = "implicit"

    def __init__(
        self,
        autoencoder,
        *,
        network=None,
        schedule="cosine",
        prediction="velocity",
        times="uniform",
        weight=None,
        num_classes=None,
        label_dropout=0.1,
        conditions=(),
        sampler=None,
        ema=0.999,
        name="latent_diffusion",
        dtype=None,
    ):
        own = of_classes(num_classes, label_dropout)
        super().__init__(ema=ema, conditions=[*own, *Conditions(conditions)], name=name, dtype=dtype)
        self.autoencoder = frozen_copy(autoencoder)
        self.shape = self.autoencoder.shape
        self.latent_shape = tuple(self.autoencoder.latent_shape)
        self.num_classes = own[0].count if own else None
        if network is None and len(self.latent_shape) not in (1, 3):
            raise ValueError(
                f"network: latents of shape {self.latent_shape} are neither vectors nor maps and need network=."
            )
        self.prior = DDPM(
            self.latent_shape,
            network=network,
            schedule=schedule,
            prediction=prediction,
            times=times,
            weight=weight,
            num_classes=num_classes,
            label_dropout=label_dropout,
            conditions=conditions,
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

    network = _of_prior("network")
    schedule = _of_prior("schedule")
    prediction = _of_prior("prediction")
    times = _of_prior("times")
    weight = _of_prior("weight")
    label_dropout = _of_prior("label_dropout")
    sampler = _of_prior("sampler")

    @property
    def data_name(self):
        """What the data is called in ``fit({"image": ..., ...})``."""
        return "image" if len(self.shape) == 3 else "x"

    # Training.

    def default_optimizer(self):
        return self.prior.default_optimizer()

    def check_examples(self, x):
        return self.autoencoder.check_examples(x)

    def adapt(self, x, *, batch_size=None):
        """Measures the shift and scale of the latents of ``x``; ``fit`` does it where nobody did, with its own data: of a dataset with
        the first batches that hold 10,000 rows.

        Args:
            x: float array (N, *shape), of which up to 10,000 evenly spaced rows are used.
            batch_size: rows per compiled call; at most 256 by default.
        """
        x = self.examples(x)
        x = x[:: -(-len(x) // MEASURED)]
        z = self.run_rows("latent", self.autoencoder.latent_rows, [x], batch_size=batch_size)
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
        if self._adapted():
            return
        first = x[self.data_name] if isinstance(x, dict) else x
        first = first_rows(x, MEASURED)[0] if checks.as_array(first) is None else first
        if first is None:
            raise ValueError(
                "x: the scale of the latents cannot be measured on an iterator; call adapt(array of examples) first."
            )
        self.adapt(first[self.data_name] if isinstance(first, dict) else first)

    def train_on_batch(self, x, y=None, *args, **kwargs):
        """As ``keras.Model.train_on_batch``; of one batch the scale of the latents is not measured."""
        self._check_adapted()
        return super().train_on_batch(x, y, *args, **kwargs)

    def evaluate(self, x=None, y=None, **kwargs):
        """As ``keras.Model.evaluate``."""
        self._check_adapted()
        return super().evaluate(x, y, **kwargs)

    def _adapted(self):
        return bool(ops.convert_to_numpy(self.scale).any())

    def objective(self, batch, training):
        """The diffusion loss of the latents (see ``DDPM.objective``)."""
        z = ops.stop_gradient(self.encode_rows(ops.cast(batch.x, "float32")))
        return self.prior.objective(batch._replace(x=z), training)

    def update_averages(self, finite):
        self.prior.update_averages(finite)

    def call(self, inputs, training=False):
        """The network's output for [z_t, t] or [z_t, t, label]."""
        return self.prior(inputs, training=training)

    # What takes row seeds and tensors, and is compiled and served.

    def encode_rows(self, x):
        """Scaled latents: float32 tensor (B, *latent_shape), of x (B, *shape)."""
        return (self.autoencoder.latent_rows(x) - self.shift) / self.scale

    def decode_rows(self, z):
        """Examples of scaled latents: float32 tensor (B, *shape)."""
        return self.autoencoder.from_latent_rows(self.shift + self.scale * z)

    def sample_rows(self, seeds, values=None, strength=None, **options):
        """Samples of row seeds, as ``DDPM.sample_rows``, decoded: float32 tensor (B, *shape)."""
        return self.decode_rows(self.prior.sample_rows(seeds, values, strength, **options))

    # The protocol.

    def sample(
        self, n, *, seed=None, labels=None, guidance=None, steps=None, sampler=None, batch_size=None, **conditions
    ):
        """Draws latents by the diffusion model and decodes them, in one compiled call.

        Args:
            n, seed, labels, guidance, steps, sampler, batch_size, conditions: as in ``DDPM.sample``.
        Returns:
            numpy float32 array (n, *shape); images are in [-1, 1].
        Raises:
            ValueError: n, labels, guidance, steps or sampler out of range; the model has not been trained.
        """
        self._check_adapted()
        common = {"seed": seed, "guidance": guidance, "steps": steps, "sampler": sampler, "batch_size": batch_size}
        return self.prior.asked(n, **common, labels=labels, **conditions).run(self, "sample", self.sample_rows)

    def encode(self, x, *, batch_size=None):
        """The scaled latents: numpy float32 array (B, *latent_shape), for x (B, *shape)."""
        self._check_adapted()
        return self.run_rows("encode", self.encode_rows, [self.examples(x)], batch_size=batch_size)

    def decode(self, z, *, batch_size=None):
        """The examples of scaled latents: numpy float32 array (B, *shape), for z (B, *latent_shape)."""
        self._check_adapted()
        z = np.asarray(z)
        checks.rows("z", z, self.latent_shape)
        return self.run_rows("decode", self.decode_rows, [z.astype("float32")], batch_size=batch_size)

    def reconstruct(self, x, *, batch_size=None):
        """``decode(encode(x))``, the autoencoder's own: numpy float32 array (B, *shape)."""
        return self.autoencoder.reconstruct(x, batch_size=batch_size)

    def _check_adapted(self):
        if not self._adapted():
            raise ValueError(
                f"{self.name}: the scale of the latents is not known yet. Train the model by fit, or call adapt(x)."
            )

    def options(self, call):
        return self.prior.options(call) if call == "sample" else {}

    def endpoints(self):
        self._check_adapted()
        images = ("images",) if len(self.shape) == 3 else ()
        low, high = (-1.0, 1.0) if images else (None, None)
        x = TensorSpec(self.shape, "float32", "example", low, high, kind="image" if images else "array")
        z = TensorSpec(self.latent_shape, "float32", "scaled latent")
        prior = self.prior.endpoints()[0]

        def sample(seed, guidance=None, steps=None, **values):
            return {"images": self.sample_rows(seed, values, guidance, steps=steps)}

        return [
            Endpoint("sample", sample, prior.inputs, {"images": f"decoded samples, {self.prior.sampler!r}"}, images),
            Endpoint("encode", lambda x: {"z": self.encode_rows(x)}, {"x": x}, {"z": "scaled latents"}),
            Endpoint(
                "decode", lambda z: {"images": self.decode_rows(z)}, {"z": z}, {"images": "decoded latents"}, images
            ),
        ]

    def get_config(self):
        prior = self.prior.get_config()
        left_out = {*super().get_config(), "shape", "clip", "uncertainty"}
        return {
            **super().get_config(),
            "autoencoder": keras.saving.serialize_keras_object(self.autoencoder),
            **{name: value for name, value in prior.items() if name not in left_out},
        }
