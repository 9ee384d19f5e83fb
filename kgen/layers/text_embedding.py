"""One vector for a text."""

import keras
from keras import layers, ops


@keras.saving.register_keras_serializable(package="kgen")
class TextEmbedding(layers.Layer):
    """The mean of a learned vector of each token that counts, and a dense layer with leaky ReLU (the projection of Reed et al.).

    Where no token counts, the mean is zero.

    Args:
        vocabulary_size: tokens are in [0, vocabulary_size).
        dim: length of the result; 128 in the paper.
    Call:
        [tokens, mask]: int (B, T), float (B, T), 1 where a token counts. Returns float (B, dim).
    Reference:
        Reed et al., Generative adversarial text to image synthesis, 2016, section 4.1, arXiv 1605.05396. There a frozen encoder reads the text.
    """

    def __init__(self, vocabulary_size, dim=128, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size, self.dim = vocabulary_size, dim
        policy = {"dtype": self.dtype_policy}
        self.tokens = layers.Embedding(vocabulary_size, dim, keras.initializers.RandomNormal(), name="tokens", **policy)
        self.project = layers.Dense(dim, activation="leaky_relu", name="project", **policy)

    def build(self, input_shape):
        self.tokens.build(input_shape[0])
        self.project.build((None, self.dim))

    def call(self, inputs):
        tokens, mask = inputs
        mask = ops.cast(mask, self.compute_dtype)
        total = ops.sum(self.tokens(tokens) * mask[..., None], axis=1)
        return self.project(total / ops.maximum(ops.sum(mask, axis=1, keepdims=True), 1.0))

    def compute_output_shape(self, input_shape):
        return (input_shape[0][0], self.dim)

    def get_config(self):
        return {**super().get_config(), "vocabulary_size": self.vocabulary_size, "dim": self.dim}
