"""The contract of every model, over this family's."""

import numpy as np

from kgen.flow import MAF, ActNorm, Coupling, Flow, NeuralSplineFlow, RealNVP

from contract import *
from contract import Case, X, Y, trained_models

POINTS = np.random.default_rng(1).normal([1, -2, 0], [0.5, 1, 2], size=(64, 3)).astype("float32")
ON = ("tensorflow", "jax")
LABELS = {"labels": 1}

trained = trained_models(
    {
        "realnvp of images with classes": Case(
            lambda: RealNVP(
                (4, 4, 1), couplings=2, scales=2, widths=(8,), dropout=0.1, num_classes=3, dequantize=9, ema=0.9
            ),
            (X, Y),
            sample=LABELS,
            log_prob={"num_samples": 4, **LABELS},
            backends=ON,
        ),
        "maf": Case(lambda: MAF((3,), layers=2, widths=(16,)), (POINTS,), output="x", backends=ON),
        "autoregressive spline flow with classes": Case(
            lambda: NeuralSplineFlow((3,), layers=2, bins=4, autoregressive=True, widths=(16,), num_classes=3),
            (POINTS, Y),
            sample=LABELS,
            log_prob=LABELS,
            output="x",
            backends=ON,
        ),
        "flow of spline couplings": Case(
            lambda: Flow(
                (3,),
                [ActNorm(), *(Coupling("spline", mask=m, widths=(16,)) for m in ([1, 0, 0], [0, 1, 1]))],
                ema=0.9,
            ),
            (POINTS,),
            output="x",
            backends=ON,
        ),
    }
)
