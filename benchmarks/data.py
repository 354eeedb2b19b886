"""What do texts, HDF5 files and mapped arrays cost, through whole pipelines?

- `texts`: bytes that a dataset takes of 3,000 texts of 100 to 400 characters and one of 100,000,
  beside the texts themselves, and those of a batch of 256. Required: twice the content and 80 bytes
  for each; a dtype of fixed width takes 1,200 MB and 102 MB.
- `hdf5`: 16 random rows of a 320 MB file by a pipeline, against reading these rows with h5py, in
  turn. Required: a ratio of at most 3, and memory that does not grow with the file.
- `mapped`: a mapped array of 2 GB is trained on with threads in a process that may have 512 MB of
  memory of its own. Required: that it ends.

    python benchmarks/data.py
"""

import random
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
from measure import interleaved, ratios, report

from batchflow import ArrayBatch, Batch, Dataset

MAPPED = """
import resource, sys
import numpy as np
from batchflow import ArrayBatch, Dataset, V, action

class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def scale(self):
        self.x = self.x / 255
        return self

    @action(singleton=True)
    def train(self):
        weights = self.pipeline.v("weights")
        error = self.x @ weights - self.y
        weights -= 0.01 * self.x.T @ error / len(self)
        return self

limit = 512 * 2**20
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
try:
    np.ones(limit, np.uint8)
except MemoryError:
    pass
else:
    raise SystemExit("the limit does not hold")
x = np.load(sys.argv[1], mmap_mode="r")
dataset = Dataset.from_arrays(Rows, x=x, y=np.ones(len(x), "float32"))
pipeline = dataset.p.init_variable("weights", np.zeros(x.shape[1])).scale().train()
pipeline.run(4096, shuffle=1, prefetch=4, n_iters=100)
print(x.nbytes / 2**20, np.abs(pipeline.v("weights")).sum() > 0)
"""


class Texts(Batch):
    components = "text"


class Rows(ArrayBatch):
    components = "x"


def texts():
    draw = random.Random(1)
    given = ["".join(draw.choices("abcdefgh ", k=draw.randint(100, 400))) for _ in range(3000)]
    given.append("x" * 100_000)
    next(Dataset.from_arrays(Texts, text=given).gen_batch(256, shuffle=1))  # what is made once
    tracemalloc.start()
    dataset = Dataset.from_arrays(Texts, text=given)
    held = tracemalloc.get_traced_memory()[0]
    batch = next(dataset.gen_batch(256, shuffle=1))
    of_batch = tracemalloc.get_traced_memory()[0] - held
    tracemalloc.stop()
    del batch
    content = sum(map(len, given))
    return {
        "content_megabytes": round(content / 1e6, 2),
        "dataset_beside_content_megabytes": round(held / 1e6, 2),
        "batch_megabytes": round(of_batch / 1e6, 3),
        "limit_megabytes": round((content + 80 * len(given)) / 1e6, 2),
    }


def hdf5(path):
    with h5py.File(path, "w") as new:
        rows = new.create_dataset("x", (80_000, 1000), "float32")
        for start in range(0, 80_000, 8_000):
            rows[start : start + 8_000] = 1
    with h5py.File(path, "r") as file:
        x = file["x"]
        draw = np.random.default_rng(1)

        def by_hand():
            return x[np.sort(draw.choice(len(x), 16, replace=False))]

        run = Dataset.from_arrays(Rows, x=x).gen_batch(16, shuffle=1)
        loading = Dataset(len(x), Rows).p.load(src={"x": x}).gen_batch(16, shuffle=1)
        seconds, _ = interleaved(
            60, h5py=by_hand, from_arrays=lambda: next(run), load=lambda: next(loading)
        )
        tracemalloc.start()
        next(Dataset.from_arrays(Rows, x=x).gen_batch(16, shuffle=2))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return {"against_h5py": ratios(seconds, "h5py"), "peak_megabytes": round(peak / 1e6, 2)}


def mapped(path):
    rows = np.lib.format.open_memmap(path, "w+", "uint8", (2_000_000, 1024))  # a sparse file
    rows[::1000] = 1
    del rows
    out = subprocess.run([sys.executable, "-c", MAPPED, path], check=True, capture_output=True)
    megabytes, has_learned = out.stdout.split()
    return {
        "file_megabytes": float(megabytes),
        "limit_megabytes": 512,
        "has_trained": has_learned == b"True",
    }


def main():
    with tempfile.TemporaryDirectory() as folder:
        report(
            "data",
            texts=texts(),
            hdf5=hdf5(str(Path(folder, "rows.h5"))),
            mapped=mapped(str(Path(folder, "rows.npy"))),
        )


if __name__ == "__main__":
    main()
