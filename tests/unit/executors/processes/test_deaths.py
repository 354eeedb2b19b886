"""Worker processes that die, that cannot begin, and tasks that are hostile."""

import os
import random
import signal
import sys
import threading
import time

import numpy as np
import pytest
from unit.executors.waiting import DEADLINE, results, until

from batchflow.errors import BatchflowError, WorkerDiedError
from batchflow.executors.item_threads import shutdown
from batchflow.executors.processes.pool import process_pool
from batchflow.executors.processes.service import ATTEMPTS
from batchflow.testing import nothing_left


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def counted(path):
    """Count how often this is called with a path, in all processes."""
    with open(path, "ab") as file:
        file.write(b"x")
    return path.stat().st_size


# ---- ways to die


def killed():
    os.kill(os.getpid(), signal.SIGKILL)


def exited():
    os._exit(3)


def crashed():
    import ctypes

    ctypes.string_at(0)


def terminated():
    os.kill(os.getpid(), signal.SIGTERM)


def hung_up():
    os.closerange(3, 1000)
    while True:
        time.sleep(1)


WAYS = [
    (killed, "killed by SIGKILL .out of memory"),
    (exited, "ended with exit code 3"),
    (crashed, "killed by SIGSEGV .a crash in native code"),
    (terminated, "killed by SIGTERM"),
    (hung_up, "closed its connection"),
]


@pytest.mark.parametrize(("die", "words"), WAYS, ids=[way.__name__ for way, _ in WAYS])
def test_an_item_that_kills_its_worker_three_times_fails_alone(open_job, tmp_path, die, words):
    def work(item):
        n_begun = counted(tmp_path / f"{item}")
        if item == 5:
            die()
        return item, n_begun

    job = open_job(work)
    futures = [job.submit(i) for i in range(12)]
    with pytest.raises(WorkerDiedError, match=words) as caught:
        futures[5].result(DEADLINE)
    assert f"{ATTEMPTS} attempts" in str(caught.value)
    assert (tmp_path / "5").stat().st_size == ATTEMPTS
    assert [item for item, _ in results(futures[:5] + futures[6:])] == [*range(5), *range(6, 12)]


@pytest.mark.parametrize("n_deaths", [1, 2])
def test_an_item_that_kills_fewer_workers_gets_its_result(open_job, tmp_path, n_deaths):
    def work(item):
        if item == 3 and counted(tmp_path / "deaths") <= n_deaths:
            killed()
        return item

    job = open_job(work)
    assert results([job.submit(i) for i in range(20)]) == list(range(20))


def test_what_waits_in_a_worker_that_dies_is_not_to_blame(open_job, tmp_path):
    """The item behind the poisonous one loses as many workers, but was never begun in them."""

    def work(item):
        n_begun = counted(tmp_path / f"{item}")
        if item % 2 and item > 20:
            killed()
        return n_begun

    job = open_job(work, 1)
    results([job.submit(i) for i in range(20)])  # they are short: now one waits in the worker
    futures = [job.submit(i) for i in range(20, 26)]
    assert [type(f.exception(DEADLINE)) for f in futures[1::2]] == [WorkerDiedError] * 3
    assert results(futures[0::2]) == [1] * 3


def test_random_kills_lose_and_double_nothing(open_job):
    chance = random.Random(1)

    def work(item):
        time.sleep(0.002)
        return item, os.getpid(), np.full(20_000, item)

    job = open_job(work, 2)
    n_killed, got = 0, []
    futures = [job.submit(i) for i in range(400)]
    for future in futures:
        item, pid, array = future.result(DEADLINE)
        got.append((item, int(array.sum())))
        if n_killed < 12 and chance.random() < 0.06:
            for worker in list(process_pool()._service._workers):
                if worker._process.pid == pid and not worker.is_over:
                    os.kill(pid, signal.SIGKILL)
                    n_killed += 1
    assert n_killed == 12
    assert got == [(i, i * 20_000) for i in range(400)]


def test_an_idle_worker_that_dies_is_replaced(open_job):
    job = open_job(lambda item: os.getpid(), 1)
    pid = job.submit(0).result(DEADLINE)
    os.kill(pid, signal.SIGKILL)
    assert job.submit(0).result(DEADLINE) != pid


# ---- workers that cannot begin


def test_workers_that_cannot_begin_say_why(open_job, tmp_path, monkeypatch):
    shutdown()
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho this python is broken >&2\nexit 7\n")
    broken.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", str(broken))
        job = open_job(lambda item: item)
        futures = [job.submit(i) for i in range(3)]
        for future in futures:
            with pytest.raises(BatchflowError, match=r"(?s)exit code 7.*this python is broken"):
                future.result(DEADLINE)
    assert job.submit(4).result(DEADLINE) == 4


def test_an_interpreter_that_is_not_there_is_an_error(open_job, monkeypatch):
    shutdown()
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(BatchflowError, match=r"(?s)no worker process could be started.*nowhere"):
        open_job(lambda item: item).submit(0).result(DEADLINE)


# ---- hostile tasks


def test_a_child_of_a_task_is_no_second_worker(open_job, tmp_path):
    """Both processes return from the function; one result arrives, and the child ends."""

    def work(item):
        child = os.fork()
        (tmp_path / f"{os.getpid()}").touch()
        return np.full(100_000, child)

    job = open_job(work, 1)
    children = set()
    for item in range(10):
        array = job.submit(item).result(DEADLINE)
        assert (array == array[0]).all()
        children.add(int(array[0]))
    assert 0 not in children
    until(lambda: not any(lives(child) for child in children))
    assert all((tmp_path / f"{child}").exists() for child in children)


@pytest.mark.parametrize("is_hidden", [False, True])
def test_a_worker_that_leaves_a_child_behind_is_seen_to_die(open_job, tmp_path, is_hidden):
    """A child that Python knows nothing of holds the connection open."""

    def work(item):
        if item == 1 and counted(tmp_path / "deaths") == 1:
            import ctypes

            libc = ctypes.PyDLL(None)
            child = libc.fork() if is_hidden else os.fork()
            if child == 0:  # no more than this: it may hold locks of threads that it has not
                libc.sleep(30)
                os._exit(0)
            (tmp_path / "child").write_text(str(child))
            os._exit(1)
        return item

    job = open_job(work, 2)
    start = time.monotonic()
    assert results([job.submit(i) for i in range(6)]) == list(range(6))
    assert time.monotonic() - start < 10
    os.kill(int((tmp_path / "child").read_text()), signal.SIGKILL)


def test_output_does_not_disturb(open_job):
    def work(item):
        os.write(1, b"\x00\xff garbage")
        sys.stdout.write("more")
        return item

    job = open_job(work, 1)
    assert results([job.submit(i) for i in range(5)]) == list(range(5))


def test_threads_may_go_on_after_their_task(open_job):
    def work(item):
        go_on = threading.Event()
        threading.Thread(target=go_on.wait, args=(30,)).start()
        return item

    with nothing_left():
        job = open_job(work, 1)
        assert results([job.submit(i) for i in range(5)]) == list(range(5))
        job.close(1)


def test_a_worker_may_lose_its_standard_streams(open_job):
    def work(item):
        for stream in (0, 1, 2):
            os.close(stream)
        return item

    assert open_job(work, 1).submit(1).result(DEADLINE) == 1
