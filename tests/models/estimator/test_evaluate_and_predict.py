"""Estimator.evaluate and predict: on checkpoints, batch by batch and item by item."""

import keras
import numpy as np
import pytest
from models.estimator.nets import X, Y, assert_same, batches, everything, model_fn, one_epoch, state

from batchflow.models import Estimator, EstimatorSpec

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    estimator = Estimator(model_fn, folder)
    estimator.train(batches, steps=3)
    first = estimator.latest_checkpoint()
    estimator.train(batches, steps=60)
    return estimator, first


def test_metrics_are_those_of_all_batches(trained):
    estimator, _ = trained
    in_batches, at_once = estimator.evaluate(one_epoch), estimator.evaluate(everything)
    assert in_batches.keys() == {"accuracy", "loss", "global_step"}
    assert in_batches["global_step"] == 63
    assert in_batches["accuracy"] == pytest.approx(at_once["accuracy"])
    assert in_batches["loss"] == pytest.approx(at_once["loss"], rel=1e-5)
    predicted = [item["classes"] for item in estimator.predict(one_epoch)]
    assert at_once["accuracy"] == pytest.approx(np.mean(predicted == Y))


def test_uneven_batches_count_by_their_items(trained):
    estimator, _ = trained
    uneven = estimator.evaluate(lambda: batches(size=50, n_epochs=1))
    assert uneven["loss"] == pytest.approx(estimator.evaluate(everything)["loss"], rel=1e-5)


def test_steps_end_an_evaluation(trained):
    estimator, _ = trained
    two = estimator.evaluate(batches, steps=2)
    assert two["loss"] == pytest.approx(
        estimator.evaluate(lambda: ({"x": X[:20]}, Y[:20]))["loss"], rel=1e-5
    )
    with pytest.raises(ValueError, match="at least 1"):
        estimator.evaluate(batches, steps=0)


def test_a_checkpoint_path_chooses_the_checkpoint(trained):
    estimator, first = trained
    early = estimator.evaluate(everything, checkpoint_path=first)
    assert early["global_step"] == 3
    assert early["loss"] > estimator.evaluate(everything)["loss"]
    without_suffix = first.removesuffix(".npz")
    assert estimator.evaluate(everything, checkpoint_path=without_suffix) == early


def test_predictions_come_item_by_item_with_the_chosen_keys(trained):
    estimator, _ = trained
    items = list(estimator.predict(one_epoch))
    assert len(items) == len(X)
    assert list(items[0]) == ["logits", "classes"]
    assert items[0]["logits"].shape == (3,)
    chosen = list(estimator.predict(one_epoch, predict_keys=["classes"]))
    assert [list(item) for item in chosen] == [["classes"]] * len(X)


@pytest.mark.parametrize(
    "data", [{"x": X[:4]}, ({"x": X[:4]},), ({"x": X[:4]}, Y[:4]), [({"x": X[:4]}, Y[:4])]]
)
def test_labels_are_left_out_of_a_prediction(trained, data):
    estimator, _ = trained
    assert len(list(estimator.predict(lambda: data))) == 4


def test_nothing_happens_before_the_first_prediction_is_asked_for(tmp_path):
    predictions = Estimator(model_fn, tmp_path).predict(one_epoch)
    with pytest.raises(ValueError, match="there is no trained model"):
        next(predictions)


def test_an_evaluation_without_a_checkpoint_is_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no trained model"):
        Estimator(model_fn, tmp_path).evaluate(one_epoch)
    with pytest.raises(ValueError, match="there is no checkpoint"):
        Estimator(model_fn, tmp_path).evaluate(one_epoch, checkpoint_path=tmp_path / "ckpt-7")


@pytest.mark.parametrize("keys", [["nothing"], [], ["classes", "logit"]])
def test_keys_that_do_not_fit_are_refused(trained, keys):
    estimator, _ = trained
    with pytest.raises(ValueError, match=r"predict_keys|no prediction"):
        next(estimator.predict(one_epoch, predict_keys=keys))


def one_tensor(features, labels, mode):
    results = keras.layers.Dense(1)(features["x"])
    if mode == "infer":
        return EstimatorSpec(mode, predictions=results)
    loss = keras.ops.mean(keras.ops.square(results))
    return EstimatorSpec(mode, predictions=results, loss=loss, train_op=keras.optimizers.SGD())


def test_one_tensor_gives_arrays_and_no_keys(tmp_path):
    estimator = Estimator(one_tensor, tmp_path).train(batches, steps=1)
    assert next(estimator.predict(one_epoch)).shape == (1,)
    with pytest.raises(ValueError, match="predict_keys chooses from a dictionary"):
        next(estimator.predict(one_epoch, predict_keys=["a"]))


def test_predictions_of_different_lengths_are_refused(tmp_path):
    def uneven(features, labels, mode):
        results = keras.layers.Dense(1)(features["x"])
        predictions = {"all": results, "first": results[:1, :]}
        if mode == "infer":
            return EstimatorSpec(mode, predictions=predictions)
        loss = keras.ops.mean(results)
        return EstimatorSpec(mode, loss=loss, train_op=keras.optimizers.SGD())

    estimator = Estimator(uneven, tmp_path).train(batches, steps=1)
    with pytest.raises(ValueError, match="different numbers of items"):
        next(estimator.predict(one_epoch))


def test_two_predictions_at_a_time_do_not_mix(trained):
    estimator, first = trained
    early = [item["logits"] for item in estimator.predict(one_epoch, checkpoint_path=first)]
    late = [item["logits"] for item in estimator.predict(one_epoch)]
    together = zip(
        estimator.predict(one_epoch, checkpoint_path=first),
        estimator.predict(one_epoch),
        strict=True,
    )
    for number, (one, other) in enumerate(together):
        np.testing.assert_array_equal(one["logits"], early[number])
        np.testing.assert_array_equal(other["logits"], late[number])


def test_a_prediction_that_is_left_early_closes_its_input(trained):
    estimator, _ = trained
    events = []

    def input_fn():
        try:
            yield from batches()
        finally:
            events.append("closed")

    predictions = estimator.predict(input_fn)
    next(predictions)
    predictions.close()
    assert events == ["closed"]


def test_metrics_that_make_their_variables_late_count_all_batches(tmp_path):
    def with_f1(features, labels, mode):
        spec = model_fn(features, labels, mode, {})
        if mode != "eval":
            return spec
        metric = keras.metrics.F1Score(average="macro")
        parts = metric, keras.ops.one_hot(labels, 3), spec.predictions["logits"]
        return EstimatorSpec(
            mode, predictions=spec.predictions, loss=spec.loss, eval_metric_ops={"f1": parts}
        )

    estimator = Estimator(with_f1, tmp_path).train(batches, steps=5)
    parts, whole = estimator.evaluate(one_epoch), estimator.evaluate(everything)
    assert 0 < whole["f1"] < 1
    assert parts["f1"] == pytest.approx(whole["f1"], rel=1e-5)


def test_layers_from_outside_of_the_model_function_do_not_mix_states(tmp_path):
    def make(folder):
        dense = keras.layers.Dense(1, kernel_initializer="ones", name="shared")
        optimizer = keras.optimizers.SGD(0.01, momentum=0.9)

        def shared(features, labels, mode):
            results = dense(features["x"])
            if mode == "infer":
                return EstimatorSpec(mode, predictions=results)
            loss = keras.ops.mean(keras.ops.square(results - 1))
            return EstimatorSpec(mode, loss=loss, train_op=optimizer)

        return Estimator(shared, folder)

    alone = make(tmp_path / "alone").train(batches, max_steps=6)
    mixed = make(tmp_path / "mixed").train(batches, max_steps=2)
    first = mixed.latest_checkpoint()
    mixed.train(batches, max_steps=4)
    early = mixed.evaluate(everything, checkpoint_path=first)["loss"]
    assert early > mixed.evaluate(everything)["loss"]
    assert early == mixed.evaluate(everything, checkpoint_path=first)["loss"]
    mixed.train(batches, max_steps=6)
    assert_same(state(alone), state(mixed))


def test_results_are_written_under_the_name_of_the_evaluation(tmp_path):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    ).EventAccumulator
    estimator = Estimator(model_fn, tmp_path).train(batches, steps=2)
    results = estimator.evaluate(everything, name="test")
    events = accumulator(str(tmp_path / "eval_test"))
    events.Reload()
    assert set(events.Tags()["tensors"]) == {"loss", "accuracy"}
    (event,) = events.Tensors("loss")
    assert event.step == 2
    assert event.tensor_proto.float_val[0] == pytest.approx(results["loss"])


def test_layers_that_only_training_has_do_not_disturb(tmp_path):
    def noisy(features, labels, mode):
        hidden = features["x"]
        if mode == "train":
            hidden = keras.layers.GaussianNoise(0.1)(hidden)
        results = keras.layers.Dense(1, use_bias=False)(hidden)
        if mode == "infer":
            return EstimatorSpec(mode, predictions=results)
        loss = keras.ops.mean(keras.ops.square(results))
        return EstimatorSpec(mode, loss=loss, train_op=keras.optimizers.SGD())

    estimator = Estimator(noisy, tmp_path).train(batches, steps=2)
    kernel = estimator.get_variable_value("dense/kernel")
    first = next(estimator.predict(one_epoch))
    np.testing.assert_allclose(first, X[0] @ kernel, rtol=1e-5)


def test_a_layer_that_training_lacks_is_named(tmp_path):
    def uneven(features, labels, mode):
        results = keras.layers.Dense(1)(features["x"])
        if mode == "infer":
            extra = keras.layers.Dense(1, name="extra")(results)
            return EstimatorSpec(mode, predictions=extra)
        loss = keras.ops.mean(results)
        return EstimatorSpec(mode, loss=loss, train_op=keras.optimizers.SGD())

    estimator = Estimator(uneven, tmp_path).train(batches, steps=1)
    with pytest.raises(ValueError, match="no variable 'extra/kernel'"):
        next(estimator.predict(one_epoch))
