"""The GAN with an auxiliary classifier.

With L_S the loss of real and generated, and L_C = -E_x[ln C(y|x)] - E_z[ln C(y|G(z, y))] that of classes, the discriminator minimises L_S + w L_C
and the generator its own L_S and the generated half of w L_C: examples are to be told from one another as classes are.

Reference:
    Odena et al., Conditional image synthesis with auxiliary classifier GANs, 2017, Eq. 2 and 3, arXiv 1610.09585.
"""

import keras
from keras import ops

from kgen.core import Endpoint, TensorSpec
from kgen.core.conditions import LabelCondition
from kgen.gan.networks import Discriminator, Generator, is_image
from kgen.gan.reading import ReadingGAN, agreement, cross_entropy


@keras.saving.register_keras_serializable(package="kgen")
class ACGAN(ReadingGAN):
    """A GAN of classes whose discriminator classifies too: ``fit(x, labels)``, ``sample(n, labels=...)``, ``classify(x)``.

    Args:
        shape, latent_dim: as in ``GAN``.
        num_classes: number of classes, or a list of their names.
        generator: maps [z, label] to examples; ``Generator`` by default.
        discriminator: maps examples to a logit (B, 1) and class logits (B, classes); by default
            ``Discriminator(shape, readings=(classes,))``, spectrally normalised for images.
        conditioning: how the default generator is told the class: "concatenation" or "batch_norm".
        reading_weight: w; 1 in the paper.
        **kwargs: ``adversarial_loss``, ``regularizers``, ``ema`` ... as in ``GAN``.
    """

    log_names = (*ReadingGAN.log_names, "class_accuracy", "fake_class_accuracy")

    def __init__(
        self,
        shape,
        num_classes,
        latent_dim=64,
        *,
        generator=None,
        discriminator=None,
        conditioning="concatenation",
        name="acgan",
        **kwargs,
    ):
        classes, dtype = LabelCondition(num_classes).count, kwargs.get("dtype")
        if generator is None:
            generator = Generator(latent_dim, shape, num_classes=classes, conditioning=conditioning, dtype=dtype)
        if discriminator is None:
            discriminator = Discriminator(shape, spectral=is_image(shape), readings=(classes,), dtype=dtype)
        networks = {"generator": generator, "discriminator": discriminator}
        super().__init__(shape, latent_dim, **networks, num_classes=num_classes, name=name, **kwargs)

    @property
    def reading_sizes(self):
        return (self.conditions["label"].count,)

    def reading_losses(self, readings, batch, z, real):
        target = ops.one_hot(batch.conditions["label"], self.reading_sizes[0])
        name = "class_accuracy" if real else "fake_class_accuracy"
        return cross_entropy(readings[0], target), {name: agreement(readings[0], target)}

    def classify(self, x, *, batch_size=None):
        """The discriminator's probabilities of the classes of examples ``x``: numpy float32 (N, classes)."""
        return self.run_rows("classify", self.classify_rows, [self.examples(x)], batch_size=batch_size)

    def classify_rows(self, x):
        """Probabilities (B, classes) of examples (B, *shape); compiled and served."""
        return ops.softmax(self.read(x)[1][0], axis=-1)

    def endpoints(self):
        low, high, kind = (-1.0, 1.0, "image") if self.is_image else (None, None, None)
        spec = TensorSpec(self.shape, "float32", "example", low, high, kind=kind)

        def classify(x):
            return {"probabilities": self.classify_rows(x)}

        outputs = {"probabilities": "of the classes"}
        return [*super().endpoints(), Endpoint("classify", classify, {"x": spec}, outputs)]
