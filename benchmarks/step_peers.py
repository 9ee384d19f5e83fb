"""Their peers: GANs and a hierarchical VAE in plain torch, pythae's VAE and VQ-VAE, zuko's neural spline flow."""

import time

import numpy as np
import torch
import torch.nn.functional as F
import zuko
from pythae.models import VAE, VQVAE, VAEConfig, VQVAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from torch import nn

from benchmarks import peers, sizes
from benchmarks.layered_peers import hierarchical_train, stylegan2_train

__all__ = [
    "flow_sample",
    "flow_train",
    "gan_train",
    "hierarchical_train",
    "stylegan2_train",
    "vae_train",
    "vqvae_train",
]

# The GAN.


def _discriminator(widths):
    layers, width = [], sizes.VAE_IMAGE[-1]
    for i, out in enumerate(widths):
        layers += [nn.Conv2d(width, out, 5, stride=2, padding=2, bias=i == 0)]
        layers += ([nn.BatchNorm2d(out)] if i else []) + [nn.LeakyReLU(0.2)]
        width = out
    side = sizes.VAE_IMAGE[0] >> len(widths)
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(side * side * width, 1))


def _generator(widths):
    side, width = sizes.VAE_IMAGE[0] >> len(widths), widths[-1]
    layers = [nn.Linear(sizes.GAN_LATENT, side * side * width, bias=False), nn.Unflatten(1, (width, side, side))]
    for i, out in reversed(list(enumerate([sizes.VAE_IMAGE[-1], *widths[:-1]]))):
        layers += [nn.BatchNorm2d(width), nn.ReLU()]
        layers += [nn.ConvTranspose2d(width, out, 5, stride=2, padding=2, output_padding=1, bias=i == 0)]
        width = out
    return nn.Sequential(*layers, nn.Tanh())


def gan_train(batch, steps, compiled=False):
    g, d = _generator(sizes.GAN_WIDTHS), _discriminator(sizes.GAN_WIDTHS)
    g_opt, d_opt = (torch.optim.Adam(net.parameters(), lr=sizes.LEARNING_RATE) for net in (g, d))

    def step(x):
        fake = g(torch.randn(len(x), sizes.GAN_LATENT))
        d_loss = (F.softplus(-d(x)) + F.softplus(d(fake.detach()))).mean()
        d_opt.zero_grad()
        d_loss.backward()
        d_opt.step()
        g_loss = F.softplus(-d(g(torch.randn(len(x), sizes.GAN_LATENT)))).mean()
        g_opt.zero_grad()
        g_loss.backward()
        g_opt.step()
        return d_loss.item() + g_loss.item()

    return peers.timed_steps(step, sizes.images(steps * batch, sizes.VAE_IMAGE), batch)


# pythae.


class _Encoder(BaseEncoder):
    def __init__(self, net, latent=None):
        super().__init__()
        self.net, self.latent_dim, self.split = net, latent, latent is not None

    def forward(self, x):
        out = self.net(x)
        if not self.split:
            return ModelOutput(embedding=out)
        loc, log_variance = out.chunk(2, dim=-1)
        return ModelOutput(embedding=loc, log_covariance=log_variance)


class _Decoder(BaseDecoder):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, z):
        return ModelOutput(reconstruction=self.net(z))


class _Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.net = nn.Sequential(
            nn.SiLU(), nn.Conv2d(width, width, 3, padding=1), nn.SiLU(), nn.Conv2d(width, width, 1)
        )

    def forward(self, x):
        return x + self.net(x)


def _pythae_job(model, batch, steps):
    optimizer = torch.optim.Adam(model.parameters(), lr=sizes.LEARNING_RATE)

    def step(x):
        loss = model({"data": x}).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return peers.timed_steps(step, sizes.images(steps * batch, sizes.VAE_IMAGE), batch)


def vae_train(batch, steps, compiled=False):
    nets = peers.TorchVAE()
    config = VAEConfig(input_dim=(1, *sizes.VAE_IMAGE[:2]), latent_dim=sizes.VAE_LATENT, reconstruction_loss="mse")
    return _pythae_job(VAE(config, _Encoder(nets.encoder, sizes.VAE_LATENT), _Decoder(nets.decoder)), batch, steps)


def vqvae_train(batch, steps, compiled=False):
    a, b = sizes.VAE_CHANNELS
    image = sizes.VAE_IMAGE[-1]
    down = [nn.Conv2d(image, a, 4, stride=2, padding=1), nn.SiLU(), nn.Conv2d(a, b, 4, stride=2, padding=1)]
    encoder = nn.Sequential(*down, _Residual(b), _Residual(b), nn.SiLU(), nn.Conv2d(b, sizes.VQ_DIM, 1))
    up = [nn.SiLU(), nn.ConvTranspose2d(b, b, 4, stride=2, padding=1)]
    up += [nn.SiLU(), nn.ConvTranspose2d(b, a, 4, stride=2, padding=1), nn.SiLU(), nn.Conv2d(a, image, 3, padding=1)]
    decoder = nn.Sequential(nn.Conv2d(sizes.VQ_DIM, b, 3, padding=1), _Residual(b), _Residual(b), *up)
    config = VQVAEConfig(
        input_dim=(1, *sizes.VAE_IMAGE[:2]),
        latent_dim=sizes.VQ_DIM,
        num_embeddings=sizes.VQ_CODES,
        use_ema=True,
        decay=0.99,
    )
    return _pythae_job(VQVAE(config, _Encoder(encoder), _Decoder(decoder)), batch, steps)


# zuko.


def _flow():
    s = sizes.FLOW
    return zuko.flows.NSF(2, transforms=s["layers"], bins=s["bins"], hidden_features=s["widths"])


def flow_train(batch, steps, compiled=False):
    flow = _flow()
    optimizer = torch.optim.Adam(flow.parameters(), lr=sizes.LEARNING_RATE)
    batches = torch.from_numpy(np.random.default_rng(0).standard_normal((steps * batch, 2)).astype("float32")).split(
        batch
    )

    def run(count):
        start = time.perf_counter()
        for x in batches[:count]:
            loss = -flow().log_prob(x).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
        return (time.perf_counter() - start) / count

    return run


def flow_sample(batch):
    flow = _flow()

    def run(_):
        start = time.perf_counter()
        with torch.no_grad():
            flow().sample((batch,)).numpy()
        return time.perf_counter() - start

    return run
