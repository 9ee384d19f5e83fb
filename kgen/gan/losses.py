"""What the two players of a GAN minimise, as functions of the discriminator's logits D(x) on real and generated examples.

Reference:
    Goodfellow et al., Generative adversarial nets, 2014, arXiv 1406.2661, and those named below.
"""

import keras
from keras import ops

from kgen.core.config import Configured, resolve


class Loss(Configured):
    """Base class. Logits and losses are float tensors (B,), one per example, or (B, ...), several of each, such as those of patches."""

    pairs = False  # whether the generator's loss compares with real examples
    follows_steps = False  # whether the generator's loss takes ``step``, how many the generator has taken

    def discriminator(self, real_logits, fake_logits):
        """What the discriminator minimises, per pair of a real and a generated example: (B,)."""
        raise NotImplementedError

    def generator(self, fake_logits, real_logits=None):
        """What the generator minimises, per generated example: (B,).

        ``real_logits`` are given, of as many real examples, where ``pairs`` is true.
        """
        raise NotImplementedError


@keras.saving.register_keras_serializable(package="kgen")
class MinimaxLoss(Loss):
    """L_D = -ln s(D(x)) - ln(1 - s(D(G(z)))), L_G = ln(1 - s(D(G(z)))), s the logistic function.

    The best discriminator is s(D(x)) = p(x) / (p(x) + q(x)), with L_D = ln 4 - 2 JSD(p, q). A generator far from the data learns
    next to nothing from this loss; ``NonSaturatingLoss`` mends that. Reference: Goodfellow et al. 2014, Eq. 1 and Theorem 1.
    """

    def discriminator(self, real_logits, fake_logits):
        return ops.softplus(-real_logits) + ops.softplus(fake_logits)

    def generator(self, fake_logits, real_logits=None):
        return -ops.softplus(fake_logits)


@keras.saving.register_keras_serializable(package="kgen")
class NonSaturatingLoss(MinimaxLoss):
    """The minimax discriminator; L_G = -ln s(D(G(z))). Reference: Goodfellow et al. 2014, section 3."""

    def generator(self, fake_logits, real_logits=None):
        return ops.softplus(-fake_logits)


@keras.saving.register_keras_serializable(package="kgen")
class LeastSquaresLoss(Loss):
    """L_D = (D(x) - 1)^2 / 2 + D(G(z))^2 / 2, L_G = (D(G(z)) - 1)^2 / 2.

    Reference: Mao et al., Least squares generative adversarial networks, 2017, Eq. 9, arXiv 1611.04076.
    """

    def discriminator(self, real_logits, fake_logits):
        return 0.5 * ops.square(real_logits - 1.0) + 0.5 * ops.square(fake_logits)

    def generator(self, fake_logits, real_logits=None):
        return 0.5 * ops.square(fake_logits - 1.0)


@keras.saving.register_keras_serializable(package="kgen")
class HingeLoss(Loss):
    """L_D = max(0, 1 - D(x)) + max(0, 1 + D(G(z))), L_G = -D(G(z)).

    Reference: Lim & Ye, Geometric GAN, 2017, arXiv 1705.02894; Miyato et al. 2018, Eq. 16 and 17, arXiv 1802.05957.
    """

    def discriminator(self, real_logits, fake_logits):
        return ops.relu(1.0 - real_logits) + ops.relu(1.0 + fake_logits)

    def generator(self, fake_logits, real_logits=None):
        return -fake_logits


@keras.saving.register_keras_serializable(package="kgen")
class WassersteinLoss(Loss):
    """L_D = D(G(z)) - D(x), L_G = -D(G(z)).

    For a discriminator D of Lipschitz constant 1, which a ``GradientPenalty`` keeps it near, -L_D is at most the Wasserstein-1 distance.
    Reference: Arjovsky et al., Wasserstein GAN, 2017, Eq. 2, arXiv 1701.07875.
    """

    def discriminator(self, real_logits, fake_logits):
        return fake_logits - real_logits

    def generator(self, fake_logits, real_logits=None):
        return -fake_logits


@keras.saving.register_keras_serializable(package="kgen")
class RelativisticLoss(Loss):
    """L_D = -ln s(D(x) - D(G(z))), L_G = -ln s(D(G(z)) - D(x)): each generated example beside a real one.

    Where the other losses have poor equilibria in which modes of the data are missing, this one has none (Sun et al., Towards a
    better global loss landscape of GANs, 2020, arXiv 2011.04926); with ``R1`` and ``R2`` it converges locally.
    Reference: Jolicoeur-Martineau 2018, arXiv 1807.00734; Huang et al., The GAN is dead; long live the GAN!, 2024, Eq. 2, arXiv
    2501.05441.
    """

    pairs = True

    def discriminator(self, real_logits, fake_logits):
        return ops.softplus(fake_logits - real_logits)

    def generator(self, fake_logits, real_logits=None):
        return ops.softplus(real_logits - fake_logits)


ALIASES = {
    "minimax": MinimaxLoss,
    "non_saturating": NonSaturatingLoss,
    "least_squares": LeastSquaresLoss,
    "hinge": HingeLoss,
    "wasserstein": WassersteinLoss,
    "relativistic": RelativisticLoss,
}


def get(loss):
    """A loss from its name, its configuration, or itself."""
    return resolve("adversarial_loss", loss, Loss, ALIASES)
