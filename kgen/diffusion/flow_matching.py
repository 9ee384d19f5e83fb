"""Flow matching: straight lines from data to noise, and a network that learns the way along them."""

import keras

from kgen.core import checks
from kgen.diffusion.coupling import minibatch_coupling
from kgen.diffusion.ddpm import DDPM


@keras.saving.register_keras_serializable(package="kgen")
class FlowMatching(DDPM):
    """The flow dx/dt = v(x, t) from data at t = 0 to noise at t = 1, learnt from straight lines between pairs of them.

    x_t = (1 - t) x_0 + t eps, and the loss is |v(x_t, t) - (eps - x_0)|^2. One step of ``DDIMSampler`` is Euler's step along v: where the
    flow is straight, one is enough. ``log_prob`` is that of the flow (``ODELikelihood``), also for images, whose levels are filled by
    uniform noise.

    The coupling says which noise goes with which data in training; in evaluation it is always "independent", so that a figure does not
    depend on the batch size. "minibatch" pairs those of a batch by optimal transport (``minibatch_coupling``): lines cross less, so
    that the flow is straighter and the loss lower. Each replica of a ``tf.distribute`` strategy pairs its own rows. With
    conditions, the pairs depend on what a batch holds beside a row: noise goes to the classes that are near it, which samples of one class
    from all of the noise do not know of.

    Args:
        shape: as in ``DDPM``.
        coupling: "independent" or "minibatch".
        times: as in ``DDPM``: "uniform" as in the papers of flow matching, which teaches both ends of the way alike; Esser et al. found
            "logit_normal" better for pictures.
        **kwargs: ``network``, ``num_classes``, ``conditions``, ``sampler``, ``clip``, ``ema``, ``dtype`` ... as in ``DDPM``.
    Reference:
        Lipman et al., Flow matching for generative modeling, 2023, Eq. 20 to 23, arXiv 2210.02747; Liu et al., Flow straight and fast,
        2023, Eq. 1, arXiv 2209.03003; Tong et al. 2023, arXiv 2302.00482 (minibatch); Esser et al. 2024, section 3.1, arXiv 2403.03206.
    """

    log_prob_method = "ode"

    def __init__(self, shape, *, coupling="independent", times="uniform", name="flow_matching", **kwargs):
        super().__init__(
            shape, schedule="rectified_flow", prediction="flow", times=times, weight=None, name=name, **kwargs
        )
        self.coupling = checks.one_of("coupling", coupling, ["independent", "minibatch"])

    def pairs(self, batch, training):
        x, noise = super().pairs(batch, training)
        return x, minibatch_coupling(x, noise) if training and self.coupling == "minibatch" else noise

    def get_config(self):
        config = super().get_config()
        for fixed in ("schedule", "prediction", "weight"):
            del config[fixed]
        return {**config, "coupling": self.coupling}
