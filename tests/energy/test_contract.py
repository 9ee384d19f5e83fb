"""The contract of every model, over this family's."""

import keras
import numpy as np

from kgen.energy import (
    RBM,
    ContrastiveDivergence,
    DenoisingScoreMatching,
    EnergyModel,
    GaussianVisible,
    HMCSampler,
    LangevinSampler,
)
from kgen.networks import MLP

from contract import *
from contract import Case, X, trained_models

BINARY = np.where(X > 0.4, 1.0, -1.0).astype("float32")
POINTS = X.reshape(64, 16)[:, :3]
FEW = {"steps": 5}


def rbm(visible="bernoulli", **kwargs):
    return RBM((4, 4, 1), visible=visible, **kwargs)


def of_images(**kwargs):
    return EnergyModel((4, 4, 1), MLP((4, 4, 1), (1,), widths=(16,)), **kwargs)


def of_points(**kwargs):
    layers = [keras.layers.Dense(16, activation="silu"), keras.layers.Dense(1, use_bias=False)]
    return EnergyModel((3,), keras.Sequential([keras.Input((3,)), *layers]), **kwargs)


trained = trained_models(
    {
        "rbm": Case(lambda: rbm(hidden=6, gibbs_steps=2), (BINARY,), "reconstruction", FEW),
        "rbm gaussian, persistent, averaged": Case(
            lambda: rbm(GaussianVisible(0.3), hidden=24, chains=10, ema=0.9),
            (X,),
            "reconstruction",
            FEW,
            {"log_z": 1.0},
        ),
        "energy replay buffer, averaged": Case(
            lambda: of_images(
                criterion=ContrastiveDivergence(steps=3, buffer_size=50), sampler=LangevinSampler(0.1, 4), ema=0.9
            ),
            falls=None,
        ),
        "energy denoising": Case(
            lambda: of_points(criterion=DenoisingScoreMatching(0.5), sampler=HMCSampler(0.1, 3, 3)),
            (np.tile(POINTS, (8, 1)),),  # more steps: the criterion draws noise
            output="samples",
        ),
    }
)
