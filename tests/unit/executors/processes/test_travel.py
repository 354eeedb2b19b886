"""What travels to worker processes and back, and what is said of what cannot."""

import os
import random
import threading
import time

import numpy as np
import pytest
from unit.executors.waiting import DEADLINE, results, until, waits

from batchflow.errors import ArgumentTypeError, BatchflowError
from batchflow.executors.item_threads import shutdown
from batchflow.executors.processes.pool import process_pool
from batchflow.executors.serialization.pickling import pack

BIG = 1_000_000  # bytes, far beyond what goes through the socket


@pytest.fixture
def called(open_job):
    """Calls a function in a worker with one item."""

    def called(function, item=None, n_workers=1):
        return open_job(function, n_workers).submit(item).result(DEADLINE)

    return called


# ---- what travels


def test_big_arrays_of_the_function_are_there_once_and_cannot_be_written_to(open_job, tmp_path):
    data = np.arange(BIG, dtype="u4")

    def look(item):
        (tmp_path / f"{item}").touch()
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.005)
        with open("/proc/self/maps") as maps:
            files = {
                line.split()[4] for line in maps if "memfd:batchflow" in line and "r--s" in line
            }
        return int(data.sum()), data.flags.writeable, os.getpid(), files

    job = open_job(look, 2)
    first, second = results([job.submit(i) for i in range(2)])
    assert first[:2] == second[:2] == (int(data.sum()), False)
    assert first[2] != second[2]
    assert first[3] == second[3]
    assert len(first[3]) == 1


def test_a_forgotten_job_keeps_no_memory(open_job):
    def maps(item):
        with open("/proc/self/maps") as maps:
            return sum("memfd:batchflow" in line for line in maps)

    empty = open_job(maps, 1)
    before = empty.submit(0).result(DEADLINE)
    data = np.zeros(BIG)
    job = open_job(lambda item: maps(item) + 0 * data[0], 1)
    assert job.submit(0).result(DEADLINE) > before
    job.close(1)
    assert empty.submit(0).result(DEADLINE) == before


def test_an_item_is_taken_as_it_is_when_it_is_submitted(open_job, tmp_path):
    held = open_job(waits(tmp_path), 1)
    held.submit(0)
    job = open_job(lambda item: item.sum(), 1)
    items = [np.ones(10), np.ones(BIG)]
    futures = [job.submit(item) for item in items]
    for item in items:
        item[:] = 5
    (tmp_path / "go").touch()
    assert results(futures) == [10, BIG]


@pytest.mark.parametrize("size", [10, BIG])
def test_an_item_can_be_written_to_over_there(called, size):
    def work(item):
        item += 1
        return item.sum()

    item = np.zeros(size)
    assert called(work, item) == size
    assert item.sum() == 0


@pytest.mark.parametrize("size", [10, BIG])
def test_arrays_of_results_are_writable_and_independent(open_job, size):
    job = open_job(lambda item: {"a": np.full(size, item), "b": np.full(size, -item)}, 2)
    pairs = results([job.submit(i) for i in range(4)])
    job.close(1)
    for number, pair in enumerate(pairs):
        assert pair["a"].flags.writeable
        pair["a"] += 100
        assert (pair["a"] == number + 100).all()
        assert (pair["b"] == -number).all()


def test_arrays_outlive_the_pool_and_hold_no_files(open_job):
    job = open_job(lambda item: np.full(BIG // 8, item), 2)
    job.submit(0).result(DEADLINE)
    files = len(os.listdir("/proc/self/fd"))
    arrays = results([job.submit(i) for i in range(100)])
    assert len(os.listdir("/proc/self/fd")) <= files
    job.close(1)
    shutdown()
    assert [int(array[-1]) for array in arrays] == list(range(100))


def shared_maps():
    with open("/proc/self/maps") as lines:
        return sum("memfd:batchflow" in line for line in lines)


def test_memory_of_results_is_freed_with_them(open_job):
    shutdown()
    before = shared_maps()
    job = open_job(lambda item: np.full(BIG, item), 1)
    arrays = results([job.submit(i) for i in range(20)])
    job.close(1)
    shutdown()
    until(lambda: shared_maps() == before + 20)
    part = arrays[7][5:6]
    del arrays
    assert shared_maps() == before + 1
    assert part == 7
    del part
    assert shared_maps() == before


@pytest.mark.parametrize("n_bytes", [BIG // 20, BIG // 5], ids=["small", "a fifth"])
def test_a_small_array_that_is_kept_keeps_nothing_else(open_job, n_bytes):
    before = shared_maps()
    job = open_job(lambda item: (np.full(BIG, item, "u1"), np.full(n_bytes, item, "u1")), 1)
    kept = [job.submit(i).result(DEADLINE)[1] for i in range(20)]
    job.close(1)
    shutdown()
    assert shared_maps() == before
    for number, array in enumerate(kept):
        assert (array == number).all()
        assert array.flags.writeable


def test_a_small_array_beside_much_else_keeps_nothing_of_it(open_job):
    before = shared_maps()
    job = open_job(lambda item: (b"x" * BIG, [item] * BIG, np.full(BIG // 5, item, "u1")), 1)
    kept = job.submit(1).result(DEADLINE)[2]
    job.close(1)
    shutdown()
    assert shared_maps() == before
    assert (kept == 1).all()


def test_small_results_that_are_kept_need_no_maps(open_job):
    before = shared_maps()
    job = open_job(lambda item: np.full(40_000, item, "u1"), 1)
    kept = results([job.submit(i) for i in range(200)])
    assert shared_maps() <= before + 9  # 8 that are lent, and one for the worker's status
    assert [int(array[-1]) for array in kept] == list(range(200))


def test_memory_of_results_that_are_dropped_is_used_again(open_job):
    job = open_job(lambda item: np.full(BIG, item), 1)
    job.submit(0).result(DEADLINE)
    before = shared_maps()
    for item in range(100):
        assert job.submit(item).result(DEADLINE)[-1] == item
    assert shared_maps() <= before + 1


def test_no_result_that_is_kept_is_written_to(open_job):
    """Memory comes back in any order, and never too early."""
    chance = random.Random(5)
    job = open_job(lambda item: np.full(BIG // 8 + item % 3, item), 2)
    futures = {i: job.submit(i) for i in range(300)}
    kept = {}
    for item, future in futures.items():
        kept[item] = future.result(DEADLINE)
        futures[item] = None
        while len(kept) > chance.randrange(12):
            other = chance.choice(list(kept))
            array = kept.pop(other)
            assert (array == other).all()
            del array


def test_a_class_of_a_notebook_comes_back_as_itself(open_job):
    class Point:
        n_made = 0

        def __init__(self, x):
            self.x = x
            type(self).n_made += 1

        def twice(self):
            return Point(self.x * 2)

    method, base = Point.twice, Point(1)
    job = open_job(lambda item: [Point(3).twice(), item, base], 2)
    made, item, held = job.submit(Point(5)).result(DEADLINE)
    assert type(made) is type(item) is type(held) is Point
    assert (made.x, item.x, held.x) == (6, 5, 1)
    assert Point.twice is method
    assert Point.n_made == 2


def test_a_class_that_only_the_worker_has_comes_back(called):
    def work(item):
        class Local:
            x = 7

        return Local()

    assert called(work).x == 7


def test_functions_come_back(called):
    assert called(lambda item: lambda x: x + item, 5)(1) == 6


def test_jobs_take_over_path_folder_and_environment(open_job, tmp_path, monkeypatch):
    def look(item):
        import fresh_module

        return os.getcwd(), os.environ.get("FRESH"), os.environ.get("STALE"), fresh_module.VALUE

    monkeypatch.setenv("STALE", "1")
    open_job(lambda item: item, 1).submit(0).result(DEADLINE)
    (tmp_path / "fresh_module.py").write_text("VALUE = 42")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRESH", "yes")
    monkeypatch.delenv("STALE")
    job = open_job(look, 1)
    assert job.submit(0).result(DEADLINE) == (str(tmp_path), "yes", None, 42)


def test_many_small_tasks(open_job):
    job = open_job(lambda item: item + 1, 2)
    assert results([job.submit(i) for i in range(5000)]) == list(range(1, 5001))


# ---- what cannot travel


def test_a_function_that_cannot_travel_is_refused_by_name():
    lock = threading.Lock()
    with pytest.raises(ArgumentTypeError, match=r"variable 'lock', of type lock .*cannot pickle"):
        pack(lambda item: lock)


def test_an_item_that_cannot_travel_is_refused_by_name(open_job):
    job = open_job(lambda item: item)
    with pytest.raises(ArgumentTypeError, match=r"the item\['a'\]\[1\], of type generator"):
        job.submit({"a": [1, (i for i in ())]})


def test_a_result_that_cannot_travel_is_named(open_job):
    class Thing:
        def __init__(self):
            self.fine = 1
            self.parts = {"lock": threading.Lock()}

    job = open_job(lambda item: Thing() if item else "next")
    failed, after = job.submit(1), job.submit(0)
    with pytest.raises(ArgumentTypeError, match=r"the result\.parts\['lock'\], of type lock"):
        failed.result(DEADLINE)
    assert after.result(DEADLINE) == "next"


def test_a_module_that_is_not_there_is_an_error_of_the_task(open_job, tmp_path, monkeypatch):
    (tmp_path / "gone_module.py").write_text("def work(item): return item")
    monkeypatch.syspath_prepend(tmp_path)
    import gone_module

    packed = pack(gone_module.work)
    monkeypatch.undo()
    job = process_pool().open(packed, 1)
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="gone_module") as caught:
            job.submit(0).result(DEADLINE)
        assert any("while the function was unpacked" in note for note in caught.value.__notes__)
    job.close(1)


def test_a_result_that_cannot_be_unpacked_is_an_error(called):
    class Bomb:
        def __reduce__(self):
            return int, ("no number",)

    with pytest.raises(BatchflowError, match="cannot be unpacked here: ValueError"):
        called(lambda item: Bomb())


# ---- errors of the function


class TwoArguments(Exception):
    def __init__(self, text, code):
        super().__init__(f"{text} ({code})")
        self.code = code


class Unsendable(Exception):
    def __init__(self):
        super().__init__("has a lock")
        self.lock = threading.Lock()


class Mute(Exception):
    def __str__(self):
        raise ValueError("no text")


def test_an_error_arrives_as_what_it_is(called):
    def work(item):
        error = TwoArguments("wrong", 7)
        error.extra = np.arange(3)
        error.add_note("look here")
        raise error from KeyError("the reason")

    with pytest.raises(TwoArguments) as caught:
        called(work)
    error = caught.value
    assert (str(error), error.code, list(error.extra)) == ("wrong (7)", 7, [0, 1, 2])
    assert error.__notes__[0] == "look here"
    remote = error.__notes__[-1]
    assert "in a worker process" in remote
    assert "KeyError: 'the reason'" in remote
    assert "in work" in remote
    assert os.path.join("processes", "worker") not in remote


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_signals_of_python_come_back_too(open_job, kind):
    def work(item):
        raise kind(3)

    job = open_job(work, 1)
    for _ in range(2):
        assert type(job.submit(0).exception(DEADLINE)) is kind


def test_an_error_that_cannot_be_packed_arrives_with_the_text_of_what_cannot(called):
    def work(item):
        raise Unsendable

    with pytest.raises(Unsendable, match=r"^has a lock") as caught:
        called(work)
    assert "lock object at" in caught.value.lock


def test_an_error_without_text_arrives(called):
    def work(item):
        raise Mute

    with pytest.raises(Mute):
        called(work)


def test_an_error_does_not_keep_the_future_alive(open_job):
    def work(item):
        raise ValueError

    import gc
    import weakref

    future = open_job(work, 1).submit(0)
    with pytest.raises(ValueError):
        future.result(DEADLINE)
    watched = weakref.ref(future)
    gc.collect()
    gc.disable()
    try:
        del future
        assert watched() is None
    finally:
        gc.enable()
