"""The contract of every model, over this family's."""

from kgen.diffusion import DDPM, AncestralSampler, DDIMSampler
from kgen.networks import MLP, UNet

from contract import *
from contract import Case, X, Y, trained_models

BOUND = {"num_samples": 4, "levels": 9}


def unet(**kwargs):
    return UNet((4, 4, 1), channels=(8,), blocks=1, attention=(True,), groups=4, **kwargs)


trained = trained_models(
    {
        "ddpm": Case(
            lambda: DDPM((4, 4, 1), network=MLP((4, 4, 1), (4, 4, 1), widths=(32,), time=True), sampler=DDIMSampler(3)),
            log_prob=BOUND,
        ),
        "ddpm with classes": Case(
            lambda: DDPM(
                (4, 4, 1),
                network=unet(num_classes=3, dropout=0.1),
                num_classes=3,
                prediction="noise",
                schedule="linear",
                sampler=AncestralSampler(3),
            ),
            (X, Y),
            log_prob=BOUND,
        ),
    }
)
