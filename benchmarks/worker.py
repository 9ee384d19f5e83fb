"""One framework in one process: ``python -m benchmarks.worker kgen|peers cpu|gpu`` does what it is told, line by line.

Requests are lines of JSON on standard input, answers on standard output; what frameworks print goes to standard error.

    {"do": "prepare", "id": str, "job": str, "arguments": {...}}    makes a job, runs it once   -> {"seconds": it took}
    {"do": "repeat", "id": str, "steps": int}                       runs it again               -> {"seconds": per step}
    {"do": "forget", "id": str}                                     frees it                    -> {}
    {"do": "call", "job": str, "arguments": {...}}                  calls a function            -> {"result": ...}
    {"do": "outputs", "job": str, "arguments": {...}, "path": str}  saves the arrays it returns -> {}

What fails answers {"error": traceback}.
"""

import gc
import importlib
import json
import os
import sys
import time
import traceback

import numpy as np

STEPS = (
    "gan_train",
    "stylegan2_train",
    "vae_train",
    "vqvae_train",
    "hierarchical_train",
    "flow_train",
    "flow_sample",
)


def _kgen(_):
    import keras

    from benchmarks import ddpm, gpt, overhead, steps, vae

    jobs = {
        "ddpm.train": ddpm.train,
        "ddpm.sample": ddpm.sample,
        "vae.train": vae.train,
        "gpt.generate": gpt.generate,
        "overhead.train": overhead.train,
    }
    jobs |= {f"steps.{name}": getattr(steps, name) for name in STEPS}
    jobs |= {"ddpm.reference": ddpm.reference, "vae.reference": vae.reference, "gpt.reference": gpt.reference}
    backend = keras.config.backend()

    def versions():
        module = __import__(backend)
        return {"keras": keras.__version__, backend: module.__version__}

    if backend == "torch":
        _use_all_threads()
    return {**jobs, "versions": versions}


def _peers(device):
    import torch

    _use_all_threads()
    if device == "gpu":
        torch.set_default_device("cuda")
        torch.set_float32_matmul_precision("high")  # as JAX's products are there, and torch's own convolutions
    jobs = {"ddpm.train": _of("peers", "ddpm_train"), "ddpm.sample": _of("peers", "ddpm_sample")}
    jobs |= {"vae.train": _of("peers", "vae_train"), "gpt.generate": _of("gpt_peer", "generate")}
    jobs |= {f"steps.{name}": _of("step_peers", name) for name in STEPS}
    jobs |= {"ddpm.outputs": _of("peers", "ddpm_outputs"), "vae.outputs": _of("peers", "vae_outputs")}
    jobs |= {"gpt.outputs": _of("gpt_peer", "outputs")}

    def versions():
        import diffusers
        import transformers

        return {m.__name__: m.__version__ for m in (diffusers, torch, transformers)}

    return {**jobs, "versions": versions}


def _of(module, name):
    """A function of one of these modules, imported when it is called: not everybody has every peer."""
    return lambda **arguments: getattr(importlib.import_module(f"benchmarks.{module}"), name)(**arguments)


def _use_all_threads():
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def answer(request, jobs, prepared):
    """Does one request; ``prepared`` is a dict of the jobs that are ready."""
    what = request["do"]
    if what == "prepare":
        job = prepared[request["id"]] = jobs[request["job"]](**request["arguments"])
        start = time.perf_counter()
        job(1)
        return {"seconds": time.perf_counter() - start}
    if what == "repeat":
        gc.collect()
        return {"seconds": prepared[request["id"]](request["steps"])}
    if what == "forget":
        prepared.pop(request["id"], None)
        gc.collect()
        return {}
    if what == "call":
        return {"result": jobs[request["job"]](**request["arguments"])}
    if what == "outputs":
        np.savez(request["path"], **jobs[request["job"]](**request["arguments"]))
        return {}
    raise ValueError(f"do: expected prepare, repeat, forget, call or outputs, received {what!r}.")


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    jobs, prepared = {"kgen": _kgen, "peers": _peers}[sys.argv[1]](sys.argv[2]), {}
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line), jobs, prepared)
        except Exception:
            reply = {"error": traceback.format_exc()}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
