"""Two sources mixed: many noisy measurements in an HDF5 file, few clean ones in memory.

Writes 20,000 rows with noisy targets to an HDF5 file in chunks, and makes 1,000 clean ones. Mixes
them, three of the file to one in memory, reads the file by chunks, fits a line by stochastic
gradients in which a clean row counts ten times, and shows that the batches are the same with
nothing read ahead, with four batches ahead, and in the shares of two trainers.

    python examples/mixed_sources.py
"""

import tempfile
from pathlib import Path

import h5py
import numpy as np

from batchflow import ArrayBatch, Dataset, Shuffle, action

TRUE = np.array([2.0, -1.0, 0.5])


class Measured(ArrayBatch):
    components = "x", "y", "is_clean"

    @action(singleton=True)
    def fit(self):
        line = self.pipeline.v("line")
        weights = np.where(self.is_clean, 10, 1)
        error = weights * (self.x @ line - self.y)
        line -= 0.05 * self.x.T @ error / weights.sum()
        return self


def make_rows(n_rows, noise, *, is_clean):
    rng = np.random.default_rng(n_rows)
    x = rng.normal(size=(n_rows, len(TRUE)))
    y = x @ TRUE + rng.normal(0, noise, n_rows)
    return {"x": x, "y": y, "is_clean": np.full(n_rows, is_clean)}


def make_datasets(folder):
    path = Path(folder) / "noisy.h5"
    with h5py.File(path, "w") as file:
        for name, values in make_rows(20_000, 2.0, is_clean=False).items():
            file.create_dataset(name, data=values, chunks=(500, *values.shape[1:]))
    clean = make_rows(1000, 0.05, is_clean=True)
    return Dataset.from_hdf5(path, Measured), Dataset.from_arrays(Measured, **clean)


def items_of(dataset, **options):
    order = Shuffle(block=500, window=4)
    return [batch.source_ids.tolist() for batch in dataset.gen_batch(64, shuffle=order, **options)]


def main():
    with tempfile.TemporaryDirectory() as folder:
        mixed = Dataset.mix(make_datasets(folder), [3, 1], n=8000)
        pipeline = mixed.p.init_variable("line", np.zeros(len(TRUE))).fit()
        pipeline.run(64, shuffle=Shuffle(block=500, window=4), seed=1, prefetch=2)
        line = pipeline.v("line")
        here, ahead = items_of(mixed, seed=1), items_of(mixed, seed=1, prefetch=4)
        shards = [items_of(mixed.shard(k, 2), seed=1) for k in range(2)]
    seen = [item for items in here for item in items]
    shared = [item for items in shards[0] + shards[1] for item in items]
    print(f"clean rows: {np.mean([source for source, _ in seen]):.1%} of {len(seen)}")
    print(f"largest error of the line: {np.abs(line - TRUE).max():.3f}")
    print(f"the same batches four ahead: {here == ahead}; in two shares: {shared == seen}")


if __name__ == "__main__":
    main()
