"""What of a batch class workers need, and what travels closed: see engine/remote/members.py."""

import functools
import gc
import importlib
import sys
import threading

import numpy as np
import pytest

from batchflow import ArrayBatch, B, Batch, Dataset, F, action, inbatch_parallel, model
from batchflow.engine.remote import workers as remote_workers
from batchflow.engine.state import PipelineView
from batchflow.errors import ArgumentTypeError, ModelDefinitionError

FAR = {"executor": "processes", "n_workers": 1, "prefetch": 2}
lock = threading.Lock()
calls = []


def run(cls, *names, **how):
    pipeline = Dataset.from_arrays(cls, data=np.arange(6.0)).p
    for name in names:
        pipeline = getattr(pipeline, name)()
    return list(pipeline.gen_batch(2, seed=1, **{**FAR, **how}))


@pytest.fixture
def heavy(tmp_path, monkeypatch):
    """A module that tests import, and that workers need not."""
    (tmp_path / "heavy_for_workers.py").write_text("def build():\n    return [1]\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("heavy_for_workers")
    sys.modules.pop("heavy_for_workers", None)


def test_what_only_models_and_ordered_actions_mention_is_not_imported_in_workers(heavy):
    class Trained(ArrayBatch):
        @model()
        def net():
            return heavy.build()

        @action
        def go(self):
            self.imported = "heavy_for_workers" in sys.modules
            return self

        @action(model="net", singleton=True)
        def train(self, net):
            self.seen = [*net, *self.built()]
            return self

        def built(self):
            return heavy.build()

    batches = run(Trained, "go", "train")
    assert [(batch.imported, batch.seen) for batch in batches] == [(False, [1, 1])] * 3


# ---- what need not be able to travel


def ordered():
    class Locked(ArrayBatch):
        @action
        def go(self):
            return self

        @action(singleton=True)
        def end(self):
            with lock:
                return self

    return Locked


def definition():
    class Locked(ArrayBatch):
        @model()
        def net():
            return lock

        @action
        def go(self):
            return self

        @action(model="net", singleton=True)
        def end(self, net):
            return self

    return Locked


def not_chained():
    class Locked(ordered()):
        @action
        def other(self):
            with lock:
                return self

    return Locked


def helpers():
    class Locked(ArrayBatch):
        held = lock

        @action
        def go(self):
            return self

        @action(singleton=True)
        def end(self):
            self.method(), self.of_class(), self.of_none(), self.looked_up, self.looked_up_once
            return self

        def method(self):
            return lock

        @classmethod
        def of_class(cls):
            return lock

        @staticmethod
        def of_none():
            return lock

        @property
        def looked_up(self):
            return lock

        @functools.cached_property
        def looked_up_once(self):
            return lock

    return Locked


def inherited():
    class Mixin:
        @action(singleton=True)
        def end(self):
            with lock:
                return self

    class Locked(Mixin, ArrayBatch):
        @action
        def go(self):
            return self

    return Locked


@pytest.mark.parametrize("make", [ordered, definition, not_chained, helpers, inherited])
def test_what_the_parallel_steps_do_not_need_need_not_be_able_to_travel(make):
    cls = make()
    batches = run(cls, "go", "end")
    assert [type(batch) for batch in batches] == [cls] * 3
    here = run(cls, "go", "end", executor="serial", prefetch=0)
    assert [batch.data.tolist() for batch in batches] == [batch.data.tolist() for batch in here]


# ---- what is refused before the run


def test_a_parallel_action_that_cannot_travel_is_refused():
    class Locked(ArrayBatch):
        @action
        def go(self):
            with lock:
                return self

    with pytest.raises(ArgumentTypeError, match="'lock', of type lock"):
        run(Locked, "go")


def test_what_a_parallel_action_calls_and_cannot_travel_is_refused():
    class Locked(ArrayBatch):
        @action
        def go(self):
            return self.first()

        def first(self):
            return self.second()

        def second(self):
            return lock and self

    with pytest.raises(ArgumentTypeError, match=r"second: its variable 'lock', of type lock"):
        run(Locked, "go")


def test_an_overridden_action_that_cannot_travel_is_refused():
    class Parent(ArrayBatch):
        @action
        def go(self):
            with lock:
                return self

    class Child(Parent):
        @action
        def go(self):
            return super().go()

    with pytest.raises(ArgumentTypeError, match="'lock', of type lock"):
        run(Child, "go")


def test_what_makes_the_items_of_an_action_and_cannot_travel_is_refused():
    class Locked(ArrayBatch):
        @action
        @inbatch_parallel("those", target="for")
        def go(self, item):
            return item

        def those(self):
            return [lock for _ in self.indices]

    with pytest.raises(ArgumentTypeError, match=r"those: its variable 'lock', of type lock"):
        run(Locked, "go")


def test_what_the_function_of_an_expression_calls_and_cannot_travel_is_refused():
    class Locked(ArrayBatch):
        @action
        def go(self, value):
            return self

        def held(self):
            return lock

    pipeline = Dataset.from_arrays(Locked, data=range(4)).p.go(F(lambda batch: batch.held())(B()))
    with pytest.raises(ArgumentTypeError, match=r"held: its variable 'lock', of type lock"):
        next(pipeline.gen_batch(2, **FAR))


def test_check_tells_of_the_parallel_steps_what_a_run_tells():
    fine = Dataset.from_arrays(helpers(), data=range(4)).p.go().end()
    assert "stays in this process" not in str(fine.check())

    class Locked(helpers()):
        @action
        def go(self):
            self.method()
            return self

    assert "stays in this process" in str(Dataset.from_arrays(Locked, data=range(4)).p.go().check())


# ---- what is called all the same


def local():
    class Called(ArrayBatch):
        def hidden(self, factor):
            """Multiply."""
            self.data = self.data * factor * len(calls)
            self.name = type(self).hidden.__name__, type(self).hidden.__doc__
            return self

    class Local(Called):
        @action
        def go(self):
            calls.append(self.number)
            self.n_calls = len(calls)
            return getattr(self, "hidden")(3)  # noqa: B009  so that nobody sees it coming

        def hidden(self, factor):
            """Multiply more."""
            return super().hidden(factor + len(calls))

        @property
        def gone(self):
            return lock

        def cannot(self):
            return lock

        @action
        def ask(self):
            return getattr(self, "cannot")()  # noqa: B009

        @action
        def ask_property(self):
            return getattr(self, "gone")  # noqa: B009

        held = lock

        @action
        def ask_attribute(self):
            return getattr(self, "held")  # noqa: B009

        @action
        def wait_for(self):
            return self.apply_parallel("".join(["de", "layed"]), src="data", dst="data")

        async def delayed(self, item):
            return item + 1

        @action
        def keep_function(self):
            self.function = getattr(type(self), "hidden")  # noqa: B009
            return self

    return Local


def test_a_closed_function_sees_the_global_variables_of_the_open_ones():
    far = run(local(), "go", prefetch=1)
    calls.clear()
    here = run(local(), "go", executor="serial", prefetch=0)
    calls.clear()
    assert [batch.data.tolist() for batch in far] == [batch.data.tolist() for batch in here]
    assert [batch.n_calls for batch in far] == [1, 2, 3]
    assert far[0].name == ("hidden", "Multiply more.")


def test_a_coroutine_is_one_when_it_travels_closed():
    cls = local()
    assert [batch.data.tolist() for batch in run(cls, "wait_for")] == [[1, 2], [3, 4], [5, 6]]


def test_a_closed_function_comes_back_as_a_function():
    batch = run(local(), "keep_function")[2]
    assert batch.function.__code__ == type(batch).hidden.__code__
    assert batch.function(batch, 1).data.tolist() == [0, 0]  # none of the calls was over there


@pytest.mark.parametrize(
    ("step", "name"),
    [("ask", "cannot"), ("ask_property", "gone"), ("ask_attribute", "held")],
)
def test_who_asks_for_what_could_not_travel_is_told_its_name_and_why(step, name):
    told = rf"Local.{name} is not in this worker process.*cannot pickle '_thread.lock'"
    with pytest.raises(ArgumentTypeError, match=told):
        run(local(), step)


def test_a_big_array_that_open_and_closed_functions_mention_travels_once(monkeypatch):
    big = np.arange(1e6)

    class Big(ArrayBatch):
        @action
        def go(self):
            self.first = big[0]
            return self

        @action(singleton=True)
        def end(self):
            self.last = big[-1]
            return self

        @action(singleton=True)
        def other(self):
            self.middle = big[1]
            return self

    kept, pack = [], remote_workers.packed_work
    monkeypatch.setattr(
        remote_workers, "packed_work", lambda prefixes: kept.append(pack(prefixes)) or kept[-1]
    )
    assert len(run(Big, "go", "end")) == 3
    *arrays, _ = kept[0].buffers  # and where each of them lies
    assert [buffer.raw().nbytes for buffer in arrays] == [big.nbytes]
    assert len(kept[0].payload) < 20_000


def test_packing_leaves_no_garbage_that_holds_the_classes():
    import weakref

    cls = ordered()
    run(cls, "go", "end")
    reference = weakref.ref(cls)
    del cls
    gc.collect()
    assert reference() is None


# ---- models


def test_who_asks_for_a_model_in_a_worker_is_told_that_models_stay():
    class Modelled(ArrayBatch):
        @model()
        def net():
            return [1]

        @action
        def look(self):
            self.net_is = self.models["net"]
            return self

    assert Modelled.models["net"] == [1]
    with pytest.raises(ModelDefinitionError, match="models stay in the main process") as caught:
        run(Modelled, "look")
    assert '@action(model="net", singleton=True)' in str(caught.value)


# ---- the ties of batches that a batch holds


def test_batches_in_a_list_come_back_with_dataset_and_pipeline():
    class Holding(Batch):
        @action
        def go(self):
            self.parts = [self[[i]] for i in self.indices.tolist()]
            self.circle = [self]
            return self

    dataset = Dataset(4, Holding)
    for batch in dataset.p.go().gen_batch(2, **FAR):
        assert [part.dataset for part in batch.parts] == [dataset] * 2
        assert {type(part.pipeline) for part in batch.parts} == {PipelineView}
        assert batch.circle[0] is batch
