"""Errors of what users write: which function, in which mode, with what; what it must give."""

import keras
import numpy as np
import pytest

from batchflow import ArgumentTypeError, ArgumentValueError, ArrayBatch, B, Dataset
from batchflow.models import Estimator, Regressor

pytestmark = pytest.mark.tensorflow

X = np.random.default_rng(0).normal(size=(8, 4)).astype("float32")
Y = X.sum(axis=1, keepdims=True)


class Pairs(ArrayBatch):
    components = "x", "y"


pairs = Dataset.from_arrays(Pairs, x=X, y=Y).p


def dense(mode, features):
    return keras.layers.Dense(1)(features)


def trained(kind, *options, features=X):
    def model_fn(features, labels, mode):
        return kind(mode, dense, "mse", *options, summaries=None)(features, labels)

    return Estimator(model_fn).train((features, Y), steps=1)


class WithOptimizer(Regressor):
    def _build_optimizer(self):
        return "adam"


class WithFeatures(Regressor):
    def _preprocess(self, features, labels):
        return features


class WithLoss(Regressor):
    def _build_loss(self, results, features, labels):
        return keras.ops.mean(results)


class WithClipping(Regressor):
    def _clip_gradients_fn(self, grads_and_vars):
        pass


class WithReversedGradients(Regressor):
    def _clip_gradients_fn(self, grads_and_vars):
        return grads_and_vars[::-1]


class WithSummary(Regressor):
    def _build_summary_op(self, results=None, features=None, labels=None):
        return 1


class WithMetrics(Regressor):
    def _build_eval_metrics(self, results, features, labels):
        return {"mae": 1}


class WithPredictions(Regressor):
    def _build_predictions(self, results, features, labels):
        return {"value": 1}


class WithNothing(Regressor):
    def _build(self, features, labels, params=None, config=None):
        pass


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (WithOptimizer, "_build_optimizer returns a keras.optimizers.Optimizer, got 'adam'"),
        (WithFeatures, r"_preprocess returns \(features, labels\), got"),
        (WithLoss, r"_build_loss returns \(losses, loss\): tensors"),
        (WithClipping, "_clip_gradients_fn returns the pairs .* got None: is a return missing"),
        (WithReversedGradients, "_clip_gradients_fn returns the pairs .* in their order"),
        (WithSummary, "_build_summary_op returns a hook .* or None, got 1"),
        (WithMetrics, "_build_eval_metrics returns a dictionary: name to"),
        (WithPredictions, "_build_predictions returns a dictionary of tensors"),
        (WithNothing, "_build returns an EstimatorSpec, got None: is a return missing"),
    ],
)
def test_a_wrong_result_names_the_method_and_what_it_gives(kind, text):
    with pytest.raises(ArgumentTypeError, match=f"{kind.__name__}.{text}"):
        trained(kind)


def test_an_error_in_an_overridden_method_says_with_what_it_was_called():
    class Failing(Regressor):
        def _build_loss(self, results, features, labels):
            raise LookupError

    with pytest.raises(LookupError) as caught:
        trained(Failing)
    method, function = caught.value.__notes__
    assert "Failing._build_loss was called in the mode 'train' with results (None, 1)" in method
    assert function == (
        "while model_fn was called in the mode 'train' with features (None, 4) float32, "
        "labels (None, 1) float32"
    )


def test_an_error_in_a_graph_function_says_with_what_it_was_called():
    with pytest.raises(KeyError) as caught:
        trained(Regressor, features={"x": X})
    assert caught.value.__notes__[0] == (
        "while graph_fn dense was called in the mode 'train' with features "
        "{'x': (None, 4) float32}, labels (None, 1) float32"
    )


@pytest.mark.parametrize(
    ("graph_fn", "loss"),
    [(dense, {"any": "mse"}), (lambda mode, features: [dense(mode, features)], "mse")],
)
def test_of_one_result_names_and_lists_do_no_harm(graph_fn, loss):
    def model_fn(features, labels, mode):
        return Regressor(mode, graph_fn, loss, metrics=["mae"])(features, labels)

    assert "mae" in Estimator(model_fn).train((X, Y), steps=1).evaluate((X, Y))


def test_a_config_without_its_class_is_refused():
    with pytest.raises(ArgumentValueError, match=r"optimizer: a config .* under 'class_name'"):
        trained(Regressor, {"module": "adam"})


def model_of_one_tensor(features, labels, mode):
    return Regressor(mode, dense, "mse", summaries=None)(features, labels)


@pytest.mark.parametrize(
    "given", [pairs.gen_batch(4), lambda: pairs.gen_batch(4), pairs.next_batch(4)]
)
def test_batches_where_a_feed_is_meant(given):
    with pytest.raises(ArgumentTypeError, match=r"pipeline.feed\(20, B.x, B.y\)"):
        Estimator(model_of_one_tensor).train(given)


def test_a_batch_where_its_arrays_are_meant():
    with pytest.raises(ArgumentTypeError, match=r"of one batch in an action batch.x, batch.y"):
        Estimator(model_of_one_tensor).train_on_batch(next(pairs.gen_batch(4)))
    with pytest.raises(ArgumentTypeError, match=r"in a chain B.x, B.y"):
        est = Estimator(model_of_one_tensor)
        pairs.init_model("est", est).train_model("est", {"x": B()}, B.y).run(4)


def test_it_is_said_once_that_an_input_function_is_called_once(caplog):
    def said():  # by us; TensorFlow may say that it traces often
        return [record.getMessage() for record in caplog.records if "batchflow" in record.name]

    est = Estimator(model_of_one_tensor).train((X, Y))
    est.train(lambda: (X, Y), steps=1)  # one step is what is asked for
    assert said() == []
    est.train(lambda: (X, Y))
    est.evaluate(lambda: (X, Y))
    (told,) = said()
    assert "train: input_fn was called once and gave one batch: one step" in told
