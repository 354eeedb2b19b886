"""Document 001: `train`: how many steps, which input, and what comes back."""

import numpy as np
import pytest
from models.document_001.kit import (
    MEANS,
    X,
    Y,
    batches,
    dataset,
    endless,
    learning,
    read,
    reader,
)
from models.document_001.rows import row
from models.document_kit import assert_same_bits, keras, step_of, values

from batchflow import B
from batchflow.models import Estimator, EstimatorSpec, RunConfig

pytestmark = pytest.mark.tensorflow


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    """One Estimator for all tests that only look at what a call reads and how far it goes."""
    return reader(tmp_path_factory.mktemp("live"))


@pytest.fixture
def steps(live):
    """Train and give how many steps that was."""

    def train(*args, **options):
        before = step_of(live) if live.latest_checkpoint() else 0
        assert live.train(*args, **options) is live
        return step_of(live) - before

    return train


# ---- steps and max_steps


@row("train.steps", "train.steps is incremental", "train.returns")
def test_two_calls_with_steps_add_up(row, live, steps):
    assert [steps(endless, steps=10), steps(endless, steps=10)] == [10, 10]


@row("train.max_steps", "train.max_steps is absolute")
def test_a_second_call_with_max_steps_does_nothing(row, live, steps):
    until = step_of(live.train(endless, steps=1)) + 5
    assert steps(endless, max_steps=until) == 5
    before = live.latest_checkpoint()

    def never():
        raise AssertionError("the input was asked for")

    assert steps(never, max_steps=until) == 0
    assert steps(never, max_steps=1) == 0
    assert live.latest_checkpoint() == before


@row("train.either and not both")
@pytest.mark.parametrize(
    "wrong", [{"steps": 1, "max_steps": 1}, {"steps": 0}, {"steps": -1}, {"max_steps": 0}]
)
def test_steps_and_max_steps_exclude_each_other(row, live, wrong):
    with pytest.raises(ValueError, match="steps"):
        live.train(endless, **wrong)


@row("train.steps", "train.max_steps")
@pytest.mark.parametrize("wrong", [{"steps": 1.5}, {"max_steps": "3"}, {"steps": True}])
def test_steps_are_whole_numbers(row, live, wrong):
    with pytest.raises(TypeError, match="steps"):
        live.train(endless, **wrong)


@row("train.steps", "train.max_steps")
def test_steps_of_numpy_are_whole_numbers_too(row, live, steps):
    assert steps(endless, steps=np.int64(2)) == 2


@row("train.None is forever", "train.steps", "train.max_steps")
def test_without_either_a_finite_input_is_one_pass(row, live, steps):
    assert steps(batches) == 3
    assert steps(lambda: batches(4)) == 12


@row("train.None is forever")
def test_without_either_an_endless_input_goes_on_until_a_hook_stops_it(row, live, steps):
    class Stop(keras.callbacks.Callback):
        n_batches = 0

        def on_train_batch_end(self, batch, logs=None):
            self.n_batches += 1
            self.model.stop_training = self.n_batches == 40

    assert steps(endless, hooks=[Stop()]) == 40


@row("train.steps", "train.input_fn")
def test_the_end_of_the_input_is_the_end_of_training(row, live, steps):
    assert steps(batches, steps=100) == 3
    assert steps(batches, max_steps=step_of(live) + 100) == 3


@row("train.steps")
@pytest.mark.parametrize(("steps", "expected"), [(2, [2, 4]), (3, [3, 6])])
def test_the_global_step_is_known_to_later_estimators(row, steps, expected, tmp_path):
    for wanted in expected:
        estimator = Estimator(learning, str(tmp_path)).train(endless, steps=steps)
        assert step_of(estimator) == wanted


@row("train.max_steps", "train.steps is incremental")
@pytest.mark.parametrize("parts", [(13,), (1, 2, 13), (5, 12, 13)], ids=str)
def test_training_in_parts_is_training_in_one(row, parts, tmp_path):
    whole = Estimator(learning, str(tmp_path / "whole")).train(endless, max_steps=13)
    for until in parts:
        part = Estimator(learning, str(tmp_path / "parts")).train(endless, max_steps=until)
    assert_same_bits(values(whole), values(part))


# ---- what an input function may return


def in_batches(data):
    return [data[at : at + 4] for at in range(0, 12, 4)]


class Sequence:
    """Makes a PyDataset, when Keras is there."""

    def __new__(cls):
        class Batches(keras.utils.PyDataset):
            def __len__(self):
                return 3

            def __getitem__(self, index):
                return in_batches(X)[index], in_batches(Y)[index]

        return Batches()


def tf_dataset(n_epochs):
    tf = pytest.importorskip("tensorflow")
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(4).repeat(n_epochs)


def tensors():
    return keras.ops.convert_to_tensor(X), keras.ops.convert_to_tensor(Y)


# By name: what is read in one pass, and the input function.
FINITE = {
    "arrays": ([5.5], lambda: (X, Y)),
    "lists are batches": (MEANS, lambda: list(batches())),
    "dictionaries": ([5.5], lambda: ({"x": X}, {"y": Y})),
    "tensors": ([5.5], tensors),
    "features alone": ([5.5], lambda: X),
    "features alone in a tuple": ([5.5], lambda: (X,)),
    "a dictionary of features": ([5.5], lambda: {"x": X}),
    "a generator": (MEANS, batches),
    "an iterator": (MEANS, lambda: iter(list(batches()))),
    "zip": (MEANS, lambda: zip(in_batches(X), in_batches(Y), strict=True)),
    "batches that are lists": (MEANS, lambda: ([x, y] for x, y in batches())),
    "batches of dictionaries": (MEANS, lambda: ({"x": x} for x in in_batches(X))),
    "tf.data": (MEANS, lambda: tf_dataset(1)),
    "tf.data, two epochs": (MEANS * 2, lambda: tf_dataset(2)),
    "a PyDataset": (MEANS, Sequence),
    "a feed": (MEANS, lambda: dataset().p.feed(4, B.x, B.y)),
    "a prefetched feed": (MEANS * 3, lambda: dataset().p.feed(4, B.x, B.y, n_epochs=3, prefetch=2)),
    "a feed of dictionaries": (MEANS, lambda: dataset().p.feed(4, {"x": B.x}, {"y": B.y})),
    "a run": (MEANS, lambda: ((one.x, one.y) for one in dataset().p.gen_batch(4, prefetch=2))),
}  # fmt: skip


@row("train.input_fn")
@pytest.mark.parametrize("kind", FINITE)
def test_an_input_function_may_return(row, kind, tmp_path):
    expected, input_fn = FINITE[kind]
    np.testing.assert_allclose(read(reader(tmp_path), input_fn), expected)


@row("train.input_fn")
@pytest.mark.parametrize("kind", ["arrays", "a list", "tf.data", "a PyDataset", "a feed"])
def test_what_it_would_return_will_do_too(row, kind, live):
    make = FINITE["lists are batches" if kind == "a list" else kind]
    np.testing.assert_allclose(read(live, make[1]()), make[0])


COUNTED = {
    "arrays are one batch for ever": ([5.5] * 5, lambda: (X, Y)),
    "a generator is read once": (MEANS, batches),
    "a PyDataset is read epoch after epoch": ([*MEANS, *MEANS[:2]], Sequence),
    "endless tf.data": ([*MEANS, *MEANS[:2]], lambda: tf_dataset(None)),
    "an endless feed": (
        [*MEANS, *MEANS[:2]],
        lambda: dataset().p.feed(4, B.x, B.y, n_epochs=None, prefetch=3),
    ),
}


@row("train.input_fn", "train.steps")
@pytest.mark.parametrize("kind", COUNTED)
def test_where_steps_are_counted(row, kind, live):
    expected, input_fn = COUNTED[kind]
    np.testing.assert_allclose(read(live, input_fn, steps=5), expected)


@row("train.input_fn")
@pytest.mark.parametrize(
    "names",
    [
        ("a b",),
        ("a/b",),
        ("_a",),
        ("a.b", "a_b"),
        ("é",),
        (0, 1),
    ],
    ids=str,
)
def test_features_may_have_any_names(row, names, tmp_path):
    def model_fn(features, labels, mode):
        return learning(sum(features[str(name)] for name in names), labels, mode)

    estimator = Estimator(model_fn, str(tmp_path))
    data = dict.fromkeys(names, X[:4]), Y[:4]
    assert step_of(estimator.train(lambda: data, steps=1)) == 1
    assert len(list(estimator.predict(lambda: data))) == 4


@row("train.input_fn")
def test_an_input_function_is_called_once_a_call(row, live):
    calls = []

    def input_fn():
        calls.append(1)
        return batches()

    live.train(input_fn).train(input_fn, steps=2)
    assert len(calls) == 2


@row("train.input_fn")
@pytest.mark.parametrize("error", ["StopIteration", "OutOfRangeError"])
@pytest.mark.backends("tensorflow")
def test_an_end_of_input_exception_is_the_end(row, error, live):
    import tensorflow as tf

    class Ends:
        def __init__(self):
            self.batches = batches()
            self.left = 2

        def __iter__(self):
            return self

        def __next__(self):
            self.left -= 1
            if self.left < 0:
                raise (
                    StopIteration
                    if error == "StopIteration"
                    else tf.errors.OutOfRangeError(None, None, "the end")
                )
            return next(self.batches)

    assert read(live, Ends) == MEANS[:2]


@row("train.input_fn")
@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (None, TypeError),
        (lambda: None, TypeError),
        (lambda: 3, TypeError),
        (lambda: [], ValueError),
        (lambda: iter([(1.0, 2.0)]), TypeError),
        (lambda: iter([(X, Y, Y, Y)]), TypeError),
        (lambda: iter([(None, Y)]), TypeError),
    ],
)
def test_an_input_that_is_none_is_refused(row, wrong, error, tmp_path):
    with pytest.raises(error, match=r"input|batch"):
        reader(tmp_path).train(wrong, steps=1)


@row("train.input_fn")
def test_an_error_of_the_input_arrives_as_it_is(row, tmp_path):
    class OwnError(Exception): ...

    def input_fn():
        yield X, Y
        raise OwnError("no more discs")

    estimator = reader(tmp_path)
    with pytest.raises(OwnError, match="no more discs"):
        estimator.train(input_fn)
    assert estimator.latest_checkpoint() is None
    assert step_of(estimator.train(batches)) == 3


@row("train.input_fn")
def test_a_feed_is_closed_when_training_has_enough(row, live):
    import threading

    live.train(lambda: dataset().p.shake().feed(4, B.x, B.y, n_epochs=None, prefetch=4), steps=2)
    before = threading.active_count()
    for _ in range(5):
        live.train(
            lambda: dataset().p.shake().feed(4, B.x, B.y, n_epochs=None, prefetch=4), steps=2
        )
    assert threading.active_count() <= before


@row("train.input_fn", "train.max_steps")
def test_an_interrupted_training_on_a_shuffled_feed_ends_in_the_same_bits(row, tmp_path):
    def input_fn():
        pipeline = dataset().p.shake()
        return pipeline.feed(5, B.x, B.y, shuffle=7, seed=3, n_epochs=None, prefetch=3)

    config = RunConfig(save_checkpoints_steps=4)
    whole = Estimator(learning, str(tmp_path / "whole")).train(input_fn, max_steps=17)

    class Broken(Exception): ...

    class Break(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 10:
                raise Broken

    estimator = Estimator(learning, str(tmp_path / "parts"), config)
    with pytest.raises(Broken):
        estimator.train(input_fn, max_steps=17, hooks=[Break()])
    assert step_of(estimator) == 8
    other = Estimator(learning, str(tmp_path / "parts"), config).train(input_fn, max_steps=17)
    assert_same_bits(values(whole), values(other))


@row("train.steps is incremental", "train.hooks")
def test_a_learning_rate_is_that_of_the_model_function_unless_a_callback_has_changed_it(
    row, tmp_path
):
    def rated(rate):
        def model_fn(features, labels, mode):
            w = keras.layers.Dense(1, use_bias=False, kernel_initializer="ones", name="w")
            results = w(features)  # ones: the gradient is 1, and a step goes as far as the rate
            sgd = keras.optimizers.SGD(rate)
            return EstimatorSpec(mode, results, keras.ops.mean(results), sgd)

        return Estimator(model_fn, str(tmp_path))

    class Halve(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            self.model.optimizer.learning_rate = 0.25

    def weight_after_a_step(rate, **options):
        rated(rate).train(lambda: np.ones((2, 1), "float32"), steps=1, **options)
        return rated(rate).get_variable_value("w/kernel").item()

    found = [
        weight_after_a_step(0.5),
        weight_after_a_step(0.5, hooks=[Halve()]),
        weight_after_a_step(0.5),
        weight_after_a_step(2.0),
    ]
    np.testing.assert_allclose(found, [0.5, 0.25, 0.0, -2.0], atol=1e-6)
