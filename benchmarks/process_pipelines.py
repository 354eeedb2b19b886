"""How near do whole pipelines in worker processes come to shared memory by hand?

A batch is some pure Python, then `BASE + 1` and `* 2` on 64 items of shape (64, 64, 3), float32,
3 MiB in all. Two worker processes make batches, four are begun ahead, the consumer reads one
element of each and lets it go. In turn:

- `slots`: a ring of slots of shared memory, written by hand. Workers compute into the slot
  (`out=`): no temporary, no copy, and the consumer looks at the slot itself. The limit.
- `ours`: `Dataset(...).p.make().double().gen_batch(64, executor="processes", n_workers=2)`.
- `torch`: torch's DataLoader, where it is installed; `pool`: a plain `ProcessPoolExecutor`.
- `serial`: the same pipeline in the consumer's thread.

Two rows: `python_5_ms` has 5 ms of Python in a batch, `numpy_alone` none.

    python benchmarks/process_pipelines.py

Read `python_5_ms: throughput_against_slots`; required of `ours`: 0.80, aimed at: 0.95. And
`numpy_alone: milliseconds_above_slots`; required: at most 1.0, aimed at: 0.5. `beside_the_time` is
of runs in processes of their own: what a batch costs in minor page faults in the main process and
in the workers together, how much memory all these processes have at most (shared memory counted
once), and how many batches, the consumer's with them, are alive at most there. `ours_without` is
`ours` with `BATCHFLOW_KEEP_MEMORY=0`: workers that give their memory back at once.
"""

import importlib.util
import json
import multiprocessing
import os
import subprocess
import sys
import weakref
from collections import deque
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.shared_memory import SharedMemory

import numpy as np
from measure import children, count, counts_in, interleaved, memory_of, minor_faults, report, spread

from batchflow import ArrayBatch, Dataset, action, shutdown

N_BATCHES, N_WORKERS, AHEAD, ROUNDS = 100, 2, 4, 15
SHAPE, DTYPE = (64, 64, 64, 3), np.dtype("f4")
BASE = np.ones(SHAPE, DTYPE)
SECONDS = 0.005


class Make:
    """Makes a batch as an array. Picklable by everybody."""

    def __init__(self, n):
        self.n = n

    def __call__(self, _):
        count(self.n)
        return (BASE + 1) * 2

    def into(self, slot):
        count(self.n)
        np.add(BASE, 1, out=slot)
        np.multiply(slot, 2, out=slot)


class Watch:
    """What the consumer does with a batch. It counts those that live."""

    def __init__(self):
        self.alive = self.most = 0

    def look(self, array, owner=None):
        if array[0, 0, 0, 0] != 4:
            raise RuntimeError("a batch is wrong")
        self.alive += 1
        self.most = max(self.most, self.alive)
        weakref.finalize(array if owner is None else owner, self._gone)

    def _gone(self):
        self.alive -= 1


# ---- by hand


def fill_slots(make, name, connection):
    memory = SharedMemory(name)
    slots = np.ndarray((AHEAD, *SHAPE), DTYPE, memory.buf)
    while (task := connection.recv()) is not None:
        make.into(slots[task[1]])
        connection.send(task)
    del slots
    memory.close()


class Slots:
    """Workers that write into a ring of slots."""

    def __init__(self, make):
        context = multiprocessing.get_context("forkserver")
        self.memory = SharedMemory(create=True, size=AHEAD * BASE.nbytes)
        self.slots = np.ndarray((AHEAD, *SHAPE), DTYPE, self.memory.buf)
        pairs = [context.Pipe() for _ in range(N_WORKERS)]
        self.ours = [ours for ours, _ in pairs]
        self.workers = [
            context.Process(target=fill_slots, args=(make, self.memory.name, theirs))
            for _, theirs in pairs
        ]
        for worker in self.workers:
            worker.start()
        self.n_given = dict.fromkeys(self.ours, 0)

    def give(self, number, slot):
        idle = min(self.ours, key=self.n_given.get)
        idle.send((number, slot))
        self.n_given[idle] += 1

    def run(self, watch):
        found = {}
        for number in range(AHEAD):
            self.give(number, number)
        for number in range(N_BATCHES):
            while number not in found:
                for connection in wait(self.ours):
                    other, slot = connection.recv()
                    found[other] = slot
                    self.n_given[connection] -= 1
            slot = found.pop(number)
            watch.look(self.slots[slot])
            if number + AHEAD < N_BATCHES:
                self.give(number + AHEAD, slot)

    def end(self):
        for connection in self.ours:
            connection.send(None)
        for worker in self.workers:
            worker.join()
        self.slots = None
        self.memory.close()
        self.memory.unlink()


# ---- ours


class Cubes(ArrayBatch):
    components = "x"

    @action
    def make(self, n):
        count(n)
        self.x = BASE + 1
        return self

    @action
    def double(self):
        self.x = self.x * 2
        return self


class Ours:
    def __init__(self, make, **options):
        self.pipeline = Dataset(64 * N_BATCHES, Cubes).p.make(make.n).double()
        self.options = options

    def run(self, watch):
        for batch in self.pipeline.gen_batch(64, **self.options):
            watch.look(batch.x, batch)

    def end(self):
        shutdown()


# ---- others


class Pool:
    """A plain pool, with as many tasks ahead."""

    def __init__(self, make):
        self.make = make
        context = multiprocessing.get_context("forkserver")
        self.executor = ProcessPoolExecutor(N_WORKERS, context)

    def run(self, watch):
        waiting = deque()
        for number in range(N_BATCHES + AHEAD):
            if number >= AHEAD:
                watch.look(waiting.popleft().result())
            if number < N_BATCHES:
                waiting.append(self.executor.submit(self.make, number))

    def end(self):
        self.executor.shutdown()


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


class Torch:
    def __init__(self, make):
        from torch.utils.data import DataLoader

        self.loader = DataLoader(
            Indexed(make),
            batch_size=None,
            num_workers=N_WORKERS,
            prefetch_factor=AHEAD // N_WORKERS,
            persistent_workers=True,
            multiprocessing_context="forkserver",
            collate_fn=as_tensor,
        )

    def run(self, watch):
        for batch in self.loader:
            watch.look(batch.numpy())

    def end(self):
        self.loader = None


IN_PROCESSES = {"executor": "processes", "n_workers": N_WORKERS, "prefetch": AHEAD}
KINDS = {
    "slots": Slots,
    "ours": lambda make: Ours(make, **IN_PROCESSES),
    "ours_without": lambda make: Ours(make, **IN_PROCESSES),
    "pool": Pool,
    "torch": Torch,
    "serial": Ours,
}
if importlib.util.find_spec("torch") is None:
    del KINDS["torch"]


def beside_the_time(kind, n):
    """Run one kind in this process; print its faults, memory and live batches as JSON."""
    runner = KINDS[kind](Make(n))
    runner.run(Watch())  # what is made once
    watch = Watch()
    before = [minor_faults(pid) for pid in (os.getpid(), *children())]
    runner.run(watch)
    main, *workers = [
        (minor_faults(pid) - n) / N_BATCHES
        for pid, n in zip((os.getpid(), *children()), before, strict=True)
    ]
    look, most = watch.look, 0

    def measured(*args):
        nonlocal most
        most = max(most, memory_of([os.getpid(), *children()]))
        look(*args)

    watch.look = measured
    runner.run(watch)
    runner.end()
    figures = {
        "faults_in_main": round(main, 1),
        "faults_in_workers": round(sum(workers), 1),
        "peak_megabytes": round(most / 2**20),
        "live_batches": watch.most,
    }
    print(json.dumps(figures))


def figures_beside_the_time(kind, n):
    environment = {**os.environ, "BATCHFLOW_KEEP_MEMORY": "0"} if kind == "ours_without" else None
    command = [sys.executable, __file__, kind, str(n)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    return json.loads(done.stdout)


def row(n, rounds):
    make, watch = Make(n), Watch()
    runners = {kind: KINDS[kind](make) for kind in KINDS if kind != "ours_without"}
    runs = {kind: lambda runner=runner: runner.run(watch) for kind, runner in runners.items()}
    seconds, _ = interleaved(rounds, **runs)
    for runner in runners.values():
        runner.end()
    pairs = {
        kind: list(zip(seconds["slots"], times, strict=True))
        for kind, times in seconds.items()
        if kind != "slots"
    }
    per_batch = 1e3 / N_BATCHES
    return {
        "slots_milliseconds_per_batch": spread([s * per_batch for s in seconds["slots"]]),
        "throughput_against_slots": {k: spread([s / t for s, t in v]) for k, v in pairs.items()},
        "milliseconds_above_slots": {
            kind: spread([(t - s) * per_batch for s, t in times]) for kind, times in pairs.items()
        },
        "beside_the_time": {kind: figures_beside_the_time(kind, n) for kind in KINDS},
    }


def main():
    if len(sys.argv) == 3:
        beside_the_time(sys.argv[1], int(sys.argv[2]))
        return
    rounds = int(sys.argv[1]) if len(sys.argv) == 2 else ROUNDS
    report(
        "process_pipelines", python_5_ms=row(counts_in(SECONDS), rounds), numpy_alone=row(0, rounds)
    )


if __name__ == "__main__":
    main()
