"""Faults of an older batchflow, B: the order of training, locks, who owns a model, randomness."""

import contextlib
import gc
import sys
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from kit import does_not_raise

from batchflow import ArrayBatch, Batch, Dataset, SkipBatch, StopPipeline, action, model

from .conftest import MyBatch, Room, Turnstile, each_prefetch, ids, in_threads

pytestmark = pytest.mark.timeout(60)


def make_class():
    """Make a new batch class, and so a new model."""

    class Trained(MyBatch):
        @model()
        def net():
            return {"order": [], "weight": 1.0}

        @action
        def through(self, turnstile):
            turnstile(self.number)
            return self

        @action(model="net", singleton=True)
        def train(self, net, error=None, at=0):
            if error is not None and at in self.indices:
                raise error
            net["order"] += self.indices.tolist()
            net["weight"] = 0.9 * net["weight"] + 0.1 * float(self.indices.sum())
            return self

        @action(model="net", singleton=True)
        def train_in(self, net, room):
            room.visit()
            return self

        @action(model="net", singleton=True)
        def evaluate_in(self, net, room):
            room.visit()
            return self

    return Trained


# ---- B1: the order of training


@each_prefetch
def test_b1_a_singleton_gets_the_batches_in_order_whatever_finishes_first(prefetch):
    work, turnstile = make_class(), Turnstile(16, prefetch)
    Dataset(16, work).p.through(turnstile).train().run(1, n_epochs=1, prefetch=prefetch)
    assert (turnstile.passed == list(range(16))) is (prefetch < 2)
    assert work.models["net"]["order"] == list(range(16))


@each_prefetch
def test_b1_the_trained_model_is_the_same_at_every_prefetch(prefetch):
    def weight(prefetch):
        work = make_class()
        p = Dataset(16, work).p.through(Turnstile(16, prefetch)).train()
        p.run(1, n_epochs=1, prefetch=prefetch)
        return work.models["net"]["weight"]

    assert weight(prefetch).hex() == weight(0).hex()


# ---- B2: a section that is left by an error


@each_prefetch
def test_b2_a_run_after_a_singleton_has_raised_trains_to_its_end(prefetch):
    work = make_class()
    with pytest.raises(ValueError, match="once"):
        Dataset(5, work).p.train(error=ValueError("once"), at=2).run(1, prefetch=prefetch)
    Dataset(5, work).p.train().run(1, prefetch=prefetch)
    assert work.models["net"]["order"] == [0, 1, 0, 1, 2, 3, 4]


@each_prefetch
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SkipBatch, StopPipeline])
def test_b2_a_run_in_another_thread_is_not_blocked_by_a_singleton_that_raised(prefetch, error):
    work = make_class()
    with contextlib.suppress(error):
        Dataset(5, work).p.train(error=error(), at=2).run(1, prefetch=prefetch)
    in_threads(lambda: Dataset(5, work).p.train().run(1, prefetch=prefetch))
    assert work.models["net"]["order"][-5:] == [0, 1, 2, 3, 4]


@each_prefetch
def test_b2_the_same_pipeline_runs_in_another_thread_after_its_singleton_has_raised(prefetch):
    errors = iter([ValueError("once")])

    class Once(Batch):
        @action(singleton=True)
        def raise_once(self):
            for error in errors:
                raise error
            return self

    p = Dataset(5, Once).p.raise_once()
    with pytest.raises(ValueError, match="once"):
        p.run(1, prefetch=prefetch)
    assert in_threads(lambda: p.run(1, prefetch=prefetch)) == [p]


def interrupt_at_call(number, inside):
    """Make a trace function that raises `KeyboardInterrupt`, as Ctrl-C does, at a function's start.

    Args:
        number: Which call raises, counted from 0.
        inside: Only calls below a function of this name count.
    """
    calls = iter(range(number + 1))

    def trace(frame, event, arg):
        above = frame.f_back
        while above is not None and above.f_code.co_name != inside:
            above = above.f_back
        if above is not None and next(calls) == number:
            sys.settrace(None)
            raise KeyboardInterrupt

    return trace


def test_b2_ctrl_c_at_any_moment_of_the_section_does_not_block_other_threads():
    interrupted, number = True, 0
    before = sys.gettrace()
    while interrupted:
        work = make_class()
        p = Dataset(2, work).p.train()
        p.run(1)
        try:
            sys.settrace(interrupt_at_call(number, inside="finished"))
            p.run(1)
            interrupted = False
        except KeyboardInterrupt:
            number += 1
        finally:
            sys.settrace(before)
        in_threads(lambda p=p: p.run(1), timeout=5)
    assert number > 10


# ---- B4, B5: one model, many actions and runs


@each_prefetch
def test_b4_two_singletons_of_one_model_never_overlap_in_a_run(prefetch):
    room = Room()
    p = Dataset(12, make_class()).p.train_in(room).evaluate_in(room)
    p.run(1, prefetch=prefetch)
    assert (room.visits, room.most) == (24, 1)


@each_prefetch
def test_b4_training_and_evaluation_in_two_pipelines_on_one_model_never_overlap(prefetch):
    room, work = Room(), make_class()
    train = Dataset(12, work).p.train_in(room)
    evaluate = Dataset(12, work).p.evaluate_in(room)
    in_threads(lambda: train.run(1, prefetch=prefetch), lambda: evaluate.run(1, prefetch=prefetch))
    assert (room.visits, room.most) == (24, 1)


@each_prefetch
def test_b5_one_action_in_four_pipelines_in_four_threads_never_overlaps(prefetch):
    room, work = Room(), make_class()
    pipelines = [Dataset(6, work).p.train_in(room) for _ in range(4)]
    in_threads(*(lambda p=p: p.run(1, prefetch=prefetch) for p in pipelines))
    assert (room.visits, room.most) == (24, 1)


@each_prefetch
def test_b5_runs_of_one_pipeline_in_four_threads_never_overlap_in_the_section(prefetch):
    room = Room()
    p = Dataset(6, make_class()).p.train_in(room)
    in_threads(*[lambda: p.run(1, prefetch=prefetch)] * 4)
    assert (room.visits, room.most) == (24, 1)


def test_b5_a_subclass_that_shares_the_model_is_excluded_too():
    room, work = Room(), make_class()

    class Heir(work):
        pass

    pipelines = [Dataset(8, cls).p.train_in(room) for cls in (work, Heir)]
    in_threads(*(lambda p=p: p.run(1) for p in pipelines))
    assert (room.visits, room.most) == (16, 1)


def test_b5_runs_on_different_models_do_not_wait_for_each_other():
    meeting = threading.Barrier(2)

    class Meeting(Batch):
        @model()
        def one():
            return "one"

        @model()
        def other():
            return "other"

        @action(model="one", singleton=True)
        def train_one(self, one):
            meeting.wait(20)
            return self

        @action(model="other", singleton=True)
        def train_other(self, other):
            meeting.wait(20)
            return self

    p = Dataset(3, Meeting).p
    with does_not_raise():
        in_threads(lambda: p.train_one().run(1), lambda: p.train_other().run(1))


# ---- B10: what a batch knows in a worker


@each_prefetch
def test_b10_a_parallel_action_finds_rng_pipeline_and_dataset(prefetch):
    seen = {}

    class Asking(Batch):
        @action
        def ask(self):
            seen[self.number] = (self.rng.random(), self.pipeline.v("name"), self.dataset)
            return self

    dataset = Dataset(8, Asking)
    dataset.p.init_variable("name", "ada").ask().run(1, prefetch=prefetch)
    assert [seen[n][1:] for n in range(8)] == [("ada", dataset)] * 8
    assert len({seen[n][0] for n in range(8)}) == 8


@each_prefetch
@pytest.mark.parametrize("singleton", [False, True])
def test_b10_threads_that_an_action_starts_find_rng_pipeline_and_dataset(prefetch, singleton):
    seen = {}

    class Asking(Batch):
        def ask_one(self, item):
            return item, self.rng is rng_of[self.number], self.pipeline.v("name"), self.dataset

        @action(singleton=singleton)
        def ask(self):
            rng_of[self.number] = self.rng
            with ThreadPoolExecutor(2) as pool:
                seen[self.number] = list(pool.map(self.ask_one, self.indices.tolist()))
            return self

    rng_of = {}
    dataset = Dataset(8, Asking)
    dataset.p.init_variable("name", "ada").ask().run(2, prefetch=prefetch)
    expected = [(item, True, "ada", dataset) for item in range(8)]
    assert [answer for n in range(4) for answer in seen[n]] == expected


@each_prefetch
def test_b10_random_numbers_in_workers_are_the_same_at_every_prefetch(prefetch):
    class Drawing(ArrayBatch):
        @action
        def draw(self):
            self.data = self.rng.random(len(self))
            return self

    def drawn(prefetch):
        run = Dataset(12, Drawing).p.draw().gen_batch(2, seed=3, prefetch=prefetch)
        return np.concatenate([batch.data for batch in run]).tolist()

    assert drawn(prefetch) == drawn(0)


# ---- B13: when models are made, and whose they are


class Net:
    """A descriptor that knows from which items it was made."""

    def __init__(self, made_from):
        self.made_from = made_from


def make_counted(mode):
    """Make a class whose model `net` lists its makings in `builds`."""
    builds = []

    def static():
        return dynamic(None)

    def dynamic(batch):
        builds.append(Net(None if batch is None else batch.indices.tolist()))
        return builds[-1]

    class Counted(MyBatch):
        net = model(mode)(static if mode == "static" else dynamic)

        @action(model="net")
        def see(self, net, seen):
            seen.append(net)
            return self

        @action(model="net", singleton=True)
        def train(self, net):
            return self

    return Counted, builds


def is_collected(reference):
    """Tell whether an object goes, once the workers have done what they were at."""
    end = time.monotonic() + 10
    while reference() is not None and time.monotonic() < end:
        gc.collect()
        time.sleep(0.001)
    return reference() is None


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_b13_no_model_is_made_when_its_class_is_defined(mode):
    assert make_counted(mode)[1] == []


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_b13_no_model_is_made_when_a_pipeline_is_chained_or_a_run_is_only_opened(mode):
    work, builds = make_counted(mode)
    Dataset(4, work).p.ok().train().gen_batch(2)
    assert builds == []


@each_prefetch
def test_b13_a_static_model_is_made_once_for_all_pipelines_of_its_class(prefetch):
    work, builds = make_counted("static")
    seen = []
    for n_items in (4, 6):
        Dataset(n_items, work).p.see(seen).train().run(2, prefetch=prefetch)
    assert len(builds) == 1
    assert seen == builds * 5


@each_prefetch
def test_b13_a_dynamic_model_is_made_once_for_each_pipeline(prefetch):
    work, builds = make_counted("dynamic")
    one, other = (Dataset(4, work).p.train() for _ in range(2))
    for p in (one, other, one, other):
        p.run(2, prefetch=prefetch)
    assert len(builds) == 2
    assert [one.models["net"], other.models["net"]] == builds


@each_prefetch
def test_b13_a_dynamic_model_is_made_from_the_first_batch_of_its_own_pipeline(prefetch):
    work, _ = make_counted("dynamic")
    one = Dataset([0, 1, 2, 3], work).p.ok().train().run(2, prefetch=prefetch)
    other = Dataset([7, 8, 9], work).p.skip(at=(7,)).train().run(1, prefetch=prefetch)
    assert one.models["net"].made_from == [0, 1]
    assert other.models["net"].made_from == [8]


def test_b13_a_pipeline_chained_from_another_makes_a_dynamic_model_of_its_own():
    work, builds = make_counted("dynamic")
    base = Dataset(4, work).p.train().run(2)
    child = base.ok().run(2)
    assert child.models["net"] is not base.models["net"]
    assert len(builds) == 2


@each_prefetch
def test_b13_a_dynamic_model_goes_with_its_pipeline(prefetch):
    work, builds = make_counted("dynamic")
    p = Dataset(4, work).p.train().run(2, prefetch=prefetch)
    net = weakref.ref(p.models["net"])
    builds.clear()
    del p
    assert is_collected(net)


@each_prefetch
@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_b13_a_pipeline_that_has_run_is_not_kept_alive(mode, prefetch):
    work, _ = make_counted(mode)
    p = Dataset(4, work).p.train().run(2, prefetch=prefetch)
    p.next_batch(2, prefetch=prefetch)
    pipeline = weakref.ref(p)
    del p
    assert is_collected(pipeline)


# ---- B14: a failed batch is never replaced by a copy of the one before


@each_prefetch
@pytest.mark.parametrize("at", [0, 3, 5])
def test_b14_a_failed_batch_is_not_replaced_by_another(prefetch, at):
    seen = []
    with pytest.raises(ValueError, match=f"boom at {at}"):
        for batch in Dataset(6, MyBatch).p.boom(at=at).gen_batch(1, prefetch=prefetch):
            seen += ids([batch])
    assert seen == list(range(at))


@each_prefetch
def test_b14_no_batch_is_delivered_twice_around_a_skip(prefetch):
    run = Dataset(6, MyBatch).p.skip(at=(3,)).gen_batch(1, prefetch=prefetch)
    batches = list(run)
    assert len({id(batch) for batch in batches}) == 5
    assert [batch.number for batch in batches] == ids(batches) == [0, 1, 2, 4, 5]


@each_prefetch
def test_b14_every_batch_carries_the_data_of_its_own_items_around_a_skip(prefetch):
    class Squares(ArrayBatch):
        @action
        def skip(self, at):
            if at in self.indices:
                raise SkipBatch
            return self

    dataset = Dataset.from_arrays(Squares, data=np.arange(6) ** 2)
    run = dataset.p.skip(at=3).gen_batch(1, prefetch=prefetch)
    assert [batch.data.tolist() for batch in run] == [[0], [1], [4], [16], [25]]
