"""What do orders cost, and what do they save?

- `weighted`: batches of 64 of 10^7 items, drawn by 10^7 weights, against a plain shuffle.
  Required: at most 10 microseconds more for a batch.
- `hdf5`: a compressed file of 20,000 rows of 3,072 bytes in chunks of 64 rows; an epoch in batches
  of 64 with `Shuffle(window=32)`, against a loop by hand that reads the chunks of each window,
  mixes their rows and cuts batches, and against random rows. Seconds by hand over those of
  `Shuffle`: required at least 0.9; seconds of random rows over them: at least 10.

    python benchmarks/orders.py
"""

import tempfile
from pathlib import Path

import h5py
import numpy as np
from measure import interleaved, ratios, report, spread

from batchflow import ArrayBatch, Dataset, Shuffle, Weighted

N, SIZE, BATCH, WINDOW = 20_000, 3072, 64, 32
N_WEIGHTS, N_BATCHES = 10**7, 1000


class Rows(ArrayBatch):
    components = "x"


def read(dataset, **options):
    def run():
        return sum(int(batch.x.flat[0]) for batch in dataset.gen_batch(BATCH, **options))

    return run


def weighted():
    dataset = Dataset.from_arrays(Rows, x=np.arange(N_WEIGHTS))
    order = Weighted(np.random.default_rng(0).random(N_WEIGHTS))
    options = {"seed": 1, "n_iters": N_BATCHES}
    seconds, _ = interleaved(
        15,
        plain=read(dataset, shuffle=True, **options),
        weighted=read(dataset, shuffle=order, **options),
    )
    pairs = zip(seconds["weighted"], seconds["plain"], strict=True)
    return spread([(w - p) / N_BATCHES * 1e6 for w, p in pairs])


def by_hand(array):
    def run():
        rng, total = np.random.default_rng(1), 0
        firsts = rng.permutation(np.arange(0, N, BATCH))
        for start in range(0, len(firsts), WINDOW):
            chunks = [array[first : first + BATCH] for first in firsts[start : start + WINDOW]]
            rows = np.concatenate(chunks)
            order = rng.permutation(len(rows))
            for place in range(0, len(rows), BATCH):
                total += int(rows[order[place : place + BATCH]].flat[0])
        return total

    return run


def hdf5(folder):
    path = folder / "rows.h5"
    values = np.random.default_rng(0).integers(16, size=(N, SIZE), dtype=np.uint8)
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, chunks=(BATCH, SIZE), compression="gzip")
    dataset = Dataset.from_hdf5(path, Rows, x="x")
    with h5py.File(path, "r") as file:
        seconds, _ = interleaved(
            3,
            blocks=read(dataset, shuffle=Shuffle(window=WINDOW), seed=1),
            hand=by_hand(file["x"]),
            random=read(dataset, shuffle=True, seed=1, n_iters=20),
        )
    whole = N / BATCH / 20  # of the random rows, a part of an epoch is read
    seconds["random"] = [whole * t for t in seconds["random"]]
    return ratios(seconds, "blocks")


def main():
    with tempfile.TemporaryDirectory() as folder:
        by_blocks = hdf5(Path(folder))
    report("orders", weighted_us_more=weighted(), hdf5_seconds_over_blocks=by_blocks)


if __name__ == "__main__":
    main()
