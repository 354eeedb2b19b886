"""What of a batch class stays in the main process, and what travels: see engine/remote/stubs.py."""

import gc
import importlib
import inspect
import sys
import threading

import numpy as np
import pytest

from batchflow import ArrayBatch, B, Batch, Dataset, F, action, inbatch_parallel, model
from batchflow.batch.directory import in_parallel
from batchflow.engine.remote import workers as remote_workers
from batchflow.engine.remote.stubs import guard_ordered
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
            self.seen = [*net, *heavy.build()]
            return self

    batches = run(Trained, "go", "train")
    assert [(batch.imported, batch.seen) for batch in batches] == [(False, [1, 1])] * 3


def test_a_helper_method_brings_to_workers_what_it_mentions(heavy):
    class Helped(ArrayBatch):
        @action
        def go(self):
            self.imported = "heavy_for_workers" in sys.modules
            return self

        def helper(self):
            return heavy.build()

    assert [batch.imported for batch in run(Helped, "go")] == [True] * 3


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


def overridden():
    class Parent(ArrayBatch):
        @action
        def go(self):
            return self

        @action(singleton=True)
        def end(self):
            return self

    class Locked(Parent):
        def end(self):  # ordered, as what it overrides
            with lock:
                return super().end()

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


@pytest.mark.parametrize("make", [ordered, definition, overridden, inherited])
def test_what_ordered_actions_and_definitions_mention_need_not_be_able_to_travel(make):
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


def method():
    class Locked(ordered()):
        def helper(self):
            return lock

    return Locked, r"batch_class\.helper: its variable 'lock', of type lock"


def method_of_class():
    class Locked(ordered()):
        @classmethod
        def helper(cls):
            return lock

    return Locked, r"batch_class\.helper"


def attribute():
    class Locked(ordered()):
        held = lock

    return Locked, r"batch_class\.held, of type lock"


def action_that_is_not_chained():
    class Locked(ordered()):
        @action
        def other(self):
            with lock:
                return self

    return Locked, r"batch_class\.other: its variable 'lock', of type lock"


def method_that_mentions_the_class():
    class Locked(ordered()):
        def before(self):
            return super().end()

        def helper(self):
            return lock

    return Locked, r"batch_class\.helper: its variable 'lock', of type lock"


HELPERS = [
    method,
    method_of_class,
    attribute,
    action_that_is_not_chained,
    method_that_mentions_the_class,
]


@pytest.mark.parametrize("make", HELPERS)
def test_what_else_of_a_class_cannot_travel_is_named(make):
    cls, named = make()
    with pytest.raises(ArgumentTypeError, match=named):
        run(cls, "go", "end")


@pytest.mark.parametrize("make", HELPERS)
def test_check_tells_of_it_beforehand(make):
    report = str(Dataset.from_arrays(make()[0], data=range(4)).p.go().check())
    assert "stays in this process" in report or "cannot travel" in report
    fine = Dataset.from_arrays(ordered(), data=range(4)).p.go().end().check()
    assert "stays in this process" not in str(fine)
    assert "cannot travel" not in str(fine)


# ---- what is refused in workers


def calling(how):
    class Calling(ArrayBatch):
        @model()
        def net():
            return [1]

        @action
        def go(self):
            return how(self)

        @action(singleton=True)
        def end(self):
            """End."""
            return self

        @action(model="net", singleton=True)
        def train(self, net):
            return self

        @action(singleton=True)
        async def wait(self):
            return self

    return Calling


@pytest.fixture
def importable(tmp_path, monkeypatch):
    """Make the class again in a module, which workers import."""
    made = []

    def importable(how):
        name = f"calling_in_workers_{how}"
        text = f"""
from batchflow import ArrayBatch, action, model

class Calling(ArrayBatch):
    @model()
    def net():
        return [1]

    @action
    def go(self):
        self.{how}()
        return self

    @action(singleton=True)
    def end(self):
        self.is_ended = True
        return self

    @action(model="net", singleton=True)
    def train(self, net):
        return self

    @action(singleton=True)
    async def wait(self):
        return self
"""
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        made.append(name)
        return importlib.import_module(name).Calling

    yield importable
    for name in made:
        sys.modules.pop(name, None)


ADVICE = {
    "end": r"Calling\.end is not here: ordered actions stay.*@action\(singleton=True\), or run",
    "train": r'Calling\.train is not here.*@action\(model="net", singleton=True\), or run in',
    "wait": r"Calling\.wait is not here: ordered actions stay in the main process",
    "net": "models stay in the main process",
}


@pytest.mark.parametrize("name", ADVICE)
def test_a_parallel_action_that_calls_what_stays_is_refused(name):
    cls = calling(lambda batch: getattr(batch, name)())
    with pytest.raises((ArgumentTypeError, ModelDefinitionError), match=ADVICE[name]) as caught:
        run(cls, "go")
    assert any("batch 0" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("name", ADVICE)
def test_one_of_a_module_that_workers_import_is_refused_too(importable, name):
    with pytest.raises((ArgumentTypeError, ModelDefinitionError), match=ADVICE[name]):
        run(importable(name), "go")


def test_check_names_a_call_of_an_ordered_action_beforehand(importable):
    for cls in (importable("end"), calling(lambda batch: batch.end())):
        report = Dataset.from_arrays(cls, data=range(4)).p.go().check()
        assert "stays in this process: it calls the ordered action 'end'" in str(report)


def test_check_names_a_call_in_a_coroutine_beforehand():
    class Waiting(calling(None)):
        @action
        async def go(self):
            return await self.wait()

    report = Dataset.from_arrays(Waiting, data=range(4)).p.go().check()
    assert "stays in this process: it calls the ordered action 'wait'" in str(report)


def test_check_names_a_call_of_a_definition_beforehand(importable):
    cls = importable("net")
    assert cls.models["net"] == [1]
    report = Dataset.from_arrays(cls, data=range(4)).p.go().check()
    assert "stays in this process: it asks for the model 'net'" in str(report)


def test_in_threads_it_may_call_them():
    batches = run(calling(lambda batch: batch.end()), "go", executor="threads")
    assert len(batches) == 3


def test_outside_of_parallel_actions_a_guarded_action_is_what_it_was(importable):
    cls = importable("end")
    guard_ordered(cls)
    batch = cls([0]).end()
    assert batch.is_ended
    assert cls.end(batch) is batch
    assert inspect.iscoroutinefunction(cls.wait)
    token = in_parallel.set(True)
    try:
        with pytest.raises(ArgumentTypeError, match=ADVICE["end"]):
            batch.end()
    finally:
        in_parallel.reset(token)


# ---- what travels as it is


def test_methods_share_their_global_variables_in_a_worker():
    class Called(ArrayBatch):
        @action
        def go(self):
            calls.append(self.number)
            self.n_calls = self.counted()
            return self

        def counted(self):
            return len(calls)

    batches = run(Called, "go", prefetch=1)
    assert [batch.n_calls for batch in batches] == [1, 2, 3]


def test_a_method_comes_back_as_a_function():
    class Kept(ArrayBatch):
        def hidden(self, factor):
            self.data = self.data * factor
            return self

        @action
        def go(self):
            self.function = type(self).hidden
            return self

    batch = run(Kept, "go")[2]
    assert batch.function.__code__ == Kept.hidden.__code__
    assert batch.function(batch, 2).data.tolist() == [8, 10]


def test_a_big_array_travels_once_and_that_of_ordered_actions_not_at_all(monkeypatch):
    big, other = np.arange(1e6), np.arange(1e5)

    class Big(ArrayBatch):
        @action
        def go(self):
            self.first = big[0]
            return self

        @action(singleton=True)
        def end(self):
            self.last = big[-1], other[-1]
            return self

        def helper(self):
            return big[1]

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
