"""Long runs with changing batch sizes: memory, files and threads are level after the first minute.

    SOAK_SECONDS=180 python -m pytest tests/laws/test_memory_stays_level.py -m soak

It is 10 minutes without the variable. A tenth of that, a minute, is for what each part makes once.
"""

import os
import sys
import threading
import time

import numpy as np
import pytest

import batchflow
from batchflow import ArrayBatch, Dataset, action, shutdown

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
BASE = np.ones((64, 64, 64, 3), "f4")  # 48 KiB an item
ITEMS = 640


class Cubes(ArrayBatch):
    components = "x", "mean"

    @action
    def make(self):
        self.x = BASE[: len(self)] + 1
        return self

    @action
    def work(self):
        self.x = self.x * self.rng.random(dtype="f4")
        self.mean = self.x.mean(axis=(1, 2, 3))
        return self


def children():
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[1] == str(os.getpid()):
                    found.append(int(name))
        except OSError:  # it has ended
            continue
    return found


def memory():
    """Megabytes of this process and its workers; what they share is counted once."""
    total = 0
    for pid in (os.getpid(), *children()):
        with open(f"/proc/{pid}/smaps_rollup") as rollup:
            total += next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
    return total / 1024


def look():
    end = time.monotonic() + 5
    while threading.active_count() > 2 and time.monotonic() < end:
        time.sleep(0.01)  # those of a run that was left are on their way out
    files = sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in (os.getpid(), *children()))
    return memory(), files, threading.active_count()


def one_round(rng, **options):
    """Run through sizes from 1 to 64 items, keep some batches for a while, leave some runs."""
    pipeline = Dataset(ITEMS, Cubes).p.make().work()
    kept, leaves = [], rng.integers(0, 4) == 0
    for number, batch in enumerate(pipeline.gen_batch(int(rng.integers(1, 65)), **options)):
        kept = [*kept, batch][-int(rng.integers(1, 12)) :]
        if leaves and number == 3:
            break


def check(options):
    rng, start, looks = np.random.default_rng(0), time.monotonic(), []
    while (now := time.monotonic() - start) < SECONDS / 3:
        one_round(rng, **options)
        looks.append((now, *look()))
    shutdown()
    later = [values for now, *values in looks if now > SECONDS / 10]
    third = len(later) // 3
    first, last = (
        [max(values) for values in zip(*part, strict=True)]
        for part in (later[:third], later[-third:])
    )
    told = f"{len(looks)} runs; most megabytes, files, threads: {first}, then {last}\n"
    sys.stdout.write(told)
    assert last[0] < first[0] * 1.25 + 8  # holes come and go; what leaks grows with each run
    assert last[1] <= first[1] + 2  # files that are on their way
    assert last[2] <= first[2]


@pytest.fixture
def keeping():
    batchflow.keep_memory()
    yield
    batchflow.keep_memory(0)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="Linux tells of memory")
@pytest.mark.parametrize("options", [{"executor": "processes", "n_workers": 2}, {"prefetch": 4}])
def test_memory_files_and_threads_are_level(options):
    check(options)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="Linux tells of memory")
def test_they_are_level_where_threads_keep_their_memory(keeping):
    check({"prefetch": 4})
