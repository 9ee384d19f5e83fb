"""Adam and AdamW by TensorFlow's own operation, one for each variable, with rate, powers and norms computed once for all of them.

Keras's Adam is 41 operations for each variable, 75 with decay, clipping and a schedule, which is computed anew for each that decays; here it is 6
and 10. Of the graph of a small network's step that is the larger part, which is traced, optimized and run. The equations are the same (Kingma &
Ba, Adam, 2015, end of section 2, arXiv 1412.6980), and so is what the optimizer keeps.
"""

import keras
import tensorflow as tf

from kgen.backend import keras_private


def fits(optimizer, gradients, variables):
    """Whether ``apply`` does what the optimizer does: Keras's own Adam or AdamW with nothing that comes between gradient and update.

    The variables must be its own; of others Keras says so.
    """
    known = {id(v) for v in keras_private.trained_by(optimizer)}
    return (
        type(optimizer) in (keras.optimizers.Adam, keras.optimizers.AdamW)
        and known.issuperset(map(id, variables))
        and not (optimizer.amsgrad or optimizer.use_ema or optimizer.gradient_accumulation_steps)
        and optimizer.loss_scale_factor is None
        and optimizer.epsilon > 0
        and not tf.distribute.has_strategy()
        and all(g is not None for g in gradients)
        and not any(v.constraint is not None or v.overwrite_with_gradient for v in variables)
    )


def apply(optimizer, gradients, variables, finite=True):
    """What ``optimizer.apply(gradients, variables)`` does, unless ``finite`` (a boolean scalar tensor) is false.

    Not by a condition: a graph's branches have an input for each gradient, variable and mean, which take longer to trace than the update.
    Where ``finite`` is false each operation is given what changes nothing: a rate of 0, means that keep all of what they were.

    Rows of an embedding that several tokens share have the sum of their gradients, squared as such and clipped as such, as on other backends:
    Keras on TensorFlow squares and clips each by itself.
    """
    gradients = _clipped(optimizer, [tf.convert_to_tensor(g) for g in gradients], finite)
    rate, step = tf.cast(optimizer.learning_rate, "float32"), tf.cast(optimizer.iterations + 1, "float32")
    rate = tf.where(finite, rate, 0.0)
    beta_1, beta_2 = float(optimizer.beta_1), float(optimizer.beta_2)
    scalars = {
        "beta1_power": tf.pow(beta_1, step),
        "beta2_power": tf.pow(beta_2, step),
        "lr": rate,
        "beta1": tf.where(finite, beta_1, 1.0),
        "beta2": tf.where(finite, beta_2, 1.0),
        "epsilon": tf.constant(float(optimizer.epsilon)),
    }
    decay = None if optimizer.weight_decay is None else rate * float(optimizer.weight_decay)
    for gradient, variable in zip(gradients, variables, strict=True):
        value, dtype = variable.value, variable.value.dtype
        if decay is not None and keras_private.decays(optimizer, variable):
            value.assign_sub(value * tf.cast(decay, dtype))
        m, v = keras_private.moments(optimizer, variable)
        tf.raw_ops.ResourceApplyAdam(
            var=value.handle,
            m=m.value.handle,
            v=v.value.handle,
            grad=tf.cast(gradient, dtype),
            **{name: tf.cast(scalar, dtype) for name, scalar in scalars.items()},
        )
    optimizer.iterations.assign_add(tf.cast(finite, optimizer.iterations.dtype))


def _clipped(optimizer, gradients, finite):
    """As the optimizer clips them, each norm by one operation; zeros where ``finite`` is false."""
    if optimizer.clipnorm:
        norms = tf.sqrt(2.0 * tf.stack([tf.cast(tf.nn.l2_loss(g), "float32") for g in gradients]))
        scales = tf.unstack(tf.where(finite, optimizer.clipnorm / tf.maximum(norms, optimizer.clipnorm), 0.0))
    else:
        gradients = keras_private.clipped(optimizer, gradients)
        scales = [tf.cast(finite, "float32")] * len(gradients)
    return [tf.math.multiply_no_nan(g, tf.cast(scale, g.dtype)) for g, scale in zip(gradients, scales, strict=True)]
