"""What goes wrong in a step, and what is changed before the steps since the last checkpoint come again."""

import math
import warnings

import keras

from kgen.backend import keras_private
from kgen.callbacks.monitors import median_and_spread


def find_fault(logs, progress, spike):
    """Finds a loss that is not finite, and a spike. Keras shows running means: a step's own value is a difference of two sums.

    Args:
        logs: dict from a name to its mean over the epoch so far.
        progress: ``Progress`` after the step; its ``sums`` and ``recent`` take the step in.
        spike: as in ``Checkpoint``.
    Returns:
        dict that says what, where and when, or None.
    """
    where = {"epoch": progress.epoch, "batch": progress.batch - 1, "step": progress.step}
    count = progress.batch
    for name, mean in logs.items():
        mean = float(mean)
        if not math.isfinite(mean):
            return {"kind": "not finite", "log": name, "value": str(mean), **where}
        if spike is None or not name.endswith("loss"):
            continue
        earlier, progress.sums[name] = progress.sums.get(name, 0.0 if count == 1 else None), mean * count
        if earlier is None:
            continue
        value, before = mean * count - earlier, progress.recent.setdefault(name, [])
        if len(before) >= 10:
            middle, spread = median_and_spread(before)
            if value > middle + spike * spread:
                return {"kind": "spike", "log": name, "value": value, "median": middle, **where}
        before.append(value)
        del before[:-100]
    return None


def give_up(fault, attempts, folder):
    """Warns that training stops at a fault; returns the event."""
    warnings.warn(
        f"Training stopped: {fault['kind']} in {fault['log']!r} at step {fault['step']}, after {attempts} rollbacks. The checkpoints "
        f"before it are in {folder}.",
        RuntimeWarning,
        stacklevel=3,
    )
    return {**fault, "action": "stopped"}


def go_back(fault, progress, attempts, optimizer, lower_rate):
    """Warns that training goes back, and lowers the learning rate; called once the last checkpoint is loaded.

    Args:
        fault: what ``find_fault`` returned.
        progress: ``Progress`` of the checkpoint; it is given its next attempt.
        attempts: rollbacks there were before this one, and how many there may be.
        optimizer: the model's.
        lower_rate: the factor of each rollback.
    Returns:
        the event.
    """
    before, most = attempts
    stored, progress.attempt = progress.attempt, before + 1
    event = {**fault, "action": "rolled back", "to_step": progress.step}
    if lower_rate < 1:
        event["learning_rate"] = _lower_rates(optimizer, lower_rate ** (progress.attempt - stored))
    warnings.warn(
        f"{fault['kind']} in {fault['log']!r} at step {fault['step']}: back to step {progress.step}, rollback {progress.attempt} of {most}.",
        RuntimeWarning,
        stacklevel=3,
    )
    return event


def members(optimizer):
    """The optimizers of a model: one for each player; within those that scale the loss, the one inside."""
    found = list(optimizer.members.values()) if hasattr(optimizer, "members") else [optimizer]
    return [getattr(member, "inner_optimizer", member) for member in found]


def check_rates(optimizer):
    """Raises ValueError if a learning rate cannot be lowered."""
    for member in members(optimizer):
        rate = keras_private.rate_as_given(member)
        if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):
            raise ValueError(
                f"lower_rate: {member.name} follows a {type(rate).__name__}, which cannot be lowered. Pass a number "
                "as its learning rate, or lower_rate=1."
            )


def _lower_rates(optimizer, factor):
    rates = []
    for member in members(optimizer):
        member.learning_rate = float(keras.ops.convert_to_numpy(member.learning_rate)) * factor
        rates.append(float(keras.ops.convert_to_numpy(member.learning_rate)))
    return rates[0] if len(rates) == 1 else rates
