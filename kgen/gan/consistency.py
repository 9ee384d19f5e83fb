"""Consistency regularisation: a discriminator is to say the same of an example and of the example changed a little."""

import keras
from keras import ops

from kgen.core import checks, random
from kgen.gan import augmentation as augmentations
from kgen.gan.diff_augment import DiffAugment
from kgen.gan.regularizers import Regularizer


@keras.saving.register_keras_serializable(package="kgen")
class Consistency(Regularizer):
    """weight * (D(x) - D(T(x)))^2 of the data, and fake_weight * (D(G(z)) - D(T(G(z))))^2 of samples, T an augmentation.

    Unlike what a GAN is given as ``augmentation``, T changes nothing of what data and samples are judged as. ADA's probability stays as it is
    made here.

    Args:
        weight: lambda in the paper, 10.
        fake_weight: 0 in the paper; with 10 it is the balanced consistency of Zhao et al.
        augmentation: T, an ``Augmentation``; shifts by an eighth of the side and reflections by default, as in the paper.
        every: as in ``Regularizer``.
    Reference:
        Zhang et al., Consistency regularization for generative adversarial networks, 2020, Eq. 5, arXiv 1910.12027; Zhao et al., Improved
        consistency regularization for GANs, 2020, Algorithm 1, arXiv 2002.04724.
    """

    def __init__(self, weight=10.0, fake_weight=0.0, augmentation=None, every=1):
        super().__init__(every)
        self.weight = checks.in_range("weight", weight, 0.0, 1e6)
        self.fake_weight = checks.in_range("fake_weight", fake_weight, 0.0, 1e6)
        self.augmentation = augmentations.get(augmentation) or DiffAugment(("flip", "translation"))

    def __call__(self, function, real, fake, seeds, step=0, state=None):
        self.augmentation.check(tuple(real.shape[1:]))
        first = {name: ops.convert_to_tensor(value, "float32") for name, value in self.augmentation.state().items()}

        def moved(x, draw):
            changed = self.augmentation(x, random.fold_in(seeds, draw), first)
            return ops.square(function(x) - function(changed))

        losses = self.weight * moved(real, 1)
        return losses + self.fake_weight * moved(fake, 2) if self.fake_weight else losses

    def get_config(self):
        return {**super().get_config(), "augmentation": keras.saving.serialize_keras_object(self.augmentation)}
