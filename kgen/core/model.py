"""The protocol: what every generative model answers. ``training.py`` has how it trains, ``kept.py`` how it is saved and made again."""

import inspect

import keras

from kgen.backend import keras_private
from kgen.core import checks, inputs, random, rows, views
from kgen.core.averages import Averages
from kgen.core.compiled import CompiledFunctions, compiler_of
from kgen.core.conditions import Conditions
from kgen.core.guard import StepGuard
from kgen.core.kept import Kept
from kgen.core.training import Trained


class GenerativeModel(Trained, Kept, keras.Model):
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
