"""Actions written with `async def`: tasks of one event loop of the run."""

import asyncio
import contextvars
import functools
import threading
import time
import types

import numpy as np
import pytest

from batchflow import (
    ActionResultError,
    ArrayBatch,
    B,
    BatchflowError,
    Dataset,
    F,
    Pipeline,
    R,
    SkipBatch,
    StopPipeline,
    V,
    action,
    inbatch_parallel,
)
from batchflow.testing import digest, nothing_left

from .conftest import each_prefetch

WAYS = ({}, {"prefetch": 1}, {"prefetch": 4}, {"executor": "serial"})
each_way = pytest.mark.parametrize("way", WAYS, ids=["0", "1", "4", "serial"])
setting = contextvars.ContextVar("setting", default="default")


class Rows(ArrayBatch):
    components = "x"

    @action
    async def noise(self):
        await asyncio.sleep(float(np.random.default_rng().random()) * 2e-3)
        self.x = self.x + self.rng.normal(size=len(self))
        return self

    @action
    async def boom(self, at, error=None):
        await asyncio.sleep(0)
        if self.number == at:
            raise error or ValueError(f"boom at {at}")
        return self

    @action
    async def forget(self):
        await asyncio.sleep(0)

    @action
    async def mean(self):
        await asyncio.sleep(0)
        return self.x.mean()

    @action
    async def see(self):
        self.seen = (threading.get_ident(), id(asyncio.get_running_loop()), setting.get())
        setting.set("changed")
        return self

    @action(singleton=True)
    async def note(self, log):
        await asyncio.sleep(0.001 * (self.number % 3))
        log.append(self.number)
        await asyncio.sleep(0)
        log.append(self.number)
        return self

    @action(model="net", singleton=True)
    async def fit(self, net, factor=1):
        await asyncio.sleep(0)
        net.append(float(factor * self.x.sum()))
        return self

    @action
    @inbatch_parallel(init="indices", post="keep", target="async")
    async def of_each(self, item):
        await asyncio.sleep(0)
        return item, threading.get_ident()

    def keep(self, results):
        self.results = results
        return self


@pytest.fixture
def dataset():
    return Dataset.from_arrays(Rows, x=np.arange(8.0))


async def double(value):
    await asyncio.sleep(0)
    return 2 * value


def counting(counts, seconds=0.01):
    """A coroutine function that notes how many of it are at work at once."""

    async def work():
        counts.append(counts.pop() + 1 if counts else 1)
        most.append(counts[-1])
        await asyncio.sleep(seconds)
        counts.append(counts.pop() - 1)

    most = work.most = []
    return work


# ---- where they run


@each_prefetch
def test_all_batches_are_on_one_loop_in_one_thread_that_is_not_the_consumers(dataset, prefetch):
    seen = {batch.seen[:2] for batch in dataset.p.see().gen_batch(1, prefetch=prefetch)}
    assert len(seen) == 1
    assert threading.get_ident() not in {thread for thread, _ in seen}


def test_serial_runs_them_in_the_consumers_thread(dataset):
    seen = {batch.seen[:2] for batch in dataset.p.see().gen_batch(1, executor="serial")}
    assert len(seen) == 1
    assert {thread for thread, _ in seen} == {threading.get_ident()}


@each_prefetch
def test_ordered_and_per_item_ones_are_on_the_same_loop(dataset, prefetch):
    chain = dataset.p.see().of_each().init_variable("x").call(double, 1, save_to=V("x"))
    for batch in chain.gen_batch(2, prefetch=prefetch):
        assert {thread for _, thread in batch.results} == {batch.seen[0]}


def test_two_runs_have_loops_of_their_own(dataset):
    first, second = (dataset.p.see().gen_batch(2) for _ in range(2))
    assert next(first).seen[1] != next(second).seen[1]


def test_inner_pipelines_are_on_the_loop_of_the_run(dataset):
    class Own(Rows):
        @action
        def take(self, other):
            self.other = other.seen
            return self

    own = Dataset.from_arrays(Own, x=np.arange(8.0)).p
    batch = next(own.join(dataset.p.see()).take().see().gen_batch(4, prefetch=2))
    assert batch.other[:2] == batch.seen[:2]


@each_way
def test_context_variables_of_the_starter_are_seen_and_none_leak(dataset, way):
    token = setting.set("mine")
    try:
        seen = [batch.seen[2] for batch in dataset.p.see().gen_batch(2, **way)]
    finally:
        setting.reset(token)
    assert seen == ["mine"] * 4


@pytest.mark.parametrize(("prefetch", "most"), [(0, 1), (1, 1), (2, 2), (4, 4)])
def test_at_most_prefetch_batches_are_at_work(dataset, prefetch, most):
    work = counting([])
    dataset.p.call(work).run(1, n_epochs=2, prefetch=prefetch)
    assert max(work.most) == most


def test_a_chain_without_them_starts_no_loop(dataset):
    before = threading.active_count()
    run = dataset.p.call(len, [1]).gen_batch(2)
    next(run)
    assert threading.active_count() == before
    run.close()


# ---- in a place where a loop runs already, such as Jupyter


@each_prefetch
def test_threads_work_where_a_loop_runs(dataset, prefetch):
    async def main():
        return [batch.number for batch in dataset.p.noise().gen_batch(2, prefetch=prefetch)]

    assert asyncio.run(main()) == [0, 1, 2, 3]


def test_serial_says_what_to_do_where_a_loop_runs(dataset):
    async def main():
        dataset.p.noise().run(2, executor="serial")

    with pytest.raises(BatchflowError, match=r'"serial".*Jupyter.*executor="threads"'):
        asyncio.run(main())


def test_serial_without_them_works_where_a_loop_runs(dataset):
    async def main():
        return [batch.number for batch in dataset.p.gen_batch(4, executor="serial")]

    assert asyncio.run(main()) == [0, 1]


@pytest.mark.parametrize("way", ["execute_for", "replay"])
def test_a_given_batch_and_replay_work_where_a_loop_runs(dataset, way):
    async def main():
        if way == "replay":
            return dataset.p.mean(save_to=B.m).replay(1, 4)
        return dataset.p.mean(save_to=B.m).execute_for(dataset.create_batch([4, 5, 6, 7]))

    assert asyncio.run(main()).m == 5.5


# ---- what comes of them


def test_they_have_one_answer(dataset):
    def answer(way):
        chain = dataset.p.noise().init_variable("n", 0).mean(save_to=B.m)
        pipeline = chain.update(V("n"), V("n") * 2 + B.m)
        batches = [batch.x for batch in pipeline.gen_batch(2, seed=1, n_epochs=3, **way)]
        return digest(*batches, pipeline.v("n"))

    assert len({answer(way) for way in WAYS}) == 1


@each_way
def test_singletons_take_one_batch_at_a_time_in_order(dataset, way):
    log = []
    dataset.p.noise().note(log).run(1, **way)
    assert log == [number for number in range(8) for _ in range(2)]


@each_way
def test_a_model_of_the_chain_is_trained_in_order(dataset, way):
    chain = dataset.p.init_model("net", list).noise().update(B.x, F(np.array)([B.number])).fit(2)
    assert chain.run(1, **way).m("net") == [2.0 * n for n in range(8)]


@each_way
def test_a_dynamic_model_is_given_to_them(dataset, way):
    made = []

    def build(batch):
        made.append(batch.number)
        return []

    chain = dataset.p.init_model("net", build, "dynamic").noise().fit()
    assert len(chain.run(1, **way).m("net")) == 8
    assert made == [0]


@each_way
def test_values_are_saved(dataset, way):
    pipeline = dataset.p.init_variable("m", init=list).mean(save_to=V("m", "a"))
    assert pipeline.run(4, **way).v("m") == [1.5, 5.5]


@each_way
def test_arguments_are_resolved_before(dataset, way):
    chain = dataset.p.call(double, B.number + 1, save_to=B.y)
    assert [batch.y for batch in chain.gen_batch(4, **way)] == [2, 4]


@each_way
def test_they_may_be_left_to_chance(dataset, way):
    chain = dataset.p.update(B.y, 0) + Pipeline().call(double, B.number, save_to=B.y) @ 0.5
    expected = [batch.y for batch in chain.gen_batch(1, seed=2)]
    assert [batch.y for batch in chain.gen_batch(1, seed=2, **way)] == expected
    assert len(set(expected)) > 2


@each_way
@pytest.mark.parametrize(
    "chain",
    [
        lambda p: p.call(functools.partial(double, 4), save_to=B.y),
        lambda p: p.add_namespace(types.SimpleNamespace(double=double)).double(4, save_to=B.y),
        lambda p: p.map(double, src="x").update(B.y, B.x[1] + 6),
    ],
)
def test_other_async_functions_are_awaited(dataset, chain, way):
    assert next(chain(dataset.p).gen_batch(4, **way)).y == 8


class Doubler:
    async def __call__(self, value):
        return 2 * value


@pytest.mark.parametrize("function", [Doubler(), lambda value: double(value), F(double)])
def test_a_coroutine_is_never_taken_for_a_value(dataset, function):
    try:
        batch = next(dataset.p.call(function, 4, save_to=B.y).gen_batch(4))
    except (TypeError, BatchflowError):
        return  # saying so is as good
    value, batch.y = batch.y, None
    if asyncio.iscoroutine(value):
        value.close()
        pytest.fail("the value is a coroutine, which nobody awaits")
    assert value == 8


def test_an_async_predicate_of_an_item_is_awaited(dataset):
    async def is_even(x):
        return x % 2 == 0

    assert next(dataset.p.filter(is_even, src="x").gen_batch(4)).x.tolist() == [0, 2]


@pytest.mark.parametrize("word", ["map", "filter"])
def test_an_async_function_of_a_batch_is_awaited_or_refused(dataset, word):
    pending = []

    async def keep_none(batch):
        raise SkipBatch

    def function(batch):
        pending.append(keep_none(batch))
        return pending[-1]

    try:
        assert list(getattr(dataset.p, word)(function, over="batches").gen_batch(4)) == []
    except ActionResultError:
        pass  # saying so is as good
    finally:
        for coroutine in pending:
            coroutine.close()


@each_way
def test_one_that_returns_nothing_is_told_to_return_self(dataset, way):
    with pytest.raises(ActionResultError, match="'forget' must return a batch"):
        dataset.p.forget().run(4, **way)


# ---- errors, skip, stop


@each_way
def test_the_very_exception_arrives_at_its_turn(dataset, way):
    error, seen = KeyError("mine"), []
    with pytest.raises(KeyError) as caught:
        for batch in dataset.p.noise().boom(2, error).gen_batch(2, **way):
            seen.append(batch.number)
    assert caught.value is error
    assert seen == [0, 1]


@each_way
def test_an_error_says_where_and_leads_to_the_line(dataset, way):
    with pytest.raises(ValueError, match="boom at 1") as caught:
        dataset.p.boom(1).run(4, seed=1, **way)
    assert "in the action 'boom', chained at " in caught.value.__notes__[0]
    assert caught.value.__notes__[1] == "batch 1, epoch 0, 4 items with the ids [4, 5, 6, 7]"
    assert caught.traceback[-1].name == "boom"


@each_way
def test_a_timeout_inside_arrives(dataset, way):
    async def slow():
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        dataset.p.call(slow).run(4, **way)


@each_way
@pytest.mark.parametrize("singleton", [False, True])
def test_skips_leave_out_their_batch(dataset, singleton, way):
    class Skipping(Rows):
        @action(singleton=singleton)
        async def skip(self, at):
            await asyncio.sleep(0)
            if self.number == at:
                raise SkipBatch
            return self

    chain = Dataset.from_arrays(Skipping, x=np.arange(8.0)).p.noise().skip(1)
    assert [batch.number for batch in chain.gen_batch(2, **way)] == [0, 2, 3]


@each_way
@pytest.mark.parametrize("singleton", [False, True])
def test_stop_ends_the_run(dataset, singleton, way):
    class Stopping(Rows):
        @action(singleton=singleton)
        async def stop(self, at):
            await asyncio.sleep(0)
            if self.number == at:
                raise StopPipeline
            return self

    chain = Dataset.from_arrays(Stopping, x=np.arange(8.0)).p.noise().stop(2)
    with nothing_left():
        assert [batch.number for batch in chain.gen_batch(2, **way)] == [0, 1]


@each_way
def test_a_run_after_an_error_works(dataset, way):
    chain = dataset.p.init_model("net", list).noise().fit().boom(1)
    for _ in range(2):
        with pytest.raises(ValueError, match="boom"):
            chain.run(4, **way)


# ---- the end


@each_way
@pytest.mark.parametrize("end", ["end", "break", "error", "close", "collect"])
def test_nothing_is_left(dataset, way, end):
    with nothing_left():
        chain = dataset.p.noise().note([]).boom(1 if end == "error" else None)
        run = chain.gen_batch(2, **way)
        if end == "end":
            list(run)
        elif end == "error":
            with pytest.raises(ValueError, match="boom"):
                list(run)
        else:
            next(run)
            if end == "close":
                run.close()
        del run, chain


@pytest.mark.parametrize("way", ["execute_for", "replay"])
def test_a_given_batch_and_replay_leave_nothing(dataset, way):
    with nothing_left():
        if way == "replay":
            batch = dataset.p.noise().of_each().replay(1, 4)
        else:
            batch = dataset.p.noise().of_each().execute_for(dataset.create_batch([1, 2]))
    assert len(batch.results) == len(batch)


def test_a_close_cancels_those_that_wait(dataset):
    cancelled, waiting = [], threading.Event()

    async def wait(number):
        if number == 0:
            while not waiting.is_set():
                await asyncio.sleep(0.001)
            return
        try:
            waiting.set()
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    with nothing_left():
        run = dataset.p.call(wait, B.number).gen_batch(1, prefetch=4)
        next(run)
        start = time.monotonic()
        run.close()
    assert time.monotonic() - start < 60
    assert cancelled


def test_a_close_does_not_wait_for_one_that_will_not_end(dataset):
    end = threading.Event()

    async def stubborn(number):
        while number and not end.is_set():
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue

    with nothing_left():
        run = dataset.p.call(stubborn, B.number).gen_batch(1, prefetch=4)
        next(run)
        start = time.monotonic()
        run.close()
        seconds = time.monotonic() - start
        end.set()
    assert seconds < 3


def test_a_batch_can_be_worked_on_by_hand_after_its_run(dataset):
    batches = list(dataset.p.of_each().gen_batch(4, prefetch=2))
    assert [item for item, _ in batches[1].of_each().results] == [4, 5, 6, 7]


def test_a_given_batch_can_be_worked_on_by_hand_afterwards(dataset):
    batch = dataset.p.of_each().execute_for(dataset.create_batch([1, 2]))
    assert [item for item, _ in batch.of_each().results] == [1, 2]


def test_random_values_are_those_of_the_batch(dataset):
    chain = dataset.p.call(double, R.normal(), save_to=B.y)
    expected = [batch.y for batch in chain.gen_batch(2, seed=1)]
    assert [batch.y for batch in chain.gen_batch(2, seed=1, prefetch=4)] == expected
    assert len(set(expected)) == 4
