"""The main process of worker processes: how it ends, is interrupted, and forks."""

import os
import signal
import textwrap
import time

import pytest
from unit.executors.waiting import DEADLINE, runs, until

PROLOGUE = """
import os, signal, sys, threading, time
from pathlib import Path
from batchflow import shutdown
from batchflow.executors.processes.pool import process_pool
from batchflow.executors.serialization.pickling import pack
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


@pytest.fixture
def script(tmp_path, started):
    """Starts a program without a `__main__` guard."""

    def script(body):
        file = tmp_path / "program.py"
        file.write_text(PROLOGUE + textwrap.dedent(body))
        (tmp_path / "pids").mkdir()
        return started(["-W", "error", file, tmp_path / "pids"])

    return script


def workers_of(tmp_path):
    return [int(path.name) for path in (tmp_path / "pids").iterdir()]


def finished(program, code=0):
    out, errors = program.communicate(timeout=DEADLINE)
    assert program.returncode == code, errors
    return out, errors


def test_the_main_script_is_not_run_by_workers(script):
    program = script(
        """
        class Mine:
            pass

        job = process_pool().open(pack(lambda item: (Mine(), len(sys.argv))), 2)
        for future in [job.submit(i) for i in range(10)]:
            assert type(future.result()[0]) is Mine
        """,
    )
    assert finished(program) == ("main\n", "")


def test_workers_do_not_outlive_a_killed_main_process(tmp_path, script):
    program = script(
        """
        job = process_pool().open(pack(spin), 2)
        futures = [job.submit(i) for i in range(4)]
        begun(2)
        os.kill(os.getpid(), signal.SIGKILL)
        """,
    )
    finished(program, -signal.SIGKILL)
    assert len(workers_of(tmp_path)) == 2
    until(lambda: not any(runs(pid) for pid in workers_of(tmp_path)))


def test_workers_at_work_do_not_hold_up_the_exit(tmp_path, script):
    program = script(
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
    assert not any(runs(pid) for pid in workers_of(tmp_path))


def test_who_waits_when_the_program_ends_gets_an_error(script):
    program = script(
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


def test_an_interrupt_reaches_only_the_main_process(tmp_path, script):
    """Ctrl-C goes to all processes of the terminal's group."""
    program = script(
        """
        job = process_pool().open(pack(lambda item: (time.sleep(item), os.getpid())[1]), 1)
        pid = job.submit(0).result()
        future = job.submit(1)
        try:
            (folder / "go").touch()
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
    )
    until((tmp_path / "pids" / "go").exists)
    os.killpg(program.pid, signal.SIGINT)
    assert finished(program) == ("main\ninterrupted\nwent on\n", "")


def test_an_interrupt_while_workers_start_ends_none(script):
    program = script(
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
    )
    assert finished(program) == ("main\nTrue\nTrue\n", "")


def test_a_forked_child_has_a_pool_of_its_own(script):
    program = script(
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


@pytest.mark.parametrize("who_keeps", ["child", "parent"])
def test_a_result_is_not_written_to_while_a_forked_process_has_it(script, who_keeps):
    """Memory that comes back is written to again: not if it was dropped by one of two only."""
    program = script(
        f"""
        import warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        import numpy as np
        job = process_pool().open(pack(lambda item: np.full(100_000, item)), 1)
        array = job.submit(7).result()
        is_child = os.fork() == 0
        keeps = is_child == ({who_keeps!r} == "child")
        if not keeps:
            del array
        if is_child:
            (folder / "dropped").touch()
            begun(2)
        else:
            begun(1)
            for item in range(50):
                job.submit(100 + item).result()
            (folder / "done").touch()
            os.wait()
        if keeps:
            print((array == 7).all(), flush=True)
        if is_child:
            os._exit(0)
        """,
    )
    assert finished(program) == ("main\nTrue\n", "")


def test_a_forked_child_does_not_keep_workers_alive(tmp_path, script):
    """Workers end when the connection ends; a child that held it would let them spin for ever."""
    program = script(
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
    until(lambda: not any(runs(pid) for pid in workers_of(tmp_path)))


def test_a_program_without_standard_error_has_workers(script):
    program = script(
        """
        os.close(0)
        os.close(2)
        job = process_pool().open(pack(lambda item: item), 1)
        print(job.submit(1).result(20), flush=True)
        """,
    )
    assert finished(program)[0] == "main\n1\n"
