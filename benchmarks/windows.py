"""What do windows over many records cost?

16 million windows over 200,000 records, in batches of 256.

- `index_bytes`: what the index takes, pickled: required below 2,000,000; and that of the train part
  of a shuffled split, which has the ids of its records beside.
- `us_more_than_items`: microseconds of a batch, with `batch.records` and `batch.starts`, more
  than those of a batch of the records themselves.
- `stored`: an epoch over 47,000 windows of 1,024 numbers out of 48 signals of 4 MB in an HDF5 file,
  in batches of 64: in order, shuffled, and by blocks of four signals. `held`: the most memory that
  Python and NumPy hold, in batches; `alive`: how many batches live at most. Required: held at most
  the batches alive and two more, and no more of these than two and those ahead.

    python benchmarks/windows.py
"""

import pickle
import tempfile

import h5py
import numpy as np
from measure import Living, held, interleaved, report, spread

from batchflow import ArrayBatch, Batch, Dataset, Shuffle

N_RECORDS, SIZE, STRIDE, BATCH, N_BATCHES = 200_000, 100, 5, 256, 500


N_SIGNALS, LENGTH, SAMPLE = 48, 2**20, 1024
living = Living()


class Signals(ArrayBatch):
    components = "signal"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        living.count(self)


def stored():
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        with h5py.File(f"{folder}/signals.h5", "w") as file:
            file.create_dataset("signal", (N_SIGNALS, LENGTH), "f4", chunks=(1, 2**14))
        records = Dataset.from_hdf5(f"{folder}/signals.h5", Signals)
        windows = records.windows("signal", SAMPLE)
        for name, order in {
            "in order": False,
            "shuffled": True,
            "blocks": Shuffle(window=4),
        }.items():
            for prefetch in (0, 4):
                options = {"shuffle": order, "seed": 1, "prefetch": prefetch, "n_iters": 300}
                most, alive = held(lambda o=options: windows.gen_batch(64, **o), living)
                batches = round(most / (64 * SAMPLE * 4), 2)
                figures[f"{name}, prefetch={prefetch}"] = {"held": batches, "alive": alive}
    return figures


def windows_of(dataset):
    def run():
        for batch in dataset.gen_batch(BATCH, shuffle=1, n_iters=N_BATCHES):
            _ = batch.records, batch.starts

    return run


def items_of(dataset):
    def run():
        for batch in dataset.gen_batch(BATCH, shuffle=1, n_iters=N_BATCHES):
            _ = batch.indices

    return run


def main():
    lengths = np.random.default_rng(0).integers(100, 900, N_RECORDS)
    records = Dataset(N_RECORDS, Batch)
    windows = records.windows(lengths, SIZE, STRIDE)
    part = windows.split(0.8, shuffle=1).train
    seconds, _ = interleaved(9, windows=windows_of(windows), items=items_of(records))
    pairs = zip(seconds["windows"], seconds["items"], strict=True)
    report(
        "windows",
        n_windows=len(windows),
        index_bytes={
            "all": len(pickle.dumps(windows.index)),
            "train": len(pickle.dumps(part.index)),
        },
        stored=stored(),
        us_more_than_items=spread([(w - i) / N_BATCHES * 1e6 for w, i in pairs]),
    )


if __name__ == "__main__":
    main()
