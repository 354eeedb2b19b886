"""Law 6, memory: a batch that nobody holds is gone, without help of the garbage collector."""

import asyncio
import gc
import time
import weakref
from contextlib import contextmanager, suppress

import numpy as np
import pytest

from batchflow import (
    ArrayBatch,
    B,
    Dataset,
    F,
    P,
    Pipeline,
    R,
    SkipBatch,
    StopPipeline,
    V,
    action,
    inbatch_parallel,
    model,
)
from batchflow.batch import apply_parallel

N_ITEMS, SIZE = 12, 4
EXECUTORS = {
    "serial": {"executor": "serial"},
    "threads, 0 ahead": {"prefetch": 0},
    "threads, 4 ahead": {"prefetch": 4},
    "processes": {"executor": "processes", "n_workers": 1, "prefetch": 2},
}
each_executor = pytest.mark.parametrize("options", EXECUTORS.values(), ids=EXECUTORS.keys())


def make_class():
    class Work(ArrayBatch):
        components = "x", "y"

        @model()
        def net():
            return {"steps": 0}

        @model(mode="dynamic")
        def shaped(batch):
            return {"steps": len(batch)}

        @action
        def change(self):
            self.x = self.x + self.rng.normal(size=self.x.shape)
            return self

        @action
        def another(self):
            new = type(self)(self.index)
            new.x, new.y = self.x, self.y
            return new

        @action
        def part(self):
            copies = [item.x for item in self], self[self.indices[0]].x, self.deepcopy()
            assert len(copies) == 3
            return self[self.indices[:2]]

        @action
        def keep_tied(self):
            self.me, self.mine, self.source = self, [self.pipeline], self.dataset
            del self.me  # a circle of the user's own would be one
            return self

        @action
        def refused_within(self):
            for name in ("nothing", "more"):
                with pytest.raises(AttributeError):
                    getattr(self, name)
            return self

        @action
        def skip_some(self):
            if self.number % 2:
                raise SkipBatch
            return self

        @action
        async def wait(self):
            await asyncio.sleep(0)
            return self

        @action(singleton=True)
        def note(self):
            self.pipeline.v("seen").append(self.number)
            return self

        @action(model="net", singleton=True)
        def train(self, net):
            net["steps"] += 1
            return self

        @action(model="shaped", singleton=True)
        def train_shaped(self, net):
            net["steps"] += 1
            return self

        @action
        def add(self, other):
            self.x = self.x + other.x
            return self

        @apply_parallel(src="x")
        def item_noise(self, item):
            return item + self.rng.normal()

        @action
        @inbatch_parallel(init="items")
        def raise_y(self, item):
            item.y = item.y + 1

        @action
        @inbatch_parallel(init="indices", post="collect")
        async def slowly(self, item_id):
            await asyncio.sleep(0)
            return self.rng.normal()

        def collect(self, results):
            self.y = np.array(results)
            return self

        @action
        @inbatch_parallel(init="indices", post="count")
        def errors(self, item_id):
            raise ValueError(item_id)

        @action
        @inbatch_parallel(init="indices", post="count")
        async def slow_errors(self, item_id):
            raise ValueError(item_id)

        @action
        @inbatch_parallel(init="indices")
        def ask_in_vain(self, item_id):
            with pytest.raises(KeyError):
                self.pipeline.v("nothing")

        def count(self, results):
            self.y = np.full(len(self), len(results))
            return self

        @action
        @inbatch_parallel(init="indices")
        def skip_by_item(self, item_id):
            raise SkipBatch

        @action
        def fail(self):
            if self.number == 2:
                raise ValueError("at 2")
            return self

        @action
        async def fail_slowly(self):
            await asyncio.sleep(0)
            return self.fail()

        @action(singleton=True)
        def fail_in_order(self):
            return self.fail()

        @action
        @inbatch_parallel(init="indices")
        def fail_by_item(self, item_id):
            self.fail()

        @action
        @inbatch_parallel(init="indices")
        async def fail_slowly_by_item(self, item_id):
            self.fail()

        @action
        def return_nothing(self):
            return None if self.number == 2 else self

        @action
        def stop(self):
            if self.number == 2:
                raise StopPipeline
            return self

    return Work


class Model:
    """Can be trained, also on several batches."""

    def __init__(self, fails=False):
        self.fails = fails

    def partial_fit(self, x, y):
        if self.fails:
            raise ValueError("no")
        return self

    def predict(self, x):
        return x[:, 0]


async def slowly(value):
    await asyncio.sleep(0)
    return value


def fails(_):
    raise ValueError("no")


def of(work, first=0):
    x, y = np.ones((N_ITEMS, 3)), np.arange(N_ITEMS, dtype=float)
    return Dataset.from_arrays(work, np.arange(first, first + N_ITEMS), x=x, y=y)


# What is done to the batches of a class: `p` is a pipeline, `w` the class.
STEPS = {
    "nothing": lambda p, w: p,
    "an action": lambda p, w: p.change(),
    "another batch": lambda p, w: p.another(),
    "a part": lambda p, w: p.part(),
    "attributes": lambda p, w: p.keep_tied(),
    "errors within": lambda p, w: p.refused_within(),
    "skipped": lambda p, w: p.skip_some(),
    "async": lambda p, w: p.wait(),
    "ordered": lambda p, w: p.init_variable("seen", init_on_each_run=list).note().change(),
    "model": lambda p, w: p.train().change(),
    "dynamic model": lambda p, w: p.train_shaped().change(),
    "train_model": lambda p, w: p.init_model("m", Model).train_model("m", B.x, B.y),
    "predict_model": lambda p, w: (
        p.init_model("m", Model).train_model("m", B.x, B.y).predict_model("m", B.x, save_to=B.z)
    ),
    "join": lambda p, w: p.join(of(w).p.change()).add(),
    "merge": lambda p, w: p.merge(of(w, 100).p.change()).change(),
    "concat": lambda p, w: p.concat(of(w, 100).p.change()).change(),
    "rebatch": lambda p, w: p.change().rebatch(5).change(),
    "rebatch, ordered": lambda p, w: p.train().rebatch(5).change(),
    "filter": lambda p, w: p.filter(B.y > 2),
    "filter by function": lambda p, w: p.filter(lambda y: y > 2, src="y"),
    "filter over batches": lambda p, w: p.filter(B.number % 2 == 0, over="batches"),
    "map": lambda p, w: p.map(lambda x: x * 2, src="x"),
    "map over items": lambda p, w: p.map(lambda item: None),
    "map over batches": lambda p, w: p.map(lambda batch: batch, over="batches"),
    "load from an array": lambda p, w: p.load(src={"x": np.ones((N_ITEMS, 3))}),
    "load by id": lambda p, w: p.load(src={i: i for i in range(N_ITEMS)}, components="y"),
    "load by function": lambda p, w: p.load(src=".", fmt=lambda path: 1.0, components="y"),
    "call": lambda p, w: p.call(lambda batch, k: None, B(), R.normal(size=2)),
    "call, async": lambda p, w: p.call(slowly, B.x, save_to=B.x),
    "save_to": lambda p, w: p.init_variable("h", init_on_each_run=list).call(
        lambda x: (x, 1), B.x, save_to=[B.x, V("h", "a")]
    ),
    "update": lambda p, w: p.init_variable("h", 0).update(V("h"), V("h") + F(len)(B.x)),
    "chance": lambda p, w: p.dataset >> (Pipeline().change() @ 0.5),
    "items in threads": lambda p, w: p.item_noise(),
    "items in turn": lambda p, w: p.item_noise(target="for"),
    "items in processes": lambda p, w: p.item_noise(target="processes"),
    "items with a timeout": lambda p, w: p.item_noise(timeout=60),
    "items, async": lambda p, w: p.slowly(),
    "writes to items": lambda p, w: p.raise_y(),
    "apply_parallel": lambda p, w: p.apply_parallel(lambda x, k: x * k, P(R.normal()), src="x"),
    "errors of items": lambda p, w: p.errors(),
    "errors of items in turn": lambda p, w: p.errors(target="for"),
    "errors of items in processes": lambda p, w: p.errors(target="processes"),
    "errors of items, async": lambda p, w: p.slow_errors(),
    "errors of what items ask": lambda p, w: p.ask_in_vain(target="processes"),
    "skipped by an item": lambda p, w: p.skip_by_item(),
}
ENDS = {
    "an action": lambda p, w: p.change().fail(),
    "no batch": lambda p, w: p.return_nothing(),
    "stop": lambda p, w: p.stop(),
    "async": lambda p, w: p.fail_slowly(),
    "ordered": lambda p, w: p.fail_in_order(),
    "model": lambda p, w: p.init_model("m", lambda: Model(fails=True)).train_model("m", B.x, B.y),
    "the making of a model": lambda p, w: p.init_model("m", fails, mode="dynamic").train_model(
        "m", B.x, B.y
    ),
    "join": lambda p, w: p.join(of(w).p.fail()).add(),
    "merge": lambda p, w: p.merge(of(w, 100).p.fail()),
    "merging": lambda p, w: p.merge(of(w, 100).p, fn=fails),
    "concat": lambda p, w: p.concat(of(w, 100).p.fail()),
    "rebatch": lambda p, w: p.rebatch(5, fn=fails),
    "behind rebatch": lambda p, w: p.rebatch(5).fail(),
    "filter": lambda p, w: p.filter(fails, src="x"),
    "map": lambda p, w: p.map(fails, src="x"),
    "map over batches": lambda p, w: p.map(fails, over="batches"),
    "load": lambda p, w: p.load(src=".", fmt=fails, components="y"),
    "an expression": lambda p, w: p.call(len, F(fails)(B.x)),
    "a coroutine": lambda p, w: p.call(lambda x: slowly(x), B.x, save_to=B.z),
    "items in threads": lambda p, w: p.fail_by_item(),
    "items in turn": lambda p, w: p.fail_by_item(target="for"),
    "items in processes": lambda p, w: p.fail_by_item(target="processes"),
    "items, async": lambda p, w: p.fail_slowly_by_item(),
}


def on_executors(chains):
    """Return each chain with each executor.

    A serial run is one with no batch ahead that has an event loop of its own: it is tried with
    coroutines alone.
    """
    return [
        pytest.param(chain, options, id=f"{name}-{executor}")
        for name, chain in chains.items()
        for executor, options in EXECUTORS.items()
        if executor != "serial" or "async" in name or "coroutine" in name
    ]


each_step = pytest.mark.parametrize(("chain", "options"), on_executors(STEPS))
each_end = pytest.mark.parametrize(("chain", "options"), on_executors(ENDS))


@contextmanager
def no_collector():
    """The garbage collector is off, and what is there already is not looked at, now or later."""
    gc.collect()
    gc.disable()
    gc.freeze()
    try:
        yield
    finally:
        gc.enable()


def alive(work, most=0):
    """The batches that are alive, as soon as there are no more than `most`, or after a second."""
    end = time.monotonic() + 1
    while True:
        found = [repr(o) for o in gc.get_objects() if issubclass(type(o), work)]
        if len(found) <= most or time.monotonic() > end:
            return found
        time.sleep(0.005)


def chained(chain):
    work = make_class()
    return work, chain(of(work).p, work)


@each_step
def test_a_batch_that_is_let_go_is_gone(chain, options):
    _, pipeline = chained(chain)
    with no_collector(), pipeline.gen_batch(SIZE, seed=1, **options) as run:
        for batch in run:
            was = weakref.ref(batch)
            del batch
            end = time.monotonic() + 1
            while was() is not None and time.monotonic() < end:
                time.sleep(0.005)
            assert was() is None


@each_step
def test_no_more_batches_are_alive_than_were_made_ahead(chain, options):
    work, pipeline = chained(chain)
    is_rebatch = "rebatch" in repr(pipeline)  # which keeps the rest of what it has cut
    most = options.get("prefetch", 0) + is_rebatch
    with no_collector(), pipeline.gen_batch(SIZE, seed=1, **options) as run:
        for batch in run:
            del batch
            assert len(alive(work, most)) <= most


@each_step
def test_no_batch_is_alive_after_the_end_of_a_run(chain, options):
    work, pipeline = chained(chain)
    with no_collector():
        pipeline.run(SIZE, seed=1, **options)
        assert alive(work) == []


@each_step
def test_no_batch_is_alive_after_a_run_was_left(chain, options):
    work, pipeline = chained(chain)
    with no_collector():
        run = pipeline.gen_batch(SIZE, seed=1, **options)
        next(run, None)
        del run
        assert alive(work) == []


@each_end
def test_no_batch_is_alive_after_an_error_was_handled(chain, options):
    work, pipeline = chained(chain)
    with no_collector():
        with suppress(Exception):
            pipeline.run(SIZE, seed=1, **options)
        assert alive(work) == []


@each_executor
def test_no_batch_is_alive_when_the_values_of_a_feed_were_read(options):
    work, pipeline = chained(lambda p, w: p.change())
    with no_collector():
        for values in pipeline.feed(SIZE, B.x, B.y, seed=1, **options):
            del values
        assert alive(work) == []


@each_executor
def test_no_batch_is_alive_behind_steps_that_take_several(options):
    class Several(Model):
        def partial_fit_several(self, *batches):
            return [None] * len(batches)

    work, pipeline = chained(
        lambda p, w: p.init_model("m", Several).train_model("m", B.x, B.y, steps_per_call=2)
    )
    with no_collector():
        pipeline.run(SIZE, seed=1, **options)
        assert alive(work) == []
