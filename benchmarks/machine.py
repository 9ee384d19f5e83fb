"""The machine that figures are taken on, and whether it was busy with something else."""

import contextlib
import os
import pathlib
import platform

# Share of the processors' time that others may take. OpenMP's threads spin while they wait for one another: beside one
# busy process torch is many times slower, TensorFlow and JAX, whose threads sleep, hardly.
QUIET = 0.03


def describe(threads):
    """Processor, cores, memory and system, in words."""
    model = platform.processor() or platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release()}"
    return f"{model}, {os.cpu_count()} cores ({threads} used), {memory:.0f} GiB memory; {system}; no GPU used"


def _ticks(pid):
    """Processor time of one process, in clock ticks; 0 for one that is gone."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0
    return int(fields[11]) + int(fields[12])


def _all_ticks():
    """``(all, busy)``: clock ticks of the whole machine since it started."""
    numbers = [int(n) for n in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(numbers), sum(numbers) - numbers[3] - numbers[4]  # all but idle and waiting for input or output


class Watch:
    """A context that adds up, over its uses, what share of the machine's processors went to others than the benchmark.

    Args:
        pids: the benchmark's processes.
    """

    def __init__(self, pids):
        self.pids = pids
        self.total = self.others = 0

    def _now(self):
        return (*_all_ticks(), sum(_ticks(pid) for pid in self.pids))

    def __enter__(self):
        self.before = self._now()
        return self

    def __exit__(self, *_):
        total, busy, own = (now - then for now, then in zip(self._now(), self.before, strict=True))
        self.total += total
        self.others += busy - own

    @property
    def share(self):
        """Share in [0, 1], or None where nothing was watched."""
        return max(0.0, self.others / self.total) if self.total else None


class NoWatch(contextlib.nullcontext):
    """Stands in where the system has no /proc."""

    share = None


def watch(pids):
    """A ``Watch`` of these processes, or a ``NoWatch``."""
    return Watch(pids) if pathlib.Path("/proc/stat").exists() else NoWatch()
