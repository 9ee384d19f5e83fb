"""Guidance by a classifier of noisy data."""

import keras
from keras import ops

from kgen import backend
from kgen.diffusion.guidance import Guidance, GuidedDenoiser
from kgen.diffusion.predictions import LEAST, Estimate
from kgen.diffusion.schedules import at_least


@keras.saving.register_keras_serializable(package="kgen")
class ClassifierGuidance(Guidance):
    """eps <- eps - strength sigma(t) grad ln p(y | x_t, t), with p from a classifier that was trained on noisy data.

    With strength 1, an unconditional model and the exact classifier this is the noise of p(x_t | y).

    Args:
        classifier: network that maps [x_t, t] to logits (B, K), such as a trained ``NoisyClassifier``.
        strength: as in ``Guidance``.
        label: the class of all rows, in [0, K); by default that which each row is sampled with, for a model with classes.
    Reference:
        Dhariwal & Nichol, Diffusion models beat GANs on image synthesis, 2021, Algorithm 2, arXiv 2105.05233.
    """

    neutral = 0.0

    def __init__(self, classifier, strength=1.0, label=None):
        super().__init__(strength)
        if not callable(classifier):
            raise TypeError(f"classifier: expected a network that maps [x_t, t] to logits, received {classifier!r}.")
        self.classifier, self.label = classifier, label

    def check(self, model, given):
        if self.label is None and "labels" not in given:
            raise ValueError(
                "guidance: a classifier needs a class; pass labels=, or ClassifierGuidance(classifier, label=...)."
            )

    @property
    def key(self):
        return (type(self).__name__, id(self.classifier), self.label)

    @property
    def variables(self):
        return list(getattr(self.classifier, "variables", []))

    def around(self, denoiser, conditions, strength):
        return _Classified(denoiser, self.classifier, self.label, strength)


class _Classified(GuidedDenoiser):
    def __init__(self, around, classifier, label, strength):
        super().__init__(around)
        self.classifier, self.label, self.strength = classifier, label, strength

    def __call__(self, x_t, t, conditions):
        t = ops.broadcast_to(t, (ops.shape(x_t)[0],))
        found = self.around(x_t, t, conditions)
        label = conditions["label"] if self.label is None else ops.full((ops.shape(x_t)[0],), self.label, dtype="int32")

        def log_probability(x):
            logits = ops.log_softmax(ops.cast(self.classifier([x, t]), x.dtype), axis=-1)
            return ops.sum(ops.one_hot(label, logits.shape[-1], dtype=logits.dtype) * logits, axis=-1)

        slope = ops.stop_gradient(backend.grad(log_probability, x_t))
        alpha, sigma = self.levels(t, x_t)
        strength = ops.cast(ops.reshape(self.strength, (-1, *[1] * (len(x_t.shape) - 1))), x_t.dtype)
        noise = found.noise - strength * sigma * slope
        data = (x_t - sigma * noise) / at_least(alpha, LEAST)
        return self.clipped(Estimate(data, noise, found.variance), x_t, t)
