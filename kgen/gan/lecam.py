"""LeCam regularisation: logits are held to what they were on average of the other kind."""

import keras
from keras import ops

from kgen.core import checks
from kgen.gan.regularizers import Regularizer


@keras.saving.register_keras_serializable(package="kgen")
class LeCam(Regularizer):
    """weight * ((D(x) - a_F)^2 + (D(G(z)) - a_R)^2), a_R and a_F moving means of the logits of data and of samples.

    For trainings on few examples, whose discriminator comes to know them all: with the Wasserstein loss the generator then minimises a LeCam
    divergence, which is bounded.

    Args:
        weight: lambda in the paper, which takes 0.01 to 0.5 (section 5; 0.3 for images of 32 pixels).
        decay: of the moving means, which start at 0; 0.99 in the paper.
        every: as in ``Regularizer``.
    Reference:
        Tseng et al., Regularizing generative adversarial networks under limited data, 2021, Eq. 2 to 4, arXiv 2104.03310.
    """

    observes = ("real", "fake")

    def __init__(self, weight=0.3, decay=0.99, every=1):
        super().__init__(every)
        self.weight = checks.in_range("weight", weight, 0.0, 1e6)
        self.decay = checks.in_range("decay", decay, 0.0, 1.0)

    def state(self):
        return {"real": 0.0, "fake": 0.0}

    def __call__(self, function, real, fake, seeds, step=0, state=None):
        real_logits, fake_logits = function(real), function(fake)
        distance = ops.square(real_logits - state["fake"]) + ops.square(fake_logits - state["real"])
        return self.weight * distance, {"real": real_logits, "fake": fake_logits}

    def next_state(self, state, means):
        return {name: self.decay * state[name] + (1.0 - self.decay) * means[name] for name in self.observes}
