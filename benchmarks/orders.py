"""What do orders cost, and what do they save?

- `weighted`: batches of 64 of 10^7 items, drawn by 10^7 weights, against a plain shuffle.
  Required: at most 10 microseconds more for a batch.
- `mixed`: batches of 64 of two such datasets, mixed three to one, against a plain shuffle of one.
- `hdf5`, `zarr`: a compressed array of 20,000 rows of 3,072 bytes in chunks of 64 rows; an epoch in
  batches of 64 with `Shuffle(window=32)`, against a loop by hand that reads the chunks of each
  window, mixes their rows and cuts batches, and against random rows. Seconds by hand over those of
  `Shuffle`: required at least 0.9; seconds of random rows over them: at least 10.
- `held`: the most memory that Python and NumPy hold in such an epoch, over that of the window and
  four batches. Required: at most 1.1.
- `mixed_held`: the same of two such HDF5 files that are mixed two to one, by `Shuffle(window=16)`
  for each, over that of both windows and the batches alive; and how many batches live at most,
  without and with four ahead. Required: at most 1.1, and no more than 1.5 with four ahead, each of
  which is put together of two reads; no more batches alive than three and those ahead.
- `padded`: what `Bucketed` pads of 510 to 51,000 texts, over what a shuffle pads.
  Required: at most 0.6.

    python benchmarks/orders.py
"""

import tempfile
from pathlib import Path

import h5py
import numpy as np
import zarr
from measure import Living, held, interleaved, ratios, report, spread

from batchflow import ArrayBatch, Bucketed, Dataset, Shuffle, Weighted

N, SIZE, BATCH, WINDOW = 20_000, 3072, 64, 32
N_WEIGHTS, N_BATCHES = 10**7, 1000


living = Living()


class Rows(ArrayBatch):
    components = "x"


class Counted(ArrayBatch):
    components = "x"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        living.count(self)


def read(dataset, **options):
    def run():
        return sum(int(batch.x.flat[0]) for batch in dataset.gen_batch(BATCH, **options))

    return run


def us_more(seconds, name):
    pairs = zip(seconds[name], seconds["plain"], strict=True)
    return spread([(more - plain) / N_BATCHES * 1e6 for more, plain in pairs])


def in_memory():
    dataset = Dataset.from_arrays(Rows, x=np.arange(N_WEIGHTS))
    order = Weighted(np.random.default_rng(0).random(N_WEIGHTS))
    mixed = Dataset.mix([dataset, Dataset.from_arrays(Rows, x=np.arange(N_WEIGHTS))], [3, 1])
    options = {"seed": 1, "n_iters": N_BATCHES}
    seconds, _ = interleaved(
        15,
        plain=read(dataset, shuffle=True, **options),
        weighted=read(dataset, shuffle=order, **options),
        mixed=read(mixed, shuffle=True, **options),
    )
    return {name: us_more(seconds, name) for name in ("weighted", "mixed")}


def padded(n_texts):
    lengths = np.random.default_rng(0).lognormal(3, 0.7, n_texts).astype(int) + 1
    dataset = Dataset.from_arrays(Rows, x=lengths)

    def waste(order):
        batches = dataset.gen_batch(32, shuffle=order, seed=1)
        return sum(int((batch.x.max() - batch.x).sum()) for batch in batches)

    return round(waste(Bucketed("x", window=320)) / waste(True), 2)


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


def make_hdf5(folder, values):
    path = folder / "rows.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=values, chunks=(BATCH, SIZE), compression="gzip")
    return Dataset.from_hdf5(path, Rows, x="x"), h5py.File(path, "r")["x"]


def make_zarr(folder, values):
    path = folder / "rows.zarr"
    zarr.open_group(path, mode="w").create_array("x", data=values, chunks=(BATCH, SIZE))
    return Dataset.from_zarr(path, Rows, x="x"), zarr.open_group(path, mode="r")["x"]


def by_blocks(dataset, array):
    seconds, _ = interleaved(
        5,
        blocks=read(dataset, shuffle=Shuffle(window=WINDOW), seed=1),
        hand=by_hand(array),
        random=read(dataset, shuffle=True, seed=1, n_iters=20),
    )
    whole = N / BATCH / 20  # of the random rows, a part of an epoch is read
    seconds["random"] = [whole * t for t in seconds["random"]]
    return ratios(seconds, "blocks")


def held_of(dataset):
    order = Shuffle(window=WINDOW)
    most, _ = held(lambda: dataset.gen_batch(BATCH, shuffle=order, seed=1), living)
    return round(most / ((WINDOW + 4) * BATCH * SIZE), 2)


def mixed_held(folder, values):
    datasets = []
    for name in "ab":
        (folder / name).mkdir()
        make_hdf5(folder / name, values)
        datasets.append(Dataset.from_hdf5(folder / name / "rows.h5", Counted, x="x"))
    mixed, figures = Dataset.mix(datasets, [2, 1]), {}
    for prefetch in (0, 4):
        options = {"shuffle": Shuffle(window=WINDOW // 2), "seed": 1, "prefetch": prefetch}
        most, alive = held(lambda o=options: mixed.gen_batch(BATCH, **o), living)
        blocks = round(most / ((WINDOW + alive) * BATCH * SIZE), 2)
        figures[f"prefetch={prefetch}"] = {"held": blocks, "alive": alive}
    return figures


def main():
    values = np.random.default_rng(0).integers(16, size=(N, SIZE), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as name:
        stored = {"hdf5": make_hdf5(Path(name), values), "zarr": make_zarr(Path(name), values)}
        seconds = {kind: by_blocks(*made) for kind, made in stored.items()}
        memory = {kind: held_of(dataset) for kind, (dataset, _) in stored.items()}
        of_mixture = mixed_held(Path(name), values)
    report(
        "orders",
        us_more=in_memory(),
        seconds_over_blocks=seconds,
        held=memory,
        mixed_held=of_mixture,
        padded={n_texts: padded(n_texts) for n_texts in (510, 5100, 51_000)},
    )


if __name__ == "__main__":
    main()
