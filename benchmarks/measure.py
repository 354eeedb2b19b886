"""Interleaved timing: what the other scripts share."""

import json
import os
import statistics
import sys
import time
import tracemalloc
import weakref
from contextlib import suppress
from pathlib import Path


def interleaved(rounds, **functions):
    """Call the functions in turn, `rounds` times after one warm-up each.

    Returns:
        By name, the list of seconds, and whatever the functions returned last.
    """
    seconds = {name: [] for name in functions}
    results = {}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            results[name] = function()
            seconds[name].append(time.perf_counter() - start)
    return seconds, results


def ratios(seconds, base):
    """Divide the times of each round by those of `base`, and give median, least and most."""
    return {
        name: spread([t / b for t, b in zip(times, seconds[base], strict=True)])
        for name, times in seconds.items()
        if name != base
    }


def spread(values):
    """Give median, least and most of some figures."""
    return {
        "median": round(statistics.median(values), 4),
        "least": round(min(values), 4),
        "most": round(max(values), 4),
    }


def report(name, **figures):
    """Print the figures of one benchmark as JSON."""
    json.dump({"benchmark": name, **figures}, sys.stdout, indent=2)
    print()


class Living:
    """Counts the batches that live: `living.count(batch)` in the constructor of their class."""

    def __init__(self):
        self.now = self.most = 0

    def count(self, batch):
        self.now += 1
        self.most = max(self.most, self.now)
        weakref.finalize(batch, self._left)

    def _left(self):
        self.now -= 1


def held(make, living):
    """Go through the batches of `make()` twice.

    Returns:
        The most bytes that Python and NumPy hold in the second round, beyond those at its begin,
        and the most batches that live.
    """
    for _ in make():
        pass
    tracemalloc.start()
    living.most = living.now
    for _ in make():
        pass
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most, living.most


def children():
    """Give the ids of the processes below this one, in order."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError):
                parents[int(name)] = int(_stat(name)[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {os.getpid()})


def minor_faults(pid):
    """Count the page faults that a process has had so far that no disk was needed for."""
    return int(_stat(pid)[7])


def memory_of(pids):
    """Give how much memory some processes have, in bytes. What they share is counted once."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            total += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total * 1024


def _stat(pid):
    """Give the fields of a process behind its name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def count(n):
    """Work in pure Python, which grows with `n`."""
    total = 0
    for i in range(n):
        total += i * i
    return total


def counts_in(seconds):
    """How far to count for some seconds."""
    best = float("inf")
    for _ in range(50):
        start = time.perf_counter()
        count(10_000)
        best = min(best, time.perf_counter() - start)
    return int(10_000 * seconds / best)
