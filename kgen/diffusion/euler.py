"""Euler's method, without and with noise added on the way: what k-diffusion calls these samplers."""

import keras

from kgen.diffusion.samplers import DDIMSampler


@keras.saving.register_keras_serializable(package="kgen")
class EulerSampler(DDIMSampler):
    """y_s = y_t + (r_s - r_t) eps in y = x/alpha and r = sigma/alpha, where dy/dr = eps: deterministic given x_1.

    It is DDIM's step with eta = 0, since y_t = x_0 + r_t eps, and is so written, at other times.

    Args:
        steps: number of steps.
        grid: as in ``Sampler``.
    Reference:
        Karras et al. 2022, section 3, arXiv 2206.00364; Crowson, k-diffusion (``sample_euler``), 2022.
    """

    alias = "euler"

    def __init__(self, steps=50, grid="karras"):
        super().__init__(steps, 0.0, grid)


@keras.saving.register_keras_serializable(package="kgen")
class EulerAncestralSampler(DDIMSampler):
    """An Euler step down to r_down, below r_s, and noise up to r_s: y_s = y_t + (r_down - r_t) eps + r_up z.

    r_up = eta r_s sqrt(1 - r_s^2/r_t^2) and r_down^2 = r_s^2 - r_up^2. Times alpha_s these are DDIM's step with the same eta.

    Args:
        steps: number of steps.
        eta: 0 is ``EulerSampler``; with 1 the variance is the posterior's.
        grid: as in ``Sampler``.
    Reference:
        Crowson, k-diffusion (``sample_euler_ancestral``), 2022.
    """

    alias = "euler_ancestral"

    def __init__(self, steps=50, eta=1.0, grid="karras"):
        super().__init__(steps, eta, grid)
