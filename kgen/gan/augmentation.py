"""What stands between data or samples and a discriminator."""

import keras

from kgen.core.config import Configured


class Augmentation(Configured):
    """Base class: changes examples before a discriminator sees them, real and generated alike, in training alone.

    What is random for a row is drawn from its seed. What changes while training is state: variables of the model, one set for each
    discriminator, saved with it.
    """

    def check(self, shape):
        """Raises ValueError unless examples of ``shape`` can be augmented."""

    def state(self):
        """What it remembers: a dict from a name to a first value, a number or an array."""
        return {}

    def __call__(self, x, seeds, state):
        """Other examples.

        Args:
            x: float tensor (B, ...), through which gradients flow.
            seeds: int32 (B, 2), row seeds.
            state: dict of float32 tensors.
        Returns:
            float tensor shaped like ``x``.
        """
        raise NotImplementedError

    def observe(self, real_logits):
        """What to know of a discriminator's step, from its logits (B,) of augmented data: a dict of float tensors (B,)."""
        return {}

    def next_state(self, state, means, rows):
        """The state after a discriminator's step.

        Args:
            state: dict of float32 tensors.
            means: what ``observe`` gave, as means over the whole batch, of all replicas.
            rows: float scalar tensor: rows of the whole batch.
        Returns:
            dict of float32 tensors.
        """
        return state


def get(augmentation):
    """An augmentation from its configuration or itself; None stays None."""
    if isinstance(augmentation, dict) and "class_name" in augmentation:
        augmentation = keras.saving.deserialize_keras_object(augmentation)
    if augmentation is not None and not isinstance(augmentation, Augmentation):
        raise TypeError(f"augmentation: expected a kgen.gan.Augmentation or None, received {augmentation!r}.")
    return augmentation
