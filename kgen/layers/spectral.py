"""Spectral normalisation."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="kgen")
class SpectralNormalization(layers.Wrapper):
    """Divides a layer's kernel by its largest singular value, so that the layer stretches nothing (but for padding and stride of a convolution).

    W_SN = W / sigma(W),  sigma(W) = v^T W u,

    W being the kernel with all but its last axis flattened, (inputs, outputs), and u, v its first singular vectors, followed by power
    iteration while W trains: v = W u / |W u|, u = W^T v / |W^T v|. They count as constants in the gradient, as in the paper. The kernel itself
    stays as it is: the layer is linear in it up to bias and activation, so that dividing the inputs says the same.

    ``keras.layers.SpectralNormalization`` writes the normalised kernel over the trained one in every forward pass, also in those that only
    pass a gradient on to another network; it is another method, and differs from one backend to the next.

    Args:
        layer: ``Dense``, ``Conv1D``, ``Conv2D``, ``Conv3D`` or ``Embedding``.
        power_iterations: per forward pass in training.
    Reference:
        Miyato et al., Spectral normalization for generative adversarial networks, 2018, Eq. 8 and Algorithm 1, arXiv 1802.05957.
    """

    def __init__(self, layer, power_iterations=1, **kwargs):
        known = (layers.Dense, layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.Embedding)
        if not isinstance(layer, known):
            raise TypeError(f"layer: expected one of {', '.join(k.__name__ for k in known)}, received {layer!r}.")
        super().__init__(layer, **kwargs)
        self.power_iterations = power_iterations

    def build(self, input_shape=None):
        super().build(input_shape)
        self.u = self.add_weight(
            shape=(self._kernel().shape[-1],), initializer="random_normal", trainable=False, dtype="float32", name="u"
        )

    def _kernel(self):
        return self.layer.embeddings if isinstance(self.layer, layers.Embedding) else self.layer.kernel

    def call(self, inputs, training=False):
        scale = ops.cast(1.0 / self._largest_singular_value(training), self.compute_dtype)
        if isinstance(self.layer, layers.Embedding):
            return self.layer(inputs) * scale
        return self.layer(inputs * scale)

    def _largest_singular_value(self, training):
        kernel = ops.cast(self._kernel(), "float32")
        kernel = ops.reshape(kernel, (-1, kernel.shape[-1]))
        fixed = ops.stop_gradient(kernel)
        u = _unit(ops.convert_to_tensor(self.u))  # of any length as it starts
        if training:
            for _ in range(self.power_iterations):
                u = _unit(ops.matmul(_unit(ops.matmul(fixed, u)), fixed))
            self.u.assign(u)
        v = _unit(ops.matmul(fixed, u))
        return ops.maximum(ops.sum(v * ops.matmul(kernel, u)), 1e-12)  # a kernel of zeros stays one

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def get_config(self):
        return {**super().get_config(), "power_iterations": self.power_iterations}


def _unit(vector):
    return vector / ops.maximum(ops.norm(vector), 1e-12)
