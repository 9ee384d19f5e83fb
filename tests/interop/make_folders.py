"""Makes the folders beside this file, by diffusers itself: ``KERAS_BACKEND=torch python tests/interop/make_folders.py`` (needs diffusers and torch).

Each has random weights in half precision, and ``expected.npz``: a network's inputs and outputs, and runs of ten steps from a noise: by DDIM, where
the noise is that of clipped data and where it is the network's, and by DDPM with the noise of kgen's row seeds.
Then checks that diffusers loads what kgen writes and computes the same, which tests without diffusers cannot.
"""

import json
import pathlib
import shutil
import sys
import tempfile

import keras
import numpy as np
import safetensors.numpy
import torch
from diffusers import DDIMScheduler, DDPMPipeline, DDPMScheduler, UNet2DModel
from diffusers.schedulers import scheduling_ddpm

from kgen.core import random
from kgen.diffusion.samplers import DDIMSampler, noise_like

HERE = pathlib.Path(__file__).parent
SMALL = {"sample_size": 8, "layers_per_block": 1, "in_channels": 1, "out_channels": 1}
STEPS = 10


def network(**config):
    """A network with random weights, biases and scales too, as half precision keeps them."""
    torch.manual_seed(0)
    made = UNet2DModel(**{**SMALL, **config}).eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if weight.ndim == 1:
                weight += 0.1 * torch.randn_like(weight)
            if name == "conv_out.weight":
                weight *= 3.0
            weight.copy_(weight.half().float())
    return made


def run(unet, scheduler, labels, noise, clipped=True):
    """A sample by ten steps of DDIM, where the noise is that of clipped data, or the network's."""
    ddim = DDIMScheduler.from_config(scheduler.config)
    ddim.set_timesteps(STEPS)
    x = noise
    for t in ddim.timesteps:
        x = ddim.step(unet(x, t, labels).sample, t, x, eta=0.0, use_clipped_model_output=clipped).prev_sample
    return x


def run_ddpm(unet, scheduler, labels, x):
    """A sample by ten steps of DDPM, which adds what kgen's row seeds 0 draw."""
    ddpm = DDPMScheduler.from_config(scheduler.config)
    ddpm.set_timesteps(STEPS)
    for i, t in enumerate(ddpm.timesteps):
        added = noise_like(keras.ops.zeros((len(x), 8, 8, 1)), random.fold_in(np.zeros((len(x), 2), "int32"), i + 1))
        scheduling_ddpm.randn_tensor = lambda *a, added=added, **k: added.cpu().permute(0, 3, 1, 2)
        x = ddpm.step(unet(x, t, labels).sample, t, x).prev_sample
    return x


def numbers(unet, scheduler):
    """Inputs and outputs, channels last."""
    generator = torch.Generator().manual_seed(1)
    x, noise = (torch.randn((3, 1, 8, 8), generator=generator) for _ in range(2))
    t, labels = torch.tensor([0, 7, 900]) % scheduler.config.num_train_timesteps, None
    found = {}
    if unet.config.num_class_embeds:
        labels = torch.tensor([2, 0, 1])
        found["labels"] = labels.numpy().astype("int32")
    with torch.no_grad():
        tensors = {
            "x": x,
            "output": unet(x, t, labels).sample,
            "noise": noise,
            "sample": run(unet, scheduler, labels, noise),
            "sample_of_its_noise": run(unet, scheduler, labels, noise, clipped=False),
        }
        if isinstance(scheduler, DDPMScheduler):
            tensors["sample_ddpm"] = run_ddpm(unet, scheduler, labels, noise)
    return {**found, "t": t.numpy(), **{k: v.permute(0, 2, 3, 1).numpy() for k, v in tensors.items()}}


def plain():
    """A network alone with classes, and scales and shifts; the scheduler beside it, of another number of steps."""
    unet = network(
        block_out_channels=(6, 8),
        norm_num_groups=2,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        add_attention=False,
        num_class_embeds=3,
        resnet_time_scale_shift="scale_shift",
    )
    # By keyword: `from_config` takes what stands by position for a default, and drops it.
    betas = {"num_train_timesteps": 200, "beta_start": 0.0005, "beta_end": 0.08}
    return unet, DDIMScheduler(**betas, prediction_type="v_prediction", clip_sample=False, timestep_spacing="trailing")


def attention():
    """A pipeline with attention in several heads, padding behind, and the capped cosine schedule."""
    unet = network(
        block_out_channels=(6, 8),
        norm_num_groups=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=4,
        downsample_padding=0,
    )
    return unet, DDPMScheduler(beta_schedule="squaredcos_cap_v2")


def older():
    """As the first versions wrote pipelines: all in one folder, other names in attentions, sines first, one head, no key that came later."""
    unet = network(
        block_out_channels=(6, 8),
        norm_num_groups=2,
        norm_eps=1e-6,
        down_block_types=("AttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D"),
        attention_head_dim=None,
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
    )
    return unet, DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", variance_type="fixed_large"
    )


KEPT = """
    _class_name act_fn attention_head_dim block_out_channels center_input_sample down_block_types downsample_padding flip_sin_to_cos freq_shift
    in_channels layers_per_block mid_block_scale_factor norm_eps norm_num_groups out_channels sample_size time_embedding_type up_block_types
    beta_end beta_schedule beta_start clip_sample num_train_timesteps trained_betas variance_type scheduler unet
"""
OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def age(folder):
    """Turns a pipeline's folder into what the first versions wrote."""
    for file in [*folder.glob("unet/*"), *folder.glob("scheduler/*")]:
        shutil.move(file, folder / file.name)
    shutil.rmtree(folder / "unet")
    shutil.rmtree(folder / "scheduler")
    for file in folder.glob("*.json"):
        config = {k: v for k, v in json.loads(file.read_text()).items() if k in KEPT.split()}
        file.write_text(json.dumps(config, indent=2) + "\n")
    path = folder / "diffusion_pytorch_model.safetensors"
    weights, new = safetensors.numpy.load_file(path), {}
    for name, value in weights.items():
        for now, then in OLD_NAMES.items():
            name = name.replace(f".{now}.", f".{then}.")
        new[name] = value
    safetensors.numpy.save_file(new, path, metadata={"format": "pt"})


def make():
    for make_one in (plain, attention, older):
        unet, scheduler = make_one()
        folder = HERE / make_one.__name__
        shutil.rmtree(folder, ignore_errors=True)
        expected = numbers(unet, scheduler)
        if make_one is plain:
            unet.half().save_pretrained(folder)
            scheduler.save_pretrained(folder)
        else:
            DDPMPipeline(unet.half(), scheduler).save_pretrained(folder)
        if make_one is older:
            age(folder)
        np.savez_compressed(folder / "expected.npz", **expected)
        size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        print(f"{folder.name}: {size / 1000:.0f} kB")


def error(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max())


def check():
    """What kgen writes, of these folders and of a model of its own, is loaded by diffusers and computes the same."""
    from kgen.diffusion import DDPM
    from kgen.interop import diffusers
    from kgen.networks import UNet

    own = UNet((8, 8, 1), (8, 16), 1, (8,), head_dim=4, groups=4)
    for weight in own.weights:
        weight.assign(weight + 0.1 * keras.random.normal(weight.shape, seed=3))
    models = {name: diffusers.load(HERE / name, ema=None) for name in ("plain", "attention", "older")}
    models["of kgen"] = DDPM((8, 8, 1), network=own)
    with tempfile.TemporaryDirectory() as there:
        for name, model in models.items():
            folder = diffusers.save(model, pathlib.Path(there, name.replace(" ", "_")))
            if name == "plain":
                unet, scheduler = (
                    UNet2DModel.from_pretrained(folder / "unet"),
                    DDIMScheduler.from_pretrained(folder / "scheduler"),
                )
            else:
                pipeline = DDPMPipeline.from_pretrained(folder)
                unet, scheduler = pipeline.unet, pipeline.scheduler
            found = numbers(unet.eval(), scheduler)
            if name == "of kgen":
                sampler = DDIMSampler(STEPS)
                t = (found["t"].astype("float32") + 1) / model.schedule.num_steps
                expected = {
                    "output": keras.ops.convert_to_numpy(
                        model.network([keras.ops.convert_to_tensor(v) for v in (found["x"], t)])
                    ),
                    "sample": keras.ops.convert_to_numpy(
                        model.sample_rows(
                            np.zeros((3, 2), "int32"), sampler=sampler, x=keras.ops.convert_to_tensor(found["noise"])
                        )
                    ),
                }
            else:
                expected = np.load(HERE / name / "expected.npz")
            print(
                f"{name}: relative error of outputs {error(found['output'], expected['output']):.1e}, of samples ",
                end="",
            )
            print(f"{error(found['sample'], expected['sample']):.1e}")


if __name__ == "__main__":
    if "--check" not in sys.argv:
        make()
    check()
