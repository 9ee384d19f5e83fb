"""The memory of a training step with ``remat`` and without: `python -m benchmarks.remat [jax|tensorflow|torch ...] [--batch 64]`.

One process for each step. JAX: the temporary memory of the compiled step, as XLA planned it (exact); its time on a GPU alone. torch: the
largest sum of the tensors that live at once, beside the weights (exact); its time on a CPU alone. TensorFlow: by how much the largest resident
set of a process grows when it takes a step of the whole batch after one of a single example, which has loaded and traced everything.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
import weakref

import click

BACKENDS = ("jax", "tensorflow", "torch")
NETWORKS = ("U-Net", "DiT")


def network(name, remat):
    from kgen.networks import DiT, UNet

    if name == "DiT":
        return DiT((28, 28, 1), patch_size=2, width=192, depth=6, heads=3, remat=remat)
    return UNet((28, 28, 1), channels=(32, 64, 64), blocks=2, attention=(7,), remat=remat)


def measure(name, remat, batch):
    """MB of a training step's gradients, and seconds of a later step: None for JAX on a CPU and torch on a GPU, where it is not timed."""
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

        given = inputs(batch)
        compiled = jax.jit(step).lower(*given).compile()
        memory = compiled.memory_analysis().temp_size_in_bytes / 1e6
        return memory, median_seconds(lambda: jax.block_until_ready(compiled(*given))) if backend.gpus() else None
    compiled = backend.jit(step, made.variables)
    compiled(*inputs(1))
    if keras.config.backend() == "torch":
        start = time.process_time()
        compiled(*inputs(batch))
        seconds = time.process_time() - start
        memory = largest_sum_of_tensors(lambda: compiled(*inputs(batch)))
        return memory, None if backend.gpus() else seconds
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    given = inputs(batch)
    compiled(*given)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    start = time.process_time()
    compiled(*given)
    return grown, time.process_time() - start


def median_seconds(function, times=20):
    function()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def largest_sum_of_tensors(function):
    """MB of the tensors that ``function`` makes and that live at once, at most."""
    import torch
    from torch.utils import _python_dispatch, _pytree

    class Live(_python_dispatch.TorchDispatchMode):
        now, most, seen = 0, 0, weakref.WeakSet()

        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            out = operation(*args, **(kwargs or {}))
            given = {t.untyped_storage().data_ptr() for t in _pytree.tree_leaves((args, kwargs)) if torch.is_tensor(t)}
            for tensor in _pytree.tree_leaves(out):
                storage = tensor.untyped_storage() if torch.is_tensor(tensor) else None
                if storage is None or storage in self.seen or storage.data_ptr() in given:
                    continue
                self.seen.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self.free, storage.nbytes())
                self.most = max(self.most, self.now)
            return out

        def free(self, size):
            self.now -= size

    with Live() as live:
        function()
    return live.most / 1e6


@click.command()
@click.argument("backends", nargs=-1, type=click.Choice(BACKENDS))
@click.option("--batch", default=64, type=click.IntRange(min=1), help="Rows of a step; 64 by default.")
def main(backends, batch):
    print("| backend | network | MB without | MB with remat | time, with / without |\n|---|---|---|---|---|")
    for backend in backends or BACKENDS:
        for name in NETWORKS:
            (plain, slow), (again, slower) = (_in_a_process(backend, name, remat, batch) for remat in (False, True))
            ratio = "" if slow is None else f"{slower / slow:.2f}"
            print(f"| {backend} | {name} | {plain:,.0f} | {again:,.0f} | {ratio} |", flush=True)


def _in_a_process(backend, name, remat, batch):
    environment = {**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"}
    code = f"from benchmarks.remat import measure; print(*measure({name!r}, {remat}, {batch}))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    memory, seconds = done.stdout.splitlines()[-1].split()
    return float(memory), None if seconds == "None" else float(seconds)


if __name__ == "__main__":
    main()
