"""Time to quality: the same U-Net, data and minutes for kgen's defaults and for a plain diffusers loop.

    python benchmarks/quality.py --data digits --minutes 5 20             both, each in a process of its own, in turns; prints a table
    python benchmarks/quality.py --data digits --minutes 5 20 --together  both at once, one core each
    python benchmarks/quality.py --data digits --minutes 5 --who kgen     one of them; prints a line of JSON for each of the minutes

With ``--together`` minutes are those of each one's own core, which other work may take from it without being counted.
Both train for so many minutes after their first step, which compiles, without classes, in batches of 64, and keep an average of the weights;
several minutes are looked at in one training, whose clock stands still meanwhile (neither has a schedule that would know its end).
kgen: ``DDPM(shape).compile()`` and its own sampler. diffusers: ``UNet2DModel`` of the same sizes, noise prediction, its linear schedule, AdamW
1e-3, an average of decay 0.999, ``DDIMScheduler`` in 50 steps. Each draws 1,000 samples as it does by default; the Fréchet distance to the
training data is of the features of kgen's frozen classifier, beside the floor, that of test data.
"""

import argparse
import json
import os
import subprocess
import sys
import time

import numpy as np

SAMPLES, BATCH = 1000, 64
clock = time.perf_counter


def batches(x, seed):
    """Batches without end, in another order each epoch."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(len(x))
        for i in range(0, len(x) - BATCH + 1, BATCH):
            yield x[order[i : i + BATCH]]


def limited(step, x, minutes, seed):
    """Takes steps, and yields how many there were when each of ``minutes`` has passed since the first; what is done then is not counted."""
    stream, count, spent = batches(x, seed), 1, 0.0
    step(next(stream))
    for limit in minutes:
        start = clock() - spent
        while (spent := clock() - start) < 60 * limit:
            step(next(stream))
            count += 1
        yield count


def of_kgen(x, minutes, seed):
    import keras

    import kgen

    keras.utils.set_random_seed(seed)
    model = kgen.diffusion.DDPM(x.shape[1:])
    model.compile()
    for count in limited(model.train_on_batch, x, minutes, seed):
        model.sample(256, seed=seed)  # compiles
        start = clock()
        samples = model.sample(SAMPLES, seed=seed + 1)
        yield count, samples, clock() - start


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

    sampler = DDIMScheduler(1000)
    sampler.set_timesteps(50)  # what DDIMPipeline takes by default
    for count in limited(step, x, minutes, seed):
        average.store(net.parameters())
        average.copy_to(net.parameters())
        net.eval()
        start, found = clock(), []
        with torch.inference_mode():
            for i in range(0, SAMPLES, 256):
                noisy = torch.randn(min(256, SAMPLES - i), x.shape[-1], *x.shape[1:3])
                for t in sampler.timesteps:
                    noisy = sampler.step(net(noisy, t).sample, t, noisy).prev_sample
                found.append(np.moveaxis(noisy.clamp(-1, 1).numpy(), 1, -1))
        yield count, np.concatenate(found), clock() - start
        average.restore(net.parameters())
        net.train()


def measured(who, data, minutes, seed):
    """The figures of one of them when each of ``minutes`` has passed, a dict each."""
    import kgen

    x, _ = kgen.data.load(data, split="train")
    test, _ = kgen.data.load(data, split="test")
    found = {"kgen": of_kgen, "diffusers": of_diffusers}[who](x, minutes, seed)
    for passed, (steps, samples, seconds) in zip(minutes, found, strict=True):
        report = kgen.metrics.fidelity_report(samples, train=x, test=test, extractor=kgen.metrics.load_classifier(data))
        distance = report["frechet_distance"]
        yield {
            "who": who,
            "data": data,
            "minutes": passed,
            "seed": seed,
            "steps": steps,
            "frechet_distance": distance["value"],
            "floor": distance["floor"],
            "seconds_per_1000_samples": round(seconds * 1000 / SAMPLES, 1),
        }


def started(who, given, seed, core=None):
    """A process that measures one of them, on ``core`` alone where it is given."""
    # Keras on TensorFlow for both: the classifier that judges is the same program.
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": "1", **os.environ}
    command = [sys.executable, __file__, "--who", who, "--data", given.data, "--seed", str(seed), "--minutes"]
    command += [str(m) for m in given.minutes]
    pinned = [] if core is None else ["taskset", "-c", str(core)]
    command += [] if core is None else ["--own-time"]
    return subprocess.Popen([*pinned, *command], env=environment, stdout=subprocess.PIPE, text=True)


def printed(process):
    """Prints the rows that a process of ``started`` measures."""
    lines = process.communicate()[0].splitlines()
    if process.returncode:
        raise SystemExit(f"It failed with status {process.returncode}: {' '.join(process.args)}")
    for r in (json.loads(line) for line in lines if line.startswith("{")):
        cells = [f"{r['frechet_distance']:.1f} ({r['floor']:.1f})", str(r["seconds_per_1000_samples"])]
        row = [r["who"], r["data"], f"{r['minutes']:g}", str(r["seed"]), f"{r['steps']:,}", *cells]
        print("|", " | ".join(row), "|", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="digits", choices=["digits", "fashion_mnist"])
    parser.add_argument("--minutes", type=float, nargs="+", default=[5.0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--together", action="store_true", help="both at once, one core each")
    parser.add_argument("--who", choices=["kgen", "diffusers"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--own-time", action="store_true", help="count the process's own time, which other work does not take"
    )
    given = parser.parse_args()
    given.minutes.sort()
    if given.own_time:
        global clock
        clock = time.process_time
    if given.who:
        for row in measured(given.who, given.data, given.minutes, given.seed):
            print(json.dumps(row), flush=True)
        return
    columns = ["who", "data", "minutes", "seed", "steps", "Fréchet distance (floor)", "seconds for 1,000 samples"]
    print("|", " | ".join(columns), "|\n" + "|---" * len(columns) + "|", flush=True)
    for seed in range(given.seeds):
        if given.together:
            both = [started("kgen", given, seed, core=0), started("diffusers", given, seed, core=1)]
            try:
                for process in both:
                    printed(process)
            finally:  # where one failed, the other does not go on alone
                for process in both:
                    process.terminate()
        else:
            for who in ("kgen", "diffusers"):
                printed(started(who, given, seed))


if __name__ == "__main__":
    main()
