"""The protocol: what every generative model answers, and the one training step that serves three backends."""

import inspect
import types

import keras
import numpy as np
from keras import ops

import kgen
from kgen import backend
from kgen.backend import keras_private
from kgen.core import checks, inputs, loading, optimizers, presets, random, rows, saving, views
from kgen.core.averages import Averages
from kgen.core.compiled import CompiledFunctions, compiler_of
from kgen.core.conditions import Conditions
from kgen.core.guard import StepGuard, StopOnNonFinite
from kgen.core.inputs import Batch


class GenerativeModel(backend.TrainStep, keras.Model):
    """A Keras model that generates.

    A family with one loss implements ``objective``. A family with several players names them in ``players`` and implements
    ``update`` and ``measure``. Both are plain ``keras.ops`` code that runs on every backend; ``fit``, ``evaluate``, ``compile`` and
    ``summary`` are Keras's own. A subclass creates and builds its networks in ``__init__``, so that a model is ready to
    sample, to save and to be traced from the start.

    What a constructor was given is not changed later: compiled functions have read it, and setting it raises.

    Args:
        ema: decay of an exponential moving average of the weights, in [0, 0.999999], or None for no average. Where there is one,
            everything but training uses it.
        conditions: what samples are conditioned on: a list of ``kgen.core.conditions.Condition``. With None, ``y`` is neither checked
            nor taken apart: it is ``batch.y``.
        name, dtype: as in ``keras.Model``.
    """

    likelihood = "implicit"  # or "exact", "bound", "unnormalised": what log_prob gives
    log_names = ("loss",)  # what update, objective and measure may log
    data_name = "x"  # what the data is called in fit({"x": ..., "label": ...})

    def __init__(self, *, ema=None, conditions=None, name=None, dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.ema = None if ema is None else checks.in_range("ema", ema, 0.0, 0.999999)
        self._takes_any_y = conditions is None
        self.conditions = conditions if isinstance(conditions, Conditions) else Conditions(conditions or ())
        self.averages = Averages(self)
        self.seed_generator = keras.random.SeedGenerator()
        self._trackers = {n: keras.metrics.Mean(name=n) for n in self.log_names}
        self._rows_seen = inputs.RowCount()
        self._compiled_functions = CompiledFunctions()
        self._given_jit_compile = "auto"
        self._guard = StepGuard()
        self.built = True

    def __setattr__(self, name, value):
        if self.__dict__.get("_read") and name in _arguments(type(self)) and value is not getattr(self, name, None):
            raise AttributeError(
                f"{name}: it cannot be changed, since compiled functions of this {type(self).__name__} have read it. Make a new model: "
                f"config = model.get_config(); {type(self).__name__}.from_config({{**config, {name!r}: ...}})."
            )
        super().__setattr__(name, value)

    # Averages of weights.

    def keep_average_of(self, *names):
        """Called at the end of ``__init__``: keeps an averaged copy ``ema_<name>`` of each network, if ``ema`` is set."""
        if self.ema is not None:
            self.averages.keep("ema", self.ema, names)

    def averaged(self, name, average="ema"):
        """The network that sampling uses: the averaged copy where one is kept, else the network itself."""
        return self.averages.of(name, average)

    def network_for(self, training, name="network"):
        """The network of a loss: the one that is trained, or in evaluation its average."""
        return getattr(self, name) if training else self.averaged(name)

    # Training, once for three backends.

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
            loss_fn: function of no arguments that returns a scalar, or ``(scalar, anything)``.
            variables: what to train; the model's trainable variables if None.
            optimizer: an optimizer, such as ``self.optimizer["discriminator"]``; the compiled one if None.
        Returns:
            what ``loss_fn`` returned beside the scalar, or the scalar.
        """
        optimizer = self.optimizer if optimizer is None else optimizer
        variables = self.trainable_variables if variables is None else variables

        def scaled():
            result = loss_fn()
            loss, aux = result if isinstance(result, tuple) else (result, result)
            return optimizer.scale_loss(self._guard.scale(loss)), (loss, aux)

        (_, (loss, aux)), gradients = backend.value_and_grad(scaled, variables)
        finite, gradients = self._guard.admits(loss, gradients, optimizer)
        backend.apply_gradients(optimizer, gradients, variables, finite)
        return aux

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
            kwargs["validation_data"] = (held_x, inputs.beside_weights(held_x, held_y, weights), weights)
        given = {"batch_size": batch_size, "epochs": epochs, "verbose": verbose, "callbacks": callbacks, **kwargs}
        return drive(super().fit, self, x=x, y=y, **given) if drive else super().fit(x, y, **given)

    def evaluate(self, x=None, y=None, **kwargs):
        """As ``keras.Model.evaluate``; ``x`` and ``y`` are checked first. Averaged weights are evaluated where they are kept."""
        x, y = self._checked(x, y, "evaluate")
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

    # Sampling.

    def sample(self, n, *, seed=None, batch_size=None, **kwargs):
        """Draws ``n`` samples; see the model's own documentation.

        Row i depends on (seed, i) alone: ``sample(8, seed=0)[:4]`` equals ``sample(4, seed=0)``, whatever ``batch_size``.
        """
        raise NotImplementedError(f"{type(self).__name__} does not sample.")

    def log_prob(self, x, **kwargs):
        """Log-likelihood in nats per example, (B,); ``self.likelihood`` says of what kind."""
        raise NotImplementedError(
            f"{type(self).__name__} has no likelihood (likelihood = {self.likelihood!r}); VAEs, diffusion models, flows and "
            "autoregressive models do."
        )

    def configuration_is_read(self):
        """From here on the configuration is frozen, and that of the models within."""
        if not self.__dict__.get("_read"):
            for layer in keras_private.flatten_layers(self):
                if isinstance(layer, GenerativeModel):
                    object.__setattr__(layer, "_read", True)

    def make_train_function(self, force=False):
        self.configuration_is_read()
        return super().make_train_function(force)

    def make_test_function(self, force=False):
        self.configuration_is_read()
        return super().make_test_function(force)

    def make_predict_function(self, force=False):
        self.configuration_is_read()
        return super().make_predict_function(force)

    def compiled_function(self, key, function, *, loop=False, variables=()):
        """``function`` compiled, once for each ``key``; ``loop`` says whether it runs networks many times (see ``compiler_of``).

        ``variables`` are those that it reads beside the model's own.
        """
        self.configuration_is_read()
        compiler = compiler_of(self, self._given_jit_compile, loop)
        return self._compiled_functions.get(key, function, [*self.variables, *variables], compiler)

    def run_rows(self, key, function, arrays, *, batch_size=None, progress=False, loop=False, variables=()):
        """Runs a compiled function over rows in batches of one size and puts the results together.

        Args:
            key: what identifies ``function``: a hashable that says its name and every setting that is not a tensor.
            function: maps tensors with a leading batch dimension to one tensor, or a structure of tensors, that have it too.
            arrays: list of numpy arrays (N, ...), the function's arguments; or a dict of them by name.
            batch_size: rows per call; by default all of them, at most 256.
            progress: whether to show a progress bar where there are several batches.
            loop: whether ``function`` runs networks many times, as samplers do; see ``compiled_function``. Shows progress too.
            variables: what ``function`` reads beside the model's own variables.
        Returns:
            numpy array or structure of them, of N rows.
        """
        named = function
        if isinstance(arrays, dict):
            names, arrays = tuple(arrays), list(arrays.values())
            key = (key, names)

            def named(*values):
                return function(**dict(zip(names, values, strict=True)))

        compiled = self.compiled_function(key, named, loop=loop, variables=variables)
        return rows.run(compiled, arrays, batch_size=batch_size, progress=progress or loop)

    def row_seeds(self, n, seed):
        """The checked row seeds of ``sample(n, seed=seed)``: int32 (n, 2)."""
        return random.row_seeds(seed, checks.positive_int("n", n))

    def endpoints(self):
        """The functions worth serving: a list of ``kgen.core.Endpoint``."""
        return []

    def further_endpoints(self):
        """Those that are exported only where they are asked for by name: each costs an export and a compilation."""
        return []

    def views(self):
        """What the model can show to a person who turns its knobs: a list of ``kgen.core.views.View``."""
        return views.of(self)

    def options(self, call):
        """What can be turned of a method, or of a function of the model, beside the inputs of its endpoint.

        Args:
            call: its name, such as "sample".
        Returns:
            dict from a keyword to its ``TensorSpec``; without a default, leaving it out is the default.
        """
        return {}

    # Saving.

    def save(self, filepath, overwrite=True, zipped=None, **kwargs):
        """Saves everything to one ``.keras`` file: networks, optimizers, averages and seed state.

        The file is written aside and then renamed: an interrupted save leaves the old file as it was. Training goes on from it as if it
        had never stopped; on torch, layers such as ``Dropout`` must have been given a ``seed`` for that, since without one Keras
        draws their numbers from torch's global state, which no file keeps.
        """
        saving.save_model(self, filepath, super().save, overwrite=overwrite, zipped=zipped, **kwargs)

    def save_to_preset(self, folder, *, data=None, license=None, figures=None):
        """Writes the model to a new folder, to give away: ``config.json``, ``model.safetensors``, ``metadata.json`` and ``README.md``.

        It holds what sampling and fine-tuning need: configuration and weights, averaged ones too. ``save`` keeps the optimizers as well.
        The folder appears whole or not at all, and loads on each backend by ``kgen.from_preset(folder)``.

        Args:
            folder: where; it must not exist.
            data: what the model was trained on.
            license: what the weights may be used for, such as "cc-by-4.0".
            figures: dict from a figure's name to its value, or to a dict with ``value``, ``unit`` and what qualifies it.
        Raises:
            FileExistsError: the folder exists.
            ValueError: the model holds a class that is neither kgen's, Keras's nor registered, or a function: a preset is data.
        """
        presets.write(self, folder, data=data, license=license, figures=figures)

    @classmethod
    def from_preset(cls, name):
        """Loads a model of this class as ``kgen.from_preset`` does; raises ValueError for one of another class."""
        return loading.from_preset(name, of=cls)

    def save_own_variables(self, store):
        super().save_own_variables(store)
        for i, state in enumerate(self._seed_states()):
            store[f"seed_{i}"] = ops.convert_to_numpy(state)

    def load_own_variables(self, store):
        super().load_own_variables({k: store[k] for k in store.keys() if not k.startswith("seed_")})  # noqa: SIM118 (an HDF5 group)
        for i, state in enumerate(self._seed_states()):
            if f"seed_{i}" in store.keys():  # noqa: SIM118
                state.assign(np.asarray(store[f"seed_{i}"]).astype(state.dtype))

    def _seed_states(self):
        """The states of all seed generators, in the model's and its layers': Keras's own files leave them out."""
        weights = {id(v) for v in self.weights}
        return [v for v in self.variables if id(v) not in weights]

    def get_config(self):
        return {
            "ema": self.ema,
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "kgen_version": kgen.__version__,
        }

    @classmethod
    def from_config(cls, config):
        config = dict(config)
        saving.check_version(config.pop("kgen_version", None))
        config["dtype"] = (
            keras.dtype_policies.deserialize(config["dtype"])
            if isinstance(config.get("dtype"), dict)
            else config.get("dtype")
        )
        return cls(**{k: saving.deserialize(v) for k, v in config.items()})


def _arguments(kind):
    """The names of what the constructors of a class and its bases take, which its configuration holds."""
    if "_argument_names" not in kind.__dict__:
        names = set()
        for base in kind.__mro__:
            if base is keras.Model:
                break
            if "__init__" in base.__dict__:
                names.update(inspect.signature(base.__init__).parameters)
        kind._argument_names = frozenset(names - {"self", "name", "dtype", "args", "kwargs"})
    return kind._argument_names
