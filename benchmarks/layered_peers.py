"""StyleGAN2 and a hierarchical VAE in plain torch, layer by layer as kgen has them."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks import peers, sizes

# StyleGAN2.


def _leaky(h):
    return F.leaky_relu(h, 0.2) * 2**0.5


def _unit(h):
    return h * torch.rsqrt(h.square().mean(1, keepdim=True) + 1e-8)


class _Equalized(nn.Module):
    """A dense layer, or a convolution where ``size`` is given, whose kernel is scaled where it is used."""

    def __init__(self, inputs, outputs, size=None, active=True, rate=1.0, bias=0.0):
        super().__init__()
        shape = (outputs, inputs) if size is None else (outputs, inputs, size, size)
        self.kernel = nn.Parameter(torch.randn(shape) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale, self.rate, self.active = rate / math.sqrt(math.prod(shape[1:])), rate, active

    def forward(self, h):
        kernel, bias = self.kernel * self.scale, self.bias * self.rate
        h = F.linear(h, kernel, bias) if kernel.ndim == 2 else F.conv2d(h, kernel, bias, padding=kernel.shape[-1] // 2)
        return _leaky(h) if self.active else h


class _Modulated(nn.Module):
    def __init__(self, inputs, outputs, size=3, colours=False):
        super().__init__()
        self.style = _Equalized(sizes.STYLE_LATENT, inputs, active=False, bias=1.0)
        self.kernel = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.noise = None if colours else nn.Parameter(torch.zeros(()))
        self.scale = 1 / math.sqrt(inputs * size * size)

    def forward(self, h, w):
        style, kernel = self.style(w), self.kernel * self.scale
        y = F.conv2d(h * style[:, :, None, None], kernel, padding=kernel.shape[-1] // 2)
        if self.noise is None:
            return y + self.bias[:, None, None]
        variance = style.square() @ kernel.square().sum((2, 3)).T
        y = y * torch.rsqrt(variance + 1e-8)[:, :, None, None]
        y = y + torch.randn(len(y), 1, *y.shape[2:]) * self.noise
        return _leaky(y + self.bias[:, None, None])


def _style_widths():
    levels = int(math.log2(sizes.STYLE_IMAGE[0] // 4))
    return [max(sizes.STYLE_WIDTH // 2 ** max(k - 2, 0), 8) for k in range(levels + 1)]


class _Synthesis(nn.Module):
    def __init__(self):
        super().__init__()
        widths, colours = _style_widths(), sizes.STYLE_IMAGE[-1]
        self.constants = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        self.stages = nn.ModuleList()
        for k, width in enumerate(widths):
            convs = [_Modulated(widths[max(k - 1, 0)], width)] + ([_Modulated(width, width)] if k else [])
            self.stages.append(nn.ModuleList([*convs, _Modulated(width, colours, 1, colours=True)]))

    def forward(self, ws):
        h, image, used = self.constants.expand(len(ws), -1, -1, -1), None, 0
        for k, (*convs, colours) in enumerate(self.stages):
            h = F.interpolate(h, scale_factor=2, mode="bilinear") if k else h
            for conv in convs:
                h, used = conv(h, ws[:, used]), used + 1
            shown = colours(h, ws[:, used])
            image = shown if image is None else F.interpolate(image, scale_factor=2, mode="bilinear") + shown
        return image


class _StyleDiscriminator(nn.Module):
    def __init__(self):
        super().__init__()
        widths = _style_widths()
        self.colours = _Equalized(sizes.STYLE_IMAGE[-1], widths[-1], 1)
        self.blocks = nn.ModuleList(
            nn.ModuleList(
                [
                    _Equalized(widths[k], widths[k], 3),
                    _Equalized(widths[k], widths[k - 1], 3),
                    _Equalized(widths[k], widths[k - 1], 1, active=False),
                ]
            )
            for k in reversed(range(1, len(widths)))
        )
        first = widths[0]
        self.last = nn.Sequential(
            _Equalized(first + 1, first, 3),
            nn.Flatten(),
            _Equalized(16 * first, first),
            _Equalized(first, 1, active=False),
        )

    def forward(self, x):
        h = self.colours(x)
        for one, two, skip in self.blocks:
            h = (F.avg_pool2d(two(one(h)), 2) + skip(F.avg_pool2d(h, 2))) * 0.5**0.5
        groups = h.reshape(-1, 4, *h.shape[1:])
        deviation = (groups.var(1, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3)).repeat_interleave(4)
        return self.last(torch.cat([h, deviation[:, None, None, None].expand(-1, 1, 4, 4)], 1))


def stylegan2_train(batch, steps, compiled=False):
    mapping = nn.Sequential(
        *[_Equalized(sizes.STYLE_LATENT, sizes.STYLE_LATENT, rate=0.01) for _ in range(sizes.STYLE_DEPTH)]
    )
    synthesis, discriminator = _Synthesis(), _StyleDiscriminator()
    depth = 2 * len(_style_widths())
    settings = {"lr": 2e-3, "betas": (0.0, 0.99)}
    g_opt = torch.optim.Adam([*mapping.parameters(), *synthesis.parameters()], **settings)
    d_opt = torch.optim.Adam(discriminator.parameters(), **settings)
    mean = torch.zeros(sizes.STYLE_LATENT)

    def samples(rows):
        w, other = (mapping(_unit(torch.randn(rows, sizes.STYLE_LATENT))) for _ in range(2))
        place = torch.where(torch.rand(rows) < 0.9, torch.randint(1, depth, (rows,)), depth)
        after = torch.arange(depth)[None] >= place[:, None]
        return synthesis(torch.where(after[..., None], other[:, None], w[:, None])), w

    def step(x):
        with torch.no_grad():
            fake, w = samples(len(x))
        mean.lerp_(w.mean(0), 0.005)
        d_loss = (F.softplus(-discriminator(x)) + F.softplus(discriminator(fake))).mean()
        d_opt.zero_grad()
        d_loss.backward()
        d_opt.step()
        g_loss = F.softplus(-discriminator(samples(len(x))[0])).mean()
        g_opt.zero_grad()
        g_loss.backward()
        g_opt.step()
        return d_loss.item() + g_loss.item()

    return peers.timed_steps(step, sizes.images(steps * batch, sizes.STYLE_IMAGE), batch)


# The hierarchical VAE.


class _Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.wide, self.narrow = nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, width, 1)

    def forward(self, h):
        return h + self.narrow(F.silu(self.wide(F.silu(h))))


def _strided(kind, inputs, outputs, factor):
    if factor == 1:
        return nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
    kernel = factor if factor > 2 else factor + 2
    return kind(inputs, outputs, kernel, stride=factor, padding=(kernel - factor) // 2)


class _Ladder(nn.Module):
    def __init__(self):
        super().__init__()
        latents, channels = sizes.LADDER_LATENTS, sizes.LADDER_CHANNELS
        side, image = sizes.VAE_IMAGE[0], sizes.VAE_IMAGE[-1]
        self.conv_in, self.up = nn.Conv2d(image, channels[-1], 3, padding=1), nn.ModuleList()
        below, width = side, channels[-1]
        for (s, _, _), c in reversed(list(zip(latents, channels[:-1], strict=True))):
            self.up.append(nn.Sequential(_strided(nn.Conv2d, width, c, below // s), _Residual(c)))
            below, width = s, c
        self.layers = nn.ModuleList()
        above = None
        for (s, _, z), c in zip(latents, channels[:-1], strict=True):
            parts = nn.ModuleDict({"enter": nn.Conv2d(z, c, 1), "merge": _Residual(c)})
            if above is None:
                parts["posterior"] = nn.Conv2d(c, 2 * z, 1)
            else:
                size, width = above
                larger = _strided(nn.ConvTranspose2d, width, c, s // size)
                parts["larger"], parts["prior"] = nn.Sequential(larger, _Residual(c)), nn.Conv2d(c, 2 * z, 1)
                parts["posterior"] = nn.Sequential(nn.Conv2d(2 * c, c, 1), _Residual(c), nn.Conv2d(c, 2 * z, 1))
            self.layers.append(parts)
            above = s, c
        size, width = above
        self.larger = _strided(nn.ConvTranspose2d, width, channels[-1], side // size)
        self.out = nn.Conv2d(channels[-1], image, 3, padding=1)

    def forward(self, x):
        """The output and the divergence of each row."""
        h, features = F.silu(self.conv_in(x)), []
        for part in self.up:
            h = part(h)
            features.insert(0, h)
        kl, h = 0.0, None
        for parts, seen in zip(self.layers, features, strict=True):
            prior = None
            if h is not None:
                h = parts["larger"](h)
                prior, seen = parts["prior"](h), torch.cat([h, seen], 1)
            mean, raw = parts["posterior"](seen).chunk(2, 1)
            scale = F.softplus(raw + 0.5413248546129181)
            u = mean + scale * torch.randn_like(scale)
            kl = kl + (0.5 * (mean.square() + scale.square() - 1) - scale.log()).sum((1, 2, 3))
            if prior is not None:
                loc, raw = prior.chunk(2, 1)
                u = loc + F.softplus(raw + 0.5413248546129181) * u
            entered = parts["enter"](u)
            h = parts["merge"](entered if h is None else h + entered)
        return self.out(F.silu(self.larger(h))), kl


def hierarchical_train(batch, steps, compiled=False):
    net = _Ladder()
    optimizer = torch.optim.Adam(net.parameters(), lr=sizes.LEARNING_RATE)

    def step(x):
        mean, kl = net(x)
        loss = (0.5 * ((x - mean) / sizes.VAE_SCALE).square().sum((1, 2, 3)) + kl).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return peers.timed_steps(step, sizes.images(steps * batch, sizes.VAE_IMAGE), batch)
