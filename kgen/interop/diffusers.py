"""Diffusion models of the library diffusers: folders of a `UNet2DModel`, alone or in a `DDPMPipeline`, to a ``DDPM`` and back.

Time: diffusers counts steps 0 .. N - 1; step k is kgen's t = (k + 1)/N, and t = 0 is clean data in both.

What a folder says is honoured or refused by the name of its key, before any weight is read: attention at some levels, in the middle or nowhere;
padding of strided convolutions; order, shift and scale of the time's sines; epsilon and groups; classes; `scale_shift`; the schedules `linear`,
`scaled_linear`, `squaredcos_cap_v2` and `trained_betas`; all three predictions; clipping; `leading` and `trailing` steps; `fixed_small` and
`fixed_large`. A `DDIMScheduler` with `clip_sample` becomes ``clip="data"``; kgen's own ``clip=True`` is `use_clipped_model_output=True` there, and
saving such a model with ``DDIMSampler`` says so.

Reference:
    von Platen et al., Diffusers: state-of-the-art diffusion models, 2022, https://github.com/huggingface/diffusers.
"""

import json
import pathlib

import numpy as np
import safetensors
import safetensors.numpy
from keras import ops

from kgen.core import presets
from kgen.core.presets import allowlist, building, tensors
from kgen.core.presets.folder import LARGEST
from kgen.core.presets.folder import WEIGHTS as PRESET_WEIGHTS
from kgen.core.saving import aside
from kgen.interop import configurations, schedulers, unet2d

INDEX, UNET, SCHEDULER = "model_index.json", "unet", "scheduler"
CONFIG, SCHEDULER_CONFIG, WEIGHTS = "config.json", "scheduler_config.json", "diffusion_pytorch_model.safetensors"
PIPELINES = ("DDPMPipeline", "DDIMPipeline")
LARGEST_CONFIG = 2**20  # bytes


def load(name, *, scheduler=None, ema=0.999):
    """Makes a ``DDPM`` of a folder that diffusers wrote.

    Args:
        name: a folder of a `DDPMPipeline`, a `DDIMPipeline` or a `UNet2DModel`, or "hf://user/repo@revision" of one.
        scheduler: for a network without a scheduler: what would stand in `scheduler_config.json`, a dict.
        ema: as in ``DDPM``; the average starts from the same weights.
    Returns:
        ``DDPM``, ready to sample: by ``AncestralSampler`` for a `DDPMScheduler`, by ``DDIMSampler`` for a `DDIMScheduler`. Of a network with
        classes each row needs its label: its place for "no class" was never trained.
    Raises:
        FileNotFoundError, OSError: a file is not there, or cannot be reached.
        ValueError: a key or a weight is not as kgen has it; the message names it, what was expected and what was received.
    """
    from kgen.diffusion import DDPM
    from kgen.networks import UNet

    source = _Source(name)
    index = source.json(INDEX, required=False)
    of = None if index is None else _scheduler_class(index, source.where(INDEX))
    config, where = source.json(f"{UNET}/{CONFIG}", CONFIG)
    if config.get("_class_name") is not None:
        configurations.one_of(config, where, "_class_name", ("UNet2DModel",))
    if scheduler is None:
        scheduler, scheduler_where = source.json(f"{SCHEDULER}/{SCHEDULER_CONFIG}", SCHEDULER_CONFIG)
    else:
        scheduler_where = "scheduler"
    process = schedulers.arguments(scheduler, scheduler_where, of)
    arguments, sines_first = unet2d.arguments(config, where, process["schedule"].num_steps)
    path, where = source.weights()
    header = {unet2d.renamed(k): shape for k, (shape, _) in tensors.header(path, where).items()}
    kinds = {k: (unet2d.ours_shape(k, shape), "float32") for k, shape in header.items()}
    try:
        with building.only_what_is_in(kinds):
            network = UNet(**arguments)
    except ValueError as error:
        raise ValueError(f"{where}: it does not hold the network of {CONFIG}: {error}") from error
    _read(network, path, where, kinds, sines_first)
    shape, classes = arguments["shape"], arguments["num_classes"]
    return DDPM(shape, network=network, num_classes=classes, label_dropout=0.0, ema=ema, **process)


def save(model, folder):
    """Writes a ``DDPM`` as a folder that diffusers loads: `DDPMPipeline.from_pretrained`, `UNet2DModel.from_pretrained(..., subfolder="unet")`.

    The weights are the averaged ones, where an average is kept. A network with classes gets no `model_index.json`, for diffusers' pipelines pass
    no label; where labels were hidden in training, its last class is "no class". diffusers keeps no number of steps: it is given to the pipeline.

    Args:
        model: a ``DDPM`` with a ``UNet``.
        folder: the folder, which must not exist.
    Returns:
        the folder, a ``pathlib.Path``.
    Raises:
        FileExistsError: the folder exists.
        TypeError, ValueError: diffusers has not what the model is made of; the message names it.
    """
    from kgen.diffusion import DDPM
    from kgen.networks import UNet

    folder = pathlib.Path(folder)
    if folder.exists():
        raise FileExistsError(f"{folder} exists, and nothing is overwritten: name another folder, or remove it first.")
    if not isinstance(model, DDPM):
        raise TypeError(f"model: expected a DDPM, received {type(model).__name__}.")
    network = model.network_for(training=False)
    if not isinstance(network, UNet):
        raise TypeError(f"network: expected a UNet, received {type(network).__name__}.")
    scheduler = schedulers.configuration(model)
    config = unet2d.configuration(network, model.schedule.num_steps)
    sinusoids = network.get_config()["sinusoids"]
    arrays = {
        name: unet2d.to_theirs(name, ops.convert_to_numpy(ops.cast(v, "float32")), sinusoids)
        for name, v in unet2d.weights(network).items()
    }
    if unet2d.CLASSES in arrays:
        if not model.label_dropout:  # no class was never trained
            arrays[unet2d.CLASSES] = arrays[unet2d.CLASSES][:-1]
        config["num_class_embeds"] = len(arrays[unet2d.CLASSES])
    index = {
        "_class_name": scheduler["_class_name"].replace("Scheduler", "Pipeline"),
        SCHEDULER: ["diffusers", scheduler["_class_name"]],
        UNET: ["diffusers", "UNet2DModel"],
    }
    files = {f"{UNET}/{CONFIG}": config, f"{SCHEDULER}/{SCHEDULER_CONFIG}": scheduler}
    with aside(folder) as temporary:
        for part in (UNET, SCHEDULER):
            (temporary / part).mkdir(parents=True)
        for name, value in (files if config["num_class_embeds"] else {INDEX: index, **files}).items():
            (temporary / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
        arrays = {k: np.ascontiguousarray(v) for k, v in arrays.items()}
        # Not by save_file, whose files are for their owner alone to read.
        (temporary / UNET / WEIGHTS).write_bytes(safetensors.numpy.save(arrays, metadata={"format": "pt"}))
    return folder


class _Source:
    """The files of a folder, or of a repository of Hugging Face."""

    def __init__(self, name):
        self.name = str(name)
        if presets.is_address(name):
            self._get = presets.repository(self.name)
        else:
            folder = pathlib.Path(name)
            if not folder.is_dir():
                raise FileNotFoundError(
                    f"{folder} is no folder. Expected one that diffusers wrote, or 'hf://user/repo@revision'."
                )
            self._get = lambda file: path if (path := folder / file).is_file() else None

    def where(self, file):
        return f"{self.name}/{file}"

    def json(self, *files, required=True):
        """The object in the first of these files that is there, and what it is called; the object or None where none is required."""
        for file in files:
            path = self._get(file)
            if path is not None:
                _small(path, LARGEST_CONFIG, self.where(file))
                value = allowlist.parse(path.read_bytes(), self.where(file))
                return (value, self.where(file)) if required else value
        if not required:
            return None
        hint = ""
        if files[-1] == SCHEDULER_CONFIG:
            hint = ' It says how the network was trained: put it there, or pass scheduler=, {"_class_name": "DDPMScheduler"} for its defaults.'
        raise FileNotFoundError(f"{self.name}: expected {' or '.join(files)}; neither is there.{hint}")

    def weights(self):
        """The file of weights, and what it is called."""
        for file in (f"{UNET}/{WEIGHTS}", WEIGHTS):
            path = self._get(file)
            if path is not None:
                _small(path, LARGEST[PRESET_WEIGHTS], self.where(file))
                return path, self.where(file)
        raise FileNotFoundError(
            f"{self.name}: expected {UNET}/{WEIGHTS} or {WEIGHTS}; neither is there. Files that end in .bin are pickles, which run code, and "
            "are not opened: have diffusers write the other kind, by save_pretrained(safe_serialization=True)."
        )


def _small(path, most, where):
    if path.stat().st_size > most:
        raise ValueError(f"{where}: expected at most {most} bytes, received {path.stat().st_size}.")


def _scheduler_class(index, where):
    """The scheduler's class, of a `model_index.json` that describes a network and a scheduler and nothing else."""
    configurations.one_of({"_class_name": index.get("_class_name")}, where, "_class_name", PIPELINES)
    for part, names in ((UNET, ("UNet2DModel",)), (SCHEDULER, schedulers.CLASSES)):
        value = index.get(part)
        received = value[-1] if isinstance(value, list) and value else value
        configurations.one_of({part: received}, where, part, names)
    unknown = [k for k in index if k not in (UNET, SCHEDULER) and not k.startswith("_")]
    if unknown:
        raise ValueError(f"{where}: {unknown[0][:80]}: expected {UNET} and {SCHEDULER} alone, received this part too.")
    return "DDIMScheduler" if index["_class_name"] == "DDIMPipeline" else index[SCHEDULER][-1]


def _read(network, path, where, kinds, sines_first):
    """Puts the weights of a file into a network, if its names and shapes are those of the network."""
    variables = unet2d.weights(network)
    here, there = {k: tuple(v.shape) for k, v in variables.items()}, {k: shape for k, (shape, _) in kinds.items()}
    if here != there:
        name = next(k for k in [*here, *there] if here.get(k) != there.get(k))
        shapes = (here.get(name, "nothing"), there.get(name, "nothing"))
        raise ValueError(
            f"{where}: {name}: the configuration makes {shapes[0]}, the file holds {shapes[1]} (in kgen's order of axes)."
        )
    with safetensors.safe_open(path, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118 (not a dict)
            ours = unet2d.renamed(name)
            variables[ours].assign(unet2d.to_ours(ours, file.get_tensor(name).astype("float32"), sines_first))
