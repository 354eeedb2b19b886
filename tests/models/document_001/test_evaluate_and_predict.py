"""Document 001: `evaluate` and `predict`."""

import types

import numpy as np
import pytest
from models.document_001.kit import (
    X,
    Y,
    batches,
    dataset,
    endless,
    learned_in,
    learning,
    reader,
    reading,
)
from models.document_001.rows import row
from models.document_kit import keras, read_events, values

from batchflow import B
from batchflow.models import Estimator, EstimatorSpec, RunConfig

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    return reader(tmp_path_factory.mktemp("live")).train(batches, steps=2)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """An Estimator whose weights have moved, and its first checkpoint."""
    return learned_in(tmp_path_factory.mktemp("learned"))


def results_of(estimator, **options):
    return np.stack([item["results"] for item in estimator.predict(batches, **options)])


# ---- evaluate


@row("evaluate.returns", "evaluate.input_fn", "evaluate.stops at the end of the input")
def test_an_evaluation_gives_metrics_loss_and_global_step(row, live):
    found = live.evaluate(batches)
    assert type(found) is dict
    assert found == {"loss": 5.5, "far": 5.5, "global_step": 2}
    assert isinstance(found["global_step"], int)
    assert all(isinstance(float(found[name]), float) for name in ("loss", "far"))


@row("evaluate.steps", "evaluate.stops after steps")
@pytest.mark.parametrize(("steps", "loss"), [(1, 1.5), (2, 3.5), (3, 5.5), (4, 4.5), (100, 5.5)])
def test_an_evaluation_ends_after_its_steps(row, live, steps, loss):
    input_fn = batches if steps == 100 else endless
    assert live.evaluate(input_fn, steps=steps)["loss"] == pytest.approx(loss)


@row("evaluate.steps")
@pytest.mark.parametrize(("wrong", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_steps_of_an_evaluation_are_positive(row, live, wrong, error):
    with pytest.raises(error, match="steps"):
        live.evaluate(endless, steps=wrong)


INPUTS = {
    "arrays": lambda: (X, Y),
    "a generator": batches,
    "uneven batches": lambda: ((X[part], Y[part]) for part in (slice(0, 7), slice(7, 12))),
    "a feed": lambda: dataset().p.feed(5, B.x, B.y, prefetch=2),
    "a tf.data dataset": lambda: (
        pytest.importorskip("tensorflow").data.Dataset.from_tensor_slices((X, Y)).batch(5)
    ),
}


@row("evaluate.input_fn", "predict.input_fn", "evaluate.stops at the end of the input")
@pytest.mark.parametrize("kind", INPUTS)
def test_inputs_of_every_kind_are_evaluated_and_predicted(row, live, kind):
    assert live.evaluate(INPUTS[kind])["loss"] == pytest.approx(5.5)
    assert [float(item["results"][0]) for item in live.predict(INPUTS[kind])] == list(range(12))


@row("evaluate.checkpoint_path")
@pytest.mark.parametrize("form", ["path", "stem", "Path"])
def test_a_checkpoint_is_chosen_by_its_path(row, learned, form, tmp_path):
    from pathlib import Path

    estimator, first = learned
    path = {"path": first, "stem": first.rpartition(".")[0], "Path": Path(first)}[form]
    early, late = estimator.evaluate(batches, checkpoint_path=path), estimator.evaluate(batches)
    assert (early["global_step"], late["global_step"]) == (1, 41)
    assert early["loss"] > late["loss"]
    elsewhere = Estimator(learning, str(tmp_path))
    assert elsewhere.evaluate(batches, checkpoint_path=path) == early


@row("evaluate.name")
def test_results_are_written_under_the_name(row, live, tmp_path):
    estimator = reader(tmp_path).train(batches, steps=2)
    found = estimator.evaluate(batches, name="test")
    estimator.evaluate(batches, name="train", steps=1)
    estimator.evaluate(batches)
    losses = {
        folder: read_events(tmp_path / folder)["loss"]
        for folder in ("eval_test", "eval_train", "eval")
    }
    assert losses == {"eval_test": [(2, 5.5)], "eval_train": [(2, 1.5)], "eval": [(2, 5.5)]}
    assert read_events(tmp_path / "eval_test")["far"] == [(2, found["far"])]


@row("evaluate.ValueError")
@pytest.mark.parametrize("wrong", [[], ["mae"], "mae", 3])
def test_metrics_that_are_no_dictionary_are_refused(row, wrong, tmp_path):
    def model_fn(features, labels, mode):
        spec = reading(features, labels, mode)
        if mode != "eval":
            return spec
        return EstimatorSpec(mode, spec.predictions, spec.loss, eval_metric_ops=wrong)

    estimator = Estimator(model_fn, str(tmp_path)).train(batches, steps=1)
    with pytest.raises(ValueError, match=r"eval_metric_ops|metrics"):
        estimator.evaluate(batches)


@row("evaluate.ValueError", "evaluate.returns")
def test_no_metrics_are_no_error(row, tmp_path):
    def model_fn(features, labels, mode):
        spec = reading(features, labels, mode)
        return EstimatorSpec(mode, spec.predictions, spec.loss, spec.train_op)

    estimator = Estimator(model_fn, str(tmp_path)).train(batches, steps=1)
    assert estimator.evaluate(batches) == {"loss": 5.5, "global_step": 1}


@row("evaluate.checkpoint_path", "evaluate.ValueError", "predict.ValueError no model")
def test_without_a_trained_model_nothing_is_read(row, tmp_path):
    def never():
        raise AssertionError("the input was asked for")

    estimator = reader(tmp_path)
    for options, text in [
        ({}, "trained"),
        ({"checkpoint_path": str(tmp_path / "ckpt-3")}, "ckpt-3"),
    ]:
        with pytest.raises(ValueError, match=text):
            estimator.evaluate(never, **options)
        predictions = estimator.predict(never, **options)  # a generator: nothing happens yet
        with pytest.raises(ValueError, match=text):
            next(predictions)


@row("evaluate.input_fn")
def test_an_empty_input_cannot_be_evaluated(row, live):
    with pytest.raises(ValueError, match="empty"):
        live.evaluate(lambda: iter([]))
    with pytest.raises(TypeError, match="input_fn"):
        live.evaluate()


@row("evaluate.returns")
def test_an_evaluation_changes_nothing(row, learned):
    estimator, _ = learned
    before = values(estimator)
    assert estimator.evaluate(batches) == estimator.evaluate(batches)
    assert all(np.array_equal(array, before[name]) for name, array in values(estimator).items())


def summed(layer=None, metrics=None):
    """Make a model function of batches whose items may have any length."""

    def model_fn(features, labels, mode):
        from batchflow.models import Regressor

        def graph_fn(mode, features):
            own = layer or keras.layers.Dense(1, kernel_initializer="ones", name="d")
            return own(keras.ops.sum(features, axis=1))

        sgd = {"class_name": "SGD", "learning_rate": 0.01}
        model = Regressor(mode, graph_fn, "mse", sgd, metrics, summaries=None)
        return model(features, labels)

    return model_fn


def of_lengths():
    for length in (1, 3, 2):
        yield np.full((2, length, 1), length, "float32"), np.zeros((2, 1), "float32")


@row("evaluate.returns")
def test_a_metric_made_outside_counts_all_batches(row, tmp_path):
    metric = keras.metrics.MeanAbsoluteError(name="far")
    estimator = Estimator(summed(metrics=[metric]), str(tmp_path)).train(of_lengths)
    far = [abs(item["results"].item()) for item in estimator.predict(of_lengths)]
    assert far[0] < far[-1]
    for _ in range(2):
        assert estimator.evaluate(of_lengths)["far"] == pytest.approx(np.mean(far), rel=1e-5)


@row("evaluate.checkpoint_path", "predict.checkpoint_path")
def test_a_layer_made_outside_keeps_what_it_has_learned(row, tmp_path):
    layer = keras.layers.Dense(1, kernel_initializer="ones", name="d")
    found = {}
    for name, one in (("inside", None), ("outside", layer)):
        config = RunConfig(keep_checkpoint_max=None)
        estimator = Estimator(summed(one), str(tmp_path / name), config)
        first = estimator.train(of_lengths, steps=1).latest_checkpoint()
        estimator.train(of_lengths).evaluate(of_lengths, checkpoint_path=first)
        next(estimator.predict(of_lengths, checkpoint_path=first))
        found[name] = estimator.train(of_lengths).evaluate(of_lengths)["loss"]
    assert found["outside"] == pytest.approx(found["inside"], rel=1e-5)


# ---- predict


@row("predict.yields", "predict.end of the input")
def test_predictions_come_item_by_item(row, live):
    predictions = live.predict(batches)
    assert isinstance(predictions, types.GeneratorType)
    items = list(predictions)
    assert len(items) == 12
    for number, item in enumerate(items):
        assert list(item) == ["results", "doubled"]
        assert all(isinstance(part, np.ndarray) and part.shape == (1,) for part in item.values())
        assert (item["results"].item(), item["doubled"].item()) == (number, 2 * number)


@row("predict.end of the input", "predict.yields")
def test_batches_are_read_when_their_items_are_asked_for(row, live):
    n_read = 0

    def counted():
        nonlocal n_read
        for batch in endless():
            n_read += 1
            yield batch

    predictions = live.predict(counted)
    assert n_read == 0
    for number in range(9):
        next(predictions)
        assert n_read == number // 4 + 1
    predictions.close()
    assert list(live.predict(lambda: iter([]))) == []


@row("predict.tuple", "predict.input_fn")
@pytest.mark.parametrize(
    "data",
    [X, (X,), (X, Y), {"x": X}, ({"x": X}, {"y": Y}), (X, Y, np.ones(12)), [(X, Y)], [[X, Y]]],
    ids=["x", "(x,)", "(x, y)", "{x}", "({x}, {y})", "(x, y, w)", "[(x, y)]", "[[x, y]]"],
)
def test_the_first_part_of_a_tuple_is_the_features(row, data, live, tmp_path):
    assert [float(item["results"][0]) for item in live.predict(lambda: data)] == list(range(12))


@row("predict.SparseTensor")
@pytest.mark.backends("tensorflow")
def test_features_may_be_sparse_tensors(row, live):
    import tensorflow as tf

    sparse = tf.sparse.from_dense(X)
    items = live.predict(lambda: {"x": sparse})
    assert [float(item["results"][0]) for item in items] == list(range(12))


@row("predict.predict_keys")
@pytest.mark.parametrize("keys", [["doubled"], ["doubled", "results"], ("results",)], ids=str)
def test_other_predictions_than_those_of_the_keys_are_left_out(row, keys, live):
    items = list(live.predict(batches, predict_keys=keys))
    assert len(items) == 12
    assert all(set(item) == set(keys) for item in items)
    assert items[3][keys[0]].item() == (6 if keys[0] == "doubled" else 3)


@row("predict.ValueError predict_keys", "predict.predict_keys")
@pytest.mark.parametrize("wrong", [["nothing"], ["results", "nothing"], []])
def test_keys_that_are_no_predictions_are_refused(row, wrong, live):
    with pytest.raises(ValueError, match="predict"):
        next(live.predict(batches, predict_keys=wrong))


def only_a_tensor(features, labels, mode):
    spec = reading(features, labels, mode)
    return EstimatorSpec(mode, spec.predictions["results"], spec.loss, spec.train_op)


@row("predict.ValueError predict_keys", "predict.yields")
def test_keys_need_a_dictionary(row, tmp_path):
    estimator = Estimator(only_a_tensor, str(tmp_path)).train(batches, steps=1)
    assert [item.tolist() for item in estimator.predict(batches)] == X.tolist()
    with pytest.raises(ValueError, match="dictionary"):
        next(estimator.predict(batches, predict_keys=["results"]))


@row("predict.ValueError lengths")
def test_predictions_of_other_lengths_are_refused(row, tmp_path):
    def model_fn(features, labels, mode):
        spec = reading(features, labels, mode)
        results = spec.predictions["results"]
        uneven = {"all": results, "some": results[:2, :]}
        return EstimatorSpec(mode, uneven, spec.loss, spec.train_op)

    estimator = Estimator(model_fn, str(tmp_path)).train(batches, steps=1)
    with pytest.raises(ValueError, match="different"):
        next(estimator.predict(batches))
    chosen = list(estimator.predict(batches, predict_keys=["all"]))
    assert len(chosen) == 12


@row("predict.checkpoint_path")
def test_predictions_are_those_of_a_checkpoint(row, learned, tmp_path):
    estimator, first = learned
    early, late = results_of(estimator, checkpoint_path=first), results_of(estimator)
    assert not np.allclose(early, late)
    other = Estimator(learning, str(tmp_path))
    np.testing.assert_array_equal(results_of(other, checkpoint_path=first), early)
    np.testing.assert_array_equal(results_of(estimator), late)


@row("predict.hooks")
def test_dropout_is_off_in_predictions_and_on_in_training(row, learned):
    estimator, _ = learned
    np.testing.assert_array_equal(results_of(estimator), results_of(estimator))
    kernels = values(estimator)
    hidden = np.tanh(X @ kernels["hidden/kernel"] + kernels["hidden/bias"])
    expected = hidden @ kernels["out/kernel"] + kernels["out/bias"]
    np.testing.assert_allclose(results_of(estimator), expected, rtol=1e-4, atol=1e-5)
