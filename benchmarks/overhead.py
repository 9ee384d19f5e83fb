"""What kgen's training step costs beside one written by hand: same network, same loss, same metric, inside ``fit``."""

import keras
from keras import layers, ops

from benchmarks import ddpm, sizes, weights
from benchmarks.timing import FitJob
from kgen import GenerativeModel
from kgen.core.guard import StopOnNonFinite


def denoising_losses(network, x, seeds, training):
    """|network(x + t eps, t) - eps|^2 for each example: (B,)."""
    size = ops.shape(x)[0]
    noise = keras.random.normal(ops.shape(x), seed=seeds)
    t = keras.random.uniform((size,), seed=seeds)
    x_t = x + ops.reshape(t, (-1,) + (1,) * (len(x.shape) - 1)) * noise
    error = ops.square(network([x_t, t], training=training) - noise)
    return ops.mean(ops.reshape(error, (size, -1)), axis=-1)


class Kgen(GenerativeModel):
    """The model as kgen has it: an objective."""

    def __init__(self, network):
        super().__init__()
        self.network, self.seeds = network, keras.random.SeedGenerator(0)

    def objective(self, batch, training):
        return denoising_losses(self.network, batch.x, self.seeds, training), {}


class _ByHand(keras.Model):
    """The model as Keras's guides have it: the losses are its call, and a tracker keeps their mean."""

    def __init__(self, network):
        super().__init__()
        self.network, self.seeds = network, keras.random.SeedGenerator(0)
        self.tracker = keras.metrics.Mean(name="loss")
        self.built = True

    def call(self, x, training=False):
        return denoising_losses(self.network, x, self.seeds, training)

    @property
    def metrics(self):
        return [self.tracker]


class TensorFlowByHand(_ByHand):
    """Keras guide "Customizing what happens in fit() with TensorFlow"."""

    def train_step(self, data):
        import tensorflow as tf

        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        with tf.GradientTape() as tape:
            losses = self(x, training=True)
            loss = ops.mean(losses)
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply(gradients, self.trainable_weights)
        self.tracker.update_state(losses)
        return {"loss": self.tracker.result()}


class JaxByHand(_ByHand):
    """Keras guide "Customizing what happens in fit() with JAX"."""

    def loss_and_state(self, trainable, non_trainable, x):
        losses, non_trainable = self.stateless_call(trainable, non_trainable, x, training=True)
        return ops.mean(losses), (losses, non_trainable)

    def train_step(self, state, data):
        import jax

        trainable, non_trainable, optimizer, metrics = state
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        value_and_grad = jax.value_and_grad(self.loss_and_state, has_aux=True)
        (_, (losses, non_trainable)), gradients = value_and_grad(trainable, non_trainable, x)
        trainable, optimizer = self.optimizer.stateless_apply(optimizer, gradients, trainable)
        metrics = self.tracker.stateless_update_state(metrics, losses)
        return {"loss": self.tracker.stateless_result(metrics)}, (trainable, non_trainable, optimizer, metrics)


BY_HAND = {"tensorflow": TensorFlowByHand, "jax": JaxByHand}


def _mlp():
    """The worst case, next to no arithmetic: points in the plane, 64 hidden units twice."""
    x, t = keras.Input((2,), name="x"), keras.Input((), name="t")
    h = layers.Concatenate(name="join")([x, layers.Reshape((1,), name="column")(t)])
    for i in range(2):
        h = layers.Dense(64, activation="silu", name=f"dense_{i}")(h)
    network = keras.Model([x, t], layers.Dense(2, name="dense_out")(h))
    weights.randomise(network)
    return network, (2,)


def _unet():
    return ddpm.network("28x28")[0], sizes.UNETS["28x28"].shape


NETWORKS = {"mlp": _mlp, "unet": _unet}


def train(network, step, batch, steps):
    """A job of training steps.

    Args:
        network: "mlp" or "unet".
        step: "kgen"; "hand", as in the guide; or "hand + callback", with the callback that kgen's ``fit`` adds.
        batch: examples per step.
        steps: training steps that there is to be data for.
    """
    net, shape = NETWORKS[network]()
    model = Kgen(net) if step == "kgen" else BY_HAND[keras.config.backend()](net)
    model.compile(optimizer=keras.optimizers.Adam(sizes.LEARNING_RATE))
    callbacks = [StopOnNonFinite()] if step == "hand + callback" else []
    return FitJob(model, sizes.images((steps + 1) * batch, shape), batch, callbacks)
