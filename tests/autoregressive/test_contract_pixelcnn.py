"""The contract of every model, over PixelCNN."""
# ruff: noqa: F403

from kgen.autoregressive import PixelCNN

from contract import *
from contract import Case, X, Y, trained_models


def pixelcnn(**kwargs):
    return PixelCNN((4, 4, 1), channels=6, blocks=1, components=2, levels=9, **kwargs)


trained = trained_models(
    {
        "pixelcnn": Case(lambda: pixelcnn(dropout=0.1, ema=0.9)),
        "pixelcnn with classes": Case(
            lambda: pixelcnn(num_classes=3, ema=None), data=(X, Y), sample={"labels": 1}, log_prob={"labels": 2}
        ),
    }
)
