"""One framework in one process: ``python -m benchmarks.worker kgen|peers`` does what it is told, line by line.

Requests are lines of JSON on standard input, answers on standard output; what frameworks print goes to standard error.

    {"do": "prepare", "id": str, "job": str, "arguments": {...}}    makes a job, runs it once   -> {"seconds": it took}
    {"do": "repeat", "id": str, "steps": int}                       runs it again               -> {"seconds": per step}
    {"do": "forget", "id": str}                                     frees it                    -> {}
    {"do": "call", "job": str, "arguments": {...}}                  calls a function            -> {"result": ...}
    {"do": "outputs", "job": str, "arguments": {...}, "path": str}  saves the arrays it returns -> {}

What fails answers {"error": traceback}.
"""

import gc
import json
import os
import sys
import time
import traceback

import numpy as np


def _kgen():
    import keras

    from benchmarks import ddpm, gpt, overhead, steps, vae

    jobs = {
        "ddpm.train": ddpm.train,
        "ddpm.sample": ddpm.sample,
        "vae.train": vae.train,
        "gpt.generate": gpt.generate,
        "overhead.train": overhead.train,
    }
    jobs |= _step_jobs(steps)
    jobs |= {"ddpm.reference": ddpm.reference, "vae.reference": vae.reference, "gpt.reference": gpt.reference}
    backend = keras.config.backend()

    def versions():
        module = __import__(backend)
        return {"keras": keras.__version__, backend: module.__version__}

    if backend == "torch":
        _use_all_threads()
    return {**jobs, "versions": versions}


def _peers():
    import diffusers
    import torch
    import transformers

    from benchmarks import gpt_peer, peers, step_peers

    _use_all_threads()
    jobs = {"ddpm.train": peers.ddpm_train, "ddpm.sample": peers.ddpm_sample, "vae.train": peers.vae_train}
    jobs |= {"ddpm.outputs": peers.ddpm_outputs, "vae.outputs": peers.vae_outputs}
    jobs |= _step_jobs(step_peers)
    jobs |= {"gpt.generate": gpt_peer.generate, "gpt.outputs": gpt_peer.outputs}
    return {**jobs, "versions": lambda: {m.__name__: m.__version__ for m in (diffusers, torch, transformers)}}


def _step_jobs(module):
    names = (
        "gan_train",
        "stylegan2_train",
        "vae_train",
        "vqvae_train",
        "hierarchical_train",
        "flow_train",
        "flow_sample",
    )
    return {f"steps.{name}": getattr(module, name) for name in names}


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
    jobs, prepared = {"kgen": _kgen, "peers": _peers}[sys.argv[1]](), {}
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line), jobs, prepared)
        except Exception:
            reply = {"error": traceback.format_exc()}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
