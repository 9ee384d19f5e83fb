"""Guidance by a classifier of noisy data."""

import keras
from keras import ops

from kgen import backend
from kgen.core import checks
from kgen.diffusion.guidance import Guidance, GuidedDenoiser
from kgen.diffusion.noisy_classifier import NoisyClassifier
from kgen.diffusion.predictions import LEAST, Estimate
from kgen.diffusion.schedules import at_least


@keras.saving.register_keras_serializable(package="kgen")
class ClassifierGuidance(Guidance):
    """eps <- eps - strength sigma(t) grad ln p(y | x_t, t), with p from a classifier that was trained on noisy data.

    With strength 1, an unconditional model and the exact classifier this is the noise of p(x_t | y).

    Args:
        classifier: network that maps [x_t, t] to logits (B, K), such as a trained ``NoisyClassifier``.
        strength: as in ``Guidance``.
        label: the class of all rows, in [0, K), or its name where a ``NoisyClassifier`` knows it; by default that which each row is sampled
            with, for a model with classes.
    Raises:
        TypeError, ValueError: the classifier is no network, or the label none of its classes. Of another process, shape or number of
            classes than the model's it is refused when the model samples.
    Reference:
        Dhariwal & Nichol, Diffusion models beat GANs on image synthesis, 2021, Algorithm 2, arXiv 2105.05233.
    """

    neutral = 0.0

    def __init__(self, classifier, strength=1.0, label=None):
        super().__init__(strength)
        if not callable(classifier):
            raise TypeError(f"classifier: expected a network that maps [x_t, t] to logits, received {classifier!r}.")
        if label is not None and isinstance(classifier, NoisyClassifier):
            label = int(classifier.conditions.rows(1, {"labels": label})["label"][0])
        elif label is not None:
            label = int(checks.in_range("label", label, 0, 2**31 - 1))
        self.classifier, self.label = classifier, label

    def check(self, model, given):
        if self.label is None and "labels" not in given:
            raise ValueError(
                "guidance: a classifier needs a class; pass labels=, or ClassifierGuidance(classifier, label=...)."
            )
        classifier = self.classifier
        if isinstance(classifier, NoisyClassifier):
            for what, own, other in (
                ("data of shape", model.shape, classifier.shape),
                ("the process", model.schedule, classifier.schedule),
            ):
                if own != other:
                    raise ValueError(f"classifier: expected {what} {own}, as the model's own, received {other}.")
        if not isinstance(classifier, keras.layers.Layer):
            return
        symbols = [keras.KerasTensor((None, *model.shape)), keras.KerasTensor((None,))]
        try:
            count = classifier.compute_output_spec(symbols).shape[-1]  # a call would add to its graph each time
        except Exception as error:
            raise ValueError(
                f"classifier: expected a network that maps [x_t, t] to logits, x_t of shape (B, {', '.join(map(str, model.shape))}); "
                f"it failed on such inputs: {error}"
            ) from error
        if self.label is None and count != model.num_classes:
            raise ValueError(f"classifier: expected the model's {model.num_classes} classes, received {count} logits.")
        if self.label is not None and self.label >= count:
            raise ValueError(f"label: expected a class in [0, {count}), received {self.label}.")

    @property
    def key(self):
        return (type(self).__name__, id(self.classifier), self.label)

    @property
    def variables(self):
        return list(getattr(self.classifier, "variables", []))

    def around(self, denoiser, conditions, strength):
        if isinstance(self.classifier, NoisyClassifier):
            self.classifier.configuration_is_read()
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
        # Where x_t is all noise it tells no class: a trained classifier's slope there is an error, which dividing by alpha would blow up.
        kept = alpha > LEAST
        noise = ops.where(kept, noise, found.noise)
        data = ops.where(kept, (x_t - sigma * noise) / at_least(alpha, LEAST), found.data)
        return self.clipped(Estimate(data, noise, found.variance), x_t, t)
