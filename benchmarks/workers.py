"""The worker processes as seen from outside, and the rounds in which they take turns."""

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

PAUSE = 0.2  # seconds between turns: thread pools spin for a while after their last work


class WorkerError(RuntimeError):
    """A worker could not do what it was told; the text is its traceback or the end of its log."""


class Worker:
    """A process that holds one framework and does one thing at a time.

    Args:
        kind: "kgen" or "peers".
        threads: size of its thread pools. It inherits the cores that it may use.
        backend: Keras backend of a "kgen" worker.
        device: "cpu" or "gpu": where it computes.
    """

    def __init__(self, kind, threads, backend=None, device="cpu"):
        environment = {
            **os.environ,
            **dict.fromkeys(
                ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"), str(threads)
            ),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",  # several workers share a GPU
            **({"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu"} if device == "cpu" else {}),
        }
        if backend:
            environment["KERAS_BACKEND"] = backend
        self.log = tempfile.TemporaryFile("w+")  # noqa: SIM115 (it lives as long as the process)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", kind, device],
            cwd=pathlib.Path(__file__).parent.parent,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )

    def ask(self, do, **request):
        """Sends a request and waits for the answer (see ``benchmarks.worker``)."""
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.log.seek(0)
            raise WorkerError(f"The worker ended. The end of its log:\n{self.log.read()[-2000:]}")
        reply = json.loads(line)
        if "error" in reply:
            raise WorkerError(reply["error"])
        return reply

    def close(self):
        with contextlib.suppress(BrokenPipeError):  # of a worker that has died: what it died of is to be told, not this
            self.process.stdin.close()
        try:
            self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()


@dataclasses.dataclass
class Contender:
    """One program in a comparison: a worker, the job that it does, and what was measured."""

    label: str
    worker: Worker
    job: str
    arguments: dict
    first: float = 0.0  # the first run: tracing, compiling and running once
    seconds: list = dataclasses.field(default_factory=list)  # per step or call, one for each round
    error: str = ""


def take_turns(contenders, rounds, steps, watch, say):
    """Measures in rounds, one contender after the other, each round beginning with the next one.

    A contender that fails is left out from there on, with ``error`` set.

    Args:
        contenders: list of ``Contender``.
        rounds: repetitions of each.
        steps: steps in a repetition.
        watch: a context that is entered for each timed repetition.
        say: called with a line of text on what is being done.
    """
    for i, c in enumerate(contenders):
        say(f"    {c.label}: first run")
        prepare(c, str(i), steps)
    measure(contenders, rounds, steps, watch)
    for i, c in enumerate(contenders):
        if not c.error:
            say(f"    {c.label}: {1000 * float(np.median(c.seconds)):.2f} ms, first run {c.first:.1f} s")
        _try(c, lambda c=c, i=i: c.worker.ask("forget", id=str(i)))


def prepare(contender, identity, steps):
    """Has a contender make its job, ``identity`` to its worker, and run it untimed: caches and allocators are warm from here on."""

    def run():
        ask = contender.worker.ask
        contender.first = ask("prepare", id=identity, job=contender.job, arguments=contender.arguments)["seconds"]
        ask("repeat", id=identity, steps=steps)

    _try(contender, run)


def measure(contenders, rounds, steps, watch):
    """The rounds of ``take_turns``; each job's identity is the contender's place."""
    for r in range(rounds):
        turn = r % len(contenders)
        for i in [*range(turn, len(contenders)), *range(turn)]:
            c = contenders[i]
            if not c.error:
                time.sleep(PAUSE)
                with watch:
                    _try(
                        c, lambda c=c, i=i: c.seconds.append(c.worker.ask("repeat", id=str(i), steps=steps)["seconds"])
                    )


def _try(c, action):
    try:
        action()
    except WorkerError as error:
        c.error = c.error or str(error)
