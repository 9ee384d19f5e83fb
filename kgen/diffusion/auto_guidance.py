"""Guidance by a weaker model."""

from keras import ops

from kgen.diffusion.ddpm import DDPM, check_estimates
from kgen.diffusion.guidance import Guidance, GuidedDenoiser
from kgen.diffusion.predictions import Estimate
from kgen.diffusion.schedules import like


class AutoGuidance(Guidance):
    """x_0 = x_0(weaker) + strength (x_0(model) - x_0(weaker)): away from the errors that a weaker model makes too, only more so.

    Both are given the same conditions. Models without any are guided too, and no variety is lost. Strength 1 is the model itself.

    Args:
        weaker: a ``DDPM`` of the same process and data, with a smaller network or trained for a shorter time. Its network may predict
            something else, and it may have been trained without some of the conditions.
        strength: as in ``Guidance``; 1.5 to 3 are the paper's.
    Reference:
        Karras et al., Guiding a diffusion model with a bad version of itself, 2024, Eq. 3 and section 3, arXiv 2406.02507.
    """

    def __init__(self, weaker, strength=2.0):
        super().__init__(strength)
        if not isinstance(weaker, DDPM):
            raise TypeError(f"weaker: expected a DDPM, such as a smaller one of the same data, received {weaker!r}.")
        check_estimates("weaker", weaker)
        self.weaker = weaker

    def check(self, model, given):
        weaker = self.weaker
        for what, own, other in (
            ("data of shape", model.shape, weaker.shape),
            ("the process", model.schedule, weaker.schedule),
        ):
            if own != other:
                raise ValueError(f"weaker: expected {what} {own}, as the model's own, received {other}.")
        known = {c.name: c for c in model.conditions}
        for c in weaker.conditions:
            if c.name not in known or c.specs().keys() != known[c.name].specs().keys() or _differ(c, known[c.name]):
                raise ValueError(
                    f"weaker: expected no conditions but the model's, {list(known.values())}, received {c} too."
                )
            if not c.optional and c.keyword not in given:
                raise ValueError(f"{c.keyword}: the weaker model that guides needs it to sample.")

    @property
    def key(self):
        return (type(self).__name__, id(self.weaker))

    @property
    def variables(self):
        return list(self.weaker.variables)

    def around(self, denoiser, conditions, strength):
        self.weaker.configuration_is_read()
        return _Auto(denoiser, self.weaker, strength)


def _differ(a, b):
    """Whether two conditions of one name are different ones, but for how often they are hidden in training."""
    return type(a) is not type(b) or {**a.get_config(), "dropout": None} != {**b.get_config(), "dropout": None}


class _Auto(GuidedDenoiser):
    def __init__(self, around, weaker, strength):
        super().__init__(around)
        self.model, self.weaker = around.unclipped(), weaker.denoiser().unclipped()
        self.names, self.strength = list(weaker.conditions.specs()), strength

    def __call__(self, x_t, t, conditions):
        t = ops.broadcast_to(t, (ops.shape(x_t)[0],))
        own = self.model(x_t, t, conditions)
        other = self.weaker(x_t, t, {name: conditions[name] for name in self.names})
        strength = like(self.strength, x_t)
        data, noise = (b + strength * (a - b) for a, b in zip(own[:2], other[:2], strict=True))
        return self.clipped(Estimate(data, noise, own.variance), x_t, t)
