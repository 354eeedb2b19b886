"""`pipeline.check()` and `pipeline.debug()`, attacked: they look, and leave all as it was."""

import sys
import threading

import numpy as np
import pytest

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    ArrayBatch,
    B,
    Dataset,
    SkipBatch,
    V,
    action,
    model,
)


class Mean:
    def __init__(self):
        self.value, self.n_steps = 0.0, 0

    def train(self, x):
        self.value += 0.5 * (float(x.mean()) - self.value)
        self.n_steps += 1

    def predict(self, x):
        return x - self.value


class Rows(ArrayBatch):
    components = "rows"

    @model()
    def kept():
        return Mean()

    @action
    def scale(self, factor):
        self.rows = self.rows * factor
        return self

    @action(model="kept", singleton=True)
    def train(self, net):
        net.train(self.rows)
        return self

    @action(singleton=True)
    def count(self):
        self.pipeline.set_variable("n", self.pipeline.v("n") + 1)
        return self


@pytest.fixture
def dataset():
    Rows.models.reset("kept")
    return Dataset.from_arrays(Rows, rows=np.arange(60.0).reshape(20, 3))


# ---- check


def test_check_trains_no_model_of_a_joined_pipeline(dataset):
    inner = dataset.p.init_model("net", Mean).train_model("net", B.rows)
    inner.run(5)
    dataset.p.join(inner).call(len).check()
    assert inner.m("net").n_steps == 4


def test_check_trains_no_model_of_the_class_in_a_joined_pipeline(dataset):
    dataset.p.join(dataset.p.train()).call(len).check()
    assert Rows.models["kept"].n_steps == 0


def test_check_leaves_the_variables_of_a_joined_pipeline_alone(dataset):
    inner = dataset.p.init_variable("n", 0).count().update(V("n"), V("n") + 1)
    dataset.p.join(inner).call(len).check()
    assert inner.v("n") == 0


def test_a_step_that_reads_what_a_step_before_the_batches_sets_is_no_problem(dataset):
    p = dataset.p.init_variable("factor").before.update(V("factor"), 2).main.scale(V("factor"))
    p.run(5)
    assert p.check().problems == []


def test_a_variable_that_cannot_travel_is_told_with_the_step_that_reads_it(dataset):
    p = dataset.p.init_variable("lock", init=threading.Lock).call(id, V("lock"))
    with pytest.raises(TypeError, match=r"cannot travel.*'lock'"):
        p.run(5, executor="processes", n_workers=1)
    report = p.check()
    assert not report.can_use_processes
    assert "lock" in report.steps[0].stays


def test_a_dataset_that_cannot_travel_is_told(dataset):
    locks = np.array([threading.Lock() for _ in range(4)], dtype=object)
    p = Dataset.from_arrays(Rows, rows=np.arange(4)).p.do_nothing()
    p._source.held = locks
    with pytest.raises(TypeError, match="dataset cannot travel"):
        p.run(2, executor="processes", n_workers=1)
    assert not p.check().can_use_processes


def test_without_cloudpickle_each_step_says_what_to_install(dataset, monkeypatch):
    from batchflow.executors.serialization import pickling

    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    pickling._pickler.cache_clear()
    try:
        report = dataset.p.scale(2).map(np.negative, src="rows").check()
    finally:
        pickling._pickler.cache_clear()
    assert not report.can_use_processes
    for step in report.steps:
        assert step.stays.startswith("work in processes needs the package cloudpickle")


def test_check_gives_a_report_where_the_batch_skips_itself(dataset):
    class Empty(ArrayBatch):
        def __init__(self, index, *args, **kwargs):
            super().__init__(index, *args, **kwargs)
            raise SkipBatch

    assert Dataset(4, Empty).p.do_nothing().check() is not None


def test_check_describes_a_list_that_contains_itself(dataset):
    def circle(batch):
        batch.circle = [1]
        batch.circle.append(batch.circle)
        return batch

    assert dataset.p.map(circle, over="batches").check().problems == []


@pytest.mark.parametrize("n_items", [0, None, "2"])
def test_a_wrong_number_of_items_is_refused_by_its_name(dataset, n_items):
    with pytest.raises((ArgumentTypeError, ArgumentValueError), match="n_items"):
        dataset.p.check(n_items)


# ---- debug


@pytest.mark.parametrize("number", [None, 1])
def test_debug_takes_no_notice_of_where_later_runs_work(dataset, number):
    later = dataset.p.scale(2).run_later(4, target="threads", prefetch=2)
    assert later.debug(number) is not None


def test_an_error_that_is_raised_twice_has_the_batch_of_the_last_time(dataset):
    error = ArithmeticError("always the same object")

    def fails(rows):
        raise error

    p = dataset.p.call(fails, B.rows)
    for number in (0, 1):
        with pytest.raises(ArithmeticError):
            p.debug(number, batch_size=5)
    assert error.batch.number == 1


def test_debug_in_another_thread_keeps_the_batch_there_and_nowhere_else(dataset):
    got = []

    def fails(rows):
        raise ArithmeticError

    p = dataset.p.call(fails, B.rows)

    def debug():
        try:
            p.debug(1, batch_size=5)
        except ArithmeticError as error:
            got.append(error.batch.number)

    thread = threading.Thread(target=debug)
    thread.start()
    thread.join(30)
    assert got == [1]
    with pytest.raises(ArithmeticError) as raised:
        p.run(5)
    assert not hasattr(raised.value, "batch")
