"""Does a profile name the bottleneck? Twelve pipelines with a planted one, and what is named.

A slow action, a slow source, a prefetch that is too small, Python in threads, page faults, a slow
consumer, a lock, tiny batches, big batches from worker processes, calls for items, a slow disk, and
none at all.

    python benchmarks/planted.py
    python benchmarks/planted.py 5

The number says how often each is profiled. Read `named`: how many of them were named rightly, each
time. Required: all, also while other programs keep the machine busy. `load` is the number of
processes that wanted a CPU, as the system tells it.
"""

import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from batchflow import ArrayBatch, Dataset, action, apply_parallel, keep_memory

LOCK = threading.Lock()
SIDE = 64


class Images(ArrayBatch):
    components = "images"

    @action
    def wait(self, seconds):
        time.sleep(seconds)
        return self

    @action
    def scale(self):
        self.images = self.images * 0.5
        return self

    @action
    def count(self, n):
        total = 0
        for i in range(n):
            total += i * i
        return self

    @action
    def grow(self):
        for _ in range(4):
            large = self.images + 1  # 3 MiB, and new every time
            large = large * 2
        return self

    @action
    def widen(self, n_rows):
        self.images = np.zeros((len(self), n_rows, SIDE, SIDE))
        return self

    @action
    @apply_parallel(src="images")
    def shift(self, image):
        return image

    @action
    def read(self, folder):
        for name in self.indices.tolist():
            Path(folder, str(name % 4)).read_bytes()
            time.sleep(0.001)  # what a disk takes, whatever the cache of this machine has
        return self

    @action(singleton=True)
    def train(self, seconds):
        time.sleep(seconds)
        return self


class Guarded(Images):
    """A lock cannot travel to worker processes: it has a class of its own."""

    @action
    def guarded(self, seconds):
        with LOCK:
            time.sleep(seconds)
        return self


class SlowSource:
    """Rows that take a while to read."""

    def __init__(self, n_items, name="images", seconds=0.008):
        self._n_items, self._name, self._seconds = n_items, name, seconds

    def __len__(self):
        return self._n_items

    def read(self, positions):
        time.sleep(self._seconds)
        return {self._name: np.zeros((len(positions), SIDE), np.float32)}


def over(n_items=800, side=SIDE, batch_class=Images):
    """Return a pipeline over images in memory."""
    return Dataset.from_arrays(batch_class, images=np.ones((n_items, side, side), np.float32)).p


def consume(pipeline, seconds, n_iters, size, **options):
    """Profile a loop that takes some seconds for each batch."""
    for _ in pipeline.gen_batch(size, n_iters=n_iters, n_epochs=None, profile=True, **options):
        time.sleep(seconds)
    return pipeline.last_profile


def slow_action(n):
    return over().wait(0.008).scale().profile(n, 8, prefetch=2), "wait"


def slow_source(n):
    pipeline = Dataset(800, Images, source=SlowSource(800)).p.scale()
    return pipeline.profile(n, 8, prefetch=2), "source"


def small_prefetch(n):
    return consume(over().wait(0.006), 0.006, n, 8, prefetch=0), "prefetch"


def python_in_threads(n):
    return over().count(150_000).scale().profile(n, 8, prefetch=4), "gil"


def page_faults(n):
    keep_memory(0)  # as if malloc had learned nothing from earlier arrays
    return over(64, 313).grow().profile(n, 8, prefetch=2), "faults"


def slow_consumer(n):
    return consume(over().wait(0.001), 0.008, n, 8, prefetch=4), "consumer"


def lock(n):
    return over(batch_class=Guarded).guarded(0.005).scale().profile(n, 8, prefetch=4), "lock"


def tiny_batches(n):
    return over(800, 4).scale().scale().profile(10 * n, 1), "overhead"


def big_transfers(n):
    pipeline = over(64).widen(48)
    return pipeline.profile(n, 8, prefetch=4, n_workers=2, executor="processes"), "transfer"


def calls_for_items(n):
    return over(800, 4).shift().profile(n, 200), "overhead"


def slow_disk(n):
    with tempfile.TemporaryDirectory() as folder:
        for name in range(4):
            Path(folder, str(name)).write_bytes(bytes(10_000))
        return over(side=4).read(folder).scale().profile(n, 8, prefetch=2), "read"


def none(n):
    pipeline = over().wait(0.004)
    return consume(pipeline.train(0.005), 0.005, n, 8, prefetch=4), None


PLANTED = {
    "slow action": slow_action,
    "slow source": slow_source,
    "small prefetch": small_prefetch,
    "Python in threads": python_in_threads,
    "page faults": page_faults,
    "slow consumer": slow_consumer,
    "lock": lock,
    "tiny batches": tiny_batches,
    "big transfers": big_transfers,
    "calls for items": calls_for_items,
    "slow disk": slow_disk,
    "none": none,
}


def compare(benchmark, planted):
    """Profile each as often as the command line says, and print what was named."""
    n_times = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    found, wrong = [], []
    for turn in range(n_times):
        rights = 0
        for name, plant in planted.items():
            profile, expected = plant(50)
            rights += profile.bottleneck == expected
            if profile.bottleneck != expected:
                wrong.append({"turn": turn, "planted": name, "found": str(profile)})
        found.append(f"{rights} of {len(planted)}")
    figures = {"named": found, "wrong": wrong, "load": os.getloadavg()[0]}
    json.dump({"benchmark": benchmark, **figures}, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    compare("planted", PLANTED)
