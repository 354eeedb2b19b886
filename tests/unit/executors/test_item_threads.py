"""The pools for per-item work: each position once, bounded, no deadlock, nothing left."""

import contextvars
import os
import sys
import threading
import time
import weakref

import pytest
from own_process import finished_strictly

from batchflow.errors import BatchflowError, WorkerDiedError
from batchflow.executors import item_threads
from batchflow.executors.item_threads import (
    MAX_THREADS,
    ItemTimeoutError,
    in_this_thread,
    in_threads,
    shutdown,
)
from batchflow.executors.job import in_processes
from batchflow.testing import nothing_left

DEADLINE = 20


@pytest.fixture(autouse=True, scope="module")
def _no_pool_is_left():
    yield
    shutdown()


@pytest.fixture
def gate():
    """An event that holds work up; opened at the end whatever happens."""
    event = threading.Event()
    yield event
    event.set()


class Room:
    """Counts who is inside at once; the first `size` wait for each other."""

    def __init__(self, size):
        self.most = self._inside = 0
        self._lock = threading.Lock()
        self._meeting = threading.Barrier(size, timeout=DEADLINE)
        self._left = size

    def visit(self, position):
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
            meets, self._left = self._left > 0, self._left - 1
        if meets:
            self._meeting.wait()
        with self._lock:
            self._inside -= 1


# ---- threads


@pytest.mark.parametrize("n_workers", [None, 1, 2, 7, 100])
@pytest.mark.parametrize("timeout", [None, DEADLINE])
@pytest.mark.parametrize("n_items", [0, 1, 2, 10, 1000])
def test_every_position_is_worked_on_once(n_items, n_workers, timeout):
    done = []
    in_threads(done.append, n_items, n_workers=n_workers, timeout=timeout)
    assert sorted(done) == list(range(n_items))


def test_n_workers_are_at_work_at_once():
    room = Room(5)
    in_threads(room.visit, 50, n_workers=5)
    assert room.most == 5


@pytest.fixture
def two_cpus(monkeypatch):
    monkeypatch.setattr(item_threads, "cpu_count", lambda: 2)


@pytest.mark.usefixtures("two_cpus")
def test_items_that_wait_get_four_threads_for_each_cpu():
    room = Room(8)
    in_threads(room.visit, 50)
    assert room.most == 8


@pytest.mark.usefixtures("two_cpus")
def test_busy_cpus_get_one_thread_each(monkeypatch):
    monkeypatch.setattr(item_threads, "BUSY", 0.0)
    room = Room(2)
    in_threads(lambda i: (room.visit(i), time.sleep(0.002)), 50)
    assert room.most == 2


@pytest.mark.usefixtures("two_cpus")
def test_as_many_threads_as_asked_for_come_to_busy_cpus(monkeypatch):
    monkeypatch.setattr(item_threads, "BUSY", 0.0)
    room = Room(5)
    in_threads(room.visit, 50, n_workers=5)
    assert room.most == 5


@pytest.mark.usefixtures("two_cpus")
def test_a_thread_that_waits_for_busy_cpus_does_not_hold_up_the_end(monkeypatch):
    monkeypatch.setattr(item_threads, "BUSY", 0.0)
    monkeypatch.setattr(item_threads, "_FIRST_LOOK", DEADLINE)
    start = time.monotonic()
    in_threads(lambda _: time.sleep(0.01), 10)
    assert time.monotonic() - start < DEADLINE / 2


def test_never_more_than_n_workers_are_at_work():
    room = Room(2)
    in_threads(room.visit, 200, n_workers=2)
    assert room.most == 2


def test_with_a_timeout_n_workers_are_at_work_too():
    room = Room(3)
    in_threads(room.visit, 30, n_workers=3, timeout=DEADLINE)
    assert room.most == 3


def test_one_worker_is_the_caller():
    threads = set()
    in_threads(lambda i: threads.add(threading.get_ident()), 10, n_workers=1)
    assert threads == {threading.get_ident()}


def test_the_pool_is_bounded_whatever_is_asked_for():
    meeting = threading.Barrier(MAX_THREADS + 1, timeout=DEADLINE)
    in_threads(lambda i: meeting.wait(), MAX_THREADS + 1, n_workers=1000)
    assert len(item_threads._threads._executor._threads) == MAX_THREADS


def test_threads_are_kept_for_the_next_call():
    seen = set()
    for _ in range(100):
        room = Room(2)
        in_threads(lambda i, r=room: (r.visit(i), seen.add(threading.get_ident())), 2, n_workers=2)
    assert len(seen) <= 1 + MAX_THREADS


def test_threads_are_daemons():
    daemons = []
    meeting = threading.Barrier(2, timeout=DEADLINE)

    def work(i):
        meeting.wait()
        if threading.current_thread() is not threading.main_thread():
            daemons.append(threading.current_thread().daemon)

    in_threads(work, 2, n_workers=2)
    assert daemons == [True]


def test_context_variables_of_the_caller_are_seen():
    word = contextvars.ContextVar("word")
    word.set("mine")
    meeting, seen = threading.Barrier(3, timeout=DEADLINE), []

    def work(i):
        meeting.wait()
        seen.append(word.get())

    in_threads(work, 3, n_workers=3)
    assert seen == ["mine"] * 3


@pytest.mark.parametrize("call", [in_threads, in_this_thread])
def test_context_variables_that_work_sets_are_its_own(call):
    word = contextvars.ContextVar("word", default=None)
    call(lambda i: word.set(i), 5)
    assert word.get() is None


@pytest.mark.parametrize("n_workers", [1, 4])
def test_nested_calls_deeper_than_the_pool_end(n_workers):
    done = []

    def work(depth):
        def nested(i):
            if depth:
                work(depth - 1)
            done.append(i)

        in_threads(nested, 3, n_workers=n_workers)

    in_threads(lambda i: work(4), MAX_THREADS * 2, n_workers=MAX_THREADS)
    assert len(done) == MAX_THREADS * 2 * (3 + 9 + 27 + 81 + 243)


def test_a_nested_call_runs_in_place():
    places = []
    meeting = threading.Barrier(2, timeout=DEADLINE)

    def work(i):
        meeting.wait()
        me = threading.current_thread()
        if me is not threading.main_thread():
            in_threads(lambda j: places.append(threading.current_thread() is me), 8, n_workers=8)

    in_threads(work, 2, n_workers=2)
    assert places == [True] * 8


def test_many_callers_share_the_pool():
    done = []
    callers = [
        threading.Thread(target=in_threads, args=(done.append, 100), daemon=True) for _ in range(50)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(DEADLINE)
    assert len(done) == 5000


def test_a_timeout_is_kept(gate):
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        in_threads(lambda i: gate.wait(DEADLINE), 4, timeout=0.1)
    assert time.monotonic() - start < 2


def test_a_timeout_tells_what_is_not_finished(gate):
    with pytest.raises(ItemTimeoutError) as caught:
        in_threads(lambda i: i == 1 and gate.wait(DEADLINE), 3, n_workers=2, timeout=0.2)
    assert caught.value.unfinished == (1,)


def test_after_a_timeout_no_item_begins(gate):
    begun = []
    with pytest.raises(TimeoutError):
        in_threads(lambda i: (begun.append(i), gate.wait(DEADLINE)), 50, n_workers=2, timeout=0.1)
    gate.set()
    in_threads(Room(4).visit, 4, n_workers=4)  # the threads have come back
    assert begun == [0, 1]


def test_in_one_thread_a_timeout_is_kept_between_items():
    begun = []
    with pytest.raises(ItemTimeoutError) as caught:
        in_this_thread(lambda i: (begun.append(i), time.sleep(0.06)), 10, 0.05)
    assert (begun, caught.value.unfinished[0]) == ([0], 1)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, ValueError])
@pytest.mark.parametrize("n_workers", [1, 4])
def test_what_work_raises_ends_the_call(kind, n_workers):
    with pytest.raises(kind):
        in_threads(lambda i: (_ for _ in ()).throw(kind), 10, n_workers=n_workers)


def test_what_a_helper_raises_arrives():
    meeting = threading.Barrier(2, timeout=DEADLINE)

    def work(i):
        meeting.wait()
        if threading.current_thread() is not threading.main_thread():
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        in_threads(work, 2, n_workers=2)


def test_an_idle_pool_keeps_nothing_of_a_call_alive():
    class Thing:
        pass

    thing = Thing()
    alive = weakref.ref(thing)
    in_threads(lambda i, held=thing: None, 50, n_workers=4)
    in_threads(Room(4).visit, 4, n_workers=4)  # helpers that came too late have gone
    del thing
    end = time.monotonic() + DEADLINE
    while alive() is not None and time.monotonic() < end:
        time.sleep(0.001)
    assert alive() is None


def test_after_a_shutdown_nothing_is_left():
    shutdown()
    with nothing_left():
        in_threads(Room(4).visit, 20, n_workers=4)
        shutdown()


def test_after_a_shutdown_work_goes_on_in_new_threads():
    in_threads(Room(2).visit, 2, n_workers=2)
    shutdown()
    done = []
    in_threads(done.append, 10, n_workers=4)
    assert len(done) == 10


def test_shutting_down_twice_does_no_harm():
    shutdown()
    shutdown()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_forked_child_makes_threads_of_its_own():
    in_threads(Room(2).visit, 2, n_workers=2)
    child = os.fork()
    if child == 0:  # pragma: no cover
        try:
            in_threads(Room(2).visit, 4, n_workers=2)
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


# ---- processes


def local(kind, **more):
    """Make a function of a class of its own, which travels as a whole."""
    import cloudpickle

    def work(*args):
        return kind(*args, **more)

    return cloudpickle.dumps(work)


def call(packed, *args):
    import pickle

    return pickle.loads(packed)(*args)


def in_workers(function, chunks, **options):
    return in_processes(run_packed, [(local(function), *chunk) for chunk in chunks], **options)


def run_packed(packed, *args):
    return call(packed, *args)


def test_results_of_processes_are_in_the_order_of_the_chunks():
    def work(i):
        import time

        time.sleep(0.02 * (i % 2 == 0))
        return i * i

    assert in_workers(work, [(i,) for i in range(9)]) == [i * i for i in range(9)]


def test_work_runs_in_other_processes():
    def work():
        import os

        return os.getpid()

    assert os.getpid() not in in_workers(work, [(), ()])


def test_processes_are_kept_for_the_next_call():
    def work():
        import os

        return os.getpid()

    seen = {pid for _ in range(10) for pid in in_workers(work, [()] * 4)}
    assert len(seen) <= item_threads.cpu_count()


def test_several_threads_share_the_processes():
    def work():
        import os

        return os.getpid()

    seen = set()
    callers = [
        threading.Thread(target=lambda: seen.update(in_workers(work, [()] * 4)), daemon=True)
        for _ in range(4)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(DEADLINE)
    assert 1 <= len(seen) <= item_threads.cpu_count()


def test_a_call_within_a_process_runs_in_place():
    def work():
        import os

        from batchflow.executors.job import in_processes

        return os.getpid(), *in_processes(os.getpid, [(), ()])

    [pids] = in_workers(work, [()])
    assert len(set(pids)) == 1


def test_a_timeout_of_processes_is_kept_and_tells_what_is_not_finished():
    def work(i):
        import time

        time.sleep(30 * (i == 1))

    in_workers(work, [(0,)])
    start = time.monotonic()
    with pytest.raises(ItemTimeoutError) as caught:
        in_workers(work, [(0,), (1,), (2,)], n_workers=2, timeout=1)
    assert (1 in caught.value.unfinished, time.monotonic() - start < 5) == (True, True)


def test_after_a_timeout_processes_work_again():
    def work(seconds):
        import time

        time.sleep(seconds)
        return seconds

    with pytest.raises(TimeoutError):
        in_workers(work, [(30,)], timeout=0.5)
    assert in_workers(work, [(0,)], timeout=DEADLINE) == [0]


def test_another_call_goes_on_when_a_timeout_kills_the_processes():
    def work(seconds):
        import time

        time.sleep(seconds)
        return seconds

    results = []
    other = threading.Thread(
        target=lambda: results.extend(in_workers(work, [(0.2,)] * 6)), daemon=True
    )
    other.start()
    with pytest.raises(TimeoutError):
        in_workers(work, [(30,)], timeout=0.3)
    other.join(DEADLINE)
    assert results == [0.2] * 6


def test_a_chunk_whose_process_was_killed_runs_again(tmp_path):
    def work(i, mark):
        import os
        import signal
        from pathlib import Path

        if i == 1 and not Path(mark).exists():
            Path(mark).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return i

    mark = str(tmp_path / "killed")
    assert in_workers(work, [(i, mark) for i in range(4)]) == [0, 1, 2, 3]


def test_a_chunk_that_kills_every_process_is_given_up(tmp_path):
    def work(log):
        import os
        import signal

        with open(log, "a") as file:
            file.write("x")
        os.kill(os.getpid(), signal.SIGKILL)

    log = tmp_path / "log"
    with pytest.raises(WorkerDiedError, match="SIGKILL"):
        in_workers(work, [(str(log),)])
    assert len(log.read_text()) == 3


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(BatchflowError, match=r"pip install '\.\[processes\]'"):
        in_processes(os.getpid, [()])


def test_after_a_shutdown_no_process_thread_or_file_is_left():
    in_processes(os.getpid, [()])
    shutdown()  # Python's own trackers of shared resources have begun, and stay
    with nothing_left():
        pids = in_processes(os.getpid, [(), ()])
        shutdown()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# ---- the end of the program


@pytest.mark.parametrize("place", ["in_threads", "in_processes"])
def test_work_that_goes_on_does_not_hold_up_the_exit(place):
    program = finished_strictly(
        f"""
        import threading, time
        from batchflow import BatchflowError
        from batchflow.executors.job import in_processes
        from batchflow.executors.item_threads import in_threads

        def wait(i=0):
            print("at work", flush=True) if "{place}" == "in_threads" else None
            time.sleep(3600)

        def call():
            if "{place}" == "in_threads":
                in_threads(wait, 4, n_workers=4)
            else:
                try:
                    in_processes(time.sleep, [(3600,)] * 2)
                except BatchflowError:
                    pass

        threading.Thread(target=call, daemon=True).start()
        time.sleep(1.5)
        """
    )
    assert (program.returncode, program.stderr) == (0, "")


@pytest.mark.parametrize("place", ["in_threads", "in_processes"])
def test_ctrl_c_ends_a_call(place):
    program = finished_strictly(
        f"""
        import os, signal, threading, time
        from batchflow.executors.job import in_processes
        from batchflow.executors.item_threads import in_threads

        signal.signal(signal.SIGINT, signal.default_int_handler)

        def interrupt():
            time.sleep(1.5)
            os.killpg(os.getpgid(0), signal.SIGINT)

        threading.Thread(target=interrupt, daemon=True).start()
        try:
            if "{place}" == "in_threads":
                in_threads(lambda i: threading.Event().wait(), 4, n_workers=4)
            else:
                in_processes(time.sleep, [(3600,)] * 2)
        except KeyboardInterrupt:
            print("interrupted")
        """
    )
    assert (program.returncode, program.stdout, program.stderr) == (0, "interrupted\n", "")


def test_importing_the_pools_starts_nothing():
    program = finished_strictly(
        """
        import sys, threading
        import batchflow.executors.job, batchflow.executors.item_threads
        heavy = {"cloudpickle", "multiprocessing"} & set(sys.modules)
        print(threading.active_count(), heavy)
        """
    )
    assert (program.stdout, program.stderr) == ("1 set()\n", "")
