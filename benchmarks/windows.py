"""What do windows over many records cost?

16 million windows over 200,000 records, in batches of 256.

- `index_bytes`: what the index takes, pickled: required below 2,000,000; and that of the train part
  of a shuffled split, which has the ids of its records beside.
- `us_more_than_items`: microseconds of a batch, with `batch.records` and `batch.starts`, more
  than those of a batch of the records themselves.

    python benchmarks/windows.py
"""

import pickle

import numpy as np
from measure import interleaved, report, spread

from batchflow import Batch, Dataset

N_RECORDS, SIZE, STRIDE, BATCH, N_BATCHES = 200_000, 100, 5, 256, 500


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
        us_more_than_items=spread([(w - i) / N_BATCHES * 1e6 for w, i in pairs]),
    )


if __name__ == "__main__":
    main()
