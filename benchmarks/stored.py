"""What do arrays on disk cost, by Dataset.from_hdf5, from_zarr and from_parquet?

A file of 20,000 rows of 3,072 bytes, chunks of 64 rows, in the page cache; batches of 64.

- `in order`: an epoch in order, against the library's own reads of the same slices. Required: at
  most 1.2 for HDF5 and Zarr.
- `shuffled`: 100 batches of random rows, against the library's own read of sorted positions (HDF5).
- `parquet`: an epoch of 200,000 rows in order, against reading the row groups and cutting batches.
- `peak`: the most memory that Python and NumPy hold in an epoch, in batches. Required: few.

    python benchmarks/stored.py
"""

import tempfile
import tracemalloc
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from measure import interleaved, ratios, report

from batchflow import ArrayBatch, Dataset

N, SIZE, BATCH = 20_000, 3072, 64
SLICES = [slice(start, start + BATCH) for start in range(0, N - BATCH + 1, BATCH)]


class Rows(ArrayBatch):
    components = "x", "y"


def epoch(dataset, **options):
    def run():
        return sum(
            int(batch.x[0, 0]) for batch in dataset.gen_batch(BATCH, drop_last=True, **options)
        )

    return run


def make_hdf5(folder, values):
    path = folder / "rows.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, chunks=(64, SIZE))
    opened = h5py.File(path, "r")["x"]
    return Dataset.from_hdf5(path, Rows, x="x"), opened


def make_zarr(folder, values):
    path = folder / "rows.zarr"
    group = zarr.open_group(path, mode="w")
    group.create_array("x", data=values, chunks=(64, SIZE), compressors=None)
    return Dataset.from_zarr(path, Rows, x="x"), zarr.open_group(path, mode="r")["x"]


def in_order(dataset, array):
    def library():
        return sum(int(array[rows][0, 0]) for rows in SLICES)

    seconds, results = interleaved(7, library=library, ours=epoch(dataset))
    if results["library"] != results["ours"]:
        raise SystemExit("the rows differ")
    return ratios(seconds, "library")


def shuffled(dataset, array):
    order = np.random.default_rng(0).permutation(N)
    wanted = [np.sort(order[k * BATCH : (k + 1) * BATCH]) for k in range(100)]

    def library():
        return sum(int(array[rows].shape[0]) for rows in wanted)

    def ours():
        return sum(len(b.x) for b in dataset.gen_batch(BATCH, shuffle=lambda _: order, n_iters=100))

    seconds, _ = interleaved(5, library=library, ours=ours)
    return ratios(seconds, "library")


def parquet(folder):
    path = folder / "rows.parquet"
    n = 200_000
    columns = {f"c{k}": np.random.default_rng(k).normal(size=n) for k in range(8)}
    pq.write_table(pa.table({**columns, "y": np.arange(n)}), path, row_group_size=20_000)
    dataset = Dataset.from_parquet(path, Rows, x=list(columns), y="y")

    def library():
        total = 0
        for part in pq.ParquetFile(path).iter_batches(BATCH * 16):
            x = np.stack([part[name].to_numpy() for name in columns], axis=1)
            total += len(x) + len(part["y"].to_numpy())
        return total

    def ours():
        return sum(len(b.x) + len(b.y) for b in dataset.gen_batch(BATCH * 16))

    seconds, results = interleaved(5, library=library, ours=ours)
    if results["library"] != results["ours"]:
        raise SystemExit("the rows differ")
    return ratios(seconds, "library")


def peak(dataset):
    run = epoch(dataset)
    run()
    tracemalloc.start()
    run()
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return round(most / (BATCH * SIZE), 2)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        values = np.random.default_rng(0).integers(0, 255, (N, SIZE), dtype=np.uint8)
        hdf5, zarrs = make_hdf5(folder, values), make_zarr(folder, values)
        report(
            "stored",
            in_order={"hdf5": in_order(*hdf5), "zarr": in_order(*zarrs)},
            shuffled={"hdf5": shuffled(*hdf5)},
            parquet=parquet(folder),
            peak={"hdf5": peak(hdf5[0]), "zarr": peak(zarrs[0])},
        )
