"""A server's day in a few seconds: many requests of many sizes at once, in a process without Keras and TensorFlow's Python."""

import json
import subprocess
import sys

import numpy as np
import pytest

from kgen.core import random

# Each request takes some of the same 32 rows: fewer, others, in another order, some of them more than once. So a server concatenates
# requests, splits their answers and pads batches by copies of a row.
PROGRAM = """
import json, sys, threading
import numpy as np
from kgen.serving.capi import Session, StatusError

path, rows = sys.argv[1:]
with np.load(rows) as file:
    rows = dict(file)

def memory():
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * 4096

def work(session, seed, count):
    rng = np.random.default_rng(seed)
    for i in range(count):
        take = rng.integers(0, 32, rng.integers(1, 33))
        request = {name: value[take] for name, value in rows.items()}
        if i % 50 == 49:  # requests that are refused and rows that are marked cost nothing either
            request["label"] = request["label"] + 4
            marked.append(not session.run("sample", request)["valid"].any())
            request["label"] = request["label"][:0]
            try:
                session.run("sample", request)
            except StatusError as error:
                refused.append(error.code)
            continue
        answer = session.run("sample", request)
        differences.append(float(np.abs(answer["images"] - whole["images"][take]).max()))

def all_at_once(session, count):
    threads = [threading.Thread(target=work, args=(session, seed, count)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

differences, refused, marked = [], [], []
with Session(path, xla=False) as session:
    whole = session.run("sample", rows)
    all_at_once(session, 100)  # what each thread's allocator keeps for itself
    before = memory()
    all_at_once(session, 500)
    growth = memory() - before
print(json.dumps({"differences": differences, "refused": refused, "marked": marked, "growth": growth}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_two_thousand_requests_from_four_threads(exported, tmp_path):
    labels = np.arange(32, dtype="int32") % 4
    scale = np.linspace(0, 0.1, 32, dtype="float32")
    np.savez(tmp_path / "rows.npz", seed=random.row_seeds(3, 32), label=labels, scale=scale)
    command = [sys.executable, "-c", PROGRAM, str(exported), str(tmp_path / "rows.npz")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert len(found["differences"]) == 4 * (98 + 490) and max(found["differences"]) < 1e-6
    assert found["refused"] == ["INVALID_ARGUMENT"] * 4 * (2 + 10) and found["marked"] == [True] * 4 * (2 + 10)
    assert found["growth"] < 4e6  # it is 0.5 MB; with the answers' tensors left in memory it was 16 MB
