"""diffusers' `UNet2DModel`: its configuration and its weights' names, in kgen's ``UNet`` and back."""

import numpy as np

from kgen.interop import configurations

ATTENDS = {"DownBlock2D": False, "AttnDownBlock2D": True, "UpBlock2D": False, "AttnUpBlock2D": True}
DEFAULTS = {
    "sample_size": None,
    "in_channels": 3,
    "out_channels": 3,
    "center_input_sample": False,
    "time_embedding_type": "positional",
    "time_embedding_dim": None,
    "freq_shift": 0,
    "flip_sin_to_cos": True,
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "mid_block_type": "UNetMidBlock2D",
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (224, 448, 672, 896),
    "layers_per_block": 2,
    "mid_block_scale_factor": 1,
    "downsample_padding": 1,
    "downsample_type": "conv",
    "upsample_type": "conv",
    "dropout": 0.0,
    "act_fn": "silu",
    "attention_head_dim": 8,
    "norm_num_groups": 32,
    "attn_norm_num_groups": None,
    "norm_eps": 1e-5,
    "resnet_time_scale_shift": "default",
    "add_attention": True,
    "class_embed_type": None,
    "num_class_embeds": None,
    "num_train_timesteps": None,
}
FIXED = {
    "center_input_sample": (False,),
    "time_embedding_type": ("positional",),
    "mid_block_type": ("UNetMidBlock2D",),
    "mid_block_scale_factor": (1,),
    "downsample_padding": (1, 0),
    "downsample_type": ("conv",),
    "upsample_type": ("conv",),
    "act_fn": ("silu", "swish"),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "class_embed_type": (None,),
}
# The parts of an attention by kgen's names, each with diffusers' name and the one of its first versions.
ATTENTION = {
    "norm": ("group_norm", "group_norm"),
    "query": ("to_q", "query"),
    "key": ("to_k", "key"),
    "value": ("to_v", "value"),
    "output": ("to_out.0", "proj_attn"),
}
WEIGHT = {"kernel": "weight", "gamma": "weight", "embeddings": "weight", "bias": "bias", "beta": "bias"}
CLASSES = "class_embedding.weight"
FIRST = "time_embedding.linear_1.weight"


def arguments(config, where, num_steps):
    """The arguments of ``UNet`` that a `config.json` stands for, and whether sines stand before cosines in it.

    Args:
        config: dict, as it stands in the file.
        where: the file, for the errors.
        num_steps: `num_train_timesteps` of the scheduler; kgen's t = k / num_steps is diffusers' time step k - 1.
    Raises:
        ValueError: a key is unknown or has a value that kgen's network has not.
    """
    config = configurations.known(config, where, DEFAULTS, FIXED)
    c = (config, where)
    channels = configurations.listed(*c, "block_out_channels", lambda v: type(v) is int and 0 < v < 2**20)
    downs, ups = (configurations.listed(*c, f"{k}_block_types", lambda v: isinstance(v, str)) for k in ("down", "up"))
    for key, types in (("down", downs), ("up", ups)):
        offered = [t for t in ATTENDS if key.title() in t]
        for t in types:
            configurations.one_of({f"{key}_block_types": t}, where, f"{key}_block_types", offered)
        if len(types) != len(channels):
            raise ValueError(
                f"{where}: {key}_block_types: expected {len(channels)} as block_out_channels has, received {len(types)}."
            )
    attention = [ATTENDS[t] for t in downs]
    if attention != [ATTENDS[t] for t in reversed(ups)]:
        raise ValueError(
            f"{where}: up_block_types: expected attention at the levels of down_block_types, received {ups}."
        )
    groups = configurations.integer(*c, "norm_num_groups")
    in_middle = configurations.boolean(*c, "add_attention")
    scale_shift = config["resnet_time_scale_shift"] == "scale_shift"
    if in_middle:
        allowed = (groups,) if scale_shift else (None, groups)
        configurations.one_of(*c, "attn_norm_num_groups", allowed)
    configurations.one_of(*c, "time_embedding_dim", (None, 4 * channels[0]))
    head = config["attention_head_dim"]
    if head is not None:
        configurations.integer(*c, "attention_head_dim")
        for width, attends in zip([*channels, channels[-1]], [*attention, in_middle], strict=True):
            if attends and width % head:
                raise ValueError(
                    f"{where}: attention_head_dim: expected a divisor of {width} channels, received {head}."
                )
    size = config["sample_size"]
    if type(size) is int:
        config["sample_size"] = size = [size, size]
    sides = configurations.listed(*c, "sample_size", lambda v: type(v) is int and 0 < v < 2**14)
    in_channels = configurations.integer(*c, "in_channels")
    configurations.one_of(*c, "out_channels", (in_channels,))
    classes = config["num_class_embeds"]
    found = {
        "shape": (*(sides * 2 if len(sides) == 1 else sides), in_channels),
        "channels": channels,
        "blocks": configurations.integer(*c, "layers_per_block", most=64),
        "attention": attention,
        "head_dim": max(channels) if head is None else head,  # one head
        "num_classes": None if classes is None else configurations.integer(*c, "num_class_embeds"),
        "groups": groups,
        "dropout": configurations.number(*c, "dropout", 0.0, 0.99),
        "scale_shift": scale_shift,
        "middle_attention": in_middle,
        "epsilon": configurations.number(*c, "norm_eps", 0.0, 1.0),
        "stride_padding": "both" if config["downsample_padding"] else "behind",
        "sinusoids": {
            "scale": float(num_steps),
            "offset": -1.0,
            "freq_shift": float(configurations.number(*c, "freq_shift", 0.0, channels[0] // 2)),
        },
    }
    return found, not configurations.boolean(*c, "flip_sin_to_cos")


def configuration(network, num_steps):
    """The `config.json` of a ``UNet``.

    Args:
        network: a ``UNet``.
        num_steps: of the schedule.
    Raises:
        ValueError: the network has what `UNet2DModel` has not.
    """
    c = network.get_config()
    shape, channels = c["shape"], list(c["channels"])
    levels = [max(shape[:-1]) >> level for level in range(len(channels))]
    attention = [a if isinstance(a, bool) else None for a in c["attention"]]
    if None in attention or len(attention) != len(channels):
        attention = [side in c["attention"] for side in levels]
    in_middle = any(attention) if c["middle_attention"] is None else c["middle_attention"]
    heads = {
        w: max(1, w // c["head_dim"])
        for w, a in zip([*channels, channels[-1]], [*attention, in_middle], strict=True)
        if a
    }
    head = None if set(heads.values()) <= {1} else c["head_dim"]
    scale = {"scale": 1000.0, **(c["sinusoids"] or {})}["scale"]
    for name, value, wanted in (
        ("shape", len(shape), 3),
        ("conditions", [o["config"]["name"] for o in c["conditions"] if not _is_class(o)], []),
        ("out_channels", c["out_channels"] or shape[-1], shape[-1]),
        ("resample", c["resample"], "convolution"),
        ("head_dim", all(head is None or w % head == 0 for w in heads), True),
        ("sinusoids (their scale)", scale, num_steps),
    ):
        if value != wanted:
            raise ValueError(
                f"network: {name}: diffusers' UNet2DModel has not what this UNet has; expected {wanted!r}, received {value!r}."
            )
    return {
        "_class_name": "UNet2DModel",
        **DEFAULTS,
        "sample_size": list(shape[:2]) if shape[0] != shape[1] else shape[0],
        "in_channels": shape[-1],
        "out_channels": shape[-1],
        "freq_shift": (c["sinusoids"] or {}).get("freq_shift", 0),
        "down_block_types": ["AttnDownBlock2D" if a else "DownBlock2D" for a in attention],
        "up_block_types": ["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attention)],
        "block_out_channels": channels,
        "layers_per_block": c["blocks"],
        "downsample_padding": 1 if c["stride_padding"] == "both" else 0,
        "dropout": c["dropout"],
        "attention_head_dim": head,
        "norm_num_groups": c["groups"],
        "attn_norm_num_groups": c["groups"] if c["scale_shift"] else None,
        "norm_eps": c["epsilon"],
        "resnet_time_scale_shift": "scale_shift" if c["scale_shift"] else "default",
        "add_attention": in_middle,
        "num_class_embeds": None,
    }


def _is_class(condition):
    return condition["class_name"] == "LabelCondition" and condition["config"]["name"] == "label"


def layers(levels, blocks):
    """Dict from the name of each layer of a ``UNet`` that holds weights to diffusers' name of it, whether or not it is there."""
    found = {
        "conv_in": "conv_in",
        "time_dense_1": "time_embedding.linear_1",
        "time_dense_2": "time_embedding.linear_2",
        "label_embedding": "class_embedding",
        "norm_out": "conv_norm_out",
        "conv_out": "conv_out",
    }

    def block(ours, theirs, number):
        names = (
            ("norm_1", "norm1"),
            ("conv_1", "conv1"),
            ("embedding", "time_emb_proj"),
            ("norm_2", "norm2"),
            ("conv_2", "conv2"),
        )
        for name, their_name in (*names, ("skip", "conv_shortcut")):
            found[f"{ours}_{name}"] = f"{theirs}.resnets.{number}.{their_name}"
        for name, (their_name, _) in ATTENTION.items():
            found[f"{ours}_attention/{name}"] = f"{theirs}.attentions.{number}.{their_name}"

    for level in range(levels):
        down, up = f"down_blocks.{level}", f"up_blocks.{levels - 1 - level}"
        for number in range(blocks):
            block(f"down_{level}_{number}", down, number)
        for number in range(blocks + 1):
            block(f"up_{level}_{number}", up, number)
        found[f"down_{level}_stride"] = f"{down}.downsamplers.0.conv"
        found[f"up_{level}_conv"] = f"{up}.upsamplers.0.conv"
    for number in range(2):
        block(f"middle_{number}", "mid_block", number)
    for name, (their_name, _) in ATTENTION.items():
        found[f"middle_attention/{name}"] = f"mid_block.attentions.0.{their_name}"
    return found


def weights(network):
    """Dict from diffusers' name of each weight to the network's variable."""
    config = network.get_config()
    theirs, found = layers(len(config["channels"]), config["blocks"]), {}
    for layer in network.layers:
        for v in layer.weights:
            ours, _, kind = (layer.name + v.path.rpartition(layer.name)[2]).rpartition("/")
            found[f"{theirs[ours]}.{WEIGHT[kind]}"] = v
    return found


def renamed(name):
    """The name of a weight that the first versions of diffusers wrote, as later ones have it."""
    layer, _, kind = name.rpartition(".")
    parent, _, part = layer.rpartition(".")
    new = {old: new for new, old in ATTENTION.values()} if ".attentions." in name else {}
    return f"{parent}.{new[part]}.{kind}" if part in new else name


def ours_shape(name, shape):
    """The shape that kgen's weight has where diffusers' has ``shape``."""
    if name == CLASSES:
        return (shape[0] + 1, *shape[1:])
    return (*shape[2:], *shape[1::-1]) if len(shape) in (2, 4) else shape


def to_ours(name, value, sines_first):
    """A weight in kgen's arrangement: (out, in, h, w) to (h, w, in, out), (out, in) to (in, out)."""
    if name == CLASSES:
        return np.pad(value, ((0, 1), (0, 0)))  # no class: a row that no training has seen
    value = value.transpose(2, 3, 1, 0) if value.ndim == 4 else value.T
    return np.roll(value, len(value) // 2, axis=0) if name == FIRST and sines_first else value


def to_theirs(name, value, sinusoids):
    """The way back. diffusers counts steps from 0, so that cosines and sines of later times are turned into those of its own."""
    if name == FIRST:
        dim = len(value)
        shift = (sinusoids or {}).get("freq_shift", 0.0)
        angle = (sinusoids or {}).get("offset", 0.0) + 1.0
        angle = angle * np.exp(-np.log(10000.0) * np.arange(dim // 2) / (dim // 2 - shift))[:, None]
        cosines, sines = np.split(value.astype("float64"), 2)
        turned = (np.cos(angle) * cosines + np.sin(angle) * sines, np.cos(angle) * sines - np.sin(angle) * cosines)
        value = np.concatenate(turned).astype(value.dtype)
    if name == CLASSES:
        return value
    return np.ascontiguousarray(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value.T)
