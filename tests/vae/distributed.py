"""A VAE trained on one device or on replicas."""

import contextlib

import keras
import numpy as np

from kgen.networks import MLP
from kgen.vae import VAE, GaussianLikelihood


def trained(scope=contextlib.nullcontext):
    """Dict from the index of each weight to its value, and from each log to its values."""
    x = np.random.default_rng(0).normal(size=(24, 3)).astype("float32")
    weight = np.linspace(0.5, 1.5, 24).astype("float32")
    keras.utils.set_random_seed(0)
    with scope():
        model = VAE(
            (3,),
            2,
            encoder=MLP((3,), (4,), widths=(8,)),
            decoder=MLP((2,), (3,), widths=(8,)),
            prior="gaussian_mixture",
            observation=GaussianLikelihood("analytic"),
            free_bits=0.5,
            ema=0.9,
        )
        model.compile(keras.optimizers.Adam(0.01, epsilon=1e-3))
    history = model.fit(x, sample_weight=weight, batch_size=8, epochs=2, shuffle=False, verbose=0).history
    results = {f"weight/{i}": keras.ops.convert_to_numpy(v) for i, v in enumerate(model.weights)}
    figures = model.evaluate(x, batch_size=8, verbose=0, return_dict=True)
    return {
        **results,
        **{f"fit/{k}": v for k, v in history.items()},
        **{f"evaluate/{k}": v for k, v in figures.items()},
    }
