"""Reflow: a flow made straighter by training on what another one maps to what."""

import keras
from keras import ops

from kgen.core import checks, random
from kgen.diffusion import predictions, samplers, schedules
from kgen.diffusion.ddpm import check_model
from kgen.diffusion.flow_matching import FlowMatching
from kgen.diffusion.teachers import process_of, trained_network

OPTIONS = ("sampler", "steps", "guidance", "batch_size")  # of ``sample``; the rest are conditions


def reflow_pairs(teacher, n, seed=None, **kwargs):
    """Noise, and the samples that a trained model makes of it: what ``Reflow`` is trained on.

    Args:
        teacher: a diffusion model. Where its own sampler adds noise on the way, as that of images does by default, ``DDIMSampler(50)``
            follows its flow.
        n: how many.
        seed: int, or None for another result each time. The samples are those of ``teacher.sample(n, seed=seed)``.
        **kwargs: as in ``teacher.sample``: ``labels``, conditions, ``sampler``, ``steps``, ``guidance`` ...
    Returns:
        dict of numpy arrays for ``fit``: the samples under the teacher's ``data_name``, "noise" of the same shape, standard normal, and
        the conditions that were given for each row.
    Raises:
        ValueError: the sampler adds noise on the way; or as ``teacher.sample``.
    Reference:
        Liu et al., Flow straight and fast, 2023, section 2.2, arXiv 2209.03003.
    """
    check_model(teacher, name="teacher")
    if kwargs.get("sampler") is None and teacher.sampler.stochastic:
        kwargs["sampler"] = samplers.DDIMSampler(50)
    sampler = samplers.get(kwargs.get("sampler") or teacher.sampler)
    if sampler.stochastic:
        raise ValueError(
            f"sampler: expected one that is deterministic given its start, such as DDIMSampler(50), received {sampler!r}."
        )
    seed = random.new_seed() if seed is None else seed
    x = teacher.sample(n, seed=seed, **kwargs)
    noise = random.normal(ops.convert_to_tensor(teacher.row_seeds(n, seed)), teacher.shape, draw=0)
    asked = {k: v for k, v in kwargs.items() if k not in OPTIONS and v is not None}
    values = teacher.conditions.rows(n, asked)
    given = {name: values[name] for c in teacher.conditions if c.keyword in asked for name in c.specs()}
    return {teacher.data_name: x, "noise": ops.convert_to_numpy(noise), **given}


@keras.saving.register_keras_serializable(package="kgen")
class Reflow(FlowMatching):
    """Flow matching on given pairs: ``fit(reflow_pairs(teacher, 10000))``, or ``fit({"image": x, "noise": z})``.

    Lines between pairs that a flow has made cross less than those between pairs drawn at random: the flow learnt from them is
    straighter, and takes fewer steps to sample. In evaluation, too, the pairs are those that are given.

    Distilled into one step, the student learns the slope of each line at t = 1 alone, which leads from the noise to its sample whether
    lines cross or not: ``Reflow.from_teacher(teacher, times=StepTimes(1), sampler=DDIMSampler(1))``.

    Args:
        shape, **kwargs: as in ``FlowMatching``, but for ``coupling``.
        sampler: as in ``DDPM``; by default ``DDIMSampler(50)`` for all data, since noise on the way would lose the pairs.
    Reference:
        Liu et al., Flow straight and fast, 2023, section 2.2 (distillation too) and Theorem 3.5, arXiv 2209.03003.
    """

    def __init__(self, shape, *, sampler=None, name="reflow", **kwargs):
        sampler = samplers.DDIMSampler(50) if sampler is None else sampler
        super().__init__(shape, sampler=sampler, name=name, **kwargs)

    @classmethod
    def from_teacher(cls, teacher, **kwargs):
        """A flow of the teacher's data and conditions, whose network begins as a copy of the teacher's.

        Args:
            teacher: a trained ``FlowMatching`` or ``Reflow``, or a ``DDPM`` of the same process and prediction.
            **kwargs: as in ``Reflow``: ``times``, ``sampler``, ``ema`` ...
        Raises:
            TypeError, ValueError: the teacher is no flow, or a student that estimates the ends of paths.
        """
        process = process_of("teacher", teacher)
        own = process.pop("schedule"), process.pop("prediction")
        wanted = schedules.get("rectified_flow"), predictions.get("flow")
        if own != wanted:
            raise ValueError(
                f"teacher: expected a flow, such as FlowMatching, of {wanted[0]!r} and {wanted[1]!r}, received one of {own[0]!r} and {own[1]!r}. "
                "Samples of any model make pairs (reflow_pairs); begin with Reflow(shape) for those."
            )
        return cls(**{**process, "network": trained_network(teacher), **kwargs})

    def _apart(self, x):
        """What is given, without the noise, and the noise."""
        if not isinstance(x, dict) or "noise" not in x or self.data_name not in x:
            raise ValueError(
                f"x: Reflow is trained on pairs: fit(reflow_pairs(teacher, n)), or fit({{{self.data_name!r}: x, 'noise': z}})."
            )
        return {k: v for k, v in x.items() if k != "noise"}, x["noise"]

    def check_data(self, x, y=None):
        rest, noise = self._apart(x)
        found, conditions = super().check_data(rest, y)
        checks.rows("noise", noise, self.shape)
        if len(noise) != len(found):
            raise ValueError(f"noise: expected {len(found)} rows, one for each example, received {len(noise)}.")
        return {self.data_name: found, "noise": noise}, conditions

    def to_batch(self, data, training):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        rest, noise = self._apart(x)
        batch = super().to_batch(keras.utils.pack_x_y_sample_weight(rest, y, weight), training)
        return batch._replace(x={self.data_name: batch.x, "noise": noise})

    def pairs(self, batch, training):
        return tuple(ops.cast(batch.x[name], "float32") for name in (self.data_name, "noise"))

    def get_config(self):
        config = super().get_config()
        del config["coupling"]
        return config
