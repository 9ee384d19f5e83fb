"""Monitors of latent spaces: of models that ``encode``."""

import numpy as np

from kgen.callbacks.monitors.monitor import Monitor
from kgen.core import checks


class PosteriorCollapse(Monitor):
    """Latent coordinates that a VAE's encoder does not use: their mean does not move with the example.

    A coordinate is active if the variance over examples of its posterior mean is above ``threshold``.

    Args:
        x: float array (N, *shape), examples to encode; a few hundred do.
        threshold: variance, in units of the prior's.
        active: the share of coordinates that must be active.
        **kwargs: see ``Monitor``.
    Reference:
        Burda et al., Importance Weighted Autoencoders, 2016, Section 5.1, arXiv 1509.00519.
    """

    asks = ("encode",)
    advice = "a lower beta or kl_warmup=, free_bits=, or a weaker decoder"

    def __init__(self, x, *, threshold=0.01, active=0.1, **kwargs):
        super().__init__(**kwargs)
        self._x, self.threshold, self.active = np.asarray(x), threshold, checks.in_range("active", active, 0.0, 1.0)
        if len(self._x) < 2:
            raise ValueError(f"x: expected at least 2 examples, received {len(self._x)}.")

    def find(self, logs):
        variance = self.model.encode(self._x).reshape(len(self._x), -1).var(0)
        count = int((variance > self.threshold).sum())
        self.value = count / len(variance)
        if self.value < self.active or count == 0:
            return f"{count} of {len(variance)} latent coordinates move with the example"
        return None


class DeadCodes(Monitor):
    """Codes of a VQ-VAE's codebook that no example is given.

    Args:
        x: float array (N, *shape), examples to encode: enough of them that each code could be used many times.
        used: the share of the codebook that must be used.
        **kwargs: see ``Monitor``.
    """

    asks = ("encode", "num_codes")
    advice = "a codebook by moving averages with revival of dead codes, a smaller codebook, or a lower learning rate"

    def __init__(self, x, *, used=0.3, **kwargs):
        super().__init__(**kwargs)
        self._x, self.used = np.asarray(x), checks.in_range("used", used, 0.0, 1.0)

    def find(self, logs):
        codes, total = self.model.encode(self._x), self.model.num_codes
        count = len(np.unique(codes))
        self.value = count / total
        return f"{count} of {total} codes are used by {len(self._x)} examples" if self.value < self.used else None
