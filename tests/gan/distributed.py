"""A GAN trained on one device or on replicas."""

import contextlib

import keras
import numpy as np
from gan.parts import Jitter, dense

from kgen.gan import GAN, R1, GradientPenalty, PathLength


def trained(scope=contextlib.nullcontext):
    """Dict from the place of each weight to its value, and from each log to its values."""
    keras.utils.set_random_seed(0)
    with scope():
        model = GAN(
            (2,),
            3,
            generator=dense((3,), 2, "generator"),
            discriminator=dense((2,), 1, "discriminator"),
            regularizers=[R1(0.1, every=2), GradientPenalty(1.0)],
            generator_regularizers=PathLength(every=2),
            augmentation=Jitter(0.1),
            n_critic=2,
            ema=0.9,
        )
        model.compile(keras.optimizers.Adam(0.01, epsilon=1e-3))
    x = np.random.default_rng(0).normal(size=(96, 2)).astype("float32")
    history = model.fit(x, batch_size=32, epochs=2, shuffle=False, verbose=0).history
    results = {f"weight/{i}": w for i, w in enumerate(model.get_weights())}
    results |= {f"fit/{k}": v for k, v in history.items()}
    figures = model.evaluate(x, batch_size=32, verbose=0, return_dict=True)
    results |= {f"evaluate/{k}": v for k, v in figures.items()}
    return results
