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


def make_class():
    class Rows(ArrayBatch):
        components = "x", "y"

        @model()
        def network():
            return build()

        @action(model="network", singleton=True)
        def train(self, network):
            network.train_on_batch(self.x, self.y)
            return self

    return Rows


def main():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N_ITEMS, 16)).astype("float32")
    y = rng.normal(size=(N_ITEMS, 1)).astype("float32")
    mine = build()
    pipelines = {p: Dataset.from_arrays(make_class(), x=x, y=y).p.train() for p in (0, 4)}

    def by_hand():
        for start in range(0, N_ITEMS, SIZE):
            mine.train_on_batch(x[start : start + SIZE].copy(), y[start : start + SIZE].copy())

    def flow(prefetch):
        return lambda: pipelines[prefetch].run(SIZE, prefetch=prefetch)

    flows = {f"prefetch={prefetch}": flow(prefetch) for prefetch in pipelines}
    seconds, _ = interleaved(25, by_hand=by_hand, **flows)
    n_steps = N_ITEMS / SIZE
    added = {
        name: spread(
            [(t - b) / n_steps * 1e3 for t, b in zip(times, seconds["by_hand"], strict=True)]
        )
        for name, times in seconds.items()
        if name != "by_hand"
    }
    weights = mine.get_weights()
    same = all(
        np.array_equal(one, other)
        for pipeline in pipelines.values()
        for one, other in zip(weights, pipeline.models["network"].get_weights(), strict=True)
    )
    report(
        "training_loop",
        added_milliseconds_per_step=added,
        by_hand_milliseconds_per_step=round(min(seconds["by_hand"]) / n_steps * 1e3, 3),
        same_weights=same,
    )


if __name__ == "__main__":
    main()
