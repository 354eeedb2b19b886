"""A feed as a `PyDataset`: `fit`, `evaluate` and `predict` of Keras read it."""

import contextlib
import functools
import random
import threading
import time
import warnings

import numpy as np
import pytest
from kit import does_not_raise
from models.document_kit import keras

from batchflow import ArgumentValueError, ArrayBatch, B, Dataset, SkipBatch, action
from batchflow.errors import ActionResultError
from batchflow.testing import digest, nothing_left

pytestmark = [pytest.mark.tensorflow, pytest.mark.usefixtures("most_interleavings")]

each_prefetch = pytest.mark.parametrize("prefetch", [0, 4])
on_tensorflow = pytest.mark.backends("tensorflow")


class Rows(ArrayBatch):
    components = "x", "y"

    @action
    def noise(self):
        self.x = self.x + self.rng.normal(0, 0.1, size=self.x.shape).astype("float32")
        return self

    @action
    def note(self, seen):
        seen.append(self.number)
        return self

    @action
    def fail(self, at, error):
        if self.number == at:
            raise error
        return self

    @action(singleton=True)
    def in_order(self):
        return self


X = np.random.default_rng(0).normal(size=(22, 3)).astype("float32")
DATASET = Dataset.from_arrays(Rows, x=X, y=X.sum(axis=1, keepdims=True))
OPTIONS = {"shuffle": True, "seed": 3}  # 6 batches of 4 items, the last of 2


def build():
    seeded = functools.partial(keras.initializers.GlorotUniform, seed=1)
    net = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, activation="relu", kernel_initializer=seeded()),
            keras.layers.Dropout(0.5, seed=2),
            keras.layers.Dense(1, kernel_initializer=seeded()),
        ]
    )
    net.compile(keras.optimizers.SGD(0.05), "mse")  # with a state, it would be traced twice
    return net


def weights(net):
    return digest(*(np.asarray(v) for v in net.variables))


def kernels(net):
    return digest(*(np.asarray(v) for v in net.trainable_variables))


def threads_of_runs():
    return [t.name for t in threading.enumerate() if t.name.startswith("batchflow")]


def feed(pipeline=None, **options):
    pipeline = DATASET.p.noise() if pipeline is None else pipeline
    return pipeline.feed(4, B.x, B.y, **{**OPTIONS, **options})


def by_hand(n_epochs=None, batches=None, **arguments):
    """Train on the batches of the feed, one after another."""
    net = build()
    for batch in feed(n_epochs=n_epochs) if batches is None else batches:
        net.train_on_batch(*batch, **arguments)
    return net


@functools.cache
def weights_by_hand(n_epochs):
    return weights(by_hand(n_epochs))


@functools.cache
def kernels_after_four_batches():
    return kernels(by_hand(batches=list(feed())[:4]))


@pytest.fixture(scope="module", autouse=True)
def _first_model():
    """What TensorFlow leaves behind at its first use is not counted."""
    build().fit(feed().to_keras(), verbose=0)


@each_prefetch
def test_fit_equals_a_loop_over_the_same_batches(prefetch):
    net = build()
    data = feed(prefetch=prefetch).to_keras()
    assert isinstance(data, keras.utils.PyDataset)
    assert len(data) == 6
    history = net.fit(data, epochs=3, shuffle=False, verbose=0).history["loss"]
    assert len(history) == 3
    assert weights(net) == weights_by_hand(3)


@each_prefetch
def test_two_fits_go_on_counting_epochs(prefetch):
    net, data = build(), feed(prefetch=prefetch).to_keras()
    net.fit(data, epochs=2, shuffle=False, verbose=0)
    net.fit(data, epochs=1, shuffle=False, verbose=0)
    assert weights(net) == weights_by_hand(3)


@each_prefetch
def test_fit_goes_on_at_the_epoch_that_the_feed_is_told(prefetch):
    net = build()
    for first, last in ((0, 2), (2, 4)):  # as if each were another process
        data = feed(prefetch=prefetch).to_keras(first_epoch=first)
        net.fit(data, initial_epoch=first, epochs=last, shuffle=False, verbose=0)
    assert weights(net) == weights_by_hand(4)


def test_the_first_epoch_of_the_feed_is_that_of_its_data():
    net = build()
    net.fit(feed(first_epoch=2).to_keras(), epochs=1, shuffle=False, verbose=0)
    assert weights(net) == weights(by_hand(batches=list(feed(n_epochs=3))[12:]))


def test_loops_over_the_feed_do_not_count_for_its_data():
    net, several = build(), feed()
    list(several)
    net.fit(several.to_keras(), epochs=1, shuffle=False, verbose=0)
    assert weights(net) == weights_by_hand(1)


def test_a_feed_smaller_than_its_batch_is_one_short_batch():
    net = build()
    data = DATASET.p.feed(100, B.x, B.y).to_keras()
    assert len(data) == 1
    assert net.predict(data, verbose=0).shape == (22, 1)


@each_prefetch
def test_shuffle_of_fit_gives_every_batch_once(prefetch):
    net, data = build(), feed(prefetch=prefetch).to_keras()
    expected = list(feed(n_epochs=2))
    keras.utils.set_random_seed(1)  # of Keras's order
    net.fit(data, epochs=2, verbose=0)  # shuffle=True
    random.seed(1)
    if keras.backend.backend() != "tensorflow":
        random.shuffle(list(range(6)))  # of the epoch that it begins to look at a batch
    order = []
    for epoch in range(2):
        indices = list(range(6))
        random.shuffle(indices)
        order += [expected[6 * epoch + i] for i in indices]
    assert weights(net) == weights(by_hand(batches=order))


@pytest.mark.parametrize("second", [[2, 5, 4, 3, 0, 1], [4, 2, 5, 3, 0, 1]])
@each_prefetch
def test_an_epoch_in_any_order_has_batches_of_its_own(prefetch, second):
    data, expected = feed(prefetch=prefetch).to_keras(), list(feed(n_epochs=2))
    for epoch, order in enumerate([[0, 1, 2, 4, 5, 3], second]):
        data.on_epoch_begin()
        given = [digest(*data[index]) for index in order]
        assert given == [digest(*expected[6 * epoch + index]) for index in order]
        data.on_epoch_end()


@each_prefetch
def test_steps_per_epoch_go_through_the_batches_in_order(prefetch):
    net, data = build(), feed(prefetch=prefetch).to_keras()
    net.fit(data, epochs=3, steps_per_epoch=2, shuffle=False, verbose=0)
    assert weights(net) == weights_by_hand(1)
    with nothing_left():
        net.fit(data, epochs=1, steps_per_epoch=2, shuffle=False, verbose=0)
        data.close()


@each_prefetch
def test_evaluate_and_predict(prefetch):
    net, data = by_hand(1), feed(prefetch=prefetch).to_keras()
    first, second = (zip(*half, strict=True) for half in np.array_split(_pairs(2), 2))
    x, y = map(np.concatenate, first)
    assert net.evaluate(data, verbose=0) == pytest.approx(net.evaluate(x, y, 4, verbose=0))
    x, y = map(np.concatenate, second)  # the next epoch
    assert digest(net.predict(data, verbose=0)) == digest(net.predict(x, 4, verbose=0))


def _pairs(n_epochs):
    pairs = np.empty((n_epochs * 6, 2), dtype=object)
    for place, pair in enumerate(feed(n_epochs=n_epochs)):
        pairs[place] = pair
    return pairs


def test_predict_takes_x_alone():
    data = DATASET.p.feed(4, B.x).to_keras()
    net = build()
    assert net.predict(data, verbose=0).shape == (22, 1)


@each_prefetch
def test_validation_data_may_be_another_feed(prefetch):
    net, data = build(), feed(prefetch=prefetch).to_keras()
    others = DATASET.p.feed(4, B.x, B.y, prefetch=prefetch).to_keras()
    fitted = net.fit(data, validation_data=others, epochs=3, shuffle=False, verbose=0)
    assert weights(net) == weights_by_hand(3)
    assert fitted.history["val_loss"][-1] == pytest.approx(
        net.evaluate(X, X.sum(axis=1, keepdims=True), verbose=0), rel=1e-4
    )


@on_tensorflow
@each_prefetch
@pytest.mark.parametrize("workers", [2, 4])
def test_workers_of_keras_are_safe(prefetch, workers):
    net, data = build(), feed(prefetch=prefetch).to_keras()
    data.workers = workers
    net.fit(data, epochs=2, shuffle=False, verbose=0)
    assert weights(net) == weights_by_hand(2)


@on_tensorflow
@each_prefetch
def test_workers_that_keras_starts_before_their_epoch_wait_for_it(prefetch, monkeypatch):
    from keras.src.trainers.data_adapters.py_dataset_adapter import OrderedEnqueuer

    start = OrderedEnqueuer.start

    def start_and_let_them_read(self):
        start(self)
        time.sleep(0.2)

    monkeypatch.setattr(OrderedEnqueuer, "start", start_and_let_them_read)
    net, data = build(), feed(prefetch=prefetch).to_keras()
    data.workers = 2
    net.fit(data, epochs=2, shuffle=False, verbose=0)
    assert weights(net) == weights_by_hand(2)


def test_sample_weights_are_taken():
    weighted = DATASET.p.noise().feed(4, B.x, B.y, abs(B.y[:, 0]), **OPTIONS)
    net = build()
    net.fit(weighted.to_keras(), shuffle=False, verbose=0)
    assert weights(net) == weights(by_hand(batches=weighted))
    assert weights(net) != weights_by_hand(1)


def test_class_weights_are_taken():
    labelled = DATASET.p.feed(4, B.x, (B.y[:, 0] > 0).astype(int), **OPTIONS)
    net = build()
    net.fit(labelled.to_keras(), shuffle=False, verbose=0, class_weight={0: 0.5, 1: 2.0})
    assert weights(net) == weights(by_hand(batches=labelled, class_weight={0: 0.5, 1: 2.0}))


@pytest.mark.parametrize("kind", [dict, list])
def test_several_inputs_and_outputs(kind):
    a, b = keras.Input((3,), name="a"), keras.Input((1,), name="b")
    both = keras.layers.Concatenate()([a, b])
    c, d = (keras.layers.Dense(1, name=name)(both) for name in "cd")
    if kind is dict:
        net = keras.Model({"a": a, "b": b}, {"c": c, "d": d})
        net.compile("sgd", {"c": "mse", "d": "mse"})
        x, y = {"a": B.x, "b": B.y}, {"c": B.y, "d": -B.y}
    else:
        net = keras.Model([a, b], [c, d])
        net.compile("sgd", ["mse", "mse"])
        x, y = [B.x, B.y], [B.y, -B.y]
    data = DATASET.p.feed(4, x, y).to_keras()
    assert np.isfinite(net.fit(data, epochs=2, verbose=0).history["loss"]).all()
    assert len(net.predict(data, verbose=0)) == 2


@pytest.mark.backends("jax", "torch")
def test_workers_of_keras_are_refused_where_it_mixes_up_their_batches():
    data = feed().to_keras()
    with pytest.raises(ArgumentValueError, match=r"workers=2.*feed\(prefetch="):
        data.workers = 2
    data.workers = 1


@each_prefetch
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=on_tensorflow)])
@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_an_exception_is_the_same_object_with_its_notes(prefetch, method, workers):
    class MineError(Exception):
        pass

    error = MineError("mine")
    net = build()
    data = feed(DATASET.p.noise().fail(4, error), prefetch=prefetch).to_keras()
    data.workers = workers
    options = {"shuffle": False} if method == "fit" else {}
    before = [*warnings.filters]
    with pytest.raises(MineError) as caught:
        getattr(net, method)(data, verbose=0, **options)
    assert caught.value is error
    assert any(f"'fail', chained at {__file__}" in note for note in error.__notes__)
    assert warnings.filters == before
    if method == "fit":  # the batches before it have been trained on
        assert kernels(net) == kernels_after_four_batches()


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_keeps_its_type_beside_class_weights(kind):
    net = build()
    for at in (0, 1, 3, 5):
        labelled = DATASET.p.fail(at, kind("mine")).feed(4, B.x, (B.y[:, 0] > 0).astype(int))
        assert len(labelled) == 6
        with pytest.raises(kind, match="mine"):
            net.fit(labelled.to_keras(), shuffle=False, verbose=0, class_weight={0: 0.5, 1: 2.0})


@pytest.mark.parametrize("at", [0, 1])
def test_an_exception_in_a_batch_that_keras_reads_early_arrives(at):
    with pytest.raises(ValueError, match="mine"):
        build().fit(feed(DATASET.p.fail(at, ValueError("mine"))).to_keras(), verbose=0)


def test_a_loop_after_an_exception_starts_anew():
    net, data = build(), feed(DATASET.p.fail(4, ValueError("mine"))).to_keras()
    with pytest.raises(ValueError, match="mine"):
        net.fit(data, shuffle=False, verbose=0)
    assert len(net.fit(data, epochs=2, shuffle=False, verbose=0).history["loss"]) == 2


def test_an_exception_that_nobody_waited_for_is_forgotten():

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 0

    net, data = build(), feed(DATASET.p.fail(3, ValueError("mine"))).to_keras()
    with does_not_raise():
        net.fit(data, shuffle=False, verbose=0, callbacks=[Stop()])
        net.fit(data, shuffle=False, verbose=0)  # its epoch has no batch 3


def test_a_skipped_batch_is_an_error():
    data = feed(DATASET.p.fail(4, SkipBatch())).to_keras()
    with pytest.raises(ActionResultError, match=r"batch 4 .*skipped"):
        build().fit(data, shuffle=False, verbose=0)


@on_tensorflow
def test_no_batch_of_the_first_epoch_is_made_twice():
    made = []
    build().fit(feed(DATASET.p.note(made)).to_keras(), shuffle=False, verbose=0)
    assert sorted(made) == list(range(6))


@pytest.mark.parametrize("how", ["fit", "validation_data", "evaluate", "predict"])
def test_a_feed_given_as_it_is_is_told_to_become_keras_data(how):
    net, given = build(), feed()
    with pytest.raises(ValueError, match=r"for Keras take \.to_keras\(\)"):
        if how == "validation_data":
            net.fit(feed().to_keras(), validation_data=given, verbose=0)
        else:
            getattr(net, how)(given, verbose=0)


def ragged(batch):
    batch.z = np.empty(len(batch), dtype=object)
    for place, n in enumerate(batch.indices):
        batch.z[place] = np.zeros(1 + n % 3)
    return batch


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"x": B.z}, r"x=B\.z"),
        ({"x": B.x, "y": B.z}, r"y=B\.z"),
        ({"x": (B.x, B.z), "y": B.y}, r"x\[1\]=B\.z"),
        ({"x": B.x, "y": {"a": B.y, "b": B.z}}, r"y\['b'\]=B\.z"),
    ],
)
def test_a_ragged_value_is_named(given, named):
    data = DATASET.p.map(ragged, over="batches").feed(4, **given).to_keras()
    with pytest.raises(TypeError, match=rf"feed: {named} cannot go to Keras: .* shapes, \(\d,\)"):
        build().fit(data, verbose=0)


@pytest.mark.parametrize("dtype", [object, "U", "S"])
def test_a_value_of_texts_is_named(dtype):
    pipeline = DATASET.p.call(lambda x: np.array(["a"] * len(x), dtype), B.x, save_to=B.z)
    with pytest.raises(TypeError, match=r"feed: x=B\.z cannot go to Keras: it is an array of"):
        build().fit(pipeline.feed(4, B.z, B.y).to_keras(), verbose=0)


def test_pipelines_that_cannot_be_indexed_are_refused():
    with pytest.raises(ArgumentValueError, match=r"in_order\(\), chained at"):
        feed(DATASET.p.in_order()).to_keras()


@each_prefetch
@pytest.mark.parametrize("how", ["end", "early", "error"])
def test_nothing_is_left_of_a_fit(prefetch, how):
    class Leave(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if how == "error":
                raise KeyError("left")
            self.model.stop_training = how == "early"

    net = build()
    with nothing_left(), contextlib.suppress(KeyError), feed(prefetch=prefetch).to_keras() as data:
        net.fit(data, shuffle=False, epochs=2, verbose=0, callbacks=[Leave()])
        if how == "end":  # without close, too
            assert threads_of_runs() == []


def test_random_access_gives_the_batches_of_the_epoch():
    data = feed().to_keras()
    expected = [digest(*batch) for batch in feed(n_epochs=1)]
    assert [digest(*data[i]) for i in (5, 0, 3)] == [expected[i] for i in (5, 0, 3)]
    assert [digest(*batch) for batch in data] == expected  # outside of any epoch: the first
    with pytest.raises(IndexError):
        data[6]
