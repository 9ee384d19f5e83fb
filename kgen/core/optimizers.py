"""Several optimizers carried as one object, so that Keras builds, saves and traces all of them."""

import keras

from kgen.backend import keras_private


@keras.saving.register_keras_serializable(package="kgen")
class OptimizerGroup(keras.optimizers.Optimizer):
    """One optimizer for each player of a model.

    Keras carries the state of one optimizer through a step and into a file. This one holds the others' state as its own; a
    model's ``update`` applies each member by itself, as often and in whatever order its paper says:
    ``self.minimize(loss_fn, variables, self.optimizer["discriminator"])``.

    Args:
        members: dict from a player's name to its ``keras.optimizers.Optimizer``.
    """

    def __init__(self, members, name="optimizer_group"):
        super().__init__(learning_rate=0.0, name=name)
        self.members = dict(sorted(members.items()))

    def __getitem__(self, player):
        return self.members[player]

    def build_players(self, players):
        """Creates the members' variables: ``players`` is a dict from a player's name to its list of variables."""
        for player, optimizer in self.members.items():
            if not optimizer.built:
                optimizer.build(players[player])
        self.built = True

    def build(self, variables):
        if not self.built:
            raise RuntimeError("An OptimizerGroup is built by build_players: it must know which variables are whose.")

    @property
    def learning_rate(self):
        return super().learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        raise ValueError(
            f"learning_rate: each player has an optimizer of its own; set that of optimizer[player], one of {list(self.members)}. "
            "Callbacks that steer the learning rate work with models of one loss; here pass a LearningRateSchedule to each optimizer."
        )

    @property
    def variables(self):
        return [
            *keras_private.own_variables(self),
            *(v for optimizer in self.members.values() for v in optimizer.variables),
        ]

    def apply(self, grads, trainable_variables=None):
        raise RuntimeError(
            f"Name the player whose gradients these are: optimizer[player], one of {list(self.members)}."
        )

    def finalize_variable_values(self, var_list):
        # Only a member knows which variables are its own.
        for optimizer in self.members.values():
            optimizer.finalize_variable_values(keras_private.trained_by(optimizer))

    def save_own_variables(self, store):
        # Keras walks into ``members`` by itself.
        for i, variable in enumerate(keras_private.own_variables(self)):
            store[str(i)] = keras.ops.convert_to_numpy(variable)

    def load_own_variables(self, store):
        for i, variable in enumerate(keras_private.own_variables(self)):
            variable.assign(store[str(i)])

    def get_config(self):
        return {
            "name": self.name,
            "members": {k: keras.saving.serialize_keras_object(v) for k, v in self.members.items()},
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        members = {k: keras.saving.deserialize_keras_object(v) for k, v in config["members"].items()}
        return cls(members, name=config["name"])


def wanted(optimizer, players, dtype_policy):
    """What ``compile(optimizer=...)`` was given, as one optimizer object.

    Args:
        optimizer: a name, an optimizer, a configuration, or for a model of several players a dict with one of these each. A name
            or a single optimizer given to several players becomes one optimizer each, with the same settings.
        players: names of the players; empty for a model with one loss.
        dtype_policy: the model's. Under "mixed_float16" each player's optimizer scales its own loss.
    Raises:
        ValueError: the dict's keys are not the players.
    """
    if isinstance(optimizer, OptimizerGroup):
        optimizer = optimizer.members
    is_players = isinstance(optimizer, dict) and "class_name" not in optimizer
    if not players:
        if is_players:
            raise ValueError(
                f"optimizer: this model has one loss and takes one optimizer, received a dict with keys {list(optimizer)}."
            )
        return keras.optimizers.get(optimizer)
    if not is_players:
        template = keras.optimizers.get(optimizer)
        optimizer = {player: template.__class__.from_config(template.get_config()) for player in players}
    if sorted(optimizer) != sorted(players):
        raise ValueError(f"optimizer: expected one for each of {sorted(players)}, received {sorted(optimizer)}.")
    members = {player: keras.optimizers.get(o) for player, o in optimizer.items()}
    if dtype_policy.name == "mixed_float16":
        members = {
            player: o if isinstance(o, keras.optimizers.LossScaleOptimizer) else keras.optimizers.LossScaleOptimizer(o)
            for player, o in members.items()
        }
    return OptimizerGroup(members)
