"""Defaults judged by what comes out of them: the same lines of a user, by kgen as it is and as it was at commit 1e38e08.

    python benchmarks/defaults.py gan ddpm --seeds 3     some cases, each in a process of its own; prints a table
    python benchmarks/defaults.py --list

Before and after train on the same data, for as many epochs, from the same seeds, with what ``compile()`` makes of it. Figures: the Fréchet
distance of 1,000 samples by the features of the frozen classifier of digits (floor 9.1), for ``clothes`` of that of Fashion-MNIST (floor
2.35); for ``realnvp``, ``maf`` and ``pixelcnn`` bits/dim of test digits; for ``gaussians`` KL(density, model) in nats by quadrature.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

BEFORE = "1e38e08"
ROOT = pathlib.Path(__file__).resolve().parents[1]


def distance(make, epochs, labels=False, data="digits", rows=None):
    """Trains a model on ``rows`` pictures of ``data`` and returns its Fréchet distance."""
    import kgen

    x, y = kgen.data.load(data, split="train")
    test, _ = kgen.data.load(data, split="test")
    model = make(kgen)
    model.compile()
    model.fit(*((x[:rows], y[:rows]) if labels else (x[:rows],)), epochs=epochs, batch_size=64, verbose=0)
    samples = model.sample(1000, seed=1, **({"labels": y[:1000]} if labels else {}))
    report = kgen.metrics.fidelity_report(
        samples.clip(-1, 1), train=x, test=test, extractor=kgen.metrics.load_classifier(data)
    )
    return report["frechet_distance"]["value"]


def digits_bits(make, epochs, **kwargs):
    """Trains a model of digits and returns the bits/dim of test digits."""
    import kgen

    x, _ = kgen.data.load("digits", split="train")
    test, _ = kgen.data.load("digits", split="test")
    model = make(kgen)
    model.compile()
    model.fit(x, epochs=epochs, batch_size=64, verbose=0)
    return float(model.bits_per_dim(test, **kwargs).mean())


def ddpm():
    return distance(lambda k: k.diffusion.DDPM((8, 8, 1), num_classes=10), 10, labels=True)


def gan():
    return distance(lambda k: k.gan.GAN((8, 8, 1)), 60)


def vae():
    return distance(lambda k: k.vae.VAE((8, 8, 1), 16), 50)


def mixture():
    return distance(lambda k: k.vae.VAE((8, 8, 1), 16, prior="gaussian_mixture"), 50)


def ebm():
    return distance(lambda k: k.energy.EnergyModel((8, 8, 1)), 13)


def clothes():
    return distance(lambda k: k.vae.VAE((28, 28, 1), 32), 5, data="fashion_mnist", rows=8000)


def realnvp():
    return digits_bits(lambda k: k.flow.RealNVP((8, 8, 1), dequantize=17), 20, num_samples=20)


def maf():
    return digits_bits(lambda k: k.flow.MAF((8, 8, 1), widths=(32, 32), dequantize=17), 40, num_samples=20)


def pixelcnn():
    return digits_bits(lambda k: k.autoregressive.PixelCNN((8, 8, 1), channels=32, blocks=3, levels=17), 10)


def gaussians():
    import numpy as np

    import kgen

    toy = kgen.data.EightGaussians()
    model = kgen.energy.EnergyModel((2,), reference_scale=2.0)
    model.compile()
    model.fit(toy.sample(10_000, seed=0), epochs=30, batch_size=256, verbose=0)
    side = np.linspace(-6, 6, 601)
    grid = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2).astype("float32")
    log_z = np.log(np.exp(model.log_prob(grid, batch_size=8192).astype("float64")).sum() * (side[1] - side[0]) ** 2)
    held_out = toy.sample(10_000, seed=1)
    return float((toy.log_prob(held_out) - model.log_prob(held_out, batch_size=8192) + log_z).mean())


CASES = {case.__name__: case for case in (ddpm, gan, vae, mixture, clothes, ebm, realnvp, maf, pixelcnn, gaussians)}


def figure(case, seed, tree):
    """The figure of a case by the kgen in ``tree``, and the seconds it took, in a process of its own."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ, "PYTHONPATH": str(tree)}
    start = time.perf_counter()
    command = [sys.executable, str(pathlib.Path(__file__).resolve()), case, "--figure", str(seed)]
    done = subprocess.run(command, env=environment, cwd=tree, capture_output=True, text=True, check=False)
    if done.returncode:
        return f"failed: {done.stderr.strip().splitlines()[-1][:100]}", 0.0
    return float(done.stdout.split()[-1]), time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--figure", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.list:
        print("\n".join(CASES))
        return
    if given.figure is not None:
        import keras

        keras.utils.set_random_seed(given.figure)
        print(CASES[given.cases[0]]())
        return
    with tempfile.TemporaryDirectory() as folder:
        before = pathlib.Path(folder) / "before"
        subprocess.run(["git", "worktree", "add", "--quiet", "--detach", str(before), BEFORE], cwd=ROOT, check=True)
        try:
            print("| case | seed | before | after | seconds before | after |\n|---|---|---|---|---|---|")
            for case in given.cases or CASES:
                for seed in range(given.seeds):
                    (old, slow), (new, fast) = (figure(case, seed, tree) for tree in (before, ROOT))
                    cells = [f"{v:.3f}" if isinstance(v, float) else v for v in (old, new)]
                    print(f"| {case} | {seed} | {cells[0]} | {cells[1]} | {slow:.0f} | {fast:.0f} |", flush=True)
        finally:
            subprocess.run(["git", "worktree", "remove", "--force", str(before)], cwd=ROOT, check=False)


if __name__ == "__main__":
    main()
