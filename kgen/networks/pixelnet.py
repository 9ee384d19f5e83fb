"""The network of PixelCNN++: two streams of shifted convolutions, in which no pixel sees itself or what comes after it."""

import random

import keras
from keras import layers, ops

from kgen.layers import DownRightShiftedConv2D, DownShiftedConv2D


def concat_elu(x):
    """elu of x and of -x side by side: twice the channels, no direction dies (Shang et al. 2016, with ELU)."""
    return ops.elu(ops.concatenate([x, -x], axis=-1))


def _call(layer, h):
    return layer(h)


class GatedResidual(layers.Layer):
    """A gated residual block of one stream.

    h = conv_1(f(x)) + link(f(other)),  [a, b] = conv_2(dropout(f(h))) + class,  y = x + a sigmoid(b),  f = concat_elu.

    Args:
        conv: ``DownShiftedConv2D`` or ``DownRightShiftedConv2D``.
        kernel_size: of both convolutions.
        channels: channels of x and y.
        num_classes: number of classes, or None.
        dropout: rate.
        linked: whether there is another stream.
    Call:
        x: float (B, H, W, channels); other: None, or the other stream's float (B, H, W, channels); label: None or int (B,).
        Returns float (B, H, W, channels).
    Reference:
        Salimans et al., PixelCNN++, 2017, sections 2.5 and 3.2, arXiv 1701.05517; the gate is van den Oord et al. 2016, Eq. 2,
        arXiv 1606.05328.
    """

    def __init__(self, conv, kernel_size, channels, num_classes=None, dropout=0.0, linked=False, **kwargs):
        super().__init__(**kwargs)
        policy = self.dtype_policy
        # A tenth of the usual size, as in the paper's code: the block starts near the identity.
        small = keras.initializers.VarianceScaling(0.01, mode="fan_avg", distribution="uniform")
        self.conv_1 = conv(channels, kernel_size, dtype=policy, name="conv_1")
        self.conv_2 = conv(2 * channels, kernel_size, kernel_initializer=small, dtype=policy, name="conv_2")
        self.link = self.classes = self.dropout = None
        if linked:
            self.link = layers.Dense(channels, use_bias=False, dtype=policy, name="link")
        if num_classes is not None:
            self.classes = layers.Embedding(num_classes, 2 * channels, dtype=policy, name="classes")
        if dropout:
            # With a seed: without one, Keras on torch drops by torch's global state, which no file keeps.
            self.dropout = layers.Dropout(dropout, seed=random.getrandbits(30), dtype=policy, name="dropout")

    def call(self, x, other=None, label=None, training=False):
        link = None if other is None else self.linked(other)
        condition = None if label is None else self.condition(label)[:, None, None]
        return self.residual(x, link, condition, training=training)

    def linked(self, other):
        """What the other stream adds to h."""
        return self.link(concat_elu(other))

    def condition(self, label):
        """What a class adds to [a, b], (B, 2 channels), or None where there are no classes."""
        return None if self.classes is None else self.classes(label)

    def residual(self, x, link=None, condition=None, convolve=_call, training=False):
        """The equations, for whole images as well as for a row or a pixel of each: ``convolve(conv, h)`` knows what is around it."""
        h = convolve(self.conv_1, concat_elu(x))
        if link is not None:
            h = h + link
        h = concat_elu(h)
        if self.dropout is not None:
            h = self.dropout(h, training=training)
        h = convolve(self.conv_2, h)
        if condition is not None:
            h = h + condition
        a, b = ops.split(h, 2, axis=-1)
        return x + a * ops.sigmoid(b)


@keras.saving.register_keras_serializable(package="kgen")
class PixelNet(keras.Model):
    """Maps an image to numbers for each pixel that depend on the pixels before it, in raster order, alone.

    The stream ``above`` sees the rows above a pixel; the stream ``left`` sees those and what is left of it in its own row. Each block lets
    them see two pixels further: 2 ``blocks`` + 1 pixels to every side and at least as many upwards, without a blind spot.

    It is the paper's network at one resolution: without subsampling there is nothing that short cuts would have to bring back,
    and ``generate`` stays simple. Weight normalisation with its data-dependent start is left out.

    Args:
        shape: (H, W, C).
        out_channels: numbers per pixel.
        channels: features per stream.
        blocks: gated residual blocks per stream.
        num_classes: number of classes, or None.
        dropout: rate inside the blocks.
        context: channels of features that every pixel sees at its own place, or None.
    Call:
        x, or [x, label, context] with those that there are: float (B, H, W, C) in [-1, 1], int (B,) in [0, num_classes), float
        (B, H, W, context).
        Returns float32 (B, H, W, out_channels).
    Reference:
        Salimans et al., PixelCNN++, 2017, arXiv 1701.05517.
    """

    def __init__(
        self,
        shape,
        out_channels,
        channels=64,
        blocks=5,
        num_classes=None,
        dropout=0.0,
        context=None,
        name="pixelnet",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.shape = tuple(shape)
        self.channels = channels
        self.num_classes = num_classes
        self.context = context
        self._arguments = {
            "shape": list(shape),
            "out_channels": out_channels,
            "channels": channels,
            "blocks": blocks,
            "num_classes": num_classes,
            "dropout": dropout,
            "context": context,
            "name": name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }
        policy = self.dtype_policy
        self.enter_above = DownShiftedConv2D(channels, (2, 3), dtype=policy, name="enter_above")
        self.enter_row = DownShiftedConv2D(channels, (1, 3), dtype=policy, name="enter_row")
        self.enter_left = DownRightShiftedConv2D(channels, (2, 1), dtype=policy, name="enter_left")

        if context is not None:
            self.enter_context = layers.Dense(2 * channels, use_bias=False, dtype=policy, name="enter_context")

        def stream(name, conv, kernel_size, linked):
            settings = (conv, kernel_size, channels, num_classes, dropout, linked)
            return [GatedResidual(*settings, dtype=policy, name=f"{name}_{i}") for i in range(blocks)]

        self.above_blocks = stream("above", DownShiftedConv2D, (2, 3), linked=False)
        self.left_blocks = stream("left", DownRightShiftedConv2D, (2, 2), linked=True)
        self.head = layers.Dense(out_channels, dtype="float32", name="head")
        x, label = ops.zeros((1, *self.shape)), ops.zeros((1,), dtype="int32")
        given = [x] if num_classes is None else [x, label]
        if context is not None:
            given.append(ops.zeros((1, *self.shape[:2], context)))
        self(given if len(given) > 1 else x)  # builds it

    def call(self, inputs, training=False):
        x, *given = inputs if isinstance(inputs, (list, tuple)) else [inputs]
        label = None if self.num_classes is None else given[0]
        beside = None if self.context is None else ops.split(self.enter_context(given[-1]), 2, axis=-1)
        x = _with_ones(x)
        down = ops.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]  # at (i, j) stands x[i - 1, j]
        right = ops.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]  # x[i, j - 1]
        above = self.enter_above(down)
        left = self.enter_row(down) + self.enter_left(right)
        if beside is not None:
            above, left = above + beside[0], left + beside[1]
        for above_block, left_block in zip(self.above_blocks, self.left_blocks, strict=True):
            above = above_block(above, label=label, training=training)
            left = left_block(left, above, label=label, training=training)
        return self.head(ops.elu(left))

    def generate(self, draw, inputs, label=None, context=None):
        """Fills images pixel by pixel; the numbers of each pixel are computed once, from what is kept of the pixels before it.

        For a row, the stream ``above`` and all that the stream ``left`` gets from above are computed at once. Then, pixel by pixel, the
        stream ``left`` adds what its own row gives: for each convolution one product of two neighbouring pixels with a matrix.

        Args:
            draw: function that returns a pixel (B, C) in [-1, 1] from its numbers (B, out_channels) and its part of ``inputs``.
            inputs: list of tensors (B, H, W, ...), one at least, of which ``draw`` gets a list of (B, ...) for each pixel.
            label: int (B,), or None where there are no classes.
            context: float (B, H, W, context), or None where there is none.
        Returns:
            float32 (B, H, W, C): what calling the network on it and drawing from its output, pixel by pixel, would give too.
        Reference:
            Ramachandran et al., Fast generation for convolutional autoregressive models, 2017, arXiv 1704.06001.
        """
        height, width, image_channels = self.shape
        batch, count = ops.shape(inputs[0])[0], 2 * len(self.left_blocks)  # of convolutions in the blocks of a stream
        above_conditions = [b.condition(label) for b in self.above_blocks]
        left_conditions = [b.condition(label) for b in self.left_blocks]
        # What does not change from pixel to pixel is made once: an eager backend would make it again each time.
        enter_matrix = self.enter_left.beside()
        matrices = [conv.beside() for b in self.left_blocks for conv in (b.conv_1, b.conv_2)]
        beside = None if context is None else ops.split(self.enter_context(context), 2, axis=-1)
        head_matrix, head_bias = (ops.convert_to_tensor(v) for v in (self.head.kernel, self.head.bias))

        def zeros(*shape, dtype=self.compute_dtype):
            return ops.zeros((batch, *shape), dtype=dtype)

        def row(i, state):
            """Row i of the images, from rows i - 2 and i - 1 and from what each convolution was given for row i - 1."""
            images, x_rows, past_above, past_left = state
            now_above = []

            def convolve_row(conv, h):
                now_above.append(h)
                return conv.row([past_above[len(now_above) - 1], h])

            above = self.enter_above.row(x_rows)
            x_right = ops.pad(x_rows[1], ((0, 0), (1, 0), (0, 0)))[:, :-1]
            given = [self.enter_row.row([x_rows[1]]) + self.enter_left.above([x_right])]
            if beside is not None:
                above, given[0] = above + ops.take(beside[0], i, axis=1), given[0] + ops.take(beside[1], i, axis=1)
            for k, (above_block, block) in enumerate(zip(self.above_blocks, self.left_blocks, strict=True)):
                condition = above_conditions[k]
                condition = None if condition is None else condition[:, None]
                above = above_block.residual(above, condition=condition, convolve=convolve_row)
                given.append(block.conv_1.above([past_left[2 * k]]) + block.linked(above))
                given.append(block.conv_2.above([past_left[2 * k + 1]]))

            def pixel(before, here):
                """One column of the row, from the pixel before it and from what each convolution was given there."""
                x, past = before
                given, pixel_inputs = here
                now = []

                def convolve_pixel(conv, h):
                    k = len(now)
                    now.append(h)
                    return given[k + 1] + ops.matmul(ops.concatenate([past[k], h], axis=-1), matrices[k])

                left = given[0] + ops.matmul(ops.cast(x, self.compute_dtype), enter_matrix)
                for block, condition in zip(self.left_blocks, left_conditions, strict=True):
                    left = block.residual(left, condition=condition, convolve=convolve_pixel)
                numbers = ops.matmul(ops.cast(ops.elu(left), "float32"), head_matrix) + head_bias
                x = _with_ones(draw(numbers, pixel_inputs))
                return (x, now), (x, now)

            start = (zeros(image_channels + 1, dtype="float32"), [zeros(2 * self.channels) for _ in range(count)])
            here = ([_swap(t) for t in given], [_swap(ops.take(t, i, axis=1)) for t in inputs])
            _, (x, now_left) = ops.scan(pixel, start, here, length=width)
            x = ops.reshape(_swap(x), (-1, width, image_channels + 1))
            now_left = [ops.reshape(_swap(h), (-1, width, 2 * self.channels)) for h in now_left]
            this_row = ops.reshape(ops.equal(ops.arange(height), i), (1, height, 1, 1))
            images = ops.where(this_row, x[:, None, :, :image_channels], images)
            return images, [x_rows[1], x], now_above, now_left

        x_rows = [zeros(width, image_channels + 1, dtype="float32") for _ in range(2)]
        past_above, past_left = ([zeros(width, 2 * self.channels) for _ in range(count)] for _ in range(2))
        state = (zeros(*self.shape, dtype="float32"), x_rows, past_above, past_left)
        return ops.fori_loop(0, height, row, state)[0]

    def get_config(self):
        return dict(self._arguments)

    @classmethod
    def from_config(cls, config, custom_objects=None):
        return cls(**config)


def _with_ones(x):
    """x with a channel of ones, by which the network tells the image from the zeros around it."""
    return ops.concatenate([x, ops.ones_like(x[..., :1])], axis=-1)


def _swap(x):
    """(B, W, ...) to (W, B, ...), and back."""
    return ops.swapaxes(x, 0, 1)
