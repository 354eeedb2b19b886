"""The names of metrics: with several heads, and those that other results have."""

import keras
import numpy as np
import pytest
from models.base_model.nets import KINDS, X, Y, estimator, layers

from batchflow.models import Classifier, EstimatorSpec, Regressor

pytestmark = pytest.mark.tensorflow

LABELS = {"a": Y, "b": KINDS}
LOSSES = {"a": "mse", "b": "sparse_categorical_crossentropy"}


def two_heads(mode, features):
    return {"a": layers.Dense(1)(features), "b": layers.Dense(2, activation="softmax")(features)}


def names(metrics, graph_fn=two_heads, loss=LOSSES, labels=("a", "b")):
    shapes = {"a": keras.Input((1,)), "b": keras.Input((), dtype="int32")}
    model = Classifier("eval", graph_fn, loss, metrics=metrics, summaries=None)
    return list(model(keras.Input((4,)), {name: shapes[name] for name in labels}).eval_metric_ops)


def test_the_head_comes_first_whichever_heads_have_metrics():
    assert names({"b": ["accuracy"]}) == ["b_accuracy"]
    assert names({"b": ["accuracy"], "a": ["mae"]}) == ["b_accuracy", "a_mae"]


def test_the_results_of_an_evaluation_have_these_names(tmp_path):
    def make(mode):
        return Classifier(mode, two_heads, LOSSES, metrics={"b": ["accuracy"]}, summaries=None)

    trained = estimator(make, tmp_path).train(lambda: (X, LABELS), steps=1)
    assert set(trained.evaluate(lambda: (X, LABELS))) == {"loss", "b_accuracy", "global_step"}


def test_heads_in_a_tuple_are_several_too():
    def graph_fn(mode, features):
        return tuple(two_heads(mode, features).values())

    inputs = keras.Input((4,)), (keras.Input((1,)), keras.Input((2,)))
    spec = Regressor("eval", graph_fn, "mse", metrics={"1": "mae"}, summaries=None)(*inputs)
    assert list(spec.eval_metric_ops) == ["1_mae"]


def test_a_result_without_a_label_is_no_head():
    loss = {"b": LOSSES["b"]}
    assert names({"b": ["accuracy"]}, loss=loss, labels=["b"]) == ["accuracy"]
    assert names(["accuracy"], loss=loss, labels=["b"]) == ["accuracy"]


@pytest.mark.parametrize("name", ["loss", "global_step"])
def test_a_metric_of_the_name_of_another_result_is_refused(name):
    x, y = keras.Input((1,)), keras.Input((1,))
    metric = keras.metrics.MeanAbsoluteError(name=name)
    with pytest.raises(ValueError, match=f"{name!r}.*another name"):
        EstimatorSpec("eval", x, keras.ops.mean(x), eval_metric_ops={name: (metric, y, x)})
    model = Regressor("eval", lambda mode, features: features * 2, "mse", metrics=[metric])
    with pytest.raises(ValueError, match="name= of the metric"):
        model(x, y)


def test_under_another_name_it_is_beside_the_loss(tmp_path):
    def make(mode):
        metric = keras.metrics.MeanAbsoluteError(name="my_loss")
        return Regressor(mode, lambda mode, features: layers.Dense(1)(features), "mse",
                         metrics=[metric], summaries=None)  # fmt: skip

    trained = estimator(make, tmp_path).train(lambda: (X, Y), steps=1)
    results = trained.evaluate(lambda: (X, Y))
    found = np.stack([one["results"] for one in trained.predict(lambda: X)])
    assert results["loss"] == pytest.approx(np.square(found - Y).mean(), rel=1e-4)
    assert results["my_loss"] == pytest.approx(np.abs(found - Y).mean(), rel=1e-4)
