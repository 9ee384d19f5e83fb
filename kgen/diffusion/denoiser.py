"""A denoiser: a network, and what its output means."""

from keras import ops

from kgen.diffusion.schedules import like


class Denoiser:
    """Estimates the data and the noise in x_t.

    Args:
        network: maps [x_t, t] or [x_t, t, label] to a tensor like x_t.
        schedule: a ``Schedule``.
        prediction: a ``Prediction``: what the network returns.
        clip: whether the estimate of x_0 is clipped to [-1, 1], the range of images.
        null_label: the label that means "no class", or None for a network without labels.
    """

    def __init__(self, network, schedule, prediction, clip, null_label=None):
        self.network, self.schedule, self.prediction = network, schedule, prediction
        self.clip, self.null_label = clip, null_label

    def output(self, x_t, t, label=None, guidance=None):
        """The network's output, guided if asked.

        output = output(no class) + guidance (output(class) - output(no class)), both from one pass over a doubled batch.

        Args:
            x_t: float tensor (B, ...).
            t: float tensor (B,), in [0, 1].
            label: int tensor (B,), or None.
            guidance: float tensor (B,), or None for the plain conditional output (guidance 1).
        Returns:
            float tensor (B, ...).
        Reference:
            Ho & Salimans, Classifier-free diffusion guidance, 2022, Eq. 6 (guidance = 1 + w), arXiv 2207.12598.
        """
        if self.null_label is None:
            return self.network([x_t, t])
        if guidance is None:
            return self.network([x_t, t, label])
        doubled = self.network(
            [
                ops.concatenate([x_t, x_t]),
                ops.concatenate([t, t]),
                ops.concatenate([label, ops.full_like(label, self.null_label)]),
            ]
        )
        conditional, unconditional = ops.split(doubled, 2)
        return unconditional + like(guidance, x_t) * (conditional - unconditional)

    def __call__(self, x_t, t, label=None, guidance=None):
        """Estimates x_0 and eps.

        Args:
            x_t, label, guidance: as in ``output``.
            t: float tensor, a scalar or (B,).
        Returns:
            ``(data, noise)``, float tensors like ``x_t``, with x_t = alpha data + sigma noise.
        """
        t = ops.broadcast_to(t, (ops.shape(x_t)[0],))
        output = ops.cast(self.output(x_t, t, label, guidance), x_t.dtype)
        alpha, sigma = like(self.schedule.alpha(t), x_t), like(self.schedule.sigma(t), x_t)
        data = self.prediction.data(output, x_t, alpha, sigma)
        if self.clip:
            data = ops.clip(data, -1.0, 1.0)
        return data, (x_t - alpha * data) / sigma
