"""How a model trains: one step for three backends, and Keras's entry points with the data checked before any work."""

import types

import keras
from keras import ops

from kgen import backend
from kgen.backend import keras_private
from kgen.core import checks, inputs, optimizers, saving
from kgen.core.guard import StopOnNonFinite
from kgen.core.inputs import Batch


class Trained(backend.TrainStep):
    """The part of ``GenerativeModel`` that ``compile``, ``fit`` and ``evaluate`` are made of.

    A family says what it minimises, by ``objective`` or by ``players``, ``update`` and ``measure``, and what its data are, by
    ``check_examples``.
    """

    log_names = ("loss",)  # what update, objective and measure may log
    data_name = "x"  # what the data is called in fit({"x": ..., "label": ...})

    @property
    def players(self):
        """Dict from a player's name to the variables that its optimizer trains; empty for a model with one loss."""
        return {}

    def objective(self, batch, training):
        """The loss of a family that has one.

        Args:
            batch: ``Batch``.
            training: bool.
        Returns:
            ``(losses, logs)``: per-example losses (B,), and a dict of what to log beside "loss", each (B,) or a scalar.
        """
        raise NotImplementedError(f"{type(self).__name__} has several players: it implements update and measure.")

    def update(self, batch):
        """One training step. Returns a dict of logs, each (B,) or a scalar."""

        def loss_fn():
            losses, logs = self.objective(batch, training=True)
            total = ops.mean(losses if batch.weight is None else losses * ops.cast(batch.weight, losses.dtype))
            for penalty in self.losses:  # weight regularisation
                total = total + ops.cast(penalty, total.dtype)
            return total, {"loss": losses, **logs}

        return self.minimize(loss_fn)

    def measure(self, batch):
        """One evaluation step: as ``update``, without an update."""
        losses, logs = self.objective(batch, training=False)
        return {"loss": losses, **logs}

    def minimize(self, loss_fn, variables=None, optimizer=None):
        """Takes one step of an optimizer.

        The step is left out where its loss or a gradient is not finite, or something earlier in the same update was not.

        Args:
            loss_fn: function of no arguments that returns a scalar, or ``(scalar, anything)``, or these and lists of gradients: for each
                variable what is to be added to the scalar's gradient, of parts that are constants in it, times ``loss_scale(optimizer)``.
            variables: what to train; the model's trainable variables if None.
            optimizer: an optimizer, such as ``self.optimizer["discriminator"]``; the compiled one if None.
        Returns:
            what ``loss_fn`` returned beside the scalar, or the scalar.
        """
        optimizer = self.optimizer if optimizer is None else optimizer
        variables = self.trainable_variables if variables is None else variables

        def scaled():
            result = loss_fn()
            loss, aux, *more = result if isinstance(result, tuple) else (result, result)
            return ops.multiply(loss, self.loss_scale(optimizer)), (loss, aux, more)

        (_, (loss, aux, more)), gradients = backend.value_and_grad(scaled, variables)
        for part in more:
            gradients = [p if g is None else g + p for g, p in zip(gradients, part, strict=True)]
        finite, gradients = self._guard.admits(loss, gradients, optimizer)
        backend.apply_gradients(optimizer, gradients, variables, finite)
        return aux

    def loss_scale(self, optimizer):
        """What a loss is multiplied by before its gradient is taken: this replica's share of the batch, and the optimizer's own scale."""
        return optimizer.scale_loss(self._guard.scale(ops.ones(())))

    def train_update(self, data):
        """What the backend's ``train_step`` runs."""
        if backend.share() != 1.0:
            self._refuse_parts_of_batches()
        batch = self.to_batch(data, training=True)
        statistics = self._statistics()
        before = [ops.copy(v) for v in statistics]
        self._guard.begin(keras.tree.flatten(batch.x), self._trackers.values())
        logs = self.update(batch)
        finite = self._guard.end()
        for variable, old in zip(statistics, before, strict=True):
            new = ops.convert_to_tensor(variable)
            variable.assign(ops.where(ops.logical_and(finite, ops.isfinite(new)), new, old))
        self.update_averages(finite)
        return self._log(logs, batch, finite)

    def _refuse_parts_of_batches(self):
        """Raises ValueError where a layer would have the statistics of a replica's part of the batch."""
        found = [
            layer.name
            for layer in keras_private.flatten_layers(self)
            if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable and not layer.synchronized
        ]
        if found:
            raise ValueError(
                f"{', '.join(found)}: on several replicas each would have the statistics of its part of a batch; expected "
                "kgen.layers.BatchNormalization, or keras.layers.BatchNormalization(synchronized=True)."
            )

    def update_averages(self, finite):
        """Takes one step of every average; not where ``finite``, a boolean scalar tensor, is false."""
        self.averages.update(finite)

    def to_batch(self, data, training):
        """The ``Batch`` of what Keras hands to a step: ``x``, ``(x, y)`` or ``(x, y, weight)``, of tensors.

        A family whose data has parts of its own beside conditions takes them off first, and puts them into the batch that this returns.
        """
        x, y, weight = inputs.unpacked(data)
        size = inputs.rows_of(x)
        if training:
            seeds, strata = inputs.training_seeds(self.seed_generator, size)
        else:
            seeds, strata = inputs.evaluation_seeds(self._rows_seen, size)
        if self._takes_any_y:
            return Batch(x, y, weight, {}, seeds, strata)
        x, given = self.conditions.separate(x, y, self.data_name)
        return Batch(x, y, weight, self.conditions.of_batch(given, x, seeds), seeds, strata)

    def _statistics(self):
        """Running statistics, such as BatchNorm's: float variables that a forward pass assigns. Frozen networks have none."""
        layers = [layer for layer in keras_private.flatten_layers(self) if layer.trainable]
        floats = [v for layer in layers for v in keras_private.own_state(layer) if "float" in v.dtype]
        counters = {id(v) for v in self.averages.steps()}
        return [v for v in floats if id(v) not in counters]

    def test_update(self, data):
        """What the backend's ``test_step`` runs."""
        batch = self.to_batch(data, training=False)
        return self._log(self.measure(batch), batch)

    def also_log(self, name):
        """Called in ``__init__`` for what ``update`` logs beside ``log_names``, where that depends on the arguments."""
        self.log_names = (*self.log_names, name)
        self._trackers[name] = keras.metrics.Mean(name=name)

    def _log(self, logs, batch, finite=None):
        size = inputs.rows_of(batch.x)
        for name, value in logs.items():
            if name not in self._trackers:
                raise KeyError(
                    f"{type(self).__name__} logs {name!r}, which is not among its log_names {self.log_names}."
                )
            value = ops.cast(value, "float32")
            value = ops.where(size > 0, value, 0.0)  # a mean over no rows, on a replica without any, is NaN
            if finite is not None:  # a step that was left out shows, even where only a gradient was not finite
                value = ops.where(finite, value, float("nan"))
            weight = size if len(value.shape) == 0 else batch.weight
            self._trackers[name].update_state(value, sample_weight=weight)
        return self.get_metrics_result()

    def get_metrics_result(self):
        return {k: v for k, v in super().get_metrics_result().items() if k != self._rows_seen.name}

    # Keras's entry points: checks before any work, then Keras.

    def default_optimizer(self):
        """What ``compile()`` trains with: an optimizer, or a dict with one for each player. A family has its own."""
        return "adam"

    def compile(self, optimizer=None, **kwargs):
        """Configures training.

        Args:
            optimizer: as in Keras; for a model of several players also a dict with one for each. The family's own by default.
            **kwargs: ``run_eagerly``, ``jit_compile``, ``steps_per_execution`` ... as in ``keras.Model.compile``.
        Raises:
            ValueError: a ``loss`` or ``metrics`` was given (the model computes its own), or the players do not match.
        """
        given = [k for k in ("loss", "loss_weights", "metrics", "weighted_metrics") if kwargs.get(k) is not None]
        if given:
            raise ValueError(
                f"compile({given[0]}=...): {type(self).__name__} computes its own losses; pass the optimizer alone."
            )
        optimizer = self.default_optimizer() if optimizer is None else optimizer
        optimizer = optimizers.wanted(optimizer, self.players, self.dtype_policy)
        if isinstance(optimizer, optimizers.OptimizerGroup):
            kwargs["auto_scale_loss"] = False  # each member has its own
        super().compile(optimizer=optimizer, **kwargs)
        self._given_jit_compile = kwargs.get("jit_compile", "auto")
        keras_private.without_loss_tracker(self)  # "loss" is one of the trackers above
        if isinstance(self.optimizer, optimizers.OptimizerGroup):
            self.optimizer.build_players(self.players)
        elif self.optimizer is not None and self.trainable_variables:
            self.optimizer.build(self.trainable_variables)

    def get_compile_config(self):
        config = saving.portable_compile_config(super().get_compile_config())
        # As it was given: Keras writes what "auto" became here, which on another backend is another choice.
        return {**config, "jit_compile": self._given_jit_compile} if config else config

    def compile_from_config(self, config):
        config = keras.saving.deserialize_keras_object(config)
        self.compile(**{k: v for k, v in config.items() if v is not None})

    def check_examples(self, x):
        """Raises ValueError or TypeError unless ``x``, arrays in memory, is data that this model trains on; returns how many rows."""
        return min(len(v) for v in keras.tree.flatten(x))

    def check_data(self, x, y=None):
        """Raises ValueError or TypeError unless arrays (or structures of them) ``x`` and ``y`` are what this model trains on.

        Returns:
            ``(x, conditions)``: the data, and a dict from the name of each condition's tensors to an array.
        """
        if self._takes_any_y:
            self.check_examples(x)
            return x, {}
        x, given = self.conditions.separate(x, y, self.data_name)
        count = self.check_examples(x)
        return x, self.conditions.check(given, count)

    def examples(self, x):
        """Examples that a user passes to a method: checked, float32."""
        x = checks.data_array("x", x)
        self.check_examples(x)
        return x.astype("float32")

    def prepare(self, x, y):
        """Called by ``fit`` with the first rows (x, y), arrays or structures, or (None, None) where they cannot be seen before."""

    def _check_parts(self, what, x, batch_size):
        """Raises ValueError where the rows of a batch cannot be shared out to the devices that train the model.

        TensorFlow's replicas take unequal parts too, but in the first batch of a training, of which Keras adds up the parts' losses row by row.
        """
        parts = backend.parts(self)
        sizes = [] if parts == 1 else inputs.sizes_of_batches(x, batch_size)
        if backend.replicas(self) > 1:
            sizes = sizes[:1] if what == "fit" else []
        wrong = [size for size in sizes if size % parts]
        if wrong:
            raise ValueError(
                f"{what}: on {parts} devices the rows of a batch are shared out in equal parts; expected batches of a multiple of {parts}, "
                f"received one of {wrong[0]}. Choose another batch_size, or leave out {wrong[0] % parts} of the rows."
            )

    def _checked(self, x, y, what):
        """Checks the data before any work, whatever holds it; returns the ``(x, y)`` to use, names of classes and texts as numbers."""
        if x is None:
            raise ValueError(f"{what}: expected data, received x=None.")
        first_x, first_y = inputs.in_memory(x), None if y is None or inputs.is_empty(y) else inputs.in_memory(y)
        in_memory = first_x is not None
        if not in_memory:
            first_x, first_y = inputs.first_rows(x)
        if first_x is None and isinstance(x, types.GeneratorType):
            first_x, first_y, x = inputs.peeked(x)
        if first_x is None:
            return x, y
        checked = self.check_data(first_x, first_y)
        if self._takes_any_y or all(
            checks.texts(v) is None for v in keras.tree.flatten((first_x, first_y)) if v is not None
        ):
            return x, y
        if not in_memory:  # its other batches are Keras's to read
            raise ValueError(
                f"{what}: expected batches of numbers, received texts in those of a {type(x).__name__}. Pass arrays, or put numbers "
                "into the batches: indices of the classes, or a tokenizer's tokens."
            )
        return self.conditions.in_numbers(first_x, first_y, checked[1], self.data_name)

    def fit(self, x=None, y=None, batch_size=None, epochs=1, verbose="auto", callbacks=None, **kwargs):
        """As ``keras.Model.fit``; ``x`` and ``y`` are checked first, and training stops at a loss that is not finite.

        ``x`` is an array, a structure of them, such as ``{"image": ..., "text": ...}``, or any dataset that Keras takes.
        """
        x, y = self._checked(x, y, "fit")
        if not self.compiled:
            raise ValueError(f"Compile the model before fit: {self.name}.compile(), or with an optimizer of yours.")
        self._check_parts("fit", x, batch_size)
        self.prepare(x, y)
        drive = None
        if not isinstance(callbacks, keras.callbacks.CallbackList):
            callbacks = [
                *(callbacks if isinstance(callbacks, (list, tuple)) else [callbacks] if callbacks else []),
                StopOnNonFinite(),
            ]
            # Checkpoint calls fit itself: from where it stopped, and again after a fault.
            drive = next((c.drive_fit for c in callbacks if hasattr(c, "drive_fit")), None)
        y = inputs.beside_weights(x, y, kwargs.get("sample_weight"))
        held_out = kwargs.get("validation_data")
        if isinstance(held_out, (list, tuple)):
            held_x, held_y, weights = keras.utils.unpack_x_y_sample_weight(tuple(held_out))
            held_x, held_y = self._checked(held_x, held_y, "validation_data")
            self._check_parts("validation_data", held_x, kwargs.get("validation_batch_size") or batch_size)
            kwargs["validation_data"] = (held_x, inputs.beside_weights(held_x, held_y, weights), weights)
        given = {"batch_size": batch_size, "epochs": epochs, "verbose": verbose, "callbacks": callbacks, **kwargs}
        return drive(super().fit, self, x=x, y=y, **given) if drive else super().fit(x, y, **given)

    def evaluate(self, x=None, y=None, **kwargs):
        """As ``keras.Model.evaluate``; ``x`` and ``y`` are checked first. Averaged weights are evaluated where they are kept."""
        x, y = self._checked(x, y, "evaluate")
        self._check_parts("evaluate", x, kwargs.get("batch_size"))
        return super().evaluate(x, inputs.beside_weights(x, y, kwargs.get("sample_weight")), **kwargs)

    def train_on_batch(self, x, y=None, *args, **kwargs):
        """As ``keras.Model.train_on_batch``; ``x`` and ``y`` are checked first."""
        x, y = self._checked(x, y, "train_on_batch")
        self.prepare(x, y)
        return super().train_on_batch(x, y, *args, **kwargs)

    def test_on_batch(self, x, y=None, *args, **kwargs):
        """As ``keras.Model.test_on_batch``; ``x`` and ``y`` are checked first."""
        x, y = self._checked(x, y, "test_on_batch")
        return super().test_on_batch(x, y, *args, **kwargs)
