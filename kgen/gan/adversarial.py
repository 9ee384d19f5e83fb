"""Models of several players, who take turns: the ground of every GAN.

A player is some networks that one optimizer trains by one loss. A model names its players in ``roles``, in the order of their turns; all
else is here: the batch is dealt out to a player's steps, data and samples go through the augmentation, regularisers are added when they
are due, what augmentation, regularisers and pools remember is kept in variables.
"""

import math
import typing
import warnings
from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from kgen import backend
from kgen.backend import keras_private
from kgen.core import GenerativeModel, checks, inputs, random
from kgen.gan import augmentation as augmentations
from kgen.layers import MinibatchDiscrimination, MinibatchStandardDeviation

FEW = 16  # rows of a discriminator's step
COMPARING = (MinibatchDiscrimination, MinibatchStandardDeviation)  # layers of groups of rows


class Turn(typing.NamedTuple):
    """What a player's loss gives.

    Args:
        losses: float (B,).
        logs: dict of what to log, each (B,) or a scalar.
        function: what the player computes, of one tensor, with layers as after training; for its regularisers.
        real, fake: inputs of ``function``; for a discriminator, data and samples (see ``Regularizer``). To a regulariser they are constants;
            where what it adds is to train what made ``fake``, too, that is a function of no arguments that makes it.
        real_logits: of a discriminator, its logits of the data (B,), or of parts of them (B, ...).
        state: dict from a key of ``keep_state`` to its next values.
    """

    losses: typing.Any
    logs: dict
    function: Callable | None = None
    real: typing.Any = None
    fake: typing.Any = None
    real_logits: typing.Any = None
    state: dict = {}

    def penalty(self, regularizer, seeds, step, state):
        """What ``regularizer`` says: the penalty (B,), and a dict of what it observed."""
        real, fake = (x if x is None or callable(x) else ops.stop_gradient(x) for x in (self.real, self.fake))
        found = regularizer(
            self.function, real, fake() if callable(fake) else fake, random.fold_in(seeds, 0), step, state
        )
        return found if regularizer.observes else (found, {})


class Player(typing.NamedTuple):
    """Who trains what, and how.

    Args:
        networks: names of the model's attributes that it trains.
        losses: function of (batch, training) to a ``Turn``.
        steps: of its optimizer in one training step of the model.
        regularizers: tuple of ``Regularizer``.
        discriminator: whether it judges data and samples, which then pass the augmentation.
    """

    networks: tuple
    losses: Callable
    steps: int = 1
    regularizers: tuple = ()
    discriminator: bool = False


class AdversarialModel(GenerativeModel):
    """A model whose players train against each other, each with an optimizer of its own.

    A subclass makes its networks in ``__init__``, says in ``roles`` who they are, and calls ``start_players()`` at the end.

    One training step deals the batch out: where a player takes n steps, its step k gets rows k, k + n, ... (which start over where the
    batch ends), so that each sees new data. A player of fewer steps gets what the last of these got. Each step has row seeds of its own.
    A step leaves the networks of the other players as they were, with their statistics (BatchNorm's, the singular vectors of spectral
    normalisation).

    Two replicas train as one device with the whole batch does, where each gets a multiple of n times the ``group`` of layers that compare
    rows: ``fit`` refuses other batches, where players take several steps or layers compare rows an epoch's last one too. Layers that draw by
    themselves, such as Dropout, draw other numbers on each replica, as they do with another seed; that is not refused.

    Args:
        augmentation: what data and samples go through before a discriminator sees them, an ``Augmentation`` or None.
        **kwargs: as in ``GenerativeModel``.
    """

    def __init__(self, *, augmentation=None, **kwargs):
        super().__init__(**kwargs)
        self.augmentation = augmentations.get(augmentation)
        self._state_names = {}

    @property
    def roles(self):
        """Dict from a player's name to its ``Player``, in the order in which they take their turns."""
        raise NotImplementedError

    def start_players(self):
        """Called at the end of ``__init__``: checks the players, and makes the variables of what is remembered for them."""
        for name, player in self.roles.items():
            if any(r.takes_slopes for r in player.regularizers):
                checks.unmixed_rows(name, "a gradient penalty", *(getattr(self, n) for n in player.networks))
            for i, regularizer in enumerate(player.regularizers):
                self.keep_state(f"{name}_regularizer_{i}", regularizer.state())
            if player.discriminator and self.augmentation is not None:
                self.keep_state(f"{name}_augmentation", self.augmentation.state())
                if "p" in self._state_names[f"{name}_augmentation"]:  # how often it augments, which is worth watching
                    self.also_log(f"{name}_augmentation_p")

    # What is remembered from step to step.

    def keep_state(self, key, values):
        """Makes variables ``<key>_<name>`` of the model, saved with it, from a dict of first values: numbers or arrays."""
        for name, value in values.items():
            value = np.asarray(value, "float32")
            options = {"initializer": "zeros", "trainable": False, "dtype": "float32"}
            variable = self.add_weight(shape=value.shape, name=f"{key}_{name}", **options)
            variable.assign(value)
            setattr(self, f"{key}_{name}", variable)
        self._state_names[key] = tuple(values)

    def state_of(self, key):
        """What is remembered under ``key``: a dict of float32 tensors."""
        return {name: ops.convert_to_tensor(getattr(self, f"{key}_{name}")) for name in self._state_names[key]}

    def set_state(self, key, values, where=True):
        """Assigns the next values of ``key``; not where the boolean scalar tensor ``where`` is false."""
        for name, old in self.state_of(key).items():
            getattr(self, f"{key}_{name}").assign(ops.where(where, values[name], old))

    # Training.

    @property
    def players(self):
        return {
            name: _once(v for n in p.networks for v in getattr(self, n).trainable_variables)
            for name, p in self.roles.items()
        }

    def default_optimizer(self):
        """Adam(2e-4, beta_1=0.5) for each player (Radford et al. 2016, section 4): Keras's usual Adam is too fast for adversaries."""
        return keras.optimizers.Adam(2e-4, beta_1=0.5)

    def fit(self, x=None, y=None, batch_size=None, *args, **kwargs):
        """As ``GenerativeModel.fit``; warns where a batch leaves a player's step few rows.

        Raises:
            ValueError: on several replicas, a batch's rows cannot be dealt out to them so that they train as one device does.
        """
        most, replicas = max(player.steps for player in self.roles.values()), backend.replicas(self)
        sizes = inputs.sizes_of_batches(x, batch_size) if (most > 1 or replicas > 1) and x is not None else []
        if sizes:
            if replicas > 1:
                self._check_replicas(sizes, most, replicas)
            if most > 1 and -(-sizes[0] // most) < FEW:
                warnings.warn(
                    f"batch_size: the rows of a batch are dealt out to {most} steps of a player, and of {sizes[0]} rows each gets "
                    f"{-(-sizes[0] // most)}. For steps of 64 rows: batch_size={most} * 64.",
                    UserWarning,
                    stacklevel=2,
                )
        return super().fit(x, y, batch_size, *args, **kwargs)

    def _check_replicas(self, sizes, most, replicas):
        found = [la for la in keras_private.flatten_layers(self) if isinstance(la, COMPARING)]
        own = most * math.lcm(*(layer.group for layer in found))
        multiple = replicas * own
        # Where rows go their own ways, an epoch's last batch may be of unequal parts.
        wrong = [size for size in sizes[: None if own > 1 else 1] if size % multiple]
        if wrong:
            reasons = [f"{most} steps of a player"] if most > 1 else []
            reasons += [f"{layer.name}'s groups of {layer.group} rows" for layer in found]
            raise ValueError(
                f"batch_size: on {replicas} replicas rows are dealt out on each by itself, to {' and to '.join(reasons) or 'its step'}, and to "
                f"train as one device does takes batches of a multiple of {multiple}; received one of {wrong[0]}. Choose another batch_size, or "
                f"leave out {wrong[0] % multiple} of the rows."
            )

    def augmented(self, discriminator, x, seeds, training):
        """What the player ``discriminator`` sees of examples ``x`` (B, ...): augmented in training, by row seeds (B, 2)."""
        if self.augmentation is None or not training:
            return x
        return self.augmentation(x, seeds, self.state_of(f"{discriminator}_augmentation"))

    def adversarial_values(self, player, fake_logits, real_logits=None):
        """The ``adversarial_loss`` of what ``player`` made, by its logits (B, ...): (B,)."""
        step = {"step": self.optimizer[player].iterations} if self.adversarial_loss.follows_steps else {}
        return mean_of_rows(self.adversarial_loss.generator(fake_logits, real_logits, **step))

    def update(self, batch):
        if batch.weight is not None:
            self._refuse_weights()
        roles, logs, penalties, turn = self.roles, {}, [], 0
        most = max(player.steps for player in roles.values())
        for name, player in roles.items():
            for k in range(most - player.steps, most):
                part = _dealt(batch, k, most)
                part = part._replace(seeds=random.fold_in(part.seeds, turn))
                given, penalty = self._take_turn(name, player, part)
                logs, turn = {**logs, **given}, turn + 1
            penalties += [] if penalty is None else [ops.mean(penalty)]
        return {**logs, "penalty": sum(penalties)} if penalties else logs

    def _take_turn(self, name, player, batch):
        others = _once(
            v
            for other in self.roles.values()
            for network in other.networks
            if network not in player.networks
            for v in getattr(self, network).non_trainable_weights
        )
        kept = [(v, ops.copy(v)) for v in others]
        step = ops.copy(self.optimizer[name].iterations)  # as it is now: the step counts it up

        def loss_fn():
            turn = player.losses(batch, training=True)
            losses, observed, penalty, lazy = turn.losses, [], None, []
            for i, regularizer in enumerate(player.regularizers):
                value, seen, slopes = self._penalty(name, i, regularizer, turn, batch.seeds, step)
                penalty = value if penalty is None else penalty + value
                observed.append(seen)
                lazy += slopes
            own = sum((_weight_penalty(getattr(self, n)) for n in player.networks), ops.zeros(()))
            losses = losses if penalty is None else losses + penalty
            return ops.mean(losses) + own, (turn.logs, penalty, observed, turn.real_logits, turn.state), *lazy

        logs, penalty, observed, logits, state = self.minimize(loss_fn, self.players[name], self.optimizer[name])
        for variable, value in kept:
            variable.assign(value)
        for key, values in state.items():
            self.set_state(key, values)
        for i, (regularizer, seen) in enumerate(zip(player.regularizers, observed, strict=True)):
            if seen:
                key = f"{name}_regularizer_{i}"
                values = regularizer.next_state(self.state_of(key), _means(seen)[0])
                self.set_state(key, values, where=ops.equal(step % regularizer.every, 0))
        if player.discriminator and self.augmentation is not None:
            self._adapt(f"{name}_augmentation", logits)
            if f"{name}_augmentation_p" in self.log_names:
                logs = {**logs, f"{name}_augmentation_p": self.state_of(f"{name}_augmentation")["p"]}
        return logs, penalty

    def _penalty(self, name, i, regularizer, turn, seeds, step):
        """The penalty (B,) of the player ``name``'s regulariser ``i`` in training, times ``every`` where it is due and 0 elsewhere, what it
        observed, and a list: empty, or of the scaled gradients of its mean, which is a constant then.

        Those of one that is not always due are taken in the branch that computes it: the other keeps nothing for them, and XLA could not
        make them of what comes out of TensorFlow's branches, where numbers of rows are no constants.
        """
        state, variables = self.state_of(f"{name}_regularizer_{i}"), self.players[name]

        def found():
            value, seen = turn.penalty(regularizer, seeds, step, state)
            return regularizer.every * value, seen

        if regularizer.every == 1:
            return *found(), []
        scale = self.loss_scale(self.optimizer[name])

        def scaled():
            value, seen = found()
            return scale * ops.mean(value), (value, seen)

        def due():
            (_, (value, seen)), slopes = backend.value_and_grad(scaled, variables)
            return value, seen, [level if s is None else s for level, s in zip(flat, slopes, strict=True)]

        nothing, flat = ops.zeros_like(turn.losses), [ops.zeros(v.shape, v.dtype) for v in variables]
        otherwise = nothing, dict.fromkeys(regularizer.observes, nothing), flat
        value, seen, slopes = backend.when(ops.equal(step % regularizer.every, 0), due, lambda: otherwise)
        return ops.stop_gradient(value), seen, [slopes]

    def _adapt(self, key, logits):
        if logits is None or not self._state_names[key]:
            return
        seen = self.augmentation.observe(ops.stop_gradient(logits))
        means, rows = _means({**seen, "rows": logits})
        self.set_state(key, self.augmentation.next_state(self.state_of(key), means, rows))

    def measure(self, batch):
        """The losses of all players, by the averaged networks where there are some, without augmentation."""
        if batch.weight is not None:
            self._refuse_weights()
        logs, penalty = {}, None
        for turn, (name, player) in enumerate(self.roles.items()):
            part = batch._replace(seeds=random.fold_in(batch.seeds, turn))
            found = player.losses(part, training=False)
            logs |= found.logs
            for i, regularizer in enumerate(player.regularizers):
                state, step = self.state_of(f"{name}_regularizer_{i}"), self.optimizer[name].iterations
                value, _ = found.penalty(regularizer, part.seeds, step, state)
                penalty = value if penalty is None else penalty + value
        return logs if penalty is None else {**logs, "penalty": penalty}

    def _refuse_weights(self):
        raise ValueError(
            f"sample_weight: {type(self).__name__} does not weigh its rows; repeat in the data what is to be seen more often."
        )

    def get_config(self):
        augmentation = self.augmentation and keras.saving.serialize_keras_object(self.augmentation)
        return {**super().get_config(), "augmentation": augmentation}


def mean_of_rows(x):
    """The mean over each row: (B,)."""
    return ops.mean(x, axis=tuple(range(1, len(x.shape)))) if len(x.shape) > 1 else x


def _dealt(batch, k, n):
    """Rows k, k + n, ... of a batch, which start over where it ends: ceil(B / n) of them for each k."""
    if n == 1:
        return batch
    size = inputs.rows_of(batch.x)
    rows = ops.arange((size + n - 1) // n, dtype="int32") * n + k
    rows = rows % ops.maximum(size, 1)
    return keras.tree.map_structure(lambda v: None if v is None else ops.take(v, rows, axis=0), batch)


def _means(values):
    """Means over all rows of all replicas of a dict of tensors (B, ...), and how many rows there are."""
    rows = ops.cast(ops.shape(next(iter(values.values())))[0], "float32")
    total = backend.replica_sum(ops.convert_to_tensor(rows))

    def mean(value):
        per_row = ops.mean(ops.reshape(value, (ops.shape(value)[0], -1)), axis=1) if len(value.shape) > 1 else value
        return backend.replica_sum(ops.sum(ops.cast(per_row, "float32"))) / ops.maximum(total, 1.0)

    return {name: mean(value) for name, value in values.items()}, total


def _once(variables):
    return list({id(v): v for v in variables}.values())


def _weight_penalty(network):
    """The sum of a network's own penalties, such as ``kernel_regularizer``'s."""
    return sum((ops.cast(penalty, "float32") for penalty in network.losses), ops.zeros(()))
