"""The bottlenecks of `planted.py`, planted in other ways, sizes and numbers of workers.

Beside them: a queue of one connection, a lock on a file between worker processes, Python in the
threads of items, and nothing made ahead where an ordered step takes time, too.

    python benchmarks/planted_otherwise.py
    python benchmarks/planted_otherwise.py 5

The number says how often each is profiled. Read `named`: how many of sixteen were named rightly.
"""

import fcntl
import os
import queue
import re
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from planted import SlowSource, compare

from batchflow import ArrayBatch, Dataset, action, inbatch_parallel, keep_memory

SEMAPHORE, POOL = threading.Semaphore(1), queue.Queue()
POOL.put("the only connection")
TEXT = "the quick brown fox jumps over the lazy dog " * 3
FAR = {"executor": "processes"}


class Rows(ArrayBatch):
    components = "x"

    @action
    def sort(self, n):
        for _ in range(n):
            np.sort(self.x[:, ::-1].ravel())
        return self

    @action
    def uneven(self, often, seldom):
        time.sleep(seldom if self.number % 8 == 7 else often)
        return self

    @action
    def wait(self, seconds):
        time.sleep(seconds)
        return self

    @action
    def halve(self):
        self.x = self.x / 2
        return self

    @action
    def tokens(self, n):
        for _ in range(n):
            re.findall(r"\w+", TEXT)
        return self

    @action
    def stack(self, n):
        for _ in range(n):
            np.stack([np.full((512, 512), float(i)) for i in range(4)])
        return self

    @action
    def widen(self, n_bytes):
        self.x = np.ones((len(self), n_bytes // len(self)), np.uint8)
        return self

    @action
    @inbatch_parallel(init="indices", post="as_it_is", target="threads")
    def nothing(self, _):
        return None

    @action
    @inbatch_parallel(init="indices", post="as_it_is", target="threads")
    def tokens_of_items(self, _, n):
        for _ in range(n):
            re.findall(r"\w+", TEXT)

    def as_it_is(self, *_, **__):
        return self

    @action
    def store(self, folder):
        path = Path(folder, f"{os.getpid()}-{threading.get_ident()}")
        with open(path, "wb") as file:
            for _ in range(3):
                file.write(os.urandom(200_000))
                file.flush()
                os.fsync(file.fileno())
        return self

    @action
    def file_locked(self, folder, seconds):
        with open(Path(folder, "lock"), "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            time.sleep(seconds)
        return self

    @action(singleton=True)
    def train(self, seconds):
        time.sleep(seconds)
        return self


class Guarded(Rows):
    """What cannot travel to worker processes has a class of its own."""

    @action
    def one_at_a_time(self, seconds):
        SEMAPHORE.acquire()
        try:
            time.sleep(seconds)
        finally:
            SEMAPHORE.release()
        return self

    @action
    def by_connection(self, seconds):
        connection = POOL.get()
        time.sleep(seconds)
        POOL.put(connection)
        return self


def over(width=64, n_items=640, batch_class=Rows):
    values = np.random.default_rng(0).random((n_items, width), np.float32)
    return Dataset.from_arrays(batch_class, x=values).p


def looped(pipeline, seconds, n, size, **options):
    """Profile a loop that computes for some seconds with each batch."""
    for _ in pipeline.gen_batch(size, n_iters=n, n_epochs=None, profile=True, **options):
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            sum(range(200))
    return pipeline.last_profile


def slow_action(n):
    keep_memory()
    return over(4000).sort(3).halve().profile(n, 32, prefetch=3, n_workers=3), "sort"


def slow_source(n):
    source = SlowSource(640, "x", 0.02)
    pipeline = Dataset(640, Rows, source=source).p.halve()
    return pipeline.profile(n, 64, prefetch=2, n_workers=2, **FAR), "source"


def small_prefetch(n):
    return looped(over().uneven(0.002, 0.04), 0.006, n, 16, prefetch=1), "prefetch"


def nothing_ahead(n):
    return looped(over().wait(0.005).train(0.004), 0.002, n, 24), "prefetch"


def python_in_threads(n):
    return over().tokens(1000).profile(n, 12, prefetch=3, n_workers=3), "gil"


def page_faults(n):
    keep_memory(0)
    try:
        return over().stack(2).profile(n, 5, prefetch=2), "faults"
    finally:
        keep_memory()


def slow_consumer(n):
    return looped(over().wait(0.002), 0.012, n, 20, prefetch=4, n_workers=2, **FAR), "consumer"


def semaphore(n):
    pipeline = over(batch_class=Guarded).one_at_a_time(0.006).halve()
    return pipeline.profile(n, 16, prefetch=6, n_workers=3), "lock"


def one_connection(n):
    pipeline = over(batch_class=Guarded).by_connection(0.004)
    return pipeline.profile(n, 10, prefetch=4, n_workers=4), "lock"


def lock_of_processes(n):
    with tempfile.TemporaryDirectory() as folder:
        pipeline = over().file_locked(folder, 0.01)
        return pipeline.profile(3 * n, 8, prefetch=6, n_workers=3, **FAR), "lock"


def tiny_batches(n):
    return over().halve().profile(8 * n, 2, prefetch=4, n_workers=2, **FAR), "overhead"


def big_transfers(n):
    return over(8).widen(12 << 20).profile(n, 4, prefetch=6, n_workers=3, **FAR), "transfer"


def calls_for_items(n):
    return over(8).nothing().profile(n, 64), "overhead"


def python_for_items(n):
    return over(8).tokens_of_items(60).profile(n // 2, 40), "gil"


def slow_disk(n):
    with tempfile.TemporaryDirectory() as folder:
        return over(8).store(folder).halve().profile(n, 16, prefetch=2), "store"


def none(n):
    pipeline = over().wait(0.009).train(0.002)
    return looped(pipeline, 0.003, n, 20, prefetch=6, n_workers=3), None


PLANTED = {
    "slow action": slow_action,
    "slow source": slow_source,
    "small prefetch": small_prefetch,
    "nothing ahead": nothing_ahead,
    "Python in threads": python_in_threads,
    "page faults": page_faults,
    "slow consumer": slow_consumer,
    "semaphore": semaphore,
    "one connection": one_connection,
    "lock of processes": lock_of_processes,
    "tiny batches": tiny_batches,
    "big transfers": big_transfers,
    "calls for items": calls_for_items,
    "Python for items": python_for_items,
    "slow disk": slow_disk,
    "none": none,
}

if __name__ == "__main__":
    compare("planted_otherwise", PLANTED)
