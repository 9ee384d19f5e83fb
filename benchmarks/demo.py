"""The page of ``kgen demo``: how long until it is ready, and what it adds to a sample. ``python -m benchmarks.demo [NAME] [--rounds 25]``.

Prints lines for ``RESULTS.md``. The handler is asked as the page asks it, in the same process, in turn with ``model.sample``; the first call
of each, which compiles, is not counted.
"""

import argparse
import statistics
import time

import kgen
from kgen.tools import demo


def seconds(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", nargs="?", default="ddpm_digits")
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    demo.prepare()  # Gradio's import is counted apart, as Keras's is
    model = kgen.load(arguments.name)
    pages = []

    def ready():
        pages.append(demo.page(model))
        pages[0].launch(prevent_thread_lock=True)

    opened = seconds(ready)
    handler = next(f.fn for f in pages[0].fns.values() if f.api_name == "sample")
    inputs = [c.value for c in next(f.inputs for f in pages[0].fns.values() if f.api_name == "sample")]

    def ask():
        handler(None, lambda *_, **__: None, *inputs)

    def sample():
        model.sample(16, seed=0)

    ask(), sample()
    pairs = [(seconds(ask), seconds(sample)) for _ in range(arguments.rounds)]
    asked, drawn = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"| page of `{arguments.name}` ready after the model is loaded | at most 3 s | {opened:.2f} s |")
    print(
        f"| its handler of 16 samples, beside `model.sample(16)` | at most 1.2x | {ratio:.2f}x ({asked:.3f} s, {drawn:.3f} s) |"
    )
    pages[0].close(verbose=False)


if __name__ == "__main__":
    main()
