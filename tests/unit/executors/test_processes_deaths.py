"""Worker processes that die, hostile tasks, and the ways in which the main process can end."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time

import cloudpickle
import numpy as np
import pytest

from batchflow.errors import BatchflowError, WorkerDiedError
from batchflow.executors.pool import shutdown
from batchflow.executors.process_service import ATTEMPTS
from batchflow.executors.processes import pack, process_pool
from batchflow.testing import nothing_left

DEADLINE = 60


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


def results(futures):
    return [future.result(DEADLINE) for future in futures]


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def until(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


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
    futures = [job.submit(i) for i in range(20, 32)]
    assert [type(f.exception(DEADLINE)) for f in futures[1::2]] == [WorkerDiedError] * 6
    assert results(futures[0::2]) == [1] * 6


def test_random_kills_lose_and_double_nothing(open_job):
    chance = random.Random(1)

    def work(item):
        time.sleep(0.002)
        return item, os.getpid(), np.full(20_000, item)

    job = open_job(work, 2)
    n_killed, got = 0, []
    futures = [job.submit(i) for i in range(600)]
    for future in futures:
        item, pid, array = future.result(DEADLINE)
        got.append((item, int(array.sum())))
        if n_killed < 20 and chance.random() < 0.06:
            for worker in list(process_pool()._service._workers):
                if worker._process.pid == pid and not worker.is_over:
                    os.kill(pid, signal.SIGKILL)
                    n_killed += 1
    assert n_killed == 20
    assert got == [(i, i * 20_000) for i in range(600)]


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
        return child

    job = open_job(work, 1)
    children = results([job.submit(i) for i in range(5)])
    assert all(children)
    until(lambda: not any(lives(child) for child in children))
    until(lambda: all((tmp_path / f"{child}").exists() for child in children))


@pytest.mark.parametrize("is_hidden", [False, True])
def test_a_worker_that_leaves_a_child_behind_is_seen_to_die(open_job, tmp_path, is_hidden):
    """A child that Python knows nothing of holds the connection open."""

    def work(item):
        if item == 1 and counted(tmp_path / "deaths") == 1:
            import ctypes

            libc = ctypes.PyDLL(None)
            if (libc.fork() if is_hidden else os.fork()) == 0:
                (tmp_path / "child").write_text(str(os.getpid()))
                libc.sleep(30)
                os._exit(0)
            while not (tmp_path / "child").exists():
                time.sleep(0.005)
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


# ---- the main process

PROLOGUE = """
import os, signal, sys, threading, time
from pathlib import Path
from batchflow import shutdown
from batchflow.executors.processes import pack, process_pool
print("main", flush=True)
folder = Path(sys.argv[1])

def spin(item):
    (folder / f"{os.getpid()}").touch()
    while True:
        pass

def begun(n):
    while len(list(folder.iterdir())) < n:
        time.sleep(0.005)
"""


def script(tmp_path, body, **options):
    """Start a program without a `__main__` guard."""
    file = tmp_path / "program.py"
    file.write_text(PROLOGUE + textwrap.dedent(body))
    (tmp_path / "pids").mkdir()
    return subprocess.Popen(
        [sys.executable, "-W", "error", str(file), str(tmp_path / "pids")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def workers_of(tmp_path):
    return [int(path.name) for path in (tmp_path / "pids").iterdir()]


def finished(program, code=0):
    out, errors = program.communicate(timeout=DEADLINE)
    assert program.returncode == code, errors
    return out, errors


def test_the_main_script_is_not_run_by_workers(tmp_path):
    program = script(
        tmp_path,
        """
        class Mine:
            pass

        job = process_pool().open(pack(lambda item: (Mine(), len(sys.argv))), 2)
        for future in [job.submit(i) for i in range(10)]:
            assert type(future.result()[0]) is Mine
        """,
    )
    assert finished(program) == ("main\n", "")


def test_workers_do_not_outlive_a_killed_main_process(tmp_path):
    program = script(
        tmp_path,
        """
        job = process_pool().open(pack(spin), 2)
        futures = [job.submit(i) for i in range(4)]
        begun(2)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    finished(program, -signal.SIGKILL)
    assert len(workers_of(tmp_path)) == 2
    until(lambda: not any(lives(pid) for pid in workers_of(tmp_path)))


def test_workers_at_work_do_not_hold_up_the_exit(tmp_path):
    program = script(
        tmp_path,
        """
        job = process_pool().open(pack(spin), 2)
        futures = [job.submit(i) for i in range(4)]
        begun(2)
        print(time.monotonic(), flush=True)
        """,
    )
    out, errors = finished(program)
    assert time.monotonic() - float(out.split()[1]) < 5
    assert errors == ""
    assert not any(lives(pid) for pid in workers_of(tmp_path))


def test_who_waits_when_the_program_ends_gets_an_error(tmp_path):
    program = script(
        tmp_path,
        """
        import atexit

        def look():
            try:
                future.result(10)
            except Exception as error:
                print(type(error).__name__, error, flush=True)
            try:
                job.submit(2).result(10)
            except Exception as error:
                print(type(error).__name__, error, flush=True)

        atexit.register(look)
        job = process_pool().open(pack(spin), 1)
        future = job.submit(0)
        begun(1)
        """,
    )
    out, errors = finished(program)
    assert out.count("BatchflowError the program ends") == 2
    assert errors == ""


def test_an_interrupt_reaches_only_the_main_process(tmp_path):
    """Ctrl-C goes to all processes of the terminal's group."""
    program = script(
        tmp_path,
        """
        job = process_pool().open(pack(lambda item: (time.sleep(item), os.getpid())[1]), 1)
        pid = job.submit(0).result()
        future = job.submit(1)
        (folder / "go").touch()
        try:
            while True:
                future.result()
                future = job.submit(1)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        assert job.submit(0).result() == pid
        job.close(0)
        job = process_pool().open(pack(lambda item: item), 2)
        assert job.submit(3).result() == 3
        print("went on", flush=True)
        """,
        start_new_session=True,
    )
    until((tmp_path / "pids" / "go").exists)
    os.killpg(program.pid, signal.SIGINT)
    assert finished(program) == ("main\ninterrupted\nwent on\n", "")


def test_an_interrupt_while_workers_start_ends_none(tmp_path):
    program = script(
        tmp_path,
        """
        signal.signal(signal.SIGINT, lambda *args: None)
        job = process_pool().open(pack(lambda item: os.getpid()), 2)
        futures = [job.submit(i) for i in range(2)]
        for _ in range(60):
            os.killpg(os.getpid(), signal.SIGINT)
            time.sleep(0.005)
        for future in futures:
            print(future.result() > 0, flush=True)
        """,
        start_new_session=True,
    )
    assert finished(program) == ("main\nTrue\nTrue\n", "")


def test_a_forked_child_has_a_pool_of_its_own(tmp_path):
    program = script(
        tmp_path,
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork where there are threads
        job = process_pool().open(pack(lambda item: (item, os.getpid())), 2)
        pids = {job.submit(i).result()[1] for i in range(10)}
        child = os.fork()
        if child == 0:
            mine = process_pool().open(pack(lambda item: (item, os.getpid())), 1)
            item, pid = mine.submit(5).result()
            assert item == 5 and pid not in pids
            sys.exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        assert {job.submit(i).result()[1] for i in range(10)} <= pids
        """,
    )
    assert finished(program) == ("main\n0\n", "")


def test_a_forked_child_does_not_keep_workers_alive(tmp_path):
    """Workers end when the connection ends; a child that held it would let them spin for ever."""
    program = script(
        tmp_path,
        """
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        job = process_pool().open(pack(spin), 1)
        future = job.submit(0)
        begun(1)
        if os.fork() == 0:
            sys.stdout.close(); os.close(1); os.close(2)
            time.sleep(20)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    finished(program, -signal.SIGKILL)
    until(lambda: not any(lives(pid) for pid in workers_of(tmp_path)))


def test_a_program_without_standard_error_has_workers(tmp_path):
    program = script(
        tmp_path,
        """
        os.close(0)
        os.close(2)
        job = process_pool().open(pack(lambda item: item), 1)
        print(job.submit(1).result(20), flush=True)
        """,
    )
    assert finished(program)[0] == "main\n1\n"
