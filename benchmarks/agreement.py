"""Whether both sides of a comparison are the same network: their outputs for the same weights and inputs."""

import numpy as np

from benchmarks import plan, sizes

TOLERANCE = 1e-4  # of a network's output, relative to the largest
SAMPLE_TOLERANCE = 1e-3  # a sample goes through the network twenty times


class Disagreement(RuntimeError):
    """kgen's network and the peer's give different outputs: their times cannot be compared."""


def check(workers, backends, parts, folder):
    """Writes kgen's weights and outputs to files, and compares the peers' outputs with those of every backend.

    Args:
        workers: dict from "peers" and from each backend to its ``Worker``.
        backends: kgen's backends.
        parts: parts of the benchmark, of which "a", "b" and "d" have peers.
        folder: ``pathlib.Path`` for the files.
    Returns:
        ``(references, rows)``: the file of weights for each network, and a list of (what, backend, largest difference
        relative to the largest value).
    Raises:
        Disagreement: a difference is above the tolerance.
    """
    references, rows = {}, []
    for network in [
        *(sizes.UNETS if "a" in parts else ()),
        *(["vae"] if "b" in parts else []),
        *(["gpt"] if "d" in parts else []),
    ]:
        family, arguments = ("ddpm", {"size": network}) if network in sizes.UNETS else (network, {})
        ours = {}
        for backend in backends:
            path = str(folder / f"{network}-{backend}.npz")
            reply = workers[backend].ask("call", job=f"{family}.reference", arguments={**arguments, "path": path})
            ours[backend] = np.load(path)
            references.setdefault(network, path)
        path = str(folder / f"{network}-peer.npz")
        arguments["reference"] = references[network]
        workers["peers"].ask("outputs", job=f"{family}.outputs", arguments=arguments, path=path)
        theirs = np.load(path)
        for name in reply["result"]:
            for backend, arrays in ours.items():
                rows.append((f"{network}, {name}", plan.KGEN[backend], difference(arrays[name], theirs[name])))
                if not rows[-1][2] <= (SAMPLE_TOLERANCE if name == "sample" else TOLERANCE):
                    raise Disagreement(f"{rows[-1][0]}: {rows[-1][1]} and the peer differ by {rows[-1][2]:.1e}.")
    return references, rows


def difference(a, b):
    """The largest difference, relative to the largest value of ``b``."""
    return float(np.abs(a - b).max() / np.abs(b).max())
