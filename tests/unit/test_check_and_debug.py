"""`pipeline.check()` before a long run; `pipeline.debug()` when one has failed."""

import random
import sys
import threading

import numpy as np
import pytest

from batchflow import (
    ArgumentValueError,
    ArrayBatch,
    B,
    Dataset,
    Pipeline,
    R,
    SkipBatch,
    V,
    action,
    model,
)


class Images(ArrayBatch):
    components = "images", "labels"

    @model()
    def net():
        return {"steps": 0}

    @action
    def scale(self, factor):
        self.images = self.images / factor
        return self

    @action
    def flip(self):
        if np.random.random() < 2:
            self.images = self.images[:, ::-1]
        return self

    @action
    def pick(self):
        self.picked = random.choice([1, 2])
        return self

    @action
    def crop(self):
        self.images = self.images[:, :2]
        self.corner = (0, 0)
        return self

    @action
    def skip(self):
        raise SkipBatch

    @action
    def fail(self):
        raise ArithmeticError("no")

    @action
    def call_it(self, function):
        function()
        return self

    @action
    def fail_at(self, number):
        self.reached = True
        if self.number == number:
            raise ArithmeticError("no")
        return self

    @action(singleton=True)
    def count(self):
        self.pipeline.set_variable("n", self.pipeline.v("n") + 1)
        return self

    @action(model="net", singleton=True)
    def train(self, net):
        net["steps"] += 1
        return self

    @action(model="net")
    def train_wildly(self, net):
        net["steps"] += 1
        return self


@pytest.fixture
def dataset():
    Images.models.reset("net")
    images = np.arange(10 * 16, dtype=np.uint8).reshape(10, 4, 4)
    return Dataset.from_arrays(Images, images=images, labels=np.arange(10))


# ---- check


def test_it_tells_what_each_step_changes(dataset):
    report = dataset.p.scale(2).crop().call(np.sum, B.labels, save_to=B.total).check()
    assert [step.changes for step in report.steps] == [
        ["images: float64 (2, 4, 4), was uint8 (2, 4, 4)"],
        ["images: float64 (2, 2, 4), was float64 (2, 4, 4)", "corner: tuple of 2: int, new"],
        ["total: int64, new"],
    ]
    assert report.problems == []
    assert "test_check_and_debug.py:" in report.steps[0].where
    assert report.start == ["images: uint8 (2, 4, 4)", "labels: int64 (2,)"]


def test_it_tells_of_other_values_of_the_same_kind(dataset):
    report = dataset.p.scale(1).scale(3).do_nothing().check(3)
    assert report.steps[1].changes == ["images: float64 (3, 4, 4), other values"]
    assert report.steps[2].changes == []


@pytest.mark.parametrize(("name", "generator"), [("flip", "numpy.random"), ("pick", "random")])
def test_it_finds_draws_from_global_generators(dataset, name, generator):
    np.random.seed(1)
    random.seed(1)
    before = np.random.get_state()[1].tolist(), random.getstate()
    report = getattr(dataset.p, name)().check()
    assert any(f"global generator of {generator}" in problem for problem in report.problems)
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before


def test_it_finds_no_draws_where_there_are_none(dataset):
    assert dataset.p.scale(R.uniform(1, 2)).check().problems == []


def test_it_tells_what_cannot_travel(dataset):
    lock = threading.Lock()
    report = dataset.p.scale(2).call_it(lock.locked).call_it(lambda: lock.locked()).check()
    assert report.steps[0].stays is None
    assert report.steps[1].stays is not None
    assert "lock" in report.steps[2].stays
    assert not report.can_use_processes
    assert dataset.p.scale(2).check().can_use_processes


def test_it_changes_no_model(dataset):
    report = dataset.p.scale(2).train().count().init_variable("n", 0).check()
    assert Images.models["net"] == {"steps": 0}
    assert report.steps[1].changes == ["the model 'net': changed (here a copy)"]
    assert [step.is_ordered for step in report.steps] == [False, True, True]


def test_it_finds_models_that_are_trained_outside_of_an_ordered_step(dataset):
    report = dataset.p.train_wildly().check()
    assert 'mark it @action(model="net", singleton=True)' in report.problems[0]
    assert dataset.p.train().check().problems == []


def test_it_leaves_variables_alone(dataset):
    p = dataset.p.init_variable("n", 5).count().update(V("n"), V("n") + 1)
    assert p.check().problems == []
    assert p.v("n") == 5
    assert p.seed is None


def test_a_step_that_fails_is_a_problem_and_the_steps_behind_it_are_not_run(dataset):
    report = dataset.p.fail().scale(2).check()
    assert report.problems == ["fail(): failed: ArithmeticError: no"]
    assert report.steps[1].outcome == "not run: no batch comes here"


def test_a_skipped_batch_is_no_problem(dataset):
    report = dataset.p.skip().check()
    assert (report.steps[0].outcome, report.problems) == ("skipped the batch", [])


def test_a_regrouping_is_passed(dataset):
    report = dataset.p.rebatch(4).scale(2).check()
    assert report.steps[0].outcome.startswith("not run: it makes other batches")
    assert report.steps[1].changes


@pytest.mark.parametrize("probability", [1.0, 1e-9])
def test_steps_with_a_chance_are_checked_whatever_the_coin_says(dataset, probability):
    report = (dataset.p + Pipeline().do_nothing() + Pipeline().flip() @ probability).check()
    assert "numpy.random" in report.problems[0]
    assert report.steps[1].name == f"(flip()) @ {probability:g}"


def test_steps_with_no_chance_are_not_run(dataset):
    assert (dataset.p + Pipeline().fail() @ 0).check().problems == []


def test_the_report_reads_well(dataset):
    text = str(dataset.p.scale(2).flip().train().check())
    lines = text.splitlines()
    assert lines[0] == "a batch of 2 items: images: uint8 (2, 4, 4); labels: int64 (2,)"
    assert lines[-1] == "1 problem"
    assert "-- ordered section --" in lines
    assert any(line.startswith("    ! draws from the global") for line in lines)


def test_of_fewer_items_than_were_asked_for_it_takes_what_is_there(dataset):
    report = dataset.p.scale(2).check(11)
    assert (report.n_items, report.n_asked) == (10, 11)
    assert str(report).startswith("a batch of 10 items (11 were asked for, and there are no more):")


def test_one_item_is_enough():
    one = Dataset.from_arrays(Images, images=np.ones((1, 4, 4)), labels=[1])
    report = one.p.crop().check()
    assert (report.n_items, report.problems) == (1, [])
    assert str(report).startswith("a batch of 1 item (2 were asked for, and there are no more):")


def test_a_source_without_items_is_refused(dataset, monkeypatch):
    p = dataset.p.scale(2)
    monkeypatch.setattr(Dataset, "__len__", lambda _: 0)
    with pytest.raises(ArgumentValueError, match="check: the dataset has no items"):
        p.check()


def test_it_needs_no_batch_size_and_takes_none_from_run_later(dataset):
    assert dataset.p.scale(2).run_later(5, shuffle=True).check(3).n_items == 3


# ---- debug


def test_an_error_has_the_batch_as_it_was(dataset):
    p = dataset.p.scale(2).fail_at(2)
    with pytest.raises(ArithmeticError) as raised:
        p.debug(batch_size=3, seed=1, shuffle=True)
    batch = raised.value.batch
    assert batch.number == 2
    assert batch.reached
    assert batch.images.dtype == float
    assert any("batch 2, epoch 0" in note for note in raised.value.__notes__)


def test_errors_of_runs_keep_no_batch(dataset):
    with pytest.raises(ArithmeticError) as raised:
        dataset.p.fail_at(0).run(3)
    assert not hasattr(raised.value, "batch")


def test_all_batches_run_in_this_thread(dataset):
    threads = set()

    def note():
        threads.add(threading.current_thread())

    p = dataset.p.init_variable("n", 0).call_it(note).count()
    last = p.debug(batch_size=4, prefetch=3, executor="processes")
    assert threads == {threading.current_thread()}
    assert (last.number, p.v("n")) == (2, 3)


def test_one_batch_goes_through_all_steps(dataset):
    p = dataset.p.init_variable("n", 0).scale(2).count().train()
    batch = p.debug(2, batch_size=4, shuffle=True, seed=3)
    whole = list(dataset.p.gen_batch(4, shuffle=True, seed=3))
    assert batch.indices.tolist() == whole[2].indices.tolist()
    assert (p.v("n"), Images.models["net"]["steps"]) == (1, 1)


def test_one_batch_fails_with_the_batch_in_hand(dataset):
    p = dataset.p.fail_at(1)
    assert p.debug(0, batch_size=4).number == 0
    with pytest.raises(ArithmeticError) as raised:
        p.debug(1, batch_size=4)
    assert raised.value.batch.number == 1


def test_breakpoints_work(dataset, monkeypatch):
    frames = []
    monkeypatch.setattr(sys, "breakpointhook", lambda: frames.append(sys._getframe(1).f_code))

    def stops():
        breakpoint()

    dataset.p.call_it(stops).debug(batch_size=5)
    assert frames == [stops.__code__] * 2


def test_one_batch_of_a_regrouping_pipeline_is_refused(dataset):
    with pytest.raises(ArgumentValueError, match="debug: rebatch"):
        dataset.p.rebatch(3).debug(0, batch_size=4)
    assert dataset.p.rebatch(3).debug(batch_size=4).number == 3
