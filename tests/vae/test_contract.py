"""The contract of every model, over this family's."""

from kgen.layers import VectorQuantizer
from kgen.networks import MLP, SpatialDecoder, SpatialEncoder
from kgen.vae import IWAE, VAE, VQVAE, WAE, BetaTCVAE, CategoricalLikelihood, DiscretizedLogisticLikelihood, VampPrior

from contract import *
from contract import Case, trained_models

IMPORTANCE = {"num_samples": 4}


def vae(likelihood, posterior_size=4, kind=VAE, **kwargs):
    encoder = MLP((4, 4, 1), (posterior_size,), widths=(16,))
    decoder = MLP((2,), (4, 4, getattr(likelihood, "parameters", 1)), widths=(16,))
    return kind((4, 4, 1), 2, encoder=encoder, decoder=decoder, observation=likelihood, **kwargs)


def vqvae(ema):
    encoder = SpatialEncoder((4, 4, 1), 3, channels=(8,), blocks=1)
    decoder = SpatialDecoder((2, 2, 3), 1, channels=(8,), blocks=1)
    return VQVAE((4, 4, 1), encoder=encoder, decoder=decoder, quantizer=VectorQuantizer(6, 3, ema=ema))


trained = trained_models(
    {
        "vae": Case(lambda: vae("gaussian", ema=0.9), log_prob=IMPORTANCE),
        "vae bernoulli, full posterior": Case(
            lambda: vae("bernoulli", posterior_size=5, posterior="full"), log_prob=IMPORTANCE
        ),
        "vae categorical, mixture prior": Case(
            lambda: vae(CategoricalLikelihood(9), prior="gaussian_mixture"), log_prob=IMPORTANCE
        ),
        "vae discretized logistic": Case(
            lambda: vae(DiscretizedLogisticLikelihood(2, levels=9), kl_warmup=5), log_prob=IMPORTANCE
        ),
        "iwae, vamp prior": Case(
            lambda: vae("gaussian", kind=IWAE, prior=VampPrior((4, 4, 1), 3), doubly=True, ema=0.9), log_prob=IMPORTANCE
        ),
        "wae": Case(lambda: vae(None, 2, kind=WAE), log_prob=None),
        "beta tc vae": Case(lambda: vae("gaussian", kind=BetaTCVAE), log_prob=IMPORTANCE, backends=("torch",)),
        "vqvae": Case(lambda: vqvae(0.9), falls="reconstruction", log_prob=None),
        "vqvae, codebook by gradient": Case(lambda: vqvae(None), falls="reconstruction", log_prob=None),
    }
)
