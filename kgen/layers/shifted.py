"""Convolutions that are causal in raster order, and the same convolutions evaluated a row or a pixel at a time."""

import keras
from keras import ops


class _ShiftedConv2D(keras.layers.Layer):
    """Base: y[i, j] = b + sum over rows i - h + 1 .. i of a (h, w) kernel; a subclass says which columns."""

    def __init__(self, filters, kernel_size, kernel_initializer="glorot_uniform", **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = tuple(kernel_size)
        self.kernel_initializer = keras.initializers.get(kernel_initializer)

    @property
    def sides(self):
        """Columns of zeros to the left and to the right of an image that give every column an output."""
        raise NotImplementedError

    def build(self, input_shape):
        shape = (*self.kernel_size, input_shape[-1], self.filters)
        self.kernel = self.add_weight(shape=shape, initializer=self.kernel_initializer, name="kernel")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")

    def call(self, x):
        return self._convolve(x, self._kernel(), rows_of_zeros=self.kernel_size[0] - 1) + self._bias()

    # The methods below are also called from outside of ``call``, where Keras casts nothing.

    def _kernel(self):
        return ops.cast(self.kernel, self.compute_dtype)

    def _bias(self):
        return ops.cast(self.bias, self.compute_dtype)

    def _convolve(self, x, kernel, rows_of_zeros):
        x = ops.pad(ops.cast(x, self.compute_dtype), ((0, 0), (rows_of_zeros, 0), self.sides, (0, 0)))
        return ops.conv(x, kernel, padding="valid", data_format="channels_last")

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": list(self.kernel_size),
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
        }


@keras.saving.register_keras_serializable(package="kgen")
class DownShiftedConv2D(_ShiftedConv2D):
    """A convolution that sees its own row whole and the rows above.

    y[i, j] = b + sum_{a = 0 .. h-1, |c| <= (w-1)/2} K[h-1-a, c] x[i - a, j + c], x zero outside of the image.

    Args:
        filters: output channels.
        kernel_size: (h, w), w odd.
        kernel_initializer: as in Keras.
    Call:
        x: float (B, H, W, C). Returns float (B, H, W, filters).
    Reference:
        Salimans et al., PixelCNN++, 2017, arXiv 1701.05517, and the code published with it.
    """

    @property
    def sides(self):
        return (self.kernel_size[1] // 2, self.kernel_size[1] // 2)

    def row(self, rows):
        """One row of the output.

        Args:
            rows: list of h rows of the input (B, W, C), that of the output last.
        Returns:
            float (B, W, filters).
        """
        return self._convolve(ops.stack(rows, axis=1), self._kernel(), rows_of_zeros=0)[:, 0] + self._bias()


@keras.saving.register_keras_serializable(package="kgen")
class DownRightShiftedConv2D(_ShiftedConv2D):
    """A convolution that sees its own row up to its own column, and the rows above up to that column.

    y[i, j] = b + sum_{a = 0 .. h-1, c = 0 .. w-1} K[h-1-a, w-1-c] x[i - a, j - c], x zero outside of the image.

    ``call`` is the sum of what ``above`` gives, which a whole row has at once, and of what ``beside`` gives to a pixel.

    Args:
        filters: output channels.
        kernel_size: (h, w), h at least 2.
        kernel_initializer: as in Keras.
    Call:
        x: float (B, H, W, C). Returns float (B, H, W, filters).
    Reference:
        As ``DownShiftedConv2D``.
    """

    @property
    def sides(self):
        return (self.kernel_size[1] - 1, 0)

    def above(self, rows):
        """What the rows above and the bias give to one row of the output.

        Args:
            rows: list of the h - 1 rows of the input above it, (B, W, C).
        Returns:
            float (B, W, filters).
        """
        return self._convolve(ops.stack(rows, axis=1), self._kernel()[:-1], rows_of_zeros=0)[:, 0] + self._bias()

    def beside(self):
        """The matrix (w C, filters) by which w pixels of its own row side by side, that of the output last, give to one pixel of it."""
        return ops.reshape(self._kernel()[-1], (-1, self.filters))
