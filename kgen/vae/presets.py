"""Networks that suit an image size, for those who bring none."""

from kgen.networks import MLP, ConvDecoder, ConvEncoder


def _channels(shape):
    """Stages of 32, 64, 128 channels: as many as halve both sides evenly, down to 4 pixels or fewer."""
    channels, sides = [], shape[:2]
    while max(sides) > 4 and all(s % 2 == 0 for s in sides) and len(channels) < 4:
        channels.append(min(32 * 2 ** len(channels), 128))
        sides = [s // 2 for s in sides]
    return channels


def default_encoder(shape, size):
    """Maps (B, *shape) to (B, size): convolutions for images, else two dense layers."""
    if len(shape) == 3 and _channels(shape):
        return ConvEncoder(shape, size, channels=_channels(shape))
    return MLP(shape, (size,), name="encoder")


def default_decoder(latent_dim, shape):
    """Maps (B, latent_dim) to (B, *shape)."""
    if len(shape) == 3 and _channels(shape):
        return ConvDecoder(latent_dim, shape, channels=_channels(shape))
    return MLP((latent_dim,), shape, name="decoder")
