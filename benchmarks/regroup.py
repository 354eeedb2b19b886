"""What does regrouping cost, and is the work around it still done ahead?

100 source batches of 32 items. Each takes 5 ms to load, is regrouped, takes 5 ms to augment and
10 ms to train in order, with prefetch=4. `rebatch` makes batches of the same 32 items, so that all
do the same work; `merge` adds a second pipeline, whose batches take 5 ms as well.

    python benchmarks/regroup.py

Read `speed_against_plain`: 1.0 is as fast as the chain without regrouping. Aimed at: 0.97.
`microseconds_per_batch`: what a `rebatch(32)` adds to a trivial chain over a `(32, 16)` batch.
"""

import time

import numpy as np
from measure import interleaved, report, spread

from batchflow import ArrayBatch, Dataset, action

N_BATCHES, SIZE = 100, 32


class Slow(ArrayBatch):
    @action
    def wait(self, seconds):
        time.sleep(seconds)
        return self

    @action(singleton=True)
    def train(self):
        time.sleep(0.01)
        return self


def main():
    data = np.zeros((N_BATCHES * SIZE, 16), np.uint8)
    dataset = Dataset.from_arrays(Slow, data=data)
    loaded = dataset.p.wait(0.005)
    chains = {
        "plain": loaded.wait(0.005).train(),
        "rebatch": loaded.rebatch(SIZE).wait(0.005).train(),
        "merge": loaded.merge(dataset.p.wait(0.005)).wait(0.005).train(),
    }
    seconds, _ = interleaved(
        5, **{name: lambda c=chain: c.run(SIZE, prefetch=4) for name, chain in chains.items()}
    )
    small = {"plain": dataset.p.wait(0), "rebatch": dataset.p.wait(0).rebatch(SIZE)}
    small_seconds, _ = interleaved(
        21, **{name: lambda c=chain: c.run(SIZE) for name, chain in small.items()}
    )
    added = zip(small_seconds["rebatch"], small_seconds["plain"], strict=True)
    report(
        "regroup",
        speed_against_plain={
            name: spread([p / t for p, t in zip(seconds["plain"], seconds[name], strict=True)])
            for name in ("rebatch", "merge")
        },
        microseconds_per_batch=spread([(r - p) / N_BATCHES * 1e6 for r, p in added]),
    )


if __name__ == "__main__":
    main()
