"""What do results of worker processes, and what is sent to them, hold in memory?

Through whole pipelines with `executor="processes"`. Held is what this process has mapped of shared
memory after the run.

- `kept_features`: of 150 batches with 4 MB of images and 64 KB of features the features are kept,
  9 MB in all. Required: that at most 20 MB are held, memory of this process's own among them.
- `views`: batches whose component is a view of a larger array. Required: at most three times what
  the view shows; and the time that a copy takes.
- `many_batches`: 100,000 batches with 40 KB each are kept. Required: that it ends. (A process has
  65,530 maps.)
- `columns`: `x=table[:, :-1], y=table[:, -1]` of a table of 200 MB go to workers. Required: that
  the table is sent once.
- `mapped_file`: a mapped array of 800 MB is sent to workers. Required: nothing of it.

    python benchmarks/memory.py [number of batches in place of 100,000]
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import interleaved, ratios, report

from batchflow import ArrayBatch, Batch, Dataset, action, shutdown

MB = 2**20
WORKERS = {"executor": "processes", "n_workers": 1}


class Images(ArrayBatch):
    components = "images", "features"

    @action
    def load(self):
        self.images = np.ones((len(self), 128, 128), "float32")
        self.features = np.ones((len(self), 256), "float32")
        return self


class Files(ArrayBatch):
    components = "x"

    @action
    def embed(self):
        self.x = np.zeros((len(self), 10_000), "float32")
        return self


class Rows(ArrayBatch):
    components = "x", "y"


def shared():
    """How many bytes of shared memory this process has mapped, when workers have let go of it."""
    least, end = float("inf"), time.monotonic() + 0.5
    while least and time.monotonic() < end:
        sizes = {}
        with open("/proc/self/maps") as maps:
            for line in maps:
                if "memfd:batchflow" in line:
                    place, _, _, _, inode = line.split()[:5]
                    start, stop = (int(part, 16) for part in place.split("-"))
                    sizes[inode] = max(sizes.get(inode, 0), stop - start)
        least = min(least, sum(sizes.values()))
        time.sleep(0.02)
    return least


def own():
    """How many bytes of memory of its own this process has."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if "RssAnon" in line)


def kept_features():
    before = own()
    run = Dataset(9600, Images).p.load().gen_batch(64, **WORKERS)
    kept = [batch.features for batch in run]
    return {
        "kept_megabytes": sum(features.nbytes for features in kept) / MB,
        "held_megabytes": round((shared() + own() - before) / MB, 1),
    }


def views():
    table = np.ones((50_000, 1000), "float32")
    volume = np.ones((8, 128, 128, 128), "float32")
    cuts = {
        "column": table[:, 0],
        "every_50th_row": table[::50],
        "every_4th_column": table[:, ::4],
        "200_columns": table[:, 100:300],
        "crop": volume[:, 16:32, 32:64, 32:64],
        "all_but_an_edge": volume[:, 4:-4, 4:-4, 4:-4],
    }
    return {name: kept_view(part) for name, part in cuts.items()}


def kept_view(part):
    class Cuts(Batch):
        components = "part"

        @action
        def look(self, is_copy):
            self.part = part.copy() if is_copy else part[:]
            return self

    pipeline = Dataset(20, Cuts).p
    seconds, _ = interleaved(
        5,
        view=lambda: pipeline.look(False).run(1, **WORKERS),
        copy=lambda: pipeline.look(True).run(1, **WORKERS),
    )
    kept = list(pipeline.look(False).gen_batch(1, n_iters=4, **WORKERS))
    return {
        "shown_megabytes": round(sum(batch.part.nbytes for batch in kept) / MB, 2),
        "held_megabytes": round(shared() / MB, 2),
        "seconds_against_copy": ratios(seconds, "copy")["view"],
    }


def many_batches(n_batches):
    start = time.perf_counter()
    run = Dataset(n_batches, Files).p.embed().gen_batch(1, **WORKERS)
    kept = [batch.x for batch in run]
    return {
        "kept": len(kept),
        "kept_megabytes": round(sum(x.nbytes for x in kept) / MB),
        "milliseconds_per_batch": round((time.perf_counter() - start) / n_batches * 1e3, 3),
    }


def sent_to_workers(**columns):
    """How much lies in shared memory for the workers of a run; the time to its first batch."""
    dataset = Dataset.from_arrays(Rows, **columns)
    start = time.perf_counter()
    with dataset.p.gen_batch(64, shuffle=1, **WORKERS) as run:
        next(run)
        seconds = time.perf_counter() - start
        sent = shared_by_this_program()
    return {"shared_megabytes": round(sent / MB, 1), "seconds": round(seconds, 2)}


def shared_by_this_program():
    """How many bytes lie in files in memory that this process has open or mapped."""
    sizes = {}
    for fd in os.listdir("/proc/self/fd"):
        try:
            if "memfd:batchflow" in os.readlink(f"/proc/self/fd/{fd}"):
                found = os.stat(f"/proc/self/fd/{fd}")
                sizes[found.st_ino] = found.st_size
        except OSError:
            continue
    return sum(sizes.values())


def main():
    n_batches = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    figures = {"kept_features": kept_features(), "views": views()}
    figures["many_batches"] = many_batches(n_batches)
    table = np.ones((50_000, 1000), "float32")
    figures["columns"] = sent_to_workers(x=table[:, :-1], y=table[:, -1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.npy")
        np.lib.format.open_memmap(path, "w+", "float32", (800_000, 256))  # a sparse file
        rows = np.load(path, mmap_mode="r")
        figures["mapped_file"] = sent_to_workers(x=rows, y=rows[:, 0])
    report("memory", **figures)
    shutdown()


if __name__ == "__main__":
    main()
