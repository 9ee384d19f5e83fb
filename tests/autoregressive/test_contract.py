"""The contract of every model, over this family's language models."""

import numpy as np

from kgen.autoregressive import GPT

from contract import *
from contract import Case, trained_models

TOKENS = np.random.default_rng(0).choice(5, size=(64, 8), p=(0.5, 0.2, 0.1, 0.1, 0.1)).astype("int32")


def gpt(**kwargs):
    return GPT(5, 8, layers=1, heads=2, width=16, **kwargs)


trained = trained_models(
    {
        "gpt": Case(lambda: gpt(ema=0.9), (TOKENS,), output="tokens"),
        "gpt, learned positions": Case(
            lambda: gpt(positions="learned", dropout=0.1, begin_token=4),
            (TOKENS,),
            sample={"top_k": 4, "temperature": 0.9},
            output="tokens",
        ),
    }
)
