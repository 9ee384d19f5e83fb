"""Answers requests through TensorFlow's C API in a process of its own, as a server would: ``kgen.serving.verify`` starts it.

    python -m kgen.serving.answer_process VERSION REQUESTS ANSWERS xla|stock

REQUESTS is a pickled dict from a name to ``(signature, inputs, repeats)``, written by the process that waits; ANSWERS becomes a pickled dict from a
name to ``(outputs, seconds)``, or to ``(error text, None)``. Neither Keras nor TensorFlow's Python is imported.
"""

import pickle
import sys
import time

from kgen.serving.capi import Session, StatusError

ENOUGH = 5.0  # seconds of repeats of one request, after which no more follow


def main(version, requests, answers, xla):
    """Answers each request once to compile it, and then as often as it says or ENOUGH allows, of which the shortest time counts."""
    with open(requests, "rb") as f:
        requests = pickle.load(f)
    found = {}
    with Session(version, xla=xla == "xla") as session:
        for name, (signature, inputs, repeats) in requests.items():
            try:
                outputs = session.run(signature, inputs)
                seconds = []
                while len(seconds) < repeats and sum(seconds) < ENOUGH:
                    start = time.perf_counter()
                    session.run(signature, inputs)
                    seconds.append(time.perf_counter() - start)
            except (StatusError, ValueError) as error:
                found[name] = (str(error), None)
            else:
                found[name] = (outputs, min(seconds, default=None))
    loaded = {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)
    if loaded:
        sys.exit(f"A server has no Python: this process imported {', '.join(sorted(loaded))}.")
    with open(answers, "wb") as f:
        pickle.dump(found, f)


if __name__ == "__main__":
    main(*sys.argv[1:])
