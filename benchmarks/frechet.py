"""The Fréchet distance of 50,000 features of 2,048 numbers, beside torch-fidelity's on the same features: time, memory and agreement.

    python -m benchmarks.frechet

Each run is a process of its own, which reads the features from files in pages, so that its memory is what the distance needs; runs take turns.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

ROWS, WIDTH, ROUNDS = 50_000, 2048, 3
_RUN = """
import json, resource, sys, time
import numpy as np
real, generated = (np.load(path, mmap_mode="r") for path in sys.argv[2:4])
if sys.argv[1] == "kgen":
    from kgen.metrics import frechet_distance as distance
else:
    import torch
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    def distance(real, generated):
        statistics = [fid_features_to_statistics(torch.from_numpy(np.array(a))) for a in (real, generated)]
        return fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]

def private():  # without the pages of the files
    lines = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(lines["RssAnon"].split()[0]) / 1e6

import threading
before, peak, done = private(), [0.0], threading.Event()
def watch():
    while not done.wait(0.01):
        peak[0] = max(peak[0], private())
watcher = threading.Thread(target=watch)
watcher.start()
start = time.perf_counter()
value = distance(real, generated)
seconds = time.perf_counter() - start
done.set()
watcher.join()
print(json.dumps({"value": float(value), "seconds": seconds, "gigabytes": peak[0] - before}))
"""


def write_features(folder):
    """Two files of features as a network gives them: positive, correlated, half of them near 0."""
    import numpy as np

    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(64, WIDTH)).astype("float32") / 8
    paths = []
    for name, shift in (("real", 0.0), ("generated", 0.1)):
        path = pathlib.Path(folder) / f"{name}.npy"
        rows = np.lib.format.open_memmap(path, "w+", "float32", (ROWS, WIDTH))
        for start in range(0, ROWS, 5000):
            part = rng.normal(size=(5000, 64)).astype("float32") @ mixing
            part += 0.3 * rng.normal(size=part.shape).astype("float32") + shift
            rows[start : start + 5000] = np.maximum(part, 0)
        rows.flush()
        paths.append(str(path))
    return paths


def main():
    with tempfile.TemporaryDirectory() as folder:
        paths = write_features(folder)
        runs = {"kgen": [], "torch-fidelity": []}
        for _ in range(ROUNDS):
            for name, found in runs.items():
                done = subprocess.run(
                    [sys.executable, "-c", _RUN, name, *paths], capture_output=True, text=True, check=False
                )
                if done.returncode:
                    sys.exit(f"{name}: {done.stderr[-500:]}")
                found.append(json.loads(done.stdout.splitlines()[-1]))
                print(name, found[-1], flush=True)
    median = {name: statistics.median(r["seconds"] for r in found) for name, found in runs.items()}
    for name, found in runs.items():
        print(
            f"{name}: {median[name]:.1f} s, at most {max(r['gigabytes'] for r in found):.2f} GB above the interpreter"
        )
    print(f"ratio {median['torch-fidelity'] / median['kgen']:.2f}x")
    a, b = (runs[name][0]["value"] for name in runs)
    print(f"relative difference {abs(a - b) / b:.1e}")


if __name__ == "__main__":
    main()
