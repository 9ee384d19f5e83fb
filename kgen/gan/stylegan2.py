"""StyleGAN2: a mapping of z to styles w, in which every layer of the generator works.

Styles are mixed: in some samples, layers from one on have the w of another z. Path-length regularisation makes equal steps in w change samples
by equally much, R1 keeps the discriminator smooth; both are computed now and then. Samples nearer to the mean w are more alike and better
(truncation).

Reference:
    Karras et al., A style-based generator architecture for generative adversarial networks, 2019, sections 2 and 3.1, appendix B, arXiv 1812.04948;
    Karras et al., Analyzing and improving the image quality of StyleGAN, 2020, sections 2 and 3, appendix D, arXiv 1912.04958;
    Karras et al., Training generative adversarial networks with limited data, 2020, appendix C (gamma by size), arXiv 2006.06676.
"""

import dataclasses

import keras
import numpy as np
from keras import ops

from kgen import backend
from kgen.core import TensorSpec, checks, random
from kgen.gan.adversarial import Turn
from kgen.gan.gan import GAN
from kgen.gan.networks import is_image, refuse_classes
from kgen.gan.regularizers import R1, PathLength
from kgen.networks import StyleDiscriminator, StyleGenerator
from kgen.networks.halving import a_number_or_several


@keras.saving.register_keras_serializable(package="kgen")
class StyleGAN2(GAN):
    """A GAN of images with styles: ``sample(n, truncation=0.7)``, ``styles(z)``, ``synthesize(w)``, ``project(x)``.

    ``compile()`` trains both players by the paper's ``Adam(2e-3, beta_1=0, beta_2=0.99)``. The discriminator sees groups of rows
    (``MinibatchStandardDeviation``); R1 is of a group's logits together, as in the paper's code.

    Args:
        shape: (H, W, C) of images in [-1, 1].
        latent_dim: length of z and w; 512 in the paper.
        width: channels of the smaller images in both networks, 512 in the paper; or those of each size, the smallest first.
        depth: layers of the mapping; 8 in the paper.
        generator: a ``kgen.networks.StyleGenerator``.
        discriminator: maps images to one logit each; ``kgen.networks.StyleDiscriminator`` by default.
        mixing: share of the samples in training that have two styles; 0.9 in the paper.
        w_decay: of the moving mean of w, to which truncation goes; 0.995 in the paper.
        regularizers, generator_regularizers: as in ``GAN``. By default ``R1(gamma, every=16)`` with the gamma that ADA's code takes for a size,
            2e-4 H W / 32 (for batches of 32; 0.0064 at 32 pixels, where the paper's 10 is of 1,024), and ``PathLength(2 / layers, every=4)`` in w:
            the paper's code weighs the mean of the layers' squared slopes, where one w for all layers has the square of their sum.
        **kwargs: ``adversarial_loss``, ``augmentation`` (``ADA()`` where there are few images), ``ema`` as in ``GAN``.
    """

    def __init__(
        self,
        shape,
        latent_dim=128,
        *,
        width=128,
        depth=8,
        generator=None,
        discriminator=None,
        mixing=0.9,
        w_decay=0.995,
        regularizers=None,
        generator_regularizers=None,
        name="stylegan2",
        **kwargs,
    ):
        shape, policy = checks.shape("shape", shape), {"dtype": kwargs.get("dtype")}
        if not is_image(shape):
            raise ValueError(f"shape: StyleGAN2 makes images, expected (H, W, C), received {shape}.")
        refuse_classes("StyleGAN2", **kwargs)
        if generator is None:
            generator = StyleGenerator(latent_dim, shape, width, depth, **policy)
        if not isinstance(generator, StyleGenerator):
            raise TypeError(f"generator: expected a kgen.networks.StyleGenerator, received {type(generator).__name__}.")
        if regularizers is None:
            regularizers = R1(2e-4 * shape[0] * shape[1] / 32, every=16)
        if generator_regularizers is None:
            generator_regularizers = PathLength(2.0 / generator.synthesis.depth)
        super().__init__(
            shape,
            latent_dim,
            generator=generator,
            discriminator=StyleDiscriminator(shape, width, **policy) if discriminator is None else discriminator,
            regularizers=regularizers,
            generator_regularizers=generator_regularizers,
            name=name,
            **kwargs,
        )
        self.mixing = checks.in_range("mixing", mixing, 0.0, 1.0)
        self.w_decay = checks.in_range("w_decay", w_decay, 0.0, 1.0)
        self.width, self.depth = a_number_or_several(width), depth
        self.keep_state("styles", {"mean": np.zeros(self.latent_dim)})

    def default_optimizer(self):
        """The paper's: Adam(2e-3, beta_1=0, beta_2=0.99)."""
        return keras.optimizers.Adam(2e-3, beta_1=0.0, beta_2=0.99)

    # Styles.

    def further(self, rows, player="generator"):
        return {"seeds": ops.zeros((ops.shape(rows)[0], 2), dtype="int32")} if player == "generator" else {}

    def in_every_layer(self, w):
        """The same w (B, D) for every layer: (B, layers, D)."""
        return ops.repeat(w[:, None], self.generator.synthesis.depth, axis=1)

    def mixed(self, first, second, seeds):
        """Two styles (B, D) in one, (B, layers, D): in a share ``mixing`` of the rows, layers from a random one on have the second."""
        depth = self.generator.synthesis.depth
        drawn = random.uniform(random.fold_in(seeds, 11), (2,))
        place = 1.0 + ops.floor(drawn[:, 1] * (depth - 1))
        place = ops.where(drawn[:, 0] < self.mixing, place, float(depth))
        after = ops.arange(depth, dtype="float32")[None] >= place[:, None]
        return ops.where(after[..., None], second[:, None], first[:, None])

    def training_samples(self, seeds, training=True):
        """Samples of a training step with mixed styles and noise, and their first styles w (B, D)."""
        generator = self.network_for(training, "generator")
        w, other = (generator.mapping(z) for z in (self.latent(seeds), self.latent(random.fold_in(seeds, 10))))
        x = generator.synthesis([self.mixed(w, other, seeds), random.fold_in(seeds, 12)], training=training)
        return ops.cast(x, "float32"), w

    def discriminator_losses(self, batch, training, through=False):
        x = ops.cast(batch.x, "float32")
        fake, w = self.training_samples(batch.seeds, training)
        fake = fake if through else ops.stop_gradient(fake)
        discriminator = self._discriminator(batch, training)
        real_logits, fake_logits = discriminator(x, 0), discriminator(fake, 1)
        losses = self.adversarial_loss.discriminator(real_logits, fake_logits)
        logs = {"discriminator_loss": losses, "real_logit": real_logits, "fake_logit": fake_logits}
        state = self._next_styles(w) if training else {}
        return Turn(losses, logs, lambda x: discriminator(x, 0, running=False), x, fake, real_logits, state)

    def _next_styles(self, w):
        w = ops.stop_gradient(ops.cast(w, "float32"))
        rows = backend.replica_sum(ops.cast(ops.shape(w)[0], "float32"))
        mean = backend.replica_sum(ops.sum(w, axis=0)) / ops.maximum(rows, 1.0)
        return {"styles": {"mean": self.w_decay * self.state_of("styles")["mean"] + (1.0 - self.w_decay) * mean}}

    def generator_losses(self, batch, training):
        fake, _ = self.training_samples(batch.seeds, training)
        discriminator, generator = self._discriminator(batch, training), self.network_for(training, "generator")
        real_logits = discriminator(ops.cast(batch.x, "float32"), 0) if self.adversarial_loss.pairs else None
        losses = self.adversarial_values("generator", discriminator(fake, 1), real_logits)

        def function(w):
            return ops.cast(generator.synthesis([self.in_every_layer(w), random.fold_in(batch.seeds, 12)]), "float32")

        def styles():  # path lengths train the mapping, too
            return generator.mapping(self.latent(batch.seeds))

        return Turn(losses, {"generator_loss": losses}, function, fake=styles)

    # The protocol.

    def sample(self, n, *, seed=None, truncation=1.0, batch_size=None, **given):
        """Draws z and noise, and generates.

        Args:
            n, seed, batch_size: as in ``GAN.sample``.
            truncation: psi in [0, 1]: w becomes mean + psi (w - mean).
            **given: conditions, of which it has none.
        Returns:
            numpy float32 array (n, H, W, C) in [-1, 1].
        """
        psi = np.full(checks.positive_int("n", n), checks.in_range("truncation", truncation, 0.0, 1.0), "float32")
        arrays = {"seeds": self.row_seeds(n, seed), "truncation": psi, **self.conditions.rows(n, given)}
        return self.run_rows("sample", self.sample_rows, arrays, batch_size=batch_size, progress=True)

    def sample_rows(self, seeds, truncation=None):
        w = self.styles_rows(self.latent(seeds))
        if truncation is not None:
            mean = self.state_of("styles")["mean"]
            w = mean + ops.reshape(truncation, (-1, 1)) * (w - mean)
        return self.synthesize_rows(w, random.fold_in(seeds, 12))

    def endpoints(self):
        """Those of a ``GAN``; sampling takes ``truncation`` too."""
        truncation = TensorSpec((), "float32", "psi: w becomes mean + psi (w - mean)", 0.0, 1.0, 1.0, kind="number")
        sample, *others = super().endpoints()
        return [dataclasses.replace(sample, inputs={**sample.inputs, "truncation": truncation}), *others]

    def styles(self, z, *, batch_size=None):
        """w of latent vectors z (N, D): numpy float32 (N, D)."""
        z = np.asarray(z)
        checks.rows("z", z, (self.latent_dim,))
        return self.run_rows("styles", self.styles_rows, [z.astype("float32")], batch_size=batch_size)

    def styles_rows(self, z):
        return ops.cast(self.averaged("generator").mapping(z), "float32")

    def synthesize(self, w, *, batch_size=None):
        """Images of styles w (N, D), or of one for each layer (N, layers, D), without noise of their own: numpy float32 (N, H, W, C)."""
        w = np.asarray(w)
        checks.rows("w", w, (self.latent_dim,) if w.ndim == 2 else (self.generator.synthesis.depth, self.latent_dim))
        return self.run_rows(("synthesize", w.ndim), self.synthesize_rows, [w.astype("float32")], batch_size=batch_size)

    def synthesize_rows(self, w, seeds=None):
        """Images (B, H, W, C) in [-1, 1] of styles (B, D) or (B, layers, D) and row seeds of the noise (B, 2)."""
        ws = self.in_every_layer(w) if len(w.shape) == 2 else w
        seeds = self.further(w)["seeds"] if seeds is None else seeds
        x = self.averaged("generator").synthesis([ws, seeds])
        return ops.clip(ops.cast(x, "float32"), -1.0, 1.0)

    def project(self, x, *, steps=200, learning_rate=0.1):
        """Styles whose images are nearest to images ``x`` in squared distance: Adam's steps from the mean w.

        Args:
            x: float array (N, H, W, C) in [-1, 1].
            steps: how many.
            learning_rate: of the first; it falls to 0 by a cosine.
        Returns:
            numpy float32 array (N, D), for ``synthesize``.
        """
        x = self.examples(x)
        steps = checks.positive_int("steps", steps)

        def slope(w, x):
            def error(w):
                seeds = self.further(w)["seeds"]
                made = ops.cast(self.averaged("generator").synthesis([self.in_every_layer(w), seeds]), "float32")
                # What is shown is cut to [-1, 1], and a colour beyond costs no more than the end does; its slope is passed on, to come back.
                shown = made + ops.stop_gradient(ops.clip(made, -1.0, 1.0) - made)
                return ops.sum(ops.square(shown - x), axis=(1, 2, 3))

            return backend.grad(error, w)

        run = self.compiled_function("project", slope)
        mean = ops.convert_to_numpy(self.state_of("styles")["mean"])
        w = np.repeat(mean[None], len(x), axis=0).astype("float32")
        first, second = np.zeros_like(w), np.zeros_like(w)
        for step in range(1, steps + 1):
            g = ops.convert_to_numpy(run(ops.convert_to_tensor(w), ops.convert_to_tensor(x)))
            first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g * g
            rate = learning_rate * 0.5 * (1 + np.cos(np.pi * (step - 1) / steps))
            w = w - rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        return w.astype("float32")

    def get_config(self):
        config = super().get_config()
        for name in ("num_classes", "conditions"):
            del config[name]
        own = {"width": self.width, "depth": self.depth, "mixing": self.mixing, "w_decay": self.w_decay}
        return {**config, **own}
