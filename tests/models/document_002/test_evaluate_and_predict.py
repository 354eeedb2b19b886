"""Document 002: `evaluate`, `predict` and the methods for one batch."""

import numpy as np
import pytest
from models.document_002 import asking
from models.document_002.asking import (
    ask,
    both_targets,
    build,
    build_eager,
    build_eager_two,
    build_two,
    halves,
    import_keras,
)
from models.document_002.data import KINDS, given_as
from models.document_002.rows import row

from batchflow import B, V
from batchflow.models import train_step

pytestmark = [pytest.mark.tensorflow, pytest.mark.backends("tensorflow")]

# ---- evaluate and predict


@row("evaluate.returns", "test_on_batch.returns", "train_on_batch.returns")
def test_a_scalar_comes_without_metrics_and_a_list_with_them(row):
    def question(net, x, y):
        return [
            net.evaluate(x, y, verbose=0),
            net.test_on_batch(x, y),
            net.train_on_batch(x, y),
        ]

    scalars = ask(question, lambda: build(metrics=None))
    lists = ask(question)
    assert [len(values) for values in lists] == [2, 2, 2]
    assert scalars == pytest.approx([values[0] for values in lists])


@row("evaluate.batch_size", "evaluate.sample_weight", "evaluate.steps")
def test_evaluate_takes_a_size_weights_and_steps(row):
    import tensorflow as tf

    def question(net, x, y):
        by_eights = net.evaluate(x, y, batch_size=8, verbose=0)
        whole = net.evaluate(x, y, batch_size=32, verbose=0)
        weights = np.repeat([2.0, 0.0], 16)
        weighted = net.evaluate(x, y, sample_weight=weights, verbose=0)
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
        first = net.evaluate(dataset, steps=2, verbose=0)
        return (
            by_eights,
            whole,
            weighted[0],
            first[0],
            first[1],
            net.evaluate(x[:16], y[:16], verbose=0),
        )

    by_eights, whole, weighted, first, accuracy, half = ask(question, build_eager)
    assert by_eights == pytest.approx(whole, rel=1e-5)
    assert weighted == pytest.approx(half[0], rel=1e-5)
    assert [first, accuracy] == pytest.approx(half, rel=1e-5)


@row("predict.batch_size", "predict.steps", "predict.returns")
def test_predict_takes_a_size_and_steps_and_gives_arrays(row):
    import tensorflow as tf

    def question(net, x, y):
        dataset = tf.data.Dataset.from_tensor_slices(x).batch(8)
        return (
            net.predict(x, verbose=0),
            net.predict(x, batch_size=5, verbose=0),
            net.predict(dataset, steps=2, verbose=0),
        )

    whole, by_fives, two_steps = ask(question)
    assert type(whole) is np.ndarray
    np.testing.assert_allclose(by_fives, whole, rtol=1e-5)
    np.testing.assert_allclose(two_steps, whole[:16], rtol=1e-5)
    outputs = ask(lambda net, x, y: net.predict(list(halves(x)), verbose=0), build_two)
    assert [output.shape for output in outputs] == [(32, 10), (32, 1)]


@row("evaluate.ValueError", "predict.ValueError")
def test_inputs_that_do_not_fit_are_refused(row):
    for loop in ("evaluate", "predict"):
        with pytest.raises(ValueError, match="expects 2 named input"):
            ask(lambda net, x, y, loop=loop: getattr(net, loop)(x, verbose=0), build_two)


@row("predict.ValueError")
def test_a_stateful_model_refuses_another_number_of_items(row):
    def recurrent():
        keras = import_keras()
        inputs = keras.Input(batch_shape=(8, 8, 8))
        return keras.Model(inputs, keras.layers.LSTM(3, stateful=True)(inputs))

    with pytest.raises(ValueError, match=r"batch size|batch_size|expected shape=\(8"):
        ask(lambda net, x, y: net.predict(x.reshape(-1, 8, 8)[:5], verbose=0), recurrent)


# ---- one batch


@row(
    "train_on_batch.x",
    "train_on_batch.y",
    "test_on_batch.x",
    "test_on_batch.y",
    "predict_on_batch.x",
)
@pytest.mark.parametrize("kind", KINDS[:5])
def test_one_batch_is_of_every_documented_kind(row, kind):
    def question(net, x, y):
        _, data = given_as(kind, *halves(x), both_targets(y))
        x, y = data()["x"], data()["y"]
        guessed = net.predict_on_batch(x)
        losses = net.test_on_batch(x, y), net.train_on_batch(x, y), net.test_on_batch(x, y)
        return guessed[0].sum(), losses

    guessed, (before, step, after) = ask(question, build_eager_two)
    assert guessed == pytest.approx(32, rel=1e-5)
    assert before == pytest.approx(step)
    assert after[0] < before[0]


@row(
    "train_on_batch.x from tf.data",
    "test_on_batch.x from tf.data",
    "predict_on_batch.x from tf.data",
)
def test_the_batches_of_a_dataset_are_given_one_by_one(row):
    import tensorflow as tf

    def question(net, x, y):
        dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(8)
        for name in ("train_on_batch", "test_on_batch", "predict_on_batch"):
            with pytest.raises(ValueError, match=r"positional arguments|should be tensors"):
                getattr(build(), name)(dataset)
        for images, labels in dataset:
            net.train_on_batch(images, labels)
        images, labels = next(iter(dataset))
        net.test_on_batch(images, labels)
        return int(net.optimizer.iterations), net.predict_on_batch(images).shape

    assert ask(question) == (4, (8, 10))


@row("predict_on_batch.returns")
def test_predictions_for_a_batch_are_arrays(row):
    assert type(ask(lambda net, x, y: net.predict_on_batch(x))) is np.ndarray


@row("train_on_batch.sample_weight", "test_on_batch.sample_weight")
def test_items_of_a_batch_are_weighted(row):
    def question(net, x, y):
        weights = np.repeat([2.0, 0.0], 16)
        tested = net.test_on_batch(x, y, sample_weight=weights)[0]
        trained = net.train_on_batch(x, y, sample_weight=weights)[0]
        return tested, trained, build().test_on_batch(x[:16], y[:16])[0]

    tested, trained, half = ask(question)
    assert tested == pytest.approx(half, rel=1e-5)
    assert trained == pytest.approx(half, rel=1e-5)


@row("train_on_batch.ValueError", "test_on_batch.ValueError", "predict_on_batch.ValueError")
def test_a_batch_that_does_not_fit_is_refused(row):
    for method in ("train_on_batch", "test_on_batch", "predict_on_batch"):
        with pytest.raises(ValueError, match="expects 2 named input"):
            ask(lambda net, x, y, method=method: getattr(net, method)(x), build_two)
    both = {"sample_weight": np.ones(32), "class_weight": {0: 1.0}}
    with pytest.raises(ValueError, match="at the same time"):
        ask(lambda net, x, y: net.train_on_batch(x, y, **both))


@row("reset_metrics.call")
def test_metrics_are_reset(row):
    def question(net, x, y):
        net.train_on_batch(x, y)
        before = {metric.name: float(metric.result()) for metric in net.metrics[:1]}
        net.reset_metrics()
        return before["loss"], float(net.metrics[0].result())

    before, after = ask(question)
    assert before > 0
    assert after == 0


@row("train_on_batch.reset_metrics")
def test_metrics_go_on_through_the_steps_of_a_chain_and_of_an_action(row):
    alone, running = (
        asking.digits().p.init_model("net", build).init_variable("seen", init=list).scale()
        .train_model("net", B.images, B.labels, fetches=["loss", "accuracy"], **options,
                     save_to=V("seen", "a")).run(32, n_iters=3, shuffle=1, prefetch=2).v("seen")
        for options in ({}, {"reset_metrics": False})
    )  # fmt: skip
    means = [np.mean(alone[: n + 1], axis=0) for n in range(3)]
    np.testing.assert_allclose(np.array(running, dtype=float), means, rtol=1e-5)

    def question(net, x, y):
        with pytest.raises(TypeError, match="reset_metrics"):
            net.train_on_batch(x, y, reset_metrics=False)
        return float(train_step(net, x, y, fetches="loss", reset_metrics=False))

    np.testing.assert_allclose(ask(question, n_batches=3), [mean[0] for mean in means], rtol=1e-5)


@row("test_on_batch.reset_metrics")
def test_metrics_over_all_batches_are_those_of_evaluate(row):
    def question(net, x, y):
        with pytest.raises(TypeError, match="reset_metrics"):
            net.test_on_batch(x, y, reset_metrics=False)
        return net.test_on_batch(x, y)

    alone = ask(question, n_batches=4)
    feed = asking.digits().p.scale().feed(32, B.images, B.labels, prefetch=2)
    whole = build().evaluate(feed.to_keras(), verbose=0)
    assert whole == pytest.approx(np.mean(alone, axis=0), rel=1e-5)
