"""InfoGAN: latent codes that can be read off the samples.

Beside noise, z holds codes c: categories, and numbers uniform on [-1, 1]. Q(c|x), which shares all but its last layer with the discriminator,
bounds their mutual information with the samples from below,

    L_I = E_{c, z}[ln Q(c|G(z, c))] + H(c)  <=  I(c; G(z, c)),

and the generator, Q and what it shares minimise their adversarial losses - w L_I. Nobody names the codes: categories come to be classes
without a label, and numbers what varies within these.

Reference:
    Chen et al., InfoGAN: Interpretable representation learning by information maximizing generative adversarial nets, 2016, Eq. 5 and 6,
    arXiv 1606.03657.
"""

import math

import keras
import numpy as np
from keras import ops

from kgen.core import Endpoint, TensorSpec, checks, random
from kgen.core.sphere import slerp, straight
from kgen.gan.networks import Discriminator, is_image
from kgen.gan.reading import ReadingGAN, agreement, cross_entropy


@keras.saving.register_keras_serializable(package="kgen")
class InfoGAN(ReadingGAN):
    """A GAN whose samples tell the codes that they were made from: ``encode(x)``, and ``sample(n, category=..., codes=...)``.

    z is [noise, one-hot category, codes], of length ``latent_dim``. The discriminator returns the logit, logits of the categories (B, K),
    and of the codes means and log standard deviations (B, 2 J), of normal distributions.

    Args:
        shape: as in ``GAN``.
        noise_dim: length of the noise.
        categories: K, how many categories there are, equally likely; 0 for none.
        codes: J, how many numbers; 0 for none.
        generator, discriminator: as in ``GAN``; ``Discriminator(shape, readings=...)`` by default, spectrally normalised for images.
        code_weight: what the codes' part of L_I weighs beside that of the categories. Densities of codes have no upper bound: with 1 a
            generator comes to make nothing but examples that show them. The paper has "a smaller lambda", appendix C 0.1 to 1.
        reading_weight: w; 1 in the paper.
        **kwargs: ``adversarial_loss``, ``regularizers``, ``ema`` ... as in ``GAN``.
    """

    log_names = (*ReadingGAN.log_names, "information", "category_accuracy")

    def __init__(
        self,
        shape,
        noise_dim=62,
        *,
        categories=10,
        codes=2,
        code_weight=0.1,
        generator=None,
        discriminator=None,
        name="infogan",
        **kwargs,
    ):
        noise_dim = checks.positive_int("noise_dim", noise_dim)
        sizes = {"categories": categories, "codes": codes}
        sizes = {k: v if v == 0 else checks.positive_int(k, v) for k, v in sizes.items()}
        if not any(sizes.values()) or sizes["categories"] == 1:
            raise ValueError(f"categories, codes: expected two categories or more, or a code, received {sizes}.")
        if discriminator is None:
            readings = _readings(**sizes)
            discriminator = Discriminator(shape, spectral=is_image(shape), readings=readings, dtype=kwargs.get("dtype"))
        self._sizes = tuple(sizes.values())
        code_weight = checks.in_range("code_weight", code_weight, 0.0, 1e6)
        networks = {"generator": generator, "discriminator": discriminator}
        super().__init__(shape, noise_dim + sum(sizes.values()), **networks, name=name, **kwargs)
        self.noise_dim, self.categories, self.codes = noise_dim, categories, codes
        self.code_weight = code_weight

    @property
    def reading_sizes(self):
        return _readings(*self._sizes)

    # Codes.

    def latent(self, seeds):
        parts = [random.normal(random.fold_in(seeds, 0), (self.noise_dim,))]
        if self.categories:
            drawn = random.categorical(random.fold_in(seeds, 1), ops.zeros((ops.shape(seeds)[0], self.categories)))
            parts.append(ops.one_hot(drawn, self.categories))
        if self.codes:
            parts.append(2.0 * random.uniform(random.fold_in(seeds, 2), (self.codes,)) - 1.0)
        return ops.concatenate(parts, axis=-1)

    def latent_way(self, a, b, steps):
        n = self.noise_dim
        return np.concatenate([slerp(a[:, :n], b[:, :n], steps), straight(a[:, n:], b[:, n:], steps)], axis=-1)

    def _split(self, z):
        """The one-hot category (B, K) and the codes (B, J) in z."""
        n = self.noise_dim
        return z[:, n : n + self.categories], z[:, n + self.categories :]

    def _read_codes(self, readings):
        """The categories' logits (B, K), and means and log standard deviations (B, J) of the codes; None of what there is not."""
        logits = readings[0] if self.categories else None
        if not self.codes:
            return logits, None, None
        mean, log_scale = ops.split(readings[-1], 2, axis=-1)
        return logits, mean, ops.clip(log_scale, -5.0, 2.0)

    def reading_losses(self, readings, batch, z, real):
        if real:
            return 0.0, {}
        category, codes = self._split(z)
        logits, mean, log_scale = self._read_codes(readings)
        losses, information, logs = 0.0, 0.0, {}
        if self.categories:
            losses = cross_entropy(logits, category)
            information = math.log(self.categories) - losses
            logs["category_accuracy"] = agreement(logits, category)
        if self.codes:
            distance = ops.square((codes - mean) * ops.exp(-log_scale))
            surprise = ops.sum(0.5 * distance + log_scale + 0.5 * math.log(2 * math.pi), axis=-1)
            losses = losses + self.code_weight * surprise
            information = information + self.codes * math.log(2.0) - surprise
        return losses, {**logs, "information": information}

    # The protocol.

    def sample(self, n, *, seed=None, batch_size=None, category=None, codes=None, **given):
        """Draws z and generates; ``category`` and ``codes`` are drawn with it, or given.

        Args:
            n, seed, batch_size: as in ``GAN.sample``.
            category: int, or n of them, in [0, categories).
            codes: float array (J,) or (n, J), in [-1, 1].
            **given: conditions, of which it has none.
        Returns:
            numpy float32 array (n, *shape).
        """
        if given or (category is None and codes is None):
            return super().sample(n, seed=seed, batch_size=batch_size, **given)
        z = np.array(ops.convert_to_numpy(self.latent(self.row_seeds(n, seed))))
        start = self.noise_dim + self.categories
        if category is not None:
            labels = checks.labels("category", np.broadcast_to(category, (n,)), self.categories, n)
            z[:, self.noise_dim : start] = np.eye(self.categories)[labels]
        if codes is not None:
            given = np.asarray(codes, "float32")
            if given.shape not in ((self.codes,), (n, self.codes)) or np.abs(given).max(initial=0.0) > 1.0:
                raise ValueError(
                    f"codes: expected ({self.codes},) or ({n}, {self.codes}) numbers in [-1, 1], received shape {given.shape}."
                )
            z[:, start:] = given
        return self.decode(z, batch_size=batch_size)

    def encode(self, x, *, batch_size=None):
        """What Q reads: numpy float32 (N, K + J), the probabilities of the categories and the means of the codes."""
        return self.run_rows("encode", self.encode_rows, [self.examples(x)], batch_size=batch_size)

    def encode_rows(self, x):
        """Probabilities and means (B, K + J) of examples (B, *shape); compiled and served."""
        logits, mean, _ = self._read_codes(self.read(x)[1])
        parts = ([] if logits is None else [ops.softmax(logits, axis=-1)]) + ([] if mean is None else [mean])
        return ops.concatenate(parts, axis=-1)

    def endpoints(self):
        low, high, kind = (-1.0, 1.0, "image") if self.is_image else (None, None, None)
        spec = TensorSpec(self.shape, "float32", "example", low, high, kind=kind)

        def encode(x):
            return {"codes": self.encode_rows(x)}

        outputs = {"codes": "probabilities of the categories, and means of the codes"}
        return [*super().endpoints(), Endpoint("encode", encode, {"x": spec}, outputs)]

    def get_config(self):
        config = super().get_config()
        for name in ("latent_dim", "num_classes", "conditions"):
            del config[name]
        return {
            **config,
            "noise_dim": self.noise_dim,
            "categories": self.categories,
            "codes": self.codes,
            "code_weight": self.code_weight,
        }


def _readings(categories, codes):
    return tuple(n for n in (categories, 2 * codes) if n)
