"""Model functions and data of the tests of Estimators. Seeded by the Estimator itself."""

import keras
import numpy as np

from batchflow.models import EstimatorSpec

layers, ops = keras.layers, keras.ops

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 5)).astype("float32")
Y = ((X[:, 0] > 0).astype("int32") + (X[:, 1] > 0)).astype("int32")


class MeanCrossentropy(layers.Layer):
    def call(self, labels, logits):
        each = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        return ops.mean(each)


def model_fn(features, labels, mode, params):
    """A classifier of three classes with dropout. `params`: what its optimizer takes."""
    hidden = layers.Dense(8, activation="relu", name="hidden")(features["x"])
    logits = layers.Dense(3, name="logits")(layers.Dropout(0.2)(hidden))
    predictions = {"logits": logits, "classes": ops.argmax(logits, -1)}
    if mode == "infer":
        outputs = {"serving_default": predictions}
        return EstimatorSpec(mode, predictions=predictions, export_outputs=outputs)
    return EstimatorSpec(
        mode,
        predictions=predictions,
        loss=MeanCrossentropy()(labels, logits),
        train_op=keras.optimizers.SGD(params.get("lr", 0.05), momentum=0.9),
        eval_metric_ops={
            "accuracy": (keras.metrics.SparseCategoricalAccuracy(), labels, logits),
        },
    )


def batches(size=10, n_epochs=None):
    """Batches in order, epoch after epoch: what an input function returns."""
    epoch = 0
    while n_epochs is None or epoch < n_epochs:
        for start in range(0, len(X), size):
            yield {"x": X[start : start + size]}, Y[start : start + size]
        epoch += 1


def one_epoch():
    return batches(n_epochs=1)


def everything():
    return {"x": X}, Y


def state(estimator):
    """All variables of the newest checkpoint."""
    return {name: estimator.get_variable_value(name) for name in estimator.get_variable_names()}


def assert_same(one, other):
    """Check that two states are the same to the last bit."""
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)
