"""The TensorFlow backend: gradient tapes, ``tf.function`` and replicas of a ``tf.distribute`` strategy."""

import functools

import keras
import numpy as np
import tensorflow as tf

from kgen.backend import keras_private, tensorflow_adam


class TrainStep:
    """Turns ``train_update(data)`` and ``test_update(data)`` into Keras's TensorFlow steps."""

    def train_step(self, data):
        with _after(data):
            return self.train_update(data)

    def test_step(self, data):
        with _after(data):
            return self.test_update(data)


def _after(data):
    """Nothing of a step runs before its batch is there.

    Where a dataset ends without having said how long it is, TensorFlow has begun one step too many; what needs no data in it, such as
    the next random seed, would be done.
    """
    return tf.control_dependencies([t for t in tf.nest.flatten(data) if tf.is_tensor(t)])


def value_and_grad(loss_fn, variables):
    with tf.GradientTape() as tape:
        loss, aux = loss_fn()
    gradients = tape.gradient(loss, [v.value for v in variables])
    # Of an embedding's gradient, a list of rows, Keras's Adam squares each by itself, also where several are of one token, or of replicas.
    return (loss, aux), [tf.convert_to_tensor(g) if isinstance(g, tf.IndexedSlices) else g for g in gradients]


def grad(fn, x):
    x = tf.identity(x)  # a tensor of its own: what else ``fn`` makes of the same ``x`` is a constant
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = tf.reduce_sum(fn(x))
    return tape.gradient(value, x, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def vjp(fn, x):
    x = tf.identity(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = fn(x)

    def pullback(cotangent):
        return tape.gradient(y, x, cotangent, unconnected_gradients=tf.UnconnectedGradients.ZERO)

    return y, pullback


def jvp(fn, x, tangent):
    x = tf.identity(x)
    with tf.autodiff.ForwardAccumulator(x, tf.convert_to_tensor(tangent)) as accumulator:
        y = fn(x)
    return y, accumulator.jvp(y, unconnected_gradients=tf.UnconnectedGradients.ZERO)


def _replicas():
    return tf.distribute.get_strategy().num_replicas_in_sync


def replica_sum(value):
    context = tf.distribute.get_replica_context()
    if _replicas() == 1 or context is None:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def parts(model):
    return replicas(model)


def replicas(model):
    return model.distribute_strategy.num_replicas_in_sync


def share(rows=None):
    if _replicas() == 1:
        return 1.0
    if rows is None:
        return 1.0 / _replicas()
    rows = tf.cast(rows, "float32")
    return rows / tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, rows)


def first_row(rows):
    context = tf.distribute.get_replica_context()
    if _replicas() == 1 or context is None:  # within the scope of a strategy but on no replica, the batch is whole
        return tf.zeros((), "int32")
    here = tf.convert_to_tensor(context.replica_id_in_sync_group)
    # Whole numbers in float32, exact to 16 million rows: integers do not travel between GPUs everywhere.
    counts = tf.one_hot(here, _replicas()) * tf.cast(rows, "float32")
    counts = context.all_reduce(tf.distribute.ReduceOp.SUM, counts)
    return tf.cast(tf.reduce_sum(counts[:here]), "int32")


def gather(rows):
    context = tf.distribute.get_replica_context()
    if _replicas() == 1 or context is None:
        return rows
    gathered = context.all_gather(rows, axis=0)
    return tf.ensure_shape(gathered, [None, *rows.shape[1:]])  # all_gather forgets it


def when(condition, then, otherwise):
    tensors = functools.partial(tf.nest.map_structure, lambda v: None if v is None else tf.convert_to_tensor(v))
    return tf.cond(tf.convert_to_tensor(condition), lambda: tensors(then()), lambda: tensors(otherwise()))


def fori_loop(lower, upper, body, state):
    return keras.ops.fori_loop(lower, upper, body, state)


def move_towards(variable, value, rate):
    if _replicas() > 1:  # Keras's way knows what a replica may assign
        variable.assign(variable + rate * (tf.cast(value, variable.dtype) - variable))
        return
    distance = tf.convert_to_tensor(variable.value) - tf.cast(value, variable.dtype)
    variable.value.assign_sub(tf.cast(rate, variable.dtype) * distance, read_value=False)


def all_finite(tensors):
    axes = functools.cache(lambda rank: tf.constant(np.arange(rank), "int32"))  # one constant for all tensors of a rank

    def total_of(tensor):
        tensor = tensor.values if isinstance(tensor, tf.IndexedSlices) else tf.convert_to_tensor(tensor)
        tensor = tf.cast(tensor, "float32")
        return tf.reduce_sum(tensor, None if tensor.shape.rank is None else axes(tensor.shape.rank))

    # NaN and infinity survive a sum: one pass, and one number for each tensor.
    total = tf.add_n([total_of(tensor) for tensor in tensors] or [tf.zeros(())])
    if _replicas() > 1:
        total = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, total)
    return tf.math.is_finite(total)


def apply_gradients(optimizer, gradients, variables, finite=None):
    if finite is None or isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        _apply(optimizer, gradients, variables)
        return
    if tensorflow_adam.fits(optimizer, gradients, variables):
        tensorflow_adam.apply(optimizer, gradients, variables, finite)
        return
    if _replicas() == 1:
        tf.cond(finite, lambda: _done(_apply(optimizer, gradients, variables)), lambda: False)
        return

    gradients = _clipped_whole(optimizer, list(gradients))

    def across_replicas(strategy, gradients, finite):
        # Within one replica an update, which adds gradients up over all of them, cannot stand inside a condition.
        def update():
            return _done(strategy.extended.call_for_each_replica(optimizer.apply, args=(gradients, variables)))

        tf.cond(strategy.experimental_local_results(finite)[0], update, lambda: False)

    tf.distribute.get_replica_context().merge_call(across_replicas, args=(gradients, finite))


def _apply(optimizer, gradients, variables):
    if tensorflow_adam.fits(optimizer, gradients, variables):
        tensorflow_adam.apply(optimizer, gradients, variables)
    else:
        optimizer.apply(gradients, variables)


def _clipped_whole(optimizer, gradients):
    """A replica's share of the whole gradient as ``optimizer`` clips it, which by itself would clip each replica's part."""
    if not (optimizer.clipnorm or optimizer.global_clipnorm or optimizer.clipvalue):
        return gradients
    here = [i for i, g in enumerate(gradients) if g is not None]
    whole = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, [gradients[i] for i in here])
    for i, g in zip(here, keras_private.clipped(optimizer, whole), strict=True):
        gradients[i] = g / _replicas()
    return gradients


def _done(_):
    return True


def jit(fn, variables=(), compiler=None):
    """One graph for each rank and dtype: the leading dimension of each argument is left open. Variables are read where they are."""
    graphs = {}

    @functools.wraps(fn)
    def call(*args):
        args = [tf.convert_to_tensor(a) for a in args]
        key = tuple((a.dtype, a.shape.rank, tuple(a.shape[1:])) for a in args)
        if key not in graphs:
            specs = [tf.TensorSpec([None, *a.shape[1:]] if a.shape.rank else [], a.dtype) for a in args]
            graphs[key] = tf.function(fn, specs, autograph=False, jit_compile=compiler == "xla" or None)
        return graphs[key](*args)

    return call


def traced_once(fn):
    """A call of one graph, which TensorFlow puts in its place in the graph around it. Eagerly one graph serves all sizes; in a graph each
    size has its own, so that shapes stay known."""
    functions = {}

    @functools.wraps(fn)
    def call(*args):
        args = [tf.convert_to_tensor(a) for a in args]
        shapes = [a.shape for a in args]
        if tf.executing_eagerly():
            shapes = [[None] * a.shape.rank for a in args]
        key = tuple(
            (a.dtype, None if s.rank is None else tuple(s))
            for a, s in zip(args, map(tf.TensorShape, shapes), strict=True)
        )
        if key not in functions:
            specs = [tf.TensorSpec(s, a.dtype) for a, s in zip(args, shapes, strict=True)]
            functions[key] = tf.function(fn, specs, autograph=False)
        return functions[key](*args)

    return call


def add_words(x, y):
    return x + y


def rotate_word(x, bits):
    return tf.bitwise.left_shift(x, np.uint32(bits)) | tf.bitwise.right_shift(x, np.uint32(32 - bits))


def take_rows(x, places):
    return tf.gather(x, places, batch_dims=1)


def in_order(x, y=None, weight=None, *, batch_size):
    """A dataset that TensorFlow does not tune.

    Its tuner sleeps for 10 ms, 20 ms, 40 ms ... and an iterator that is done with often waits until it wakes, after an epoch of six
    seconds until ten have passed.
    """
    given = (x,) if y is None and weight is None else (x, y, weight)
    floats = keras.config.floatx()
    arrays = keras.tree.map_structure(lambda a: a.astype(floats) if a is not None and a.dtype.kind == "f" else a, given)
    options = tf.data.Options()
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.DATA
    return {"x": tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size).with_options(options)}


def gpus():
    return len(tf.config.list_physical_devices("GPU"))
