"""Document 002, what Keras 3 dropped: literally, with a `tf_keras` descriptor, in actions."""

import contextlib
import types
import warnings

import numpy as np
import pytest
import tf_keras
from models.document_002 import asking
from models.document_002.asking import build, digits
from models.document_002.rows import row

from batchflow import B

pytestmark = pytest.mark.legacy

deprecated = pytest.mark.filterwarnings("ignore:.*is deprecated and will be removed:UserWarning")


def legacy(**options):
    return build(tf_keras, **options)


def ask(question, build=legacy, **options):
    return asking.ask(question, build, **options)


def batches(x, y=None):
    while True:
        for at in range(0, len(x), 8):
            part = slice(at, at + 8)
            yield (x[part],) if y is None else (x[part], y[part])


# ---- properties


@row("properties.metrics_names")
def test_metrics_names_are_the_labels_of_the_values(row):
    def question(net, x, y):
        values = net.train_on_batch(x, y)
        return dict(zip(net.metrics_names, values, strict=True)).keys()

    assert ask(question) == {"loss", "accuracy"}


@row("properties.stateful", "reset_states.call", "properties.state_updates")
def test_states_are_told_and_reset(row):
    def recurrent():
        inputs = tf_keras.Input(batch_shape=(32, 8, 8))
        return tf_keras.Model(inputs, tf_keras.layers.LSTM(3, stateful=True)(inputs))

    def question(net, x, y):
        x = x.reshape(-1, 8, 8)
        first, second = net.predict_on_batch(x), net.predict_on_batch(x)
        net.reset_states()
        third = net.predict_on_batch(x)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            updates = net.state_updates
        return net.stateful, updates, np.array_equal(first, second), np.array_equal(first, third)

    assert ask(question, recurrent) == (True, [], False, True)
    assert ask(lambda net, x, y: net.stateful) is False


# ---- compile


@row("compile.sample_weight_mode")
def test_timesteps_are_weighted_in_the_temporal_mode(row):
    def in_time():
        net = tf_keras.Sequential([tf_keras.Input((8, 8)), tf_keras.layers.Dense(1)])
        net.compile("sgd", "mse", sample_weight_mode="temporal")
        return net

    def question(net, x, y):
        weights = np.zeros((32, 8))
        data = x.reshape(-1, 8, 8), np.ones((32, 8, 1))
        return net.test_on_batch(*data, sample_weight=weights), net.test_on_batch(*data)

    nothing, something = ask(question, in_time)
    assert nothing == 0 < something


@row("compile.distribute", "compile.target_tensors")
def test_compile_takes_what_r2_0_did_not_use(row):
    assert ask(
        lambda net, x, y: len(net.train_on_batch(x, y)),
        lambda: legacy(distribute=None, target_tensors=None),
    )


def in_a_graph():
    """Make a descriptor with a graph and a session of its own."""
    import tensorflow as tf

    graph = tf.Graph()
    session = tf.compat.v1.Session(graph=graph)
    with graph.as_default(), session.as_default():
        net = legacy(optimizer="sgd")
        return types.SimpleNamespace(net=net, graph=graph, session=session)


def ask_in_a_graph(question):
    def entered(spec, x, y):
        with spec.graph.as_default(), spec.session.as_default():
            return question(spec.net, x, y)

    return ask(entered, in_a_graph)


@row("compile.target_tensors")
def test_a_graph_has_target_tensors(row):
    import tensorflow as tf

    def question(net, x, y):
        target = tf.constant(y[:, None])
        net.compile("sgd", net.loss, metrics=["accuracy"], target_tensors=[target])
        return [net.train_on_batch(x)[0] for _ in range(5)]

    losses = ask_in_a_graph(question)
    assert losses == sorted(losses, reverse=True)


@row("properties.sample_weights")
def test_a_graph_has_sample_weights(row):
    def question(net, x, y):
        weighted = net.train_on_batch(x, y, sample_weight=np.zeros(32))[0]
        return weighted, len(net.sample_weights)

    assert ask_in_a_graph(question) == (0, 1)


@deprecated
@pytest.mark.filterwarnings("ignore:.*state_updates:UserWarning")
@row(
    *("fit.workers", "evaluate.workers", "predict.workers", "fit_generator.workers"),
    *("evaluate_generator.workers", "predict_generator.workers"),
)
def test_no_workers_means_the_own_thread_in_a_graph(row):
    import threading

    threads = set()

    def watched(*data):
        for batch in batches(*data):
            threads.add(threading.get_ident())
            yield batch

    def question(net, x, y):
        net.fit(watched(x, y), steps_per_epoch=4, workers=0, verbose=0)
        net.fit_generator(watched(x, y), 4, workers=0, verbose=0)
        net.evaluate(watched(x, y), steps=4, workers=0, verbose=0)
        net.evaluate_generator(watched(x, y), 4, workers=0)
        net.predict_generator(watched(x), 4, workers=0)
        return len(net.predict(watched(x), steps=4, workers=0))

    assert ask_in_a_graph(question) == 32
    assert threads == {threading.get_ident()}


# ---- loops


@deprecated
@row(
    *("fit_generator.generator", "fit_generator.steps_per_epoch", "fit_generator.epochs"),
    *("fit_generator.verbose", "fit_generator.callbacks", "fit_generator.validation_data"),
    *("fit_generator.validation_steps", "fit_generator.validation_freq"),
    *("fit_generator.class_weight", "fit_generator.max_queue_size", "fit_generator.workers"),
    *("fit_generator.use_multiprocessing", "fit_generator.shuffle"),
    *("fit_generator.initial_epoch", "fit_generator.returns"),
)
def test_fit_generator_takes_every_documented_argument(row):
    epochs = []

    def question(net, x, y):
        watch = tf_keras.callbacks.LambdaCallback(on_epoch_end=lambda n, logs: epochs.append(n))
        history = net.fit_generator(
            batches(x, y),
            steps_per_epoch=4,
            epochs=4,
            verbose=0,
            callbacks=[watch],
            validation_data=batches(x, y),
            validation_steps=2,
            validation_freq=[2, 4],
            class_weight=dict.fromkeys(range(10), 0.5),
            max_queue_size=3,
            workers=1,
            use_multiprocessing=False,
            shuffle=False,
            initial_epoch=1,
        )
        return int(net.optimizer.iterations), history.history

    n_steps, history = ask(question)
    assert n_steps == 12
    assert epochs == [1, 2, 3]
    assert len(history["val_loss"]) == 2


@deprecated
@row(
    *("evaluate_generator.generator", "evaluate_generator.steps", "evaluate_generator.callbacks"),
    *("evaluate_generator.max_queue_size", "evaluate_generator.workers"),
    *("evaluate_generator.use_multiprocessing", "evaluate_generator.verbose"),
    *("evaluate_generator.returns", "predict_generator.generator", "predict_generator.steps"),
    *("predict_generator.callbacks", "predict_generator.max_queue_size"),
    *("predict_generator.workers", "predict_generator.use_multiprocessing"),
    *("predict_generator.verbose", "predict_generator.returns"),
)
def test_evaluate_and_predict_generator_take_every_documented_argument(row):
    calls = []

    def question(net, x, y):
        watch = tf_keras.callbacks.Callback()
        watch.on_test_end = lambda logs=None: calls.append("test")
        watch.on_predict_end = lambda logs=None: calls.append("predict")
        options = {"steps": 4, "callbacks": [watch], "verbose": 0}
        options |= {"max_queue_size": 3, "workers": 1, "use_multiprocessing": False}
        return (
            net.evaluate_generator(batches(x, y), **options),
            net.evaluate(x, y, verbose=0),
            net.predict_generator(batches(x), **options),
            net.predict(x, verbose=0),
        )

    values, expected_values, outputs, expected_outputs = ask(question)
    assert values == pytest.approx(expected_values, rel=1e-5)
    np.testing.assert_allclose(outputs, expected_outputs, rtol=1e-5)
    assert calls == ["test", "predict"]


@deprecated
@row("fit_generator.ValueError", "evaluate_generator.ValueError", "predict_generator.ValueError")
def test_a_generator_of_anything_else_is_refused(row):
    for name in ("fit_generator", "evaluate_generator", "predict_generator"):
        with pytest.raises(ValueError):
            ask(lambda net, x, y, name=name: getattr(net, name)(iter([(x, y, y, y)]), 1))


@row(
    *("fit.workers", "fit.max_queue_size", "fit.use_multiprocessing"),
    *("evaluate.workers", "evaluate.max_queue_size", "evaluate.use_multiprocessing"),
    *("predict.workers", "predict.max_queue_size", "predict.use_multiprocessing"),
)
def test_loops_take_workers_for_a_sequence(row):
    class Sequence(tf_keras.utils.Sequence):
        def __init__(self, *data):
            self.data = data

        def __len__(self):
            return 4

        def __getitem__(self, number):
            return tuple(part[number * 8 : number * 8 + 8] for part in self.data)

    options = {"workers": 2, "max_queue_size": 3, "use_multiprocessing": False, "verbose": 0}

    def question(net, x, y):
        net.fit(Sequence(x, y), **options)
        values = net.evaluate(Sequence(x, y), **options)
        return values, net.evaluate(x, y, verbose=0), len(net.predict(Sequence(x), **options))

    values, expected, n_items = ask(question)
    assert values == pytest.approx(expected, rel=1e-5)
    assert n_items == 32


@row("fit.RuntimeError")
def test_a_model_that_is_not_compiled_is_a_runtime_error(row):
    bare = tf_keras.Sequential([tf_keras.Input((64,)), tf_keras.layers.Dense(1)])
    with pytest.raises(RuntimeError, match="compile your model"):
        ask(lambda net, x, y: net.fit(x, y, verbose=0), lambda: bare)


@row("train_on_batch.reset_metrics", "test_on_batch.reset_metrics")
@pytest.mark.parametrize("method", ["train_on_batch", "test_on_batch"])
def test_metrics_go_on_without_a_reset(row, method):
    def values(**options):
        return ask(lambda net, x, y: getattr(net, method)(x, y, **options)[0], n_batches=3)

    alone, running = values(reset_metrics=True), values(reset_metrics=False)
    assert running == pytest.approx(np.cumsum(alone) / [1, 2, 3], rel=1e-5)


@deprecated
@row("fit_generator.generator")
def test_a_feed_is_a_generator(row):
    feed = digits().p.scale().feed(32, B.images, B.labels, n_epochs=None, shuffle=1, prefetch=2)
    net = legacy()
    with contextlib.closing(iter(feed)) as data:
        history = net.fit_generator(data, steps_per_epoch=4, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
