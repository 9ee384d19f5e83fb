"""Networks that suit an image size, for those who bring none."""

from kgen.networks import MLP, ConvDecoder, ConvEncoder, LadderDecoder, LadderEncoder, SpatialDecoder, SpatialEncoder
from kgen.networks.halving import halvings


def _channels(shape):
    """Stages of 32, 64, 128 channels: as many as halve both sides evenly, down to 4 pixels or fewer."""
    channels, sides = [], shape[:2]
    while max(sides) > 4 and all(s % 2 == 0 for s in sides) and len(channels) < 4:
        channels.append(min(32 * 2 ** len(channels), 128))
        sides = [s // 2 for s in sides]
    return channels


def _convs(channels):
    """Convolutions beside those with strides: none on images of several stages, whose samples are as good in less than half of the time."""
    return 0 if len(channels) > 1 else 1


def encoder(shape, size, dtype=None):
    """Maps (B, *shape) to (B, size): convolutions for images, else two dense layers."""
    channels = _channels(shape) if len(shape) == 3 else []
    if channels:
        return ConvEncoder(shape, size, channels=channels, convs=_convs(channels), dtype=dtype)
    return MLP(shape, (size,), name="encoder", dtype=dtype)


def decoder(latent_dim, shape, dtype=None):
    """Maps (B, latent_dim) to (B, *shape)."""
    channels = _channels(shape) if len(shape) == 3 else []
    if channels:
        return ConvDecoder(latent_dim, shape, channels=channels, convs=_convs(channels), dtype=dtype)
    return MLP((latent_dim,), shape, name="decoder", dtype=dtype)


def _map_channels(shape):
    """Stages of 32 and 64 channels: as many as halve both sides evenly, and leave 2 pixels or more."""
    sides, count = shape[:2], 0
    while len(shape) == 3 and count < 2 and all(s % 2 == 0 and s >= 4 for s in sides):
        sides, count = [s // 2 for s in sides], count + 1
    return (32, 64)[:count]


def _three(shape, name):
    if not _map_channels(shape):
        raise ValueError(f"shape: the default {name} needs (H, W, C) with even sides, received {shape}. Pass {name}=.")
    return shape


def map_encoder(shape, size, dtype=None):
    """Maps images (B, *shape) to a map of vectors (B, h, w, size)."""
    return SpatialEncoder(_three(shape, "encoder"), size, _map_channels(shape), dtype=dtype)


def map_decoder(map_shape, shape, dtype=None):
    """Maps (B, *map_shape) to images (B, *shape), whose sides are those of the map as often doubled as ``map_encoder`` halves them."""
    return SpatialDecoder(map_shape, _three(shape, "decoder")[-1], _map_channels(shape), dtype=dtype)


def latent_shapes(shape):
    """Shapes of several layers of latents, from the top: of images a vector and a map at each halving, else two vectors."""
    count = halvings(shape) if len(shape) == 3 else 0
    maps = [(shape[0] >> i, shape[1] >> i, 2**i) for i in range(count, 0, -1)]
    return ((1, 1, 16), *maps) if maps else ((4,), (8,))


def _ladder_channels(shapes):
    if len(shapes[0]) == 1:
        return [64] * (len(shapes) + 1)
    return [128 if s[:2] == (1, 1) else 64 for s in shapes] + [32]


def ladder_encoder(shape, shapes, dtype=None):
    """Maps (B, *shape) to features of each layer of latents."""
    return LadderEncoder(shape, shapes, _ladder_channels(shapes), dtype=dtype)


def ladder_decoder(shapes, shape, dtype=None):
    """Maps all layers' latents, flattened, to (B, *shape)."""
    return LadderDecoder(shapes, shape, _ladder_channels(shapes), dtype=dtype)


def code_maps(shape):
    """Shapes of two maps of codes, from the top: an image halved twice and once; of small ones a vector and the image halved once."""
    sides = _three(shape, "encoder")[:2]
    if any(s % 4 for s in sides):
        return ((1, 1), (sides[0] // 2, sides[1] // 2))
    return tuple((sides[0] // n, sides[1] // n) for n in (4, 2))
