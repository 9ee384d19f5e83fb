"""Discriminators of patches: what they see, and the sizes of the paper."""

import keras
import numpy as np
import pytest
from keras import ops

from kgen import backend
from kgen.networks import PatchDiscriminator, SkipUNet, SRDiscriminator, SRResNet


@pytest.mark.parametrize("strided, side", [(0, 1), (1, 16), (3, 70), (5, 286)])
def test_a_logit_sees_a_patch_of_the_papers_size(strided, side):
    size = 96 if side < 96 else 384
    discriminator = PatchDiscriminator((size, size, 1), 1, strided)
    assert discriminator.receptive_field == side
    # Instance normalisation sees the whole image: the convolutions alone, one after the other.
    convolutions = [la for la in discriminator.layers if isinstance(la, keras.layers.Conv2D)]

    def middle(x):
        for convolution in convolutions:
            x = convolution(x)
        return x[:, x.shape[1] // 2, x.shape[2] // 2, 0]

    x = ops.convert_to_tensor(np.zeros((1, size, size, 1), "float32"))
    seen = ops.convert_to_numpy(backend.grad(middle, x))[0, ..., 0] != 0
    assert (seen.any(1).sum(), seen.any(0).sum()) == (side, side)


@pytest.mark.once("the sizes of a network are no backend's")
def test_networks_have_the_papers_layers():
    """At width 1, whose eightfold channels are 8: the numbers of layers, and their sizes."""
    unet = SkipUNet((256, 256, 3), width=1)
    kinds = [type(layer).__name__ for layer in unet.layers]
    assert (kinds.count("Conv2D"), kinds.count("Conv2DTranspose"), kinds.count("Dropout")) == (8, 8, 3)
    assert [unet.get_layer(f"down_{i}").filters for i in range(8)] == [1, 2, 4, 8, 8, 8, 8, 8]
    assert [unet.get_layer(f"up_{i}").kernel.shape[-1] for i in range(7)] == [2, 4, 8, 16, 16, 16, 16]  # what is joined
    discriminator = PatchDiscriminator((256, 256, 6), 1)
    assert discriminator.output.shape == (None, 32, 32, 1)
    net = SRResNet((6, 6, 3), 4, width=2)
    kinds = [type(layer).__name__ for layer in net.layers]
    assert (kinds.count("Conv2D"), kinds.count("SubPixel"), kinds.count("PReLU")) == (2 * 16 + 3 + 2, 2, 1 + 16 + 2)
    x = np.random.default_rng(0).uniform(-1, 1, (1, 6, 6, 3)).astype("float32")
    np.testing.assert_array_equal(ops.convert_to_numpy(net(x)), x.repeat(4, 1).repeat(4, 2))  # as it starts
    assert [la.filters for la in SRDiscriminator((96, 96, 3), 1, 2).layers if hasattr(la, "filters")] == [
        1,
        1,
        2,
        2,
        4,
        4,
        8,
        8,
    ]
    with pytest.raises(ValueError, match="factor: expected a power of 2 of at least 2, received 3"):
        SRResNet((8, 8, 1), 3)
    with pytest.raises(ValueError, match="levels: 3 of them halve the sides that often, and need them divisible by 8"):
        SkipUNet((12, 12, 1), levels=3)
