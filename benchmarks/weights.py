"""The same weights on both sides: drawn for a Keras network by name, and brought from there to torch."""

import numpy as np


def randomise(network, seed=0):
    """Gives every weight a value that does not depend on the backend, zero-initialised ones too.

    Args:
        network: built ``keras.Model``.
        seed: int.
    Returns:
        dict from a weight's path to its numpy value.
    """
    rng = np.random.default_rng(seed)
    values = {}
    for weight in network.weights:
        noise = rng.standard_normal(tuple(weight.shape)).astype("float32")
        if weight.name == "kernel":
            noise /= np.sqrt(np.prod(weight.shape[:-1]))
        elif weight.name == "gamma":
            noise = 1.0 + 0.1 * noise
        else:
            noise *= 0.1
        weight.assign(noise)
        values[weight.path] = noise
    return values


class _State:
    """A torch ``state_dict`` in the making, from Keras weights."""

    def __init__(self, values):
        self.values, self.used, self.state = values, set(), {}

    def _take(self, path):
        self.used.add(path)
        return self.values[path]

    def _put(self, name, value):
        import torch

        self.state[name] = torch.from_numpy(np.ascontiguousarray(value))

    def norm(self, ours, theirs):
        self._put(f"{theirs}.weight", self._take(f"{ours}/gamma"))
        self._put(f"{theirs}.bias", self._take(f"{ours}/beta"))

    def dense(self, ours, theirs, arrange=lambda kernel: kernel, arrange_bias=lambda bias: bias):
        self._put(f"{theirs}.weight", arrange(self._take(f"{ours}/kernel")).T)
        self._put(f"{theirs}.bias", arrange_bias(self._take(f"{ours}/bias")))

    def conv(self, ours, theirs, mirrored=False):
        """(h, w, in, out) to (out, in, h, w); a transposed convolution's (h, w, out, in) to (in, out, h, w)."""
        kernel = self._take(f"{ours}/kernel")
        self._put(f"{theirs}.weight", (kernel[::-1, ::-1] if mirrored else kernel).transpose(3, 2, 0, 1))
        self._put(f"{theirs}.bias", self._take(f"{ours}/bias"))

    def load(self, module):
        left = set(self.values) - self.used
        if left:
            raise RuntimeError(f"These weights of kgen's network have no place in the peer's: {sorted(left)}")
        module.load_state_dict(self.state, strict=True)


def to_diffusers(values, size, unet):
    """Copies the weights of a kgen ``UNet`` into a diffusers ``UNet2DModel`` of the same size.

    Args:
        values: what ``randomise`` returned.
        size: ``UNetSize``.
        unet: ``diffusers.UNet2DModel``.
    Raises:
        RuntimeError, KeyError: the two architectures do not match weight for weight.
    """
    s = _State(values)

    def residual(ours, theirs):
        s.norm(f"{ours}_norm_1", f"{theirs}.norm1")
        s.conv(f"{ours}_conv_1", f"{theirs}.conv1")
        s.dense(f"{ours}_embedding", f"{theirs}.time_emb_proj")
        s.norm(f"{ours}_norm_2", f"{theirs}.norm2")
        s.conv(f"{ours}_conv_2", f"{theirs}.conv2")
        if f"{ours}_skip/kernel" in values:
            s.conv(f"{ours}_skip", f"{theirs}.conv_shortcut")

    def attention(ours, theirs):
        s.norm(f"{ours}/norm", f"{theirs}.group_norm")
        for name, their_name in (("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("output", "to_out.0")):
            s.dense(f"{ours}/{name}", f"{theirs}.{their_name}")

    levels = len(size.channels)
    s.conv("conv_in", "conv_in")
    s.dense("time_dense_1", "time_embedding.linear_1")
    s.dense("time_dense_2", "time_embedding.linear_2")
    for level in range(levels):
        down, up = f"down_blocks.{level}", f"up_blocks.{levels - 1 - level}"
        for block in range(size.blocks):
            residual(f"down_{level}_{block}", f"{down}.resnets.{block}")
            if size.attention[level]:
                attention(f"down_{level}_{block}_attention", f"{down}.attentions.{block}")
        for block in range(size.blocks + 1):
            residual(f"up_{level}_{block}", f"{up}.resnets.{block}")
            if size.attention[level]:
                attention(f"up_{level}_{block}_attention", f"{up}.attentions.{block}")
        if level < levels - 1:
            s.conv(f"down_{level}_stride", f"{down}.downsamplers.0.conv")
        if level:
            s.conv(f"up_{level}_conv", f"{up}.upsamplers.0.conv")
    residual("middle_0", "mid_block.resnets.0")
    attention("middle_attention", "mid_block.attentions.0")
    residual("middle_1", "mid_block.resnets.1")
    s.norm("norm_out", "conv_norm_out")
    s.conv("conv_out", "conv_out")
    s.load(unet)


def to_torch_vae(encoder, decoder, channels, vae):
    """Copies the weights of kgen's ``ConvEncoder`` and ``ConvDecoder`` into ``peers.TorchVAE``.

    A strided convolution pads "same" by one pixel at the far sides in Keras, and by one at all sides in torch, where
    only the near one is read: the same up to a mirror. So every kernel is mirrored, and so are the images in torch.

    Args:
        encoder, decoder: what ``randomise`` returned for each.
        channels: feature channels of the stages.
        vae: ``peers.TorchVAE``.
    """
    s = _State({f"encoder/{k}": v for k, v in encoder.items()} | {f"decoder/{k}": v for k, v in decoder.items()})
    small = (-1, channels[-1])  # what the dense layers flatten: pixels, then channels, where torch has channels first

    def pixels(flat, axis):
        """Reorders the flattened axis of a kernel or bias from mirrored (pixel, channel) to (channel, pixel)."""
        flat = np.moveaxis(flat, axis, 0)
        ordered = flat.reshape(*small, *flat.shape[1:])[::-1].swapaxes(0, 1).reshape(flat.shape)
        return np.moveaxis(ordered, 0, axis)

    for i in range(len(channels)):
        s.conv(f"encoder/conv_{i}", f"encoder.{4 * i}", mirrored=True)
        s.conv(f"encoder/stride_{i}", f"encoder.{4 * i + 2}", mirrored=True)
    start = 4 * len(channels) + 1
    s.dense("encoder/dense", f"encoder.{start}", arrange=lambda kernel: pixels(kernel, 0))
    s.dense("encoder/dense_out", f"encoder.{start + 2}")
    s.dense("decoder/dense", "decoder.0")
    s.dense("decoder/dense_map", "decoder.2", lambda kernel: pixels(kernel, 1), lambda bias: pixels(bias, 0))
    for k, i in enumerate(reversed(range(len(channels)))):
        s.conv(f"decoder/stride_{i}", f"decoder.{5 + 4 * k}", mirrored=True)
        s.conv(f"decoder/conv_{i}", f"decoder.{7 + 4 * k}", mirrored=True)
    s.conv("decoder/conv_out", f"decoder.{5 + 4 * len(channels)}", mirrored=True)
    s.load(vae)


def to_gpt2(values, layers, gpt2):
    """Copies the weights of a kgen ``CausalTransformer`` with learned positions into a transformers ``GPT2LMHeadModel``.

    Args:
        values: what ``randomise`` returned.
        layers: number of blocks.
        gpt2: ``transformers.GPT2LMHeadModel``, whose linear layers keep their kernels as Keras does, (in, out).
    """
    s = _State(values)

    def linear(ours, theirs):
        s._put(f"{theirs}.weight", s._take(f"{ours}/kernel"))
        s._put(f"{theirs}.bias", s._take(f"{ours}/bias"))

    for theirs, ours in (("wte", "embedding"), ("wpe", "position_embedding")):
        s._put(f"transformer.{theirs}.weight", s._take(f"{ours}/embeddings"))
    s._put("lm_head.weight", values["embedding/embeddings"])
    for i in range(layers):
        ours, theirs = f"block_{i}", f"transformer.h.{i}"
        s.norm(f"{ours}/attention_norm", f"{theirs}.ln_1")
        linear(f"{ours}/attention/qkv", f"{theirs}.attn.c_attn")
        linear(f"{ours}/attention/project", f"{theirs}.attn.c_proj")
        s.norm(f"{ours}/dense_norm", f"{theirs}.ln_2")
        linear(f"{ours}/expand", f"{theirs}.mlp.c_fc")
        linear(f"{ours}/contract", f"{theirs}.mlp.c_proj")
    s.norm("norm", "transformer.ln_f")
    s.load(gpt2)
