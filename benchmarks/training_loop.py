"""What does a pipeline add to a training step of a small Keras model?

A one-layer network trained with `train_on_batch`, by a hand-written loop and by a pipeline with a
singleton action, on the same batches in the same order; the weights must come out the same.

    python benchmarks/training_loop.py

Read `added_milliseconds_per_step`. Required: 0.1; aimed at: 0.05. Needs the tensorflow extra.
"""

import keras
import numpy as np
from measure import interleaved, report, spread

from batchflow import ArrayBatch, Dataset, action, model

SIZE, N_ITEMS = 32, 32 * 200


def build():
    keras.utils.set_random_seed(1)
    network = keras.Sequential([keras.Input((16,)), keras.layers.Dense(1)])
    network.compile("sgd", "mse")
    return network


class Rows(ArrayBatch):
    components = "x", "y"

    @model()
    def network():
        return build()

    @action(model="network", singleton=True)
    def train(self, network):
        network.train_on_batch(self.x, self.y)
        return self


def main():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N_ITEMS, 16)).astype("float32")
    y = rng.normal(size=(N_ITEMS, 1)).astype("float32")
    pipeline = Dataset.from_arrays(Rows, x=x, y=y).p.train()
    mine, theirs = build(), Rows.models["network"]

    def by_hand():
        for start in range(0, N_ITEMS, SIZE):
            mine.train_on_batch(x[start : start + SIZE].copy(), y[start : start + SIZE].copy())

    seconds, _ = interleaved(
        15,
        by_hand=by_hand,
        **{"prefetch=0": lambda: pipeline.run(SIZE)},
    )
    same = all(map(np.array_equal, mine.get_weights(), theirs.get_weights()))
    prefetched, _ = interleaved(
        15, by_hand=by_hand, **{"prefetch=4": lambda: pipeline.run(SIZE, prefetch=4)}
    )
    added = {}
    for times in (seconds, prefetched):
        name = next(name for name in times if name != "by_hand")
        pairs = zip(times[name], times["by_hand"], strict=True)
        added[name] = spread([(t - b) / (N_ITEMS / SIZE) * 1e3 for t, b in pairs])
    report(
        "training_loop",
        added_milliseconds_per_step=added,
        by_hand_milliseconds_per_step=round(min(seconds["by_hand"]) / (N_ITEMS / SIZE) * 1e3, 3),
        same_weights=same,
    )


if __name__ == "__main__":
    main()
