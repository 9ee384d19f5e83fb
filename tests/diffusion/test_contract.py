"""The contract of every model, over this family's."""

from kgen.diffusion import DDPM, AncestralSampler, DDIMSampler, FlowMatching, ODELikelihood, ReverseSDESampler, ScoreSDE
from kgen.networks import MLP, UNet
from kgen.numerics import HeunSolver

from contract import *
from contract import Case, X, Y, trained_models

BOUND = {"num_samples": 4, "levels": 9}


FLOW = {"levels": 9, "method": ODELikelihood("hutchinson", solver=HeunSolver(4))}


def mlp():
    return MLP((4, 4, 1), (4, 4, 1), widths=(32,), time=True)


def unet(**kwargs):
    return UNet((4, 4, 1), channels=(8,), blocks=1, attention=(True,), groups=4, **kwargs)


trained = trained_models(
    {
        "ddpm": Case(
            lambda: DDPM((4, 4, 1), network=mlp(), sampler=DDIMSampler(3)),
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
        "flow matching": Case(
            lambda: FlowMatching((4, 4, 1), network=mlp(), coupling="minibatch", sampler=DDIMSampler(3)), log_prob=FLOW
        ),
        "score sde": Case(lambda: ScoreSDE((4, 4, 1), network=mlp(), sampler=ReverseSDESampler(3)), log_prob=FLOW),
    }
)
