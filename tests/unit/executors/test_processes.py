"""The pool of worker processes: what travels, what comes back, what a job promises."""

import concurrent.futures
import os
import sys
import threading
import time
import uuid

import cloudpickle
import numpy as np
import pytest

from batchflow.errors import ArgumentTypeError, ArgumentValueError, BatchflowError, RunClosedError
from batchflow.executors import processes
from batchflow.executors.pool import is_worker, shutdown
from batchflow.executors.processes import pack, process_pool
from batchflow.testing import nothing_left

DEADLINE = 60
BIG = 1_000_000  # bytes, far beyond what goes through the socket


@pytest.fixture(autouse=True, scope="module")
def _this_module_travels_by_value():
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)
    shutdown()


@pytest.fixture
def open_job():
    jobs = []

    def opened(function, n_workers=2):
        jobs.append(process_pool().open(pack(function), n_workers))
        return jobs[-1]

    yield opened
    for job in jobs:
        job.close(0)


@pytest.fixture
def called(open_job):
    """Calls a function in a worker with one item."""

    def called(function, item=None, n_workers=1):
        return open_job(function, n_workers).submit(item).result(DEADLINE)

    return called


def results(futures):
    return [future.result(DEADLINE) for future in futures]


def waits(path):
    """Give a function that tells that it has begun, and waits for a file."""

    def wait(item):
        (path / f"begun-{item}").touch()
        while not (path / "go").exists():
            time.sleep(0.005)
        return item, os.getpid()

    return wait


def until(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


# ---- a job


@pytest.mark.parametrize("n_workers", [1, 2, 3])
def test_each_future_has_the_result_of_its_item(open_job, n_workers):
    job = open_job(lambda item: item * 10, n_workers)
    assert results([job.submit(i) for i in range(500)]) == [i * 10 for i in range(500)]


def test_work_is_done_by_at_most_n_workers_other_processes(open_job):
    job = open_job(lambda item: (os.getpid(), time.sleep(0.001)), 2)
    pids = {pid for pid, _ in results([job.submit(i) for i in range(60)])}
    assert len(pids) <= 2
    assert os.getpid() not in pids


def test_n_workers_tasks_are_at_work_at_once(open_job, tmp_path):
    job = open_job(waits(tmp_path), 3)
    futures = [job.submit(i) for i in range(6)]
    until(lambda: len(list(tmp_path.iterdir())) == 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun-0", "begun-1", "begun-2"]
    (tmp_path / "go").touch()
    assert [item for item, _ in results(futures)] == list(range(6))


def test_a_job_of_one_worker_has_one_even_where_there_are_more(open_job, tmp_path):
    many = open_job(waits(tmp_path), 3)
    futures = [many.submit(i) for i in range(3)]
    until(lambda: len(list(tmp_path.iterdir())) == 3)
    (tmp_path / "go").touch()
    results(futures)
    one = open_job(lambda item: (time.sleep(0.03), os.getpid())[1], 1)
    assert len(set(results([one.submit(i) for i in range(10)]))) == 1


def test_tasks_begin_in_order(open_job):
    job = open_job(lambda item: time.monotonic_ns(), 1)
    begun = results([job.submit(i) for i in range(100)])
    assert begun == sorted(begun)


def test_the_function_is_unpacked_once_by_each_worker(open_job):
    class Function:
        def __setstate__(self, state):
            self.mark = uuid.uuid4().hex

        def __getstate__(self):
            return {"any": 1}

        def __call__(self, item):
            return os.getpid(), self.mark

    job = open_job(Function(), 2)
    seen = set(results([job.submit(i) for i in range(100)]))
    assert len(seen) == len({pid for pid, _ in seen})


def test_a_second_job_has_the_same_workers(open_job):
    pids = []
    for _ in range(20):
        job = open_job(lambda item: os.getpid(), 1)
        pids.append(job.submit(0).result(DEADLINE))
        job.close(1)
    assert len(set(pids)) == 1


def test_two_jobs_at_once_from_two_threads(open_job):
    def work(factor, got):
        job = open_job(lambda item: item * factor, 2)
        got.extend(results([job.submit(i) for i in range(300)]))

    found = {2: [], 3: []}
    threads = [threading.Thread(target=work, args=pair) for pair in found.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert found == {factor: [i * factor for i in range(300)] for factor in (2, 3)}


def test_jobs_take_turns(open_job, tmp_path):
    first = open_job(lambda item: (time.sleep(0.002), time.monotonic())[1], 1)
    second = open_job(lambda item: time.monotonic(), 1)
    long = [first.submit(i) for i in range(500)]
    short = second.submit(0)
    assert short.result(DEADLINE) < long[-1].result(DEADLINE)


def test_a_worker_knows_that_it_is_one(called):
    assert called(lambda item: is_worker())
    assert not is_worker()


# ---- futures


def test_a_future_that_waits_can_be_cancelled(open_job, tmp_path):
    job = open_job(waits(tmp_path), 1)
    first, second, third = (job.submit(i) for i in range(3))
    until(lambda: (tmp_path / "begun-0").exists())
    assert second.cancel()
    assert not first.cancel()
    (tmp_path / "go").touch()
    assert [first.result(DEADLINE)[0], third.result(DEADLINE)[0]] == [0, 2]
    assert not (tmp_path / "begun-1").exists()


def test_a_future_fits_the_tools_of_the_standard_library(open_job):
    def work(item):
        if item == 1:
            raise KeyError(item)
        return item

    job = open_job(work)
    futures = [job.submit(i) for i in range(3)]
    done, not_done = concurrent.futures.wait(futures, DEADLINE)
    assert len(done) == 3
    assert not not_done
    assert [type(f.exception()) for f in futures] == [type(None), KeyError, type(None)]
    assert futures[0].result() == futures[0].result() == 0


def test_a_wait_for_a_result_can_end(open_job, tmp_path):
    future = open_job(waits(tmp_path), 1).submit(0)
    with pytest.raises(TimeoutError):
        future.result(0.01)
    (tmp_path / "go").touch()
    assert future.result(DEADLINE)[0] == 0


def test_a_timeout_error_of_the_function_is_its_own(called):
    def work(item):
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        called(work)


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


def test_memory_of_results_is_freed_with_them(open_job):
    def maps():
        with open("/proc/self/maps") as lines:
            return sum("memfd:batchflow" in line for line in lines)

    job = open_job(lambda item: np.full(BIG, item), 1)
    job.submit(0).result(DEADLINE)
    before = maps()
    array = job.submit(1).result(DEADLINE)
    part = array[5:6]
    assert maps() == before + 1
    del array
    assert maps() == before + 1
    del part
    until(lambda: maps() == before)


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
    assert "process_worker" not in remote


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration])
def test_signals_of_python_come_back_too(open_job, kind):
    def work(item):
        raise kind(3)

    job = open_job(work, 1)
    for _ in range(2):
        assert type(job.submit(0).exception(DEADLINE)) is kind


def test_an_error_that_cannot_be_packed_arrives_as_text(called):
    def work(item):
        raise Unsendable

    with pytest.raises(BatchflowError, match="Unsendable: has a lock"):
        called(work)


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


# ---- the end of a job


def test_close_cancels_what_waits_and_lets_what_is_at_work_finish(open_job, tmp_path):
    job = open_job(waits(tmp_path), 1)
    futures = [job.submit(i) for i in range(5)]
    until(lambda: (tmp_path / "begun-0").exists())
    closing = threading.Thread(target=job.close, args=(DEADLINE,))
    closing.start()
    until(futures[-1].cancelled)
    (tmp_path / "go").touch()
    closing.join(DEADLINE)
    assert futures[0].result(0)[0] == 0
    assert all(future.cancelled() for future in futures[1:])
    assert not (tmp_path / "begun-1").exists()


def test_close_kills_what_goes_on_for_longer_than_the_grace(open_job, tmp_path):
    job = open_job(waits(tmp_path), 1)
    future = job.submit(os.getpid())
    until(lambda: list(tmp_path.iterdir()))
    start = time.monotonic()
    job.close(0.1)
    assert 0.1 <= time.monotonic() - start < 5
    with pytest.raises(RunClosedError):
        future.result(0)
    again = open_job(lambda item: item + 1, 1)
    assert again.submit(1).result(DEADLINE) == 2


def test_close_leaves_other_jobs_alone(open_job, tmp_path):
    other = open_job(waits(tmp_path), 2)
    (tmp_path / "theirs").mkdir()
    job = open_job(waits(tmp_path / "theirs"), 2)
    kept, broken_off = other.submit(0), job.submit(0)
    until(lambda: (tmp_path / "begun-0").exists() and (tmp_path / "theirs" / "begun-0").exists())
    job.close(0)
    assert isinstance(broken_off.exception(0), RunClosedError)
    (tmp_path / "go").touch()
    assert kept.result(DEADLINE)[0] == 0


def test_a_closed_job_takes_nothing_and_can_be_closed_again(open_job):
    job = open_job(lambda item: item)
    job.close(1)
    job.close(1)
    with pytest.raises(RunClosedError):
        job.submit(0)


def test_shutdown_leaves_nothing():
    before = set(os.listdir("/dev/shm"))
    with nothing_left():
        job = process_pool().open(pack(lambda item: (os.getpid(), np.zeros(BIG))), 2)
        pids = {pid for pid, _ in results([job.submit(i) for i in range(20)])}
        job.close(1)
    assert not any(lives(pid) for pid in pids)
    assert set(os.listdir("/dev/shm")) == before


def test_an_open_job_goes_on_after_shutdown(open_job, tmp_path):
    job = open_job(waits(tmp_path), 2)
    futures = [job.submit(i) for i in range(4)]
    until(lambda: (tmp_path / "begun-1").exists())
    shutdown()
    (tmp_path / "go").touch()
    assert [item for item, _ in results(futures)] == [0, 1, 2, 3]


def test_idle_workers_end_by_themselves(open_job, monkeypatch):
    monkeypatch.setattr("batchflow.executors.process_service.IDLE_SECONDS", 0.1)
    with nothing_left():
        job = open_job(lambda item: os.getpid(), 1)
        pid = job.submit(0).result(DEADLINE)
        job.close(1)
        until(lambda: not process_pool()._service.thread.is_running)
        assert not lives(pid)


# ---- refused


def test_a_job_has_a_worker_at_least():
    with pytest.raises(ArgumentValueError, match="n_workers=0"):
        process_pool().open(pack(lambda item: item), 0)


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(BatchflowError, match=r"pip install batchflow\[processes\]"):
        process_pool()


def test_a_system_without_such_processes_gets_an_alternative(monkeypatch):
    monkeypatch.setattr(processes.os, "name", "nt")
    with pytest.raises(BatchflowError, match="executor=loky"):
        process_pool()
