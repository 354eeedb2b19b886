"""Document 000: every documented method can be overridden, and is called in its order."""

import numpy as np
import pytest
from models.document_000.kit import estimator_of, logger, mean_result, ones, weighted
from models.document_000.rows import row
from models.document_kit import compute, keras, value

from batchflow.models import BaseModel, EstimatorSpec, Regressor

pytestmark = pytest.mark.tensorflow

PARTS = [
    "_build",
    "_preprocess",
    "graph_fn",
    "_build_loss",
    "_build_eval_metrics",
    "_build_train_op",
    "_build_optimizer",
    "_build_summary_op",
    "_build_predictions",
]


def recording():
    """Make a class that notes which of its methods were called, with what, and does the same."""
    calls = []

    class Recording(Regressor):
        def _clip_gradients_fn(self, grads_and_vars):
            calls.append(("_clip_gradients_fn", (grads_and_vars,)))
            return super()._clip_gradients_fn(grads_and_vars)

    def override(name):
        inherited = getattr(BaseModel, name)

        def method(self, *args, **options):
            calls.append((name, (*args, *options.values())))
            return inherited(self, *args, **options)

        setattr(Recording, name, method)

    for name in PARTS:
        if name != "graph_fn":
            override(name)

    def graph_fn(mode, features, labels):
        calls.append(("graph_fn", (features, labels)))
        return weighted(mode, features)

    return Recording, graph_fn, calls


@row(
    "_build.features",
    "_build.labels",
    "_build.params",
    "_build.config",
    "_preprocess.features",
    "_preprocess.labels",
    "_build_loss.results",
    "_build_eval_metrics.results",
    "_build_summary_op.results",
    "_build_summary_op.features",
    "_build_summary_op.labels",
    "_build_train_op.loss",
)
@pytest.mark.parametrize("mode", ["train", "eval", "infer"])
def test_parts_are_built_in_the_documented_order_with_the_documented_arguments(row, mode):
    cls, graph_fn, calls = recording()
    x, y, params, config = keras.Input((1,)), keras.Input((1,)), {"a": 1}, None
    y = None if mode == "infer" else y
    spec = cls(mode, graph_fn, "mse", metrics=["mae"], summaries=None)(x, y, params, config)
    names = [name for name, _ in calls]
    training = {"_build_train_op", "_build_optimizer", "_build_summary_op"}
    labelled = {"_build_loss", "_build_eval_metrics"}
    left_out = {"train": set(), "eval": training, "infer": training | labelled}[mode]
    assert names == [name for name in PARTS if name not in left_out]
    given = dict(calls)
    assert given["_build"][:3] == (x, y, params)
    assert given["_preprocess"] == (x, y)
    results = spec.predictions["results"]
    for name in ("_build_loss", "_build_eval_metrics", "_build_summary_op", "_build_predictions"):
        if name in given:
            assert all(a is b for a, b in zip(given[name], (results, x, y), strict=True)), name
    if mode == "train":
        assert given["_build_train_op"] == (spec.loss,)


# ---- each of them changes what it is named after


@row("_preprocess.features", "_preprocess.labels")
def test_an_override_preprocesses_features_and_labels(row):
    class Halved(Regressor):
        def _preprocess(self, features, labels):
            return features / 2, None if labels is None else labels + 1

    x, y = keras.Input((1,)), keras.Input((1,))
    spec = Halved("eval", weighted, "mse", summaries=None)(x, y)
    found = compute([x, y], (spec.predictions["results"], spec.loss), [[[6.0]], [[4.0]]])
    np.testing.assert_allclose([np.ravel(part)[0] for part in found], [3.0, 4.0])
    spec = Halved("infer", weighted, "mse", summaries=None)(x)
    np.testing.assert_allclose(compute([x], spec.predictions["results"], [[[6.0]]]), [[3.0]])


@row("_build_loss.losses", "_build_loss.loss")
def test_an_override_computes_the_loss(row):
    class Far(Regressor):
        def _build_loss(self, results, features, labels):
            losses = keras.ops.abs(results - labels)[:, 0]
            return losses, 10 * keras.ops.max(losses)

    x, y = keras.Input((1,)), keras.Input((1,))
    spec = Far("train", weighted, None, summaries=None)(x, y)
    found = compute([x, y], (spec.predictions["losses"], spec.loss), [[[1.0], [5.0]], [[0.0], [2]]])
    np.testing.assert_allclose(found[0], [1.0, 3.0])
    np.testing.assert_allclose(found[1], 30.0)


@row("_build_eval_metrics.returns", "_build_eval_metrics.labels")
def test_an_override_makes_the_metrics(row, tmp_path):
    class Counted(Regressor):
        def _build_eval_metrics(self, results, features, labels):
            own = {"largest": (keras.metrics.MeanAbsoluteError(), labels, features * 2)}
            return {**super()._build_eval_metrics(results, features, labels), **own}

    estimator = estimator_of(tmp_path, Counted, metrics=["mse"], optimizer=None)
    results = estimator.train(ones, steps=1).evaluate(ones)
    assert results.keys() == {"loss", "global_step", "mse", "largest"}
    assert results["largest"] == pytest.approx(1.0)


@row("_build_optimizer.creates the optimizer", "_build_train_op.loss")
@pytest.mark.parametrize("method", ["_build_optimizer", "_build_train_op"])
def test_an_override_makes_the_optimizer(row, method, tmp_path):
    class Own(Regressor):
        pass

    setattr(Own, method, lambda self, *loss: keras.optimizers.SGD(0.25))
    estimator = estimator_of(tmp_path, Own, loss=mean_result)
    estimator.train(ones, steps=1)
    # The gradient is 1. `_build_train_op` is what clips it.
    expected = {"_build_optimizer": 1 - 0.125, "_build_train_op": 1 - 0.25}[method]
    assert value(estimator, "kernel").item() == pytest.approx(expected)


@row("_build_summary_op.one value or more")
def test_an_override_writes_summaries_of_its_own(row, tmp_path):
    own = logger()

    class Own(Regressor):
        def _build_summary_op(self, results=None, features=None, labels=None):
            return own

    estimator_of(tmp_path, Own, summaries="all").train(ones, steps=3)
    assert len(own.losses) == 3


@row("_build_predictions.dictionary")
def test_an_override_makes_the_predictions(row, tmp_path):
    class Named(Regressor):
        def _build_predictions(self, results, features, labels):
            everything = super()._build_predictions(results, features, labels)
            return {**everything, "double": results * 2}

    estimator = estimator_of(tmp_path, Named).train(ones, steps=1)
    first = next(estimator.predict(ones))
    assert first.keys() == {"results", "features", "double"}
    np.testing.assert_allclose(first["double"], first["results"] * 2)


@row("_build.params", "_build.config")
def test_an_override_builds_everything(row, tmp_path):
    class Own(Regressor):
        def _build(self, features, labels, params=None, config=None):
            spec = super()._build(features, labels, params, config)
            if spec.loss is None:
                return spec
            return EstimatorSpec(spec.mode, spec.predictions, spec.loss * 3, train_op=spec.train_op)

    x, y = keras.Input((1,)), keras.Input((1,))
    spec = Own("train", weighted, "mse", summaries=None)(x, y)
    np.testing.assert_allclose(compute([x, y], spec.loss, [[[2.0]], [[0.0]]]), 12.0)


@row("_build.params", "_build.config")
def test_params_and_config_come_to_the_graph_function(row):
    seen = {}

    def graph_fn(mode, features, params, config):
        seen.update(params=params, config=config)
        return weighted(mode, features)

    x, y = keras.Input((1,)), keras.Input((1,))
    model = Regressor("train", graph_fn, "mse", summaries=None)
    model(x, y, params={"n": 3}, config="config")
    assert seen == {"params": {"n": 3}, "config": "config"}
    model(x, y)
    assert seen == {"params": None, "config": None}


@row("batch_size.features", "batch_size.labels", "batch_size.returns")
def test_the_batch_size_is_that_of_the_features(row):
    x, y = np.zeros((5, 2)), np.zeros(5)
    assert BaseModel.batch_size(x, y) == 5
    assert Regressor.batch_size({"b": x, "a": x}, None) == 5
    assert Regressor.batch_size({"n": {"b": x}}, {"y": y}) == 5
    model = Regressor("train", weighted, "mse", summaries=None)
    assert model.batch_size(x, y) == 5
    with pytest.raises(ValueError, match="features"):
        BaseModel.batch_size({}, y)


@row("batch_size.returns")
def test_the_batch_size_of_tensors_can_be_computed_with(row):
    x = keras.Input((2,))
    size = BaseModel.batch_size({"x": x}, None)
    for n in (1, 4):
        found = compute([x], size * 2, [np.zeros((n, 2), "float32")])
        assert int(np.ravel(found)[0]) == 2 * n
