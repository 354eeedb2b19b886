"""The thread executor: order, ends, what it keeps alive."""

import gc
import threading
import weakref
from concurrent.futures import CancelledError, wait
from queue import SimpleQueue

import pytest

from batchflow.executors.threads import ThreadExecutor

DEADLINE = 20


@pytest.fixture
def executor():
    made = ThreadExecutor(2)
    yield made
    made.shutdown(wait=False, cancel_futures=True)
    assert made.join(DEADLINE)


@pytest.fixture
def gate():
    """An event that holds tasks up; opened at the end whatever happens."""
    event = threading.Event()
    yield event
    event.set()


def test_no_thread_starts_before_the_first_task():
    before = threading.active_count()
    ThreadExecutor(8)
    assert threading.active_count() == before


def test_a_task_gives_its_result(executor):
    assert executor.submit(lambda a, b: a + b, 1, b=2).result(DEADLINE) == 3


def test_a_task_gives_the_very_exception_it_raised(executor):
    failure = KeyError("mine")

    def fail():
        raise failure

    assert executor.submit(fail).exception(DEADLINE) is failure


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_no_exception_ends_a_worker(executor, kind):
    def fail():
        raise kind

    failed = executor.submit(fail)
    assert (failed.exception(DEADLINE).__class__, executor.submit(int).result(DEADLINE)) == (
        kind,
        0,
    )


def test_tasks_start_in_the_order_of_their_submission():
    executor = ThreadExecutor(1)
    started = []
    futures = [executor.submit(started.append, i) for i in range(50)]
    wait(futures, DEADLINE)
    executor.shutdown()
    assert started == list(range(50))


def test_there_are_never_more_threads_than_workers(executor):
    names = [executor.submit(lambda: threading.current_thread().name) for _ in range(100)]
    assert len({name.result(DEADLINE) for name in names}) <= 2


def test_an_idle_worker_takes_the_next_task():
    executor = ThreadExecutor(8)
    for _ in range(20):
        executor.submit(int).result(DEADLINE)
        executor._idle.acquire(timeout=DEADLINE)  # the worker has said that it is idle
        executor._idle.release()
    assert len(executor._threads) == 1
    executor.shutdown()


def test_workers_work_at_the_same_time(executor):
    together = threading.Barrier(2, timeout=DEADLINE)
    done = [executor.submit(together.wait) for _ in range(2)]
    assert sorted(d.result(DEADLINE) for d in done) == [0, 1]


def test_workers_are_daemons(executor):
    assert executor.submit(lambda: threading.current_thread().daemon).result(DEADLINE)


def test_nothing_is_submitted_after_a_shutdown(executor):
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(int)


def test_a_shutdown_ends_the_workers(executor):
    thread = executor.submit(threading.current_thread).result(DEADLINE)
    executor.shutdown()
    assert not thread.is_alive()


def test_a_shutdown_lets_queued_tasks_finish():
    executor = ThreadExecutor(1)
    futures = [executor.submit(int) for _ in range(10)]
    executor.shutdown()
    assert all(f.done() and not f.cancelled() for f in futures)


def test_a_cancelling_shutdown_starts_no_task_afterwards(gate):
    executor = ThreadExecutor(1)
    running = threading.Event()
    busy = executor.submit(lambda: (running.set(), gate.wait(DEADLINE)))
    running.wait(DEADLINE)
    queued = [executor.submit(int) for _ in range(5)]
    executor.shutdown(wait=False, cancel_futures=True)
    gate.set()
    executor.join(DEADLINE)
    assert ([f.cancelled() for f in queued], busy.cancelled()) == ([True] * 5, False)


def test_a_cancelled_task_says_so(gate):
    executor = ThreadExecutor(1)
    executor.submit(gate.wait, DEADLINE)
    queued = executor.submit(int)
    executor.shutdown(wait=False, cancel_futures=True)
    with pytest.raises(CancelledError):
        queued.result(DEADLINE)


def test_shutting_down_twice_does_no_harm(executor):
    executor.submit(int)
    executor.shutdown()
    executor.shutdown(cancel_futures=True)
    assert executor.join(0)


def test_join_tells_when_a_worker_goes_on(gate):
    executor = ThreadExecutor(1)
    executor.submit(gate.wait, DEADLINE)
    executor.shutdown(wait=False)
    assert not executor.join(0)


def test_a_worker_may_join_its_own_executor(executor):
    def end():
        executor.shutdown(wait=False)
        return executor.join(DEADLINE)

    assert executor.submit(end).result(DEADLINE)


def test_it_works_as_a_context_manager():
    with ThreadExecutor(2) as executor:
        thread = executor.submit(threading.current_thread).result(DEADLINE)
    assert not thread.is_alive()


def test_workers_do_not_keep_the_executor_alive():
    executor = ThreadExecutor(1)
    executor.submit(int).result(DEADLINE)
    alive, tasks = weakref.ref(executor), executor._tasks
    del executor
    gc.collect()
    tasks.put(None)
    assert alive() is None


class Thing:
    pass


@pytest.mark.parametrize("ends", ["result", "error"])
def test_an_idle_worker_keeps_nothing_of_its_last_task_alive(executor, ends):
    thing = Thing()
    alive = weakref.ref(thing)

    def work(held):
        if ends == "error":
            raise KeyError
        return held

    future = executor.submit(work, thing)
    future.exception(DEADLINE)
    executor._idle.acquire(timeout=DEADLINE)  # the worker has said that it is idle
    executor._idle.release()
    del future, thing
    gc.collect()
    assert alive() is None


def test_shutdown_does_not_wait_for_a_task_that_a_worker_takes_meanwhile(executor):
    class Emptied(SimpleQueue):
        """Says that a task waits, which a worker has taken when it is asked for."""

        def empty(self):
            return False

    executor._tasks = Emptied()
    ending = threading.Thread(
        target=executor.shutdown, kwargs={"wait": False, "cancel_futures": True}, daemon=True
    )
    ending.start()
    ending.join(DEADLINE)
    assert not ending.is_alive()
