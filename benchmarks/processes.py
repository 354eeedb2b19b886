"""How near is the pool of worker processes to the best that can be written by hand?

64 batches, each 5 ms of pure Python and an array of shape (64, 64, 64, 3) of float32 (3 MiB), made
by 2 worker processes, 6 begun ahead, read as a whole by the consumer, in order. It takes turns with

- `by_hand`: processes that copy into slots of shared memory which lasts, the consumer copies out;
- `plain`: `concurrent.futures.ProcessPoolExecutor`, results through a pipe;
- `torch`: torch's DataLoader, where it is installed.

    python benchmarks/processes.py

Read `throughput_against_by_hand`: 1.0 is as fast as the slots. Aimed at: 0.9 for `ours`, and the
others behind it. `second_job_milliseconds`: from `pack` to the first result, for a job that finds
the workers there; aimed at: below 20. `tiny_task_microseconds`: for tasks that do nothing.
"""

import importlib.util
import multiprocessing
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.shared_memory import SharedMemory

import numpy as np
from measure import count, counts_in, interleaved, report, spread

from batchflow import shutdown
from batchflow.executors.processes.pool import process_pool
from batchflow.executors.serialization.pickling import pack

N_BATCHES, N_WORKERS, AHEAD, ROUNDS = 64, 2, 6, 21
SHAPE, DTYPE = (64, 64, 64, 3), np.dtype("f4")
SIZE = int(np.prod(SHAPE)) * DTYPE.itemsize
SECONDS = 0.005


class Make:
    """Makes a batch. Picklable by everybody."""

    def __init__(self, n):
        self.n = n

    def __call__(self, number):
        count(self.n)
        return np.full(SHAPE, number, DTYPE)


def consume(number, batch):
    if batch.min() != number or batch.shape != SHAPE:
        raise RuntimeError(f"batch {number} is wrong")


def ahead(submit):
    """Consume batches in order, `AHEAD` of them submitted before they are needed."""
    waiting = deque()
    for number in range(N_BATCHES):
        waiting.append(submit(number))
        if len(waiting) == AHEAD:
            consume(number - AHEAD + 1, waiting.popleft().result())
    while waiting:
        consume(N_BATCHES - len(waiting), waiting.popleft().result())


def ours(make):
    packed = pack(make)

    def run():
        job = process_pool().open(packed, N_WORKERS)
        ahead(job.submit)
        job.close(1)

    return run


def plain(make):
    executor = ProcessPoolExecutor(N_WORKERS, multiprocessing.get_context("forkserver"))
    return lambda: ahead(lambda number: executor.submit(make, number)), executor.shutdown


# ---- by hand


def fill_slots(make, name, connection):
    memory = SharedMemory(name)
    slots = np.ndarray((AHEAD, *SHAPE), DTYPE, memory.buf)
    while (task := connection.recv()) is not None:
        number, slot = task
        slots[slot] = make(number)
        connection.send(task)
    del slots
    memory.close()


def by_hand(make):
    context = multiprocessing.get_context("forkserver")
    memory = SharedMemory(create=True, size=AHEAD * SIZE)
    slots = np.ndarray((AHEAD, *SHAPE), DTYPE, memory.buf)
    pairs = [context.Pipe() for _ in range(N_WORKERS)]
    ours = [pair[0] for pair in pairs]
    workers = [
        context.Process(target=fill_slots, args=(make, memory.name, theirs)) for _, theirs in pairs
    ]
    for worker in workers:
        worker.start()

    def run():
        found, n_given = {}, dict.fromkeys(ours, 0)

        def give(number, slot):
            idle = min(ours, key=n_given.get)
            idle.send((number, slot))
            n_given[idle] += 1

        for number in range(AHEAD):
            give(number, number)
        for number in range(N_BATCHES):
            while number not in found:
                for connection in wait(ours):
                    other, slot = connection.recv()
                    found[other] = slot
                    n_given[connection] -= 1
            slot = found.pop(number)
            batch = slots[slot].copy()
            if number + AHEAD < N_BATCHES:
                give(number + AHEAD, slot)
            consume(number, batch)

    def end():
        nonlocal slots
        for connection in ours:
            connection.send(None)
        for worker in workers:
            worker.join()
        slots = None
        memory.close()
        memory.unlink()

    return run, end


# ---- torch


class Indexed:
    def __init__(self, make):
        self.make = make

    def __len__(self):
        return N_BATCHES

    def __getitem__(self, number):
        return self.make(number)


def as_tensor(batch):
    import torch

    return torch.from_numpy(batch)


def with_torch(make):
    from torch.utils.data import DataLoader

    loader = DataLoader(
        Indexed(make),
        batch_size=None,
        num_workers=N_WORKERS,
        prefetch_factor=AHEAD // N_WORKERS,
        persistent_workers=True,
        multiprocessing_context="forkserver",
        collate_fn=as_tensor,
    )

    def run():
        for number, batch in enumerate(loader):
            consume(number, batch.numpy())

    return run


# ---- the pool itself


def milliseconds_of_a_job():
    start = time.perf_counter()
    job = process_pool().open(pack(lambda item: item), N_WORKERS)
    job.submit(0).result()
    seconds = time.perf_counter() - start
    job.close(1)
    return seconds * 1e3


def microseconds_of_a_task(n_tasks=5000):
    job = process_pool().open(pack(lambda item: item), N_WORKERS)
    start = time.perf_counter()
    futures = [job.submit(number) for number in range(n_tasks)]
    for future in futures:
        future.result()
    seconds = time.perf_counter() - start
    job.close(1)
    return seconds / n_tasks * 1e6


def main():
    make = Make(counts_in(SECONDS))
    hand, end_hand = by_hand(make)
    pool, end_pool = plain(make)
    runs = {"by_hand": hand, "ours": ours(make), "plain": pool}
    if importlib.util.find_spec("torch") is not None:
        runs["torch"] = with_torch(make)
    seconds, _ = interleaved(ROUNDS, **runs)
    end_hand()
    end_pool()
    jobs = [milliseconds_of_a_job() for _ in range(1000)]
    report(
        "processes",
        throughput_against_by_hand={
            name: spread([h / t for h, t in zip(seconds["by_hand"], times, strict=True)])
            for name, times in seconds.items()
            if name != "by_hand"
        },
        by_hand_milliseconds_per_batch=spread([s / N_BATCHES * 1e3 for s in seconds["by_hand"]]),
        second_job_milliseconds=spread(jobs),
        tiny_task_microseconds=spread([microseconds_of_a_task() for _ in range(7)]),
    )
    shutdown()


if __name__ == "__main__":
    main()
