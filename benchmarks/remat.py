"""The memory of a training step with ``remat`` and without: `python -m benchmarks.remat [jax|tensorflow|torch ...]`.

One process for each step. JAX: the temporary memory of the compiled step, as XLA planned it (exact). TensorFlow and torch: by how much the largest
resident set of a process grows when it takes a step of 64 examples after one of a single example, which has loaded and traced everything.
"""

import os
import resource
import subprocess
import sys
import time

BATCH = 64
NETWORKS = ("U-Net", "DiT")


def network(name, remat):
    from kgen.networks import DiT, UNet

    if name == "DiT":
        return DiT((28, 28, 1), patch_size=2, width=192, depth=6, heads=3, remat=remat)
    return UNet((28, 28, 1), channels=(32, 64, 64), blocks=2, attention=(7,), remat=remat)


def measure(name, remat):
    """MB of a training step's gradients, and seconds of a second step (None on JAX, where it is only compiled)."""
    import keras
    from keras import ops

    from kgen import backend

    made = network(name, remat)

    def step(x, t):
        def loss():
            return ops.mean(ops.square(made([x, t], training=True) - x)), None

        return backend.value_and_grad(loss, made.trainable_variables)[1]

    def inputs(rows):
        return ops.ones((rows, 28, 28, 1)), ops.ones((rows,))

    if keras.config.backend() == "jax":
        import jax

        compiled = jax.jit(step).lower(*inputs(BATCH)).compile()
        return compiled.memory_analysis().temp_size_in_bytes / 1e6, None
    compiled = backend.jit(step, made.variables)
    compiled(*inputs(1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    given = inputs(BATCH)
    compiled(*given)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    start = time.process_time()
    compiled(*given)
    return grown, time.process_time() - start


def main(backends):
    print("| backend | network | MB without | MB with remat | time, with / without |\n|---|---|---|---|---|")
    for backend in backends:
        for name in NETWORKS:
            (plain, slow), (again, slower) = (_in_a_process(backend, name, remat) for remat in (False, True))
            ratio = "" if slow is None else f"{slower / slow:.2f}"
            print(f"| {backend} | {name} | {plain:,.0f} | {again:,.0f} | {ratio} |", flush=True)


def _in_a_process(backend, name, remat):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "benchmarks.remat", "one", name, str(int(remat))]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    memory, seconds = done.stdout.splitlines()[-1].split()
    return float(memory), None if seconds == "None" else float(seconds)


if __name__ == "__main__":
    if sys.argv[1:2] == ["one"]:
        print(*measure(sys.argv[2], sys.argv[3] == "1"))
    else:
        main(sys.argv[1:] or ["jax", "tensorflow", "torch"])
