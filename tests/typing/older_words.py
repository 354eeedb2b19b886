"""Words of an older batchflow, as type checkers see them. Read by `make types`, run by a test."""

from typing import Any, assert_type

import numpy as np

from batchflow import ArrayBatch, Batch, C, Dataset, Pipeline, V, action
from batchflow.plan.expressions import Operation


class Signals(ArrayBatch):
    components = "signals", "labels"

    @action
    def grow(self) -> "Signals":
        self.add_components("doubled", self.signals * 2)
        return self


signals = Dataset(8, Signals, (np.ones((8, 2)), np.arange(8)), rate=250)
batch = signals.create_batch([0, 1])

assert_type(V.loss, V)
assert_type(V.loss * 2, Operation)
assert_type(signals, Dataset[Signals])
assert_type(signals.size, int)
assert_type(signals.index.size, int)
assert_type(batch.size, int)
assert_type(batch.items, list[Any])
assert_type(batch.get_errors([ValueError(), 1]), list[Exception] | None)
assert_type(Signals([0], {"labels": [1]}), Signals)
assert_type(len(signals.p), int)
assert_type(Pipeline().init_model("net", C("model"), "dynamic"), Pipeline[Batch])
assert_type(signals.p.grow().next_batch(4), Signals)
