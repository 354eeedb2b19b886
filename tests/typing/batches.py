"""The class of a dataset's batches, as type checkers follow it through pipelines and runs.

Checked by `make types`, and run by a test.
"""

from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

from batchflow import (
    ArrayBatch,
    B,
    Batch,
    Dataset,
    Epoch,
    Feed,
    Pipeline,
    Report,
    Run,
    Split,
    V,
    action,
)


class Signals(ArrayBatch):
    components = "signals", "labels"
    signals: npt.NDArray[np.float64]

    @action
    def scale(self, factor: float) -> "Signals":
        self.signals = self.signals * factor
        return self


class Recordings(Dataset[Signals]):
    """A dataset of a class of its own."""


signals = Dataset.from_arrays(Signals, signals=np.ones((8, 2)), labels=np.arange(8))

# ---- datasets

assert_type(signals, Dataset[Signals])
assert_type(Dataset(8), Dataset[Batch])
assert_type(Dataset(8, preloaded=None), Dataset[Batch])
assert_type(Dataset(8, Signals), Dataset[Signals])
assert_type(Dataset(8, Signals, (np.ones(8), np.ones(8))), Dataset[Signals])
assert_type(Dataset[Signals](8, Signals), Dataset[Signals])
assert_type(Recordings(8, Signals), Recordings)
assert_type(Recordings(8, Signals).gen_batch(4), Run[Signals])
assert_type(Dataset.from_batch(signals.create_batch([0, 1])), Dataset[Signals])

assert_type(signals.create_batch([0, 1]), Signals)
assert_type(signals.create_batch([0]).signals, npt.NDArray[np.float64])
assert_type(signals.create_subset([0, 1, 2]), Dataset[Signals])
assert_type(signals.shard(0, 2), Dataset[Signals])
assert_type(signals.split(), Split[Dataset[Signals]])
assert_type(signals.split().train, Dataset[Signals])
assert_type(signals.split().validation, Dataset[Signals] | None)
assert_type(signals.kfold(2)[0].train, Dataset[Signals])

# ---- runs of a dataset

assert_type(signals.gen_batch(4), Run[Signals])
assert_type(signals.next_batch(4), Signals)
for batch in signals.gen_batch(4, shuffle=True, prefetch=2):
    assert_type(batch, Signals)
    assert_type(batch.signals, npt.NDArray[np.float64])
for epoch in signals.gen_batch(4, n_epochs=2).epochs():
    assert_type(epoch, Epoch[Signals])
    for batch in epoch:
        assert_type(batch, Signals)
with signals.gen_batch(4) as run:
    assert_type(run, Run[Signals])
    assert_type(next(run), Signals)

# ---- pipelines

pipeline = signals.p.init_variable("loss", 0.0).scale(2).update(V("loss"), B.signals.mean())

assert_type(pipeline, Pipeline[Signals])
assert_type(signals.pipeline({"factor": 2}), Pipeline[Signals])
assert_type(Pipeline(signals), Pipeline[Signals])
assert_type(Pipeline(), Pipeline[Batch])
assert_type(Pipeline().scale(2), Pipeline[Batch])
assert_type(signals >> Pipeline().scale(2), Pipeline[Signals])
assert_type(Pipeline().scale(2) << signals, Pipeline[Signals])
assert_type(pipeline << {"factor": 3}, Pipeline[Signals])
assert_type({"factor": 3} >> pipeline, Pipeline[Signals])
assert_type(pipeline + Pipeline().scale(2), Pipeline[Signals])
assert_type(pipeline * 2, Pipeline[Signals])
assert_type(pipeline @ 0.5, Pipeline[Signals])

assert_type(pipeline.run(4), Pipeline[Signals])
assert_type(pipeline.run_later(4), Pipeline[Signals])
assert_type(pipeline.gen_batch(4), Run[Signals])
assert_type(pipeline.next_batch(4), Signals)
for batch in pipeline.gen_batch(4):
    assert_type(batch, Signals)
for batch in pipeline.run_later(4):
    assert_type(batch, Signals)
assert_type(pipeline.replay(0, 4), Signals | None)
assert_type(pipeline.debug(0, 4), Signals | None)
assert_type(pipeline.execute_for(signals.create_batch([0])), Signals | None)
assert_type(pipeline.check(), Report)

# ---- older words

assert_type(pipeline.run_now(4), Pipeline[Signals])
assert_type(pipeline.get_variable("loss"), Any)
assert_type(pipeline.init_variables(["one", "two"]).scale(2), Pipeline[Signals])
assert_type(pipeline.delete_variables(), Pipeline[Signals])
pipeline.set_v("loss", 1.0)
assert_type(signals.cv_split(), Any)
assert_type(pipeline.feed(4, B.signals, B.labels), Feed)


# ---- functions that take them


def of_any_batches(dataset: Dataset, steps: Pipeline) -> Run:
    assert_type(dataset.create_batch([0]), Batch)
    assert_type(steps.next_batch(4), Batch)
    return dataset.gen_batch(4)


def of_signals(run: Run[Signals]) -> float:
    return float(sum(batch.signals.sum() for batch in run))


def of_unknown(dataset: Dataset[Any]) -> None:
    assert_type(dataset.create_batch([0]), Any)


assert_type(of_any_batches(signals, signals.p), Run[Batch])
of_unknown(signals)
assert_type(of_signals(pipeline.gen_batch(4)), float)
