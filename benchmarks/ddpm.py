"""kgen's side of the diffusion comparison: a training step inside ``fit``, and ``sample``."""

import time

import keras
import numpy as np

from benchmarks import sizes, weights
from benchmarks.timing import FitJob
from kgen.core import random
from kgen.diffusion import DDPM, DDIMSampler, LinearSchedule
from kgen.networks import UNet


def network(size):
    """The U-Net of ``sizes.UNETS[size]`` with its weights, and these by name."""
    s = sizes.UNETS[size]
    unet = UNet(
        s.shape, channels=s.channels, blocks=s.blocks, attention=s.attention, head_dim=s.head_dim, groups=s.groups
    )
    return unet, weights.randomise(unet)


def model(size):
    unet, _ = network(size)
    sampler = DDIMSampler(sizes.SAMPLING_STEPS)
    schedule = LinearSchedule(sizes.BETA_START, sizes.BETA_END, sizes.TRAIN_STEPS)
    return DDPM(sizes.UNETS[size].shape, network=unet, schedule=schedule, prediction="noise", sampler=sampler, ema=None)


def train(size, batch, steps, jit_compile="auto"):
    ddpm = model(size)
    ddpm.compile(optimizer=keras.optimizers.Adam(sizes.LEARNING_RATE), jit_compile=jit_compile)
    return FitJob(ddpm, sizes.images((steps + 1) * batch, ddpm.shape), batch)


def sample(size, batch, steps=None):
    """``model.sample``, from the seed to the numpy array."""
    ddpm = model(size)

    def run(_):
        start = time.perf_counter()
        ddpm.sample(batch, seed=0)
        return time.perf_counter() - start

    return run


def reference(size, path):
    """Writes weights, inputs and what comes out to an ``.npz`` file, for the peers to be compared with."""
    ddpm = model(size)
    unet, values = network(size)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, *ddpm.shape)).astype("float32")
    step = np.array([1, 20, 500, sizes.TRAIN_STEPS])
    out = unet(
        [keras.ops.convert_to_tensor(x), keras.ops.convert_to_tensor((step / sizes.TRAIN_STEPS).astype("float32"))]
    )
    noise = random.normal(random.row_seeds(0, 2), ddpm.shape, draw=0)
    samples = ddpm.sample(2, seed=0)
    arrays = {"x": x, "step": step, "noise": keras.ops.convert_to_numpy(noise)}
    outputs = {"network output": keras.ops.convert_to_numpy(out), "sample": samples}
    np.savez(path, **arrays, **outputs, **{f"weight:{k}": v for k, v in values.items()})
    return list(outputs)
