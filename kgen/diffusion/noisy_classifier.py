"""A classifier of noised data, which can guide a diffusion model of the same process."""

import keras
from keras import ops

from kgen.core import GenerativeModel, checks, random
from kgen.core.conditions import of_classes
from kgen.diffusion import laws, schedules
from kgen.diffusion.defaults import default_classifier
from kgen.diffusion.schedules import like


@keras.saving.register_keras_serializable(package="kgen")
class NoisyClassifier(GenerativeModel):
    """Learns p(y | x_t, t) by ``fit(x, labels)``: the cross-entropy at a random time and noise for each example.

        classifier = NoisyClassifier(model.shape, 10, schedule=model.schedule, times=model.times)

    Called on [x_t, t] it returns logits, as ``ClassifierGuidance`` wants them. It is a model like all others, but draws no samples.

    Args:
        shape: shape of one example, as in ``DDPM``.
        num_classes: number of classes, or a list of their names.
        network: maps [x_t / sqrt(alpha^2 + sigma^2), t] to logits (B, num_classes). By default convolutions for images, dense layers
            for other shapes.
        schedule, times: as in ``DDPM``, those of the model that it is to guide.
        ema: decay of the averaged weights, which are used for all but training; or None.
    Reference:
        Dhariwal & Nichol, Diffusion models beat GANs on image synthesis, 2021, section 4.1, arXiv 2105.05233.
    """

    log_names = ("loss", "accuracy")

    def __init__(
        self,
        shape,
        num_classes,
        *,
        network=None,
        schedule="cosine",
        times="uniform",
        ema=None,
        name="noisy_classifier",
        dtype=None,
    ):
        super().__init__(ema=ema, conditions=of_classes(num_classes), name=name, dtype=dtype)
        self.shape = checks.shape("shape", shape)
        self.num_classes = self.conditions["label"].count
        self.schedule, self.times = schedules.get(schedule), laws.get_times(times)
        if network is None:
            network = default_classifier(self.shape, self.num_classes, self.dtype_policy)
        self.network = network
        logits = self.network([keras.KerasTensor((None, *self.shape)), keras.KerasTensor((None,))])
        if tuple(logits.shape[1:]) != (self.num_classes,):
            raise ValueError(
                f"network: expected logits (B, {self.num_classes}) for [x_t, t], received shape {tuple(logits.shape)}."
            )
        self.keep_average_of("network")

    @property
    def data_name(self):
        """What the data is called in ``fit({"image": ..., "label": ...})``."""
        return "image" if len(self.shape) == 3 else "x"

    def default_optimizer(self):
        return keras.optimizers.AdamW(1e-3, weight_decay=5e-2, clipnorm=1.0)

    def check_examples(self, x):
        (checks.images if len(self.shape) == 3 else checks.rows)("x", x, self.shape)
        return len(x)

    def call(self, inputs, training=False):
        """Logits (B, num_classes) for [x_t, t], float (B, *shape) and (B,)."""
        x_t, t = inputs
        scale = ops.sqrt(ops.square(self.schedule.alpha(t)) + ops.square(self.schedule.sigma(t)))
        return self.network_for(training)([x_t / like(scale, x_t), t], training=training)

    def objective(self, batch, training):
        """-ln p(y | x_t, t), at a random time each."""
        x, label = ops.cast(batch.x, "float32"), batch.conditions["label"]
        t = self.times.times(batch.strata, self.schedule)
        x_t = self.schedule.add_noise(x, t, random.normal(batch.seeds, self.shape))
        logits = ops.cast(self([x_t, t], training=training), "float32")
        right = ops.equal(ops.cast(ops.argmax(logits, axis=-1), label.dtype), label)
        losses = keras.losses.sparse_categorical_crossentropy(label, logits, from_logits=True)
        return losses, {"accuracy": ops.cast(right, "float32")}

    def get_config(self):
        return {
            **super().get_config(),
            "shape": list(self.shape),
            "num_classes": self.conditions["label"].num_classes,
            "network": keras.saving.serialize_keras_object(self.network),
            "schedule": keras.saving.serialize_keras_object(self.schedule),
            "times": keras.saving.serialize_keras_object(self.times),
        }
