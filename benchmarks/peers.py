"""The peers: diffusers' ``UNet2DModel`` and a plain torch VAE, in the loops that their users write."""

import math
import time

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
from torch import nn

from benchmarks import sizes, weights


def load(path):
    """The arrays of a reference file, and the weights in it by name."""
    with np.load(path) as file:
        arrays = {k: file[k] for k in file.files}
    return arrays, {k.removeprefix("weight:"): v for k, v in arrays.items() if k.startswith("weight:")}


def _first(image):
    """(..., H, W, C) numpy to (..., C, H, W) torch."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, -3)))


def _there(tensor):
    """On the device that torch computes on, as ``torch.set_default_device`` says."""
    return tensor.to(torch.get_default_device())


def _last(tensor):
    return np.moveaxis(tensor.cpu().numpy(), -3, -1)


# Diffusion.


def unet(size, reference):
    """diffusers' U-Net of ``sizes.UNETS[size]`` with kgen's weights."""
    s = sizes.UNETS[size]
    if not any(s.attention):
        raise ValueError("attention: diffusers always has it in the middle, kgen only where a level has it.")
    net = UNet2DModel(
        sample_size=s.shape[0],
        in_channels=s.shape[-1],
        out_channels=s.shape[-1],
        block_out_channels=s.channels,
        layers_per_block=s.blocks,
        down_block_types=[("AttnDownBlock2D" if a else "DownBlock2D") for a in s.attention],
        up_block_types=[("AttnUpBlock2D" if a else "UpBlock2D") for a in reversed(s.attention)],
        norm_num_groups=s.groups,
        attention_head_dim=s.head_dim,
    )
    weights.to_diffusers(load(reference)[1], s, net)
    return net


def _compiled(program):
    """``torch.compile`` for one shape, free of what an earlier job left in its caches."""
    torch.compiler.reset()
    return torch.compile(program, dynamic=False)


def timed_steps(step, x, batch):
    """A job that runs training steps over prepared batches and returns the seconds per step."""
    batches = _first(x).split(batch)

    def run(steps):
        total = 0.0
        start = time.perf_counter()
        for i in range(steps):
            total += step(_there(batches[i]))
        total = float(total)  # waits for a GPU
        seconds = time.perf_counter() - start
        if not math.isfinite(total):
            raise RuntimeError(f"The loss is not finite: {total}")
        return seconds / steps

    return run


def ddpm_train(size, batch, steps, reference, compiled=False):
    net = unet(size, reference).train()
    net = _compiled(net) if compiled else net
    optimizer = torch.optim.Adam(net.parameters(), lr=sizes.LEARNING_RATE)
    scheduler = DDPMScheduler(sizes.TRAIN_STEPS, beta_start=sizes.BETA_START, beta_end=sizes.BETA_END)

    def step(x):
        noise = torch.randn_like(x)
        t = torch.randint(0, sizes.TRAIN_STEPS, (len(x),))
        loss = F.mse_loss(net(scheduler.add_noise(x, noise, t), t, return_dict=False)[0], noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return timed_steps(step, sizes.images(steps * batch, sizes.UNETS[size].shape), batch)


@torch.inference_mode()
def _ddim(net, x, exact=False):
    """DDIM without noise, from x at the last time to images (B, C, H, W).

    diffusers counts times from 0, kgen from 1: where alpha_bar is 1 - beta_1 the network sees 0 in one, 1 in the other.
    Where it has clipped the image, diffusers keeps the network's noise, while kgen takes the noise that belongs to the
    clipped image. ``exact`` does both as kgen.
    """
    scheduler = DDIMScheduler(
        sizes.TRAIN_STEPS,
        beta_start=sizes.BETA_START,
        beta_end=sizes.BETA_END,
        timestep_spacing="trailing",
        clip_sample=True,
    )
    scheduler.set_timesteps(sizes.SAMPLING_STEPS)
    for t in scheduler.timesteps:
        output = net(x, t + 1 if exact else t, return_dict=False)[0]
        x = scheduler.step(output, t, x, eta=0.0, use_clipped_model_output=exact, return_dict=False)[0]
    return x


def ddpm_sample(size, batch, reference, steps=None, compiled=False):
    net = unet(size, reference).eval()
    net = _compiled(net) if compiled else net
    height, width, channels = sizes.UNETS[size].shape

    def run(_):
        start = time.perf_counter()
        generator = torch.Generator(torch.get_default_device()).manual_seed(0)
        x = torch.randn((batch, channels, height, width), generator=generator)
        _last(_ddim(net, x))
        return time.perf_counter() - start

    return run


def ddpm_outputs(size, reference):
    """What kgen wrote in ``ddpm.reference``, computed by the peer."""
    arrays, _ = load(reference)
    net = unet(size, reference).eval()
    with torch.inference_mode():
        out = net(_there(_first(arrays["x"])), _there(torch.from_numpy(arrays["step"])), return_dict=False)[0]
    sample = _ddim(net, _there(_first(arrays["noise"])), exact=True)
    return {"network output": _last(out), "sample": _last(sample)}


# The VAE.


class TorchVAE(nn.Module):
    """The architecture of the VAE's networks, as a torch user writes it."""

    def __init__(self):
        super().__init__()
        channels, height = sizes.VAE_CHANNELS, sizes.VAE_IMAGE[0] >> len(sizes.VAE_CHANNELS)
        flat = height * height * channels[-1]
        down, width = [], sizes.VAE_IMAGE[-1]
        for c in channels:
            down += [nn.Conv2d(width, c, 3, padding=1), nn.SiLU(), nn.Conv2d(c, c, 3, stride=2, padding=1), nn.SiLU()]
            width = c
        down += [
            nn.Flatten(),
            nn.Linear(flat, sizes.VAE_DENSE),
            nn.SiLU(),
            nn.Linear(sizes.VAE_DENSE, 2 * sizes.VAE_LATENT),
        ]
        up = [nn.Linear(sizes.VAE_LATENT, sizes.VAE_DENSE), nn.SiLU(), nn.Linear(sizes.VAE_DENSE, flat), nn.SiLU()]
        up.append(nn.Unflatten(1, (channels[-1], height, height)))
        for c in reversed(channels):
            up += [
                nn.ConvTranspose2d(width, c, 4, stride=2, padding=1),
                nn.SiLU(),
                nn.Conv2d(c, c, 3, padding=1),
                nn.SiLU(),
            ]
            width = c
        up.append(nn.Conv2d(width, sizes.VAE_IMAGE[-1], 3, padding=1))
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)

    def loss(self, x):
        """The negative ELBO, a mean over the batch, in nats."""
        loc, raw = self.encoder(x).chunk(2, dim=-1)
        scale = F.softplus(raw + 0.5413248546129181) + 1e-6
        mean = self.decoder(loc + scale * torch.randn_like(loc))
        error = ((x - mean) / sizes.VAE_SCALE).square() / 2 + math.log(sizes.VAE_SCALE) + math.log(2 * math.pi) / 2
        kl = (loc.square() + scale.square() - 1) / 2 - scale.log()
        return (error.flatten(1).sum(1) + kl.sum(1)).mean()


def vae(reference):
    net, (_, values) = TorchVAE(), load(reference)
    parts = [
        {k.removeprefix(f"{p}/"): v for k, v in values.items() if k.startswith(f"{p}/")} for p in ("encoder", "decoder")
    ]
    weights.to_torch_vae(*parts, sizes.VAE_CHANNELS, net)
    return net


def vae_train(batch, steps, reference, compiled=False):
    net = vae(reference).train()
    loss_of = _compiled(net.loss) if compiled else net.loss
    optimizer = torch.optim.Adam(net.parameters(), lr=sizes.LEARNING_RATE)

    def step(x):
        loss = loss_of(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return timed_steps(step, sizes.images(steps * batch, sizes.VAE_IMAGE), batch)


@torch.inference_mode()
def vae_outputs(reference):
    """What kgen wrote in ``vae.reference``, computed by the peer, which sees mirrored images (``to_torch_vae``)."""
    arrays, _ = load(reference)
    net = vae(reference).eval()
    mirrored = arrays["x"][:, ::-1, ::-1]
    decoded = _last(net.decoder(torch.from_numpy(arrays["z"])))[:, ::-1, ::-1]
    return {"encoder output": net.encoder(_first(mirrored)).numpy(), "decoder output": decoded}
