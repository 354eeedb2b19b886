"""What does a pipeline add to very small batches?

Three trivial actions on batches of shape (32, 16) uint8, shuffled, against the same work in a bare
NumPy loop: draw an order, select rows, three operations. Nothing smaller is likely to be run, so
this is the worst case.

    python benchmarks/overhead.py

Read `ratio_of_minima`: the quickest round of each by that of the bare loop, and 1.0 would be no
overhead. Required: at most 2.2 with prefetch=0 and 2.7 with prefetch=16; aimed at: 1.6 and 2.0. A
round takes 10 to 30 ms, so that on a busy machine `ratio_to_bare_loop`, of each round, says little.
`minor_faults` are those of the process, by batch: 0 is as it should be.
"""

import resource

import numpy as np
from measure import interleaved, ratios, report

from batchflow import ArrayBatch, Dataset, action

N_BATCHES, SIZE = 2000, 32


class Small(ArrayBatch):
    @action
    def add(self):
        self.data = self.data + 1
        return self

    @action
    def multiply(self):
        self.data = self.data * 2
        return self

    @action
    def subtract(self):
        self.data = self.data - 3
        return self


def faults_by_batch(function):
    """Count the minor page faults of one call, by batch."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    function()
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    return round(faults / N_BATCHES, 3)


def main():
    data = np.random.default_rng(0).integers(0, 255, (N_BATCHES * SIZE, 16), dtype=np.uint8)
    pipeline = Dataset.from_arrays(Small, data=data).p.add().multiply().subtract()

    def bare():
        order = np.random.default_rng(1).permutation(len(data))
        for start in range(0, len(data), SIZE):
            batch = data[order[start : start + SIZE]]
            batch = batch + 1
            batch = batch * 2
            batch = batch - 3

    def flow(prefetch):
        def run():
            for _ in pipeline.gen_batch(SIZE, shuffle=1, prefetch=prefetch):
                pass

        return run

    flows = {f"prefetch={prefetch}": flow(prefetch) for prefetch in (0, 1, 4, 16)}
    seconds, _ = interleaved(25, bare=bare, **flows)
    least = {name: min(times) for name, times in seconds.items()}
    report(
        "overhead",
        ratio_of_minima={name: round(least[name] / least["bare"], 2) for name in flows},
        ratio_to_bare_loop=ratios(seconds, "bare"),
        minor_faults={name: faults_by_batch(function) for name, function in flows.items()},
        bare_microseconds_per_batch=round(min(seconds["bare"]) / N_BATCHES * 1e6, 2),
    )


if __name__ == "__main__":
    main()
