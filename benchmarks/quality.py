"""Time to quality: the same U-Net, data and minutes for kgen's defaults and for a plain diffusers loop.

    python benchmarks/quality.py --data digits --minutes 5             both, each in a process of its own, in turns; prints a table
    python benchmarks/quality.py --data digits --minutes 5 --who kgen  one of them; prints a line of JSON

Both train for so many minutes after their first step, which compiles, without classes, in batches of 64, and keep an average of the weights.
kgen: ``DDPM(shape).compile()`` and its own sampler. diffusers: ``UNet2DModel`` of the same sizes, noise prediction, its linear schedule, AdamW
1e-3, an average of decay 0.999, ``DDIMScheduler``. Both draw 1,000 samples in 50 steps; the Fréchet distance to the training data is of the
features of kgen's frozen classifier, beside the floor, that of test data.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np

SAMPLES, STEPS, BATCH = 1000, 50, 64


def batches(x, seed):
    """Batches without end, in another order each epoch."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(x))
        for i in range(0, len(x) - BATCH + 1, BATCH):
            yield x[order[i : i + BATCH]]


def limited(step, x, minutes, seed):
    """Takes steps for so many minutes after the first; returns how many."""
    stream, count = batches(x, seed), 1
    step(next(stream))
    end = time.perf_counter() + 60 * minutes
    while time.perf_counter() < end:
        step(next(stream))
        count += 1
    return count


def of_kgen(x, minutes, seed):
    import keras

    import kgen

    keras.utils.set_random_seed(seed)
    model = kgen.diffusion.DDPM(x.shape[1:])
    model.compile()
    steps = limited(model.train_on_batch, x, minutes, seed)
    model.sample(256, seed=seed)  # compiles
    start = time.perf_counter()
    samples = model.sample(SAMPLES, seed=seed + 1, steps=STEPS)
    return steps, samples, time.perf_counter() - start


def of_diffusers(x, minutes, seed):
    import torch
    from diffusers import DDIMScheduler, DDPMScheduler, UNet2DModel
    from diffusers.training_utils import EMAModel
    from torch.nn import functional as F

    from kgen.diffusion.defaults import default_unet

    torch.manual_seed(seed)
    sizes = default_unet(x.shape[1:]).get_config()
    attends, channels = sizes["attention"], sizes["channels"]
    net = UNet2DModel(
        sample_size=x.shape[1],
        in_channels=x.shape[-1],
        out_channels=x.shape[-1],
        layers_per_block=sizes["blocks"],
        block_out_channels=channels,
        down_block_types=["AttnDownBlock2D" if a else "DownBlock2D" for a in attends],
        up_block_types=["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attends)],
        norm_num_groups=sizes["groups"],
        attention_head_dim=sizes["head_dim"],
    )
    optimizer, average = torch.optim.AdamW(net.parameters(), lr=1e-3), EMAModel(net.parameters(), decay=0.999)
    noising = DDPMScheduler(1000)

    def step(rows):
        rows = torch.from_numpy(np.ascontiguousarray(np.moveaxis(rows, -1, 1)))
        noise, t = torch.randn_like(rows), torch.randint(0, 1000, (len(rows),))
        loss = F.mse_loss(net(noising.add_noise(rows, noise, t), t).sample, noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average.step(net.parameters())

    count = limited(step, x, minutes, seed)
    average.copy_to(net.parameters())
    net.eval()
    sampler = DDIMScheduler(1000)
    sampler.set_timesteps(STEPS)
    start, found = time.perf_counter(), []
    with torch.inference_mode():
        for i in range(0, SAMPLES, 256):
            noisy = torch.randn(min(256, SAMPLES - i), x.shape[-1], *x.shape[1:3])
            for t in sampler.timesteps:
                noisy = sampler.step(net(noisy, t).sample, t, noisy).prev_sample
            found.append(np.moveaxis(noisy.clamp(-1, 1).numpy(), 1, -1))
    return count, np.concatenate(found), time.perf_counter() - start


def measured(who, data, minutes, seed):
    """The figures of one of them, as a dict."""
    import kgen

    x, _ = kgen.data.load(data, split="train")
    test, _ = kgen.data.load(data, split="test")
    steps, samples, seconds = {"kgen": of_kgen, "diffusers": of_diffusers}[who](x, minutes, seed)
    report = kgen.metrics.fidelity_report(samples, train=x, test=test, extractor=kgen.metrics.load_classifier(data))
    distance = report["frechet_distance"]
    return {
        "who": who,
        "data": data,
        "minutes": minutes,
        "seed": seed,
        "steps": steps,
        "frechet_distance": distance["value"],
        "floor": distance["floor"],
        "seconds_per_1000_samples": round(seconds * 1000 / SAMPLES, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="digits", choices=["digits", "fashion_mnist"])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--who", choices=["kgen", "diffusers"])
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.who:
        print(json.dumps(measured(given.who, given.data, given.minutes, given.seed)))
        return
    print(
        "| who | data | minutes | seed | steps | Fréchet distance (floor) | seconds for 1,000 samples |\n|---|---|---|---|---|---|---|"
    )
    for seed in range(given.seeds):
        for who in ("kgen", "diffusers"):
            # Keras on TensorFlow for both: the classifier that judges is the same program.
            command = [
                sys.executable,
                __file__,
                "--who",
                who,
                "--data",
                given.data,
                "--minutes",
                str(given.minutes),
                "--seed",
                str(seed),
            ]
            environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1", **os.environ}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            r = json.loads(done.stdout.splitlines()[-1])
            cells = [f"{r['frechet_distance']:.1f} ({r['floor']:.1f})", str(r["seconds_per_1000_samples"])]
            print(
                "|",
                " | ".join([who, r["data"], f"{r['minutes']:g}", str(seed), f"{r['steps']:,}", *cells]),
                "|",
                flush=True,
            )


if __name__ == "__main__":
    main()
