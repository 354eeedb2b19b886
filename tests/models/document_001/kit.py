"""An Estimator that tells which batches it has read: what the tests of document 001 share.

Its one weight is 1 and stays so, and its loss is the mean of the features: the loss of a step says
which batch it was. `X` is in three batches, whose means are 1.5, 5.5 and 9.5.
"""

import numpy as np
from models.document_kit import keras

from batchflow import ArrayBatch, Dataset, action
from batchflow.models import Estimator, EstimatorSpec, Modes, RunConfig

X = np.arange(12, dtype="float32")[:, None]
Y = X * 2
MEANS = [1.5, 5.5, 9.5]


def reading(features, labels, mode):
    """Compute the features again; the loss is their mean."""
    features = features["x"] if isinstance(features, dict) else features
    results = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="w")(features)
    predictions = {"results": results, "doubled": results + results}
    if mode == Modes.PREDICT:
        return EstimatorSpec(mode, predictions, export_outputs={"serving_default": predictions})
    metrics = {}
    if labels is not None:
        labels = next(iter(labels.values())) if isinstance(labels, dict) else labels
        metrics = {"far": (keras.metrics.MeanAbsoluteError(), labels, results)}
    return EstimatorSpec(
        mode,
        predictions,
        loss=keras.ops.mean(results),
        train_op=keras.optimizers.SGD(0.0),
        eval_metric_ops=metrics,
    )


def learning(features, labels, mode):
    """A regression whose weights move, with dropout."""
    hidden = keras.layers.Dense(4, activation="tanh", name="hidden")(features)
    results = keras.layers.Dense(1, name="out")(keras.layers.Dropout(0.3)(hidden))
    if mode == Modes.PREDICT:
        return EstimatorSpec(mode, {"results": results}, export_outputs={"best": results})
    loss = keras.ops.mean(keras.ops.square(labels / 24 - results))
    return EstimatorSpec(mode, {"results": results}, loss, keras.optimizers.SGD(0.01, momentum=0.9))


def batches(n_epochs=1):
    """Three batches of features and labels, in order, epoch after epoch."""
    for _ in range(n_epochs):
        for start in range(0, 12, 4):
            yield X[start : start + 4], Y[start : start + 4]


def endless():
    return batches(10**9)


def reader(folder):
    return Estimator(reading, str(folder))


def learned_in(folder):
    """Make an Estimator whose weights have moved; give its first checkpoint, too."""
    estimator = Estimator(learning, str(folder), RunConfig(keep_checkpoint_max=None))
    first = estimator.train(endless, steps=1).latest_checkpoint()
    return estimator.train(endless, steps=40), first


def read(estimator, input_fn, **options):
    """Train; give the means of the batches that were read."""
    seen = Losses()
    estimator.train(input_fn, hooks=[seen], **options)
    return seen.losses


class Losses:
    """A session-run-hook object that keeps losses."""

    def __init__(self):
        self.losses = []

    def begin(self): ...

    def before_run(self, run_context): ...

    def after_run(self, run_context, run_values):
        self.losses.append(float(run_values.results["loss"]))

    def end(self, session): ...


class Pairs(ArrayBatch):
    components = "x", "y"

    @action
    def shake(self):
        self.x = self.x + self.rng.normal(size=self.x.shape).astype("float32") / 10
        return self


def dataset():
    return Dataset.from_arrays(Pairs, x=X, y=Y)
