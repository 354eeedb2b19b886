"""What does a profile cost that is on?

Batches of 1 ms of NumPy, in three actions, and of 8 and 0.1 ms; made in the consumer's thread, and
ahead of it by two threads. Each is run with `profile=True` and without, in turn.

    python benchmarks/profile_cost.py
    python benchmarks/profile_cost.py 31

The number says how many pairs there are of each (21). Read `cpu_ratio` of `1 ms`: CPU seconds of
the process with a profile by those without, the median of the pairs. Required: at most 1.03.
`ratio_of_minima` is that of the quickest runs, by the clock. A run takes 0.3 seconds, so that on a
busy machine single pairs say little. A run without a profile has nothing of it: there are no
measured calls in its chain.
"""

import statistics
import sys
import time

import numpy as np
from measure import report, spread

from batchflow import ArrayBatch, Dataset, action

SIDE = 64
SECONDS = 0.3


class Images(ArrayBatch):
    components = "images"

    @action
    def smooth(self, n):
        for _ in range(n):
            self.images = self.images * 0.5 + 0.25
        return self


def steps_in(seconds):
    """Return how many turns of `smooth` take some seconds, in three actions."""
    images = np.ones((8, SIDE, SIDE), np.float32)
    best = float("inf")
    for _ in range(200):
        start = time.perf_counter()
        images = images * 0.5 + 0.25
        best = min(best, time.perf_counter() - start)
    return max(round(seconds / best / 3), 1)


def loop(pipeline, n_iters, **options):
    """Run a loop; return its seconds by the clock and of the CPU."""
    start, cpu = time.perf_counter(), time.process_time()
    for _ in pipeline.gen_batch(8, n_iters=n_iters, n_epochs=None, **options):
        pass
    return time.perf_counter() - start, time.process_time() - cpu


def compared(pipeline, n_rounds, n_iters, **options):
    """Compare runs with and without a profile."""
    pairs = []
    loop(pipeline, n_iters, **options)
    for turn in range(n_rounds):  # who comes first finds the caches of the other one
        both = {on: loop(pipeline, n_iters, profile=on, **options) for on in _order(turn)}
        pairs.append((both[True], both[False]))
    least = [min(wall for wall, _ in kind) for kind in zip(*pairs, strict=True)]
    cpus = [on[1] / off[1] for on, off in pairs]
    return {
        "cpu_ratio": spread(cpus),
        "ratio": spread([on[0] / off[0] for on, off in pairs]),
        "ratio_of_minima": round(least[0] / least[1], 4),
        "milliseconds": round(statistics.median(off[0] for _, off in pairs) / n_iters * 1e3, 3),
    }


def _order(turn):
    return (True, False) if turn % 2 else (False, True)


def main():
    n_rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    found = {}
    for milliseconds in (0.1, 1, 8):
        n = steps_in(milliseconds / 1e3)
        data = np.ones((64, SIDE, SIDE), np.float32)
        pipeline = Dataset.from_arrays(Images, images=data).p.smooth(n).smooth(n).smooth(n)
        n_iters = round(SECONDS / milliseconds * 1e3)
        for name, options in {"inline": {}, "prefetch=4": {"prefetch": 4, "n_workers": 2}}.items():
            found[f"{milliseconds} ms, {name}"] = compared(pipeline, n_rounds, n_iters, **options)
    report("profile_cost", **found)


if __name__ == "__main__":
    main()
