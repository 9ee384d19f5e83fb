"""Score-based generative modelling through stochastic differential equations."""

import keras
from keras import ops

from kgen.diffusion import schedules
from kgen.diffusion.ddpm import DDPM
from kgen.diffusion.predictions import LEAST
from kgen.diffusion.samplers import Sampler, levels, noise_like
from kgen.diffusion.schedules import at_least, like


@keras.saving.register_keras_serializable(package="kgen")
class ReverseSDESampler(Sampler):
    """Euler and Maruyama's steps of the reverse-time equation dx = (f x - g^2 grad ln p_t) dt + g dw.

    With h = t - s > 0 and the score -eps/sigma

        x_s = x_t - h (f x_t + g^2 eps/sigma) + g sqrt(h) z.

    The last step, to t = 0, is to the estimate of the data, which is without the noise that such steps leave. It needs many steps, and a
    schedule that leaves something of the data at t = 1, where f is infinite otherwise.

    Args:
        steps: number of steps; 1000 are the paper's.
        grid: as in ``Sampler``.
    Reference:
        Song et al. 2021, Eq. 6 and appendix G, arXiv 2011.13456; Anderson, Reverse-time diffusion equation models, 1982.
    """

    stochastic = True

    def __init__(self, steps=1000, grid="uniform"):
        super().__init__(steps, grid)

    def check(self, schedule):
        super().check(schedule)
        if schedule.ends_in_noise:
            raise ValueError(
                f"sampler: {type(self).__name__} needs a schedule with alpha(1) > 0, such as 'vp', 'sub_vp' or 've'; received {schedule!r}. "
                "AncestralSampler draws from it."
            )

    def step(self, denoise, schedule, carry, t, s, seeds, i):
        self.check(schedule)
        (x,) = carry
        estimate = denoise(x, t)
        _, sigma = levels(schedule, t, x)
        h, f, g = (like(v, x) for v in (t - s, schedule.drift(t), schedule.diffusion(t)))
        moved = x - h * (f * x + ops.square(g) * estimate.noise / at_least(sigma, LEAST))
        moved = moved + g * ops.sqrt(h) * noise_like(x, seeds)
        return (ops.where(like(s, x) > 0, moved, estimate.data),)


@keras.saving.register_keras_serializable(package="kgen")
class ScoreSDE(DDPM):
    """A score model of Song et al.: noise by a stochastic differential equation, samples by its reverse, likelihood by its flow.

    The data follows dx = f(t) x dt + g(t) dw to noise, and the network learns sigma grad ln p_t at all times: the loss is
    |sigma s(x_t, t) - sigma grad ln p(x_t | x_0)|^2, which is the paper's with lambda(t) = sigma^2. Samples come from the reverse equation
    (``ReverseSDESampler``) or, by ``sampler="ddim"``, from the probability flow; ``log_prob`` is that of the flow (``ODELikelihood``),
    also for images, whose levels are filled by uniform noise.

    Args:
        shape: as in ``DDPM``.
        schedule: "vp", "sub_vp", "ve", or a ``Schedule`` that leaves something of the data at t = 1. The largest noise of "ve" should be
            about the largest distance between two examples: ``VESchedule(sigma_max=...)``.
        sampler: as in ``DDPM``; by default ``ReverseSDESampler(1000)``.
        **kwargs: ``network``, ``num_classes``, ``conditions``, ``times``, ``clip``, ``ema``, ``dtype`` ... as in ``DDPM``.
    Reference:
        Song et al., Score-based generative modeling through stochastic differential equations, 2021, arXiv 2011.13456.
    """

    log_prob_method = "ode"

    def __init__(self, shape, *, schedule="vp", sampler=None, name="score_sde", **kwargs):
        super().__init__(
            shape,
            schedule=schedules.get(schedule),
            prediction="score",
            sampler=ReverseSDESampler() if sampler is None else sampler,
            name=name,
            **kwargs,
        )

    def get_config(self):
        config = super().get_config()
        del config["prediction"]
        return config
