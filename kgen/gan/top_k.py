"""Top-k training: the generator learns from the samples of a batch that its discriminator finds best."""

import keras
from keras import ops

from kgen import backend
from kgen.core import checks, inputs
from kgen.gan import losses


@keras.saving.register_keras_serializable(package="kgen")
class TopK(losses.Loss):
    """Another loss, of whose generator's part only the k samples of the largest logits count, k = ``share`` of the batch, rounded up.

    They weigh 1 / share, so that the gradient is the mean over them. In evaluation, too. Samples between modes, which the discriminator sees through,
    no longer pull the generator away from the data.

    The rows of the whole batch are ranked, on several replicas too, and by the mean of their logits where each has several, as of patches.

    Args:
        loss: the other loss, a name or a ``Loss``.
        share: in (0, 1], a float, or a ``keras.optimizers.schedules.LearningRateSchedule`` of the generator's steps: the paper goes from 1
            down to 1/2, since a discriminator first has to learn which samples are good.
    Reference:
        Sinha et al., Top-k training of GANs: improving GAN performance by throwing away bad samples, 2020, section 3, arXiv 2002.06224.
    """

    def __init__(self, loss="non_saturating", share=0.5):
        self.loss = losses.get(loss)
        if isinstance(share, dict):
            share = keras.saving.deserialize_keras_object(share)
        self.share = share if callable(share) else checks.in_range("share", share, 1e-6, 1.0)

    follows_steps = True

    @property
    def pairs(self):
        return self.loss.pairs

    def discriminator(self, real_logits, fake_logits):
        return self.loss.discriminator(real_logits, fake_logits)

    def generator(self, fake_logits, real_logits=None, step=0):
        share = ops.cast(self.share(step), "float32") if callable(self.share) else self.share
        own = ops.mean(ops.reshape(ops.stop_gradient(fake_logits), (ops.shape(fake_logits)[0], -1)), axis=-1)
        logits = backend.gather(own)
        rows = ops.cast(ops.shape(logits)[0], "float32")
        kept = ops.ceil(share * rows - 1e-4)  # 1e-4: a share of 0.3 of 10 rows is 3 of them
        places = ops.argsort(ops.argsort(-logits))  # the place of each row, 0 for the largest
        places = inputs.own_rows(places, ops.shape(fake_logits)[0])
        chosen = ops.cast(ops.cast(places, "float32") < kept, "float32")
        chosen = ops.reshape(chosen, (-1, *[1] * (len(fake_logits.shape) - 1)))
        return self.loss.generator(fake_logits, real_logits) * chosen * rows / ops.maximum(kept, 1.0)

    def get_config(self):
        return {k: keras.saving.serialize_keras_object(v) for k, v in super().get_config().items()}
