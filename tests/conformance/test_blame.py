"""Whose work it was that killed workers: it is known, counted and named."""

import os
import time
from concurrent.futures import Executor, Future
from contextlib import nullcontext
from pathlib import Path

import pytest

from batchflow import B, Dataset, WorkerDiedError

from .pools import a_fork_server, a_spawned_pool, loky_pool

POOLS = [
    pytest.param(lambda: nullcontext("processes"), id="processes"),
    pytest.param(a_fork_server, id="forkserver"),
    pytest.param(loky_pool, id="loky"),
]


@pytest.fixture(params=POOLS)
def executor(request):
    with request.param() as executor:
        yield executor


def deadly(folder, deaths, n_items=40):
    """A chain in which some batches kill their first workers, and all leave word."""
    folder = str(folder)

    def work(number):
        path = f"{folder}/{number}"
        with open(path, "a") as file:
            file.write("x")
        if os.path.getsize(path) <= deaths.get(number, 0):
            os._exit(3)
        time.sleep(0.005)

    return Dataset(n_items).p.call(work, B.number)


def times(folder):
    return {int(path.name): path.stat().st_size for path in Path(folder).iterdir()}


@pytest.mark.parametrize(
    "deaths", [{3: 1, 4: 2}, {3: 2, 4: 2}, {3: 2, 5: 1, 6: 2}], ids=["1-2", "2-2", "2-1-2"]
)
def test_two_deaths_of_its_own_are_not_three(executor, tmp_path, deaths):
    run = deadly(tmp_path, deaths).gen_batch(2, executor=executor, n_workers=2)
    assert [batch.number for batch in run] == list(range(20))
    done = times(tmp_path)
    assert {number: done[number] for number in deaths} == {n: d + 1 for n, d in deaths.items()}


@pytest.mark.parametrize("beside", [{}, {3: 1}], ids=["alone", "beside"])
def test_the_third_death_is_the_last(executor, tmp_path, beside):
    run = deadly(tmp_path, {**beside, 4: 99}).gen_batch(2, executor=executor, n_workers=2)
    numbers = []
    with pytest.raises(WorkerDiedError) as caught:
        for batch in run:
            numbers.append(batch.number)
    assert numbers == [0, 1, 2, 3]
    # In a user's pool nobody is known to be to blame for a death beside others: it is no attempt.
    most = 3 if executor == "processes" else 4 + len(beside)
    assert 3 <= times(tmp_path)[4] <= most
    assert caught.value.attempts == 3


def test_the_error_itself_names_batch_ids_cause_and_a_hint(executor, tmp_path):
    with pytest.raises(WorkerDiedError) as caught:
        deadly(tmp_path, {5: 99}).run(2, executor=executor, n_workers=2)
    error = caught.value
    assert str(error).startswith("batch 5, epoch 0, 2 items with the ids [10, 11]: a worker proc")
    assert "in each of 3 attempts" in str(error)
    assert 'executor="serial"' in str(error)
    assert (error.number, error.indices, error.attempts) == (5, (10, 11), 3)
    assert error.cause in str(error)
    assert "exit code 3" in error.cause or "EXIT(3)" in error.cause
    assert any("pipeline.replay(5, batch_size=2" in note for note in error.__notes__)


def test_a_regrouped_batch_is_named_as_well(executor, tmp_path):
    def work(number):
        if number == 2:
            os._exit(3)

    pipeline = Dataset(40).p.rebatch(5).call(work, B.number)
    with pytest.raises(WorkerDiedError, match=r"batch 2.* ids \[10, 11, 12, 13, 14\]") as caught:
        pipeline.run(2, executor=executor, n_workers=2)
    assert caught.value.number == 2
    assert caught.value.indices == (10, 11, 12, 13, 14)


class Unknown(Executor):
    """Says in its own words that a worker has died."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        future.set_running_or_notify_cancel()
        future.set_exception(RuntimeError("the worker has gone away"))
        return future


def test_what_an_unknown_executor_says_of_a_batch_has_its_number_and_ids():
    with pytest.raises(RuntimeError, match="gone away") as caught:
        Dataset(40).p.call(len, B.indices).run(2, executor=Unknown(), n_workers=2, seed=1)
    notes = "\n".join(caught.value.__notes__)
    assert "batch 0, epoch 0, 2 items with the ids [0, 1]" in notes
    assert "pipeline.replay(0, batch_size=2, seed=1)" in notes


class Blind(Executor):
    """A pool of which it is not known how it works, and so not whose worker has died."""

    def __init__(self):
        self._pool = a_spawned_pool()

    def submit(self, fn, /, *args, **kwargs):
        return self._pool.submit(fn, *args, **kwargs)

    def shutdown(self, wait=True, *, cancel_futures=False):
        self._pool.shutdown(wait, cancel_futures=cancel_futures)


@pytest.mark.parametrize("n_deaths", [1, 99])
def test_where_nobody_tells_one_is_tried_alone(tmp_path, n_deaths):
    run = deadly(tmp_path, {4: n_deaths}).gen_batch(2, executor=lambda: Blind(), n_workers=2)
    if n_deaths == 1:
        assert [batch.number for batch in run] == list(range(20))
        return
    numbers = []
    with pytest.raises(WorkerDiedError) as caught:
        for batch in run:
            numbers.append(batch.number)
    assert numbers == [0, 1, 2, 3]
    assert caught.value.attempts == 3
    assert times(tmp_path)[4] in (3, 4)  # and before, beside another one
