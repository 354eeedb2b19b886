"""Estimator.train: how far it goes, where it goes on, and what it leaves."""

import keras
import numpy as np
import pytest
from models.document_kit import step_of
from models.estimator.nets import (
    X,
    Y,
    assert_same,
    batches,
    everything,
    model_fn,
    one_epoch,
    state,
)

from batchflow import ArrayBatch, B, Dataset, action
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.models import Estimator, RunConfig

pytestmark = pytest.mark.tensorflow


@pytest.fixture
def estimator(tmp_path):
    return Estimator(model_fn, tmp_path / "model")


def test_train_gives_the_estimator(estimator):
    assert estimator.train(batches, steps=1) is estimator


def test_steps_add_up(estimator):
    estimator.train(batches, steps=4).train(batches, steps=4)
    assert step_of(estimator) == 8


def test_max_steps_are_absolute(estimator):
    estimator.train(batches, max_steps=6).train(batches, max_steps=6)
    assert step_of(estimator) == 6
    assert step_of(estimator.train(batches, max_steps=7)) == 7


@pytest.mark.parametrize(
    "wrong", [{"steps": 1, "max_steps": 1}, {"steps": 0}, {"max_steps": 0}, {"steps": -3}]
)
def test_counts_that_make_no_sense_are_refused(estimator, wrong):
    with pytest.raises(ValueError, match="steps"):
        estimator.train(batches, **wrong)


def test_a_count_that_is_no_int_is_refused(estimator):
    with pytest.raises(TypeError, match="is an int"):
        estimator.train(batches, steps=1.5)


def test_without_counts_a_finite_input_is_one_pass(estimator):
    assert step_of(estimator.train(one_epoch)) == 12
    assert step_of(estimator.train(one_epoch)) == 24


def test_the_end_of_the_input_ends_training(estimator):
    assert step_of(estimator.train(one_epoch, steps=100)) == 12


def test_arrays_are_one_batch_repeated_where_steps_are_counted(estimator):
    assert step_of(estimator.train(everything, steps=3)) == 3
    assert step_of(estimator.train(everything)) == 4


def test_an_empty_input_is_refused(estimator):
    with pytest.raises(ValueError, match="empty"):
        estimator.train(lambda: iter(()))


def test_an_input_fn_that_is_missing_or_gives_nothing_to_read_is_refused(estimator):
    with pytest.raises(TypeError, match="input_fn is missing"):
        estimator.train()
    with pytest.raises(TypeError, match="or an iterable"):
        estimator.train(lambda: 7)


def test_an_input_fn_that_raises_stop_iteration_is_empty(estimator):
    def input_fn():
        raise StopIteration

    with pytest.raises(ValueError, match="empty"):
        estimator.train(input_fn)


def test_an_error_of_the_input_arrives_and_the_next_call_goes_on_from_the_checkpoint(estimator):
    def broken():
        yield from batches(n_epochs=1)
        raise OSError("the disk is gone")

    estimator.train(batches, steps=2)
    with pytest.raises(OSError, match="the disk is gone"):
        estimator.train(broken)
    assert step_of(estimator) == 2
    assert step_of(estimator.train(batches, steps=1)) == 3


def test_training_in_parts_is_training_in_one(tmp_path):
    whole = Estimator(model_fn, tmp_path / "whole").train(batches, max_steps=30)
    for until in (7, 19, 30):  # in the middle of an epoch, in the next one
        parts = Estimator(model_fn, tmp_path / "parts").train(batches, max_steps=until)
    assert_same(state(whole), state(parts))


def test_steps_begin_the_input_anew(tmp_path):
    seen = []

    def input_fn():
        for number, batch in enumerate(batches()):
            seen.append(number)
            yield batch

    Estimator(model_fn, tmp_path).train(input_fn, steps=2).train(input_fn, steps=2)
    assert seen == [0, 1, 0, 1]


def test_max_steps_beyond_the_input_read_it_again(estimator):
    estimator.train(one_epoch, max_steps=12).train(one_epoch, max_steps=24)
    assert step_of(estimator) == 24
    estimator.train(one_epoch, max_steps=30)
    assert step_of(estimator) == 30


def test_an_input_is_closed_when_training_has_enough(estimator):
    events = []

    def input_fn():
        try:
            yield from batches()
        finally:
            events.append("closed")

    estimator.train(input_fn, steps=2)
    assert events == ["closed"]


class Pairs(ArrayBatch):
    components = "x", "y"


def test_a_feed_is_an_input_and_goes_on_where_it_was(tmp_path):
    dataset = Dataset.from_arrays(Pairs, x=X, y=Y)

    def input_fn():
        return dataset.p.feed(8, {"x": B.x}, B.y, shuffle=3, seed=1, n_epochs=None, prefetch=2)

    whole = Estimator(model_fn, tmp_path / "whole").train(input_fn, max_steps=40)
    for until in (11, 40):
        parts = Estimator(model_fn, tmp_path / "parts").train(input_fn, max_steps=until)
    assert_same(state(whole), state(parts))


def test_a_feed_that_is_kept_goes_on_with_the_epoch_in_which_it_was_stopped(tmp_path):
    """An epoch has 15 batches: it is stopped in the first epoch, behind it, and in the second."""
    dataset = Dataset.from_arrays(Pairs, x=X, y=Y)

    def feed(n_epochs):
        return dataset.p.feed(8, {"x": B.x}, B.y, shuffle=3, seed=1, n_epochs=n_epochs)

    whole = Estimator(model_fn, tmp_path / "whole").train(feed(None), max_steps=30)
    kept, parts = feed(1), Estimator(model_fn, tmp_path / "parts")
    for until in (11, 20, 25, 30):  # a call ends with its epoch, at the latest
        parts.train(lambda: kept, max_steps=until)
        if parts.get_variable_value("global_step") < until:
            parts.train(lambda: kept, max_steps=until)
    assert_same(state(whole), state(parts))


class Epochs(keras.utils.PyDataset):
    """Three batches an epoch, which tell their epoch and index."""

    def __init__(self, log):
        super().__init__()
        self.log = log
        self.epoch = -1

    def __len__(self):
        return 3

    def on_epoch_begin(self):
        self.epoch += 1

    def __getitem__(self, index):
        self.log.append((self.epoch, index))
        return {"x": X[index * 8 : index * 8 + 8]}, Y[index * 8 : index * 8 + 8]


def test_a_py_dataset_is_read_epoch_by_epoch_where_steps_are_counted(tmp_path):
    log = []
    Estimator(model_fn, tmp_path).train(lambda: Epochs(log), steps=7)
    assert log == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (2, 0)]


def test_a_feed_as_a_py_dataset_goes_on_in_the_middle_of_an_epoch(tmp_path):
    pipeline = Dataset.from_arrays(Pairs, x=X, y=Y).p

    def feed(n_epochs):
        return pipeline.feed(8, {"x": B.x}, B.y, shuffle=3, seed=1, n_epochs=n_epochs, prefetch=2)

    whole = Estimator(model_fn, tmp_path / "whole").train(lambda: feed(None), max_steps=40)
    for until in (20, 40):  # an epoch has 15 batches
        parts = Estimator(model_fn, tmp_path / "parts")
        parts.train(lambda: feed(1).to_keras(), max_steps=until)
    assert_same(state(whole), state(parts))


def test_an_error_of_an_action_arrives_through_a_feed(tmp_path):
    class Broken(ArrayBatch):
        components = "x", "y"

        @action
        def fail(self):
            if self.number == 3:
                raise LookupError("batch three")
            return self

    feed = Dataset.from_arrays(Broken, x=X, y=Y).p.fail().feed(8, {"x": B.x}, B.y, prefetch=2)
    with pytest.raises(LookupError, match="batch three"):
        Estimator(model_fn, tmp_path / "a").train(lambda: feed)
    with feed.to_keras() as data, pytest.raises(LookupError, match="batch three"):
        Estimator(model_fn, tmp_path / "b").train(lambda: data)


def test_without_steps_a_py_dataset_is_one_epoch(tmp_path):
    log = []
    Estimator(model_fn, tmp_path).train(Epochs(log))
    assert log == [(0, 0), (0, 1), (0, 2)]


def test_a_py_dataset_is_not_asked_for_what_was_trained_on(tmp_path):
    log = []
    Estimator(model_fn, tmp_path).train(lambda: Epochs([]), max_steps=4)
    Estimator(model_fn, tmp_path).train(lambda: Epochs(log), max_steps=7)
    assert log == [(1, 1), (1, 2), (2, 0)]


def test_a_tf_dataset_is_an_input(tmp_path):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices(({"x": X}, Y)).batch(10).repeat()
    whole = Estimator(model_fn, tmp_path / "whole").train(batches, max_steps=15)
    for until in (7, 15):
        parts = Estimator(model_fn, tmp_path / "parts").train(lambda: data, max_steps=until)
    assert_same(state(whole), state(parts))


def test_batches_of_other_lengths_and_shapes_are_taken(tmp_path):
    def sums(features, labels, mode):
        from batchflow.models import Regressor

        def graph_fn(mode, features):
            return keras.layers.Dense(1)(keras.ops.sum(features, axis=1))

        return Regressor(mode, graph_fn, "mse", summaries=None)(features, labels)

    rng = np.random.default_rng(0)

    def input_fn():
        for length in (3, 3, 5, 4):
            yield rng.normal(size=(6, length, 2)), rng.normal(size=(6, 1))

    estimator = Estimator(sums, tmp_path).train(input_fn)
    assert step_of(estimator) == 4
    assert len(list(estimator.predict(input_fn))) == 24
    assert estimator.evaluate(input_fn)["loss"] > 0


def test_batches_of_other_parts_are_refused(estimator):
    def input_fn():
        yield {"x": X[:4]}, Y[:4]
        yield {"z": X[:4]}, Y[:4]

    with pytest.raises(ArgumentValueError, match=r"features\.z.*features\.x"):
        estimator.train(input_fn)


def test_a_batch_of_single_values_is_refused(estimator):
    with pytest.raises(ArgumentTypeError, match="dimension for its items"):
        estimator.train(lambda: ({"x": 1.0}, 2))


def test_two_estimators_of_one_config_begin_with_the_same_weights(tmp_path):
    states = [state(Estimator(model_fn, tmp_path / name).train(batches, steps=1)) for name in "ab"]
    assert_same(*states)
    other = RunConfig(tf_random_seed=2)
    differing = Estimator(model_fn, tmp_path / "c", other).train(batches, steps=1)
    assert not np.array_equal(
        states[0]["hidden/kernel"], differing.get_variable_value("hidden/kernel")
    )


def test_building_leaves_the_random_numbers_of_python_alone(tmp_path):
    import random

    random.seed(5)
    expected = random.random(), random.random()
    random.seed(5)
    got = [random.random()]
    Estimator(model_fn, tmp_path).train(batches, steps=1)
    assert (got[0], random.random()) == expected


def test_an_estimator_that_somebody_else_trained_on_goes_on_from_there(tmp_path):
    first = Estimator(model_fn, tmp_path).train(batches, steps=2)
    Estimator(model_fn, tmp_path).train(batches, steps=3)
    assert step_of(first.train(batches, steps=1)) == 6


def test_sample_weights_come_to_a_model_fn_that_takes_them(tmp_path):
    def weighted(features, labels, mode, sample_weight):
        from batchflow.models import Regressor

        def graph_fn(mode, features):
            return keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(features)

        model = Regressor(mode, graph_fn, "mse", summaries=None)
        return model(features, labels, sample_weight=sample_weight)

    x, y = np.ones((4, 1)), np.zeros((4, 1))
    weights = np.array([1.0, 0, 0, 3.0])
    estimator = Estimator(weighted, tmp_path).train(lambda: (x, y, weights), steps=1)
    kernel = float(estimator.get_variable_value("Regressor/dense/kernel")[0, 0])
    loss = estimator.evaluate(lambda: (x, y, weights))["loss"]
    assert loss == pytest.approx(kernel**2 * weights.mean(), rel=1e-5)
    with pytest.raises(ValueError, match="sample_weight"):
        Estimator(model_fn, tmp_path / "b").train(lambda: ({"x": X}, Y, np.ones(len(X))), steps=1)


def test_the_loss_and_the_speed_are_logged(tmp_path, caplog):
    caplog.set_level("INFO", logger="batchflow")
    Estimator(model_fn, tmp_path, RunConfig(log_step_count_steps=2)).train(batches, steps=5)
    lines = [record.getMessage() for record in caplog.records if record.levelname == "INFO"]
    assert [line.split(":")[0] for line in lines] == ["step 2", "step 4"]
    assert all("steps/s" in line for line in lines)
