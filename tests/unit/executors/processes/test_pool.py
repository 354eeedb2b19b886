"""The pool of worker processes: what a job and its futures promise."""

import concurrent.futures
import os
import sys
import threading
import time
import uuid

import numpy as np
import pytest
from unit.executors.waiting import DEADLINE, lives, results, until, waits

from batchflow.errors import ArgumentValueError, BatchflowError, RunClosedError
from batchflow.executors.item_threads import is_worker, shutdown
from batchflow.executors.processes import pool
from batchflow.executors.processes.pool import process_pool
from batchflow.executors.serialization.pickling import pack
from batchflow.testing import nothing_left

BIG = 1_000_000  # bytes, far beyond what goes through the socket


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


def test_a_worker_knows_that_it_is_one(open_job):
    assert open_job(lambda item: is_worker()).submit(0).result(DEADLINE)
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


def test_a_timeout_error_of_the_function_is_its_own(open_job):
    def work(item):
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        open_job(work).submit(0).result(DEADLINE)


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


def test_what_waits_in_a_worker_is_not_begun_after_close(open_job, tmp_path):
    wait = waits(tmp_path)
    job = open_job(lambda item: item and (wait(item), time.sleep(0.2)), 1)
    results([job.submit(0) for _ in range(20)])  # they are short: now one waits in the worker
    first, second = job.submit(1), job.submit(2)
    until(second.running)
    closing = threading.Thread(target=job.close, args=(DEADLINE,))
    closing.start()
    until(lambda: job._state.deadline is not None)
    (tmp_path / "go").touch()
    closing.join(DEADLINE)
    assert first.exception(0) is None
    assert isinstance(second.exception(0), RunClosedError)
    assert not (tmp_path / "begun-2").exists()


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
    with nothing_left():
        job = process_pool().open(pack(lambda item: (os.getpid(), np.zeros(BIG))), 2)
        pids = {pid for pid, _ in results([job.submit(i) for i in range(20)])}
        job.close(1)
    assert not any(lives(pid) for pid in pids)


def test_nothing_lies_in_dev_shm(open_job):
    """So nothing can be left there, whatever is killed."""

    def named(item=None):
        with open("/proc/self/maps") as maps:
            return [line for line in maps if "/dev/shm" in line]

    before = named()
    data = np.zeros(BIG)
    job = open_job(lambda item: (np.full(BIG, item.sum()), named(), data[0]), 1)
    array, there, _ = job.submit(np.ones(BIG)).result(DEADLINE)
    assert array[0] == BIG
    assert there == []
    assert named() == before


def test_an_open_job_goes_on_after_shutdown(open_job, tmp_path):
    job = open_job(waits(tmp_path), 2)
    futures = [job.submit(i) for i in range(4)]
    until(lambda: (tmp_path / "begun-1").exists())
    shutdown()
    (tmp_path / "go").touch()
    assert [item for item, _ in results(futures)] == [0, 1, 2, 3]


def test_idle_workers_end_by_themselves(open_job, monkeypatch):
    monkeypatch.setattr("batchflow.executors.processes.service.IDLE_SECONDS", 0.1)
    with nothing_left():
        job = open_job(lambda item: os.getpid(), 1)
        pid = job.submit(0).result(DEADLINE)
        job.close(1)
        until(lambda: not process_pool()._service.is_running)
        assert not lives(pid)


# ---- refused


def test_a_job_has_a_worker_at_least():
    with pytest.raises(ArgumentValueError, match="n_workers=0"):
        process_pool().open(pack(lambda item: item), 0)


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(BatchflowError, match=r"pip install '\.\[processes\]'"):
        process_pool()


def test_a_system_without_such_processes_gets_an_alternative(monkeypatch):
    monkeypatch.setattr(pool.os, "name", "nt")
    with pytest.raises(BatchflowError, match="executor=loky"):
        process_pool()
