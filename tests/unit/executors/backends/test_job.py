"""Jobs on other people's executors: what travels how often, what is refused, what ends when."""

import itertools
import os
import pickle
import signal
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context

import cloudpickle
import numpy as np
import pytest
from unit.executors.waiting import DEADLINE, results, runs, until

from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    BatchflowError,
    RunClosedError,
    WorkerDiedError,
)
from batchflow.executors import scheduler
from batchflow.executors.backends import call
from batchflow.executors.backends.call import DONE, MISSING, FunctionKey, SentFunction, remote_call
from batchflow.executors.backends.kinds import worker_count
from batchflow.executors.job import check_available, open_job
from batchflow.executors.serialization.pickling import pack
from batchflow.testing import nothing_left

BIG = 1_000_000


@pytest.fixture(autouse=True, scope="module")
def _this_module_travels_by_value():
    module = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(module)
    yield
    cloudpickle.unregister_pickle_by_value(module)


def spawned(n_workers=1, **settings):
    return ProcessPoolExecutor(n_workers, mp_context=get_context("spawn"), **settings)


@pytest.fixture(scope="module")
def pool():
    with spawned(2) as executor:
        yield executor


@pytest.fixture
def opened():
    jobs = []

    def opened(executor, function, n_workers=2):
        jobs.append(open_job(executor, pack(function), n_workers))
        return jobs[-1]

    yield opened
    for job in jobs:
        job.close(0)


def waits(path):
    """Give a function that tells that it has begun, and waits for a file."""

    def wait(item):
        (path / f"begun-{item}").touch()
        end = time.monotonic() + DEADLINE
        while not (path / "go").exists() and time.monotonic() < end:
            time.sleep(0.005)
        return item, os.getpid()

    return wait


class Passing(Executor):
    """Passes tasks on to another executor, and counts what travels."""

    def __init__(self, executor):
        self.executor = executor
        self.sizes = []
        self.plans = 0
        self.is_shut_down = False

    def submit(self, fn, /, *args, **kwargs):
        self.sizes.append(len(pickle.dumps((fn, args, kwargs))))
        self.plans += args[1] is not None
        return self.executor.submit(fn, *args, **kwargs)

    def shutdown(self, wait=True, *, cancel_futures=False):
        self.is_shut_down = True


class Counted(Exception):
    pass


# ---- what travels


def test_a_small_plan_goes_with_each_task_and_is_unpacked_once(pool, opened):
    class Remembers:
        n_unpacked = 0

        def __setstate__(self, state):
            Remembers.n_unpacked += 1

        def __getstate__(self):
            return {"some": "state"}

        def __call__(self, item):
            return os.getpid(), Remembers.n_unpacked

    executor = Passing(pool)
    job = opened(executor, Remembers())
    told = set(results([job.submit(i) for i in range(20)]))
    assert executor.plans == 20
    assert {n for _, n in told} == {1}


def test_a_big_plan_goes_to_each_worker_about_once(pool, opened):
    table = np.arange(BIG, dtype=float)
    executor = Passing(pool)
    job = opened(executor, lambda item: table[item])
    assert results([job.submit(i) for i in range(100)]) == list(range(100))
    assert 1 <= executor.plans <= 4
    small = [size for size in executor.sizes if size < BIG]
    assert len(small) == len(executor.sizes) - executor.plans
    assert max(small) < 2000  # what is preloaded is not in every task


class Alternating(Passing):
    """Gives every other task to the other one of two workers, unless the plan goes with it."""

    def submit(self, fn, /, *args, **kwargs):
        if args[1] is None:
            self.executor, self.other = self.other, self.executor
        return super().submit(fn, *args, **kwargs)


def test_a_worker_that_does_not_have_the_plan_asks_for_it(opened):
    table = np.arange(BIG, dtype=float)
    with spawned() as one, spawned() as other:
        executor = Alternating(one)
        executor.other = other
        job = opened(executor, lambda item: (table[item], os.getpid()), n_workers=1)
        told = [job.submit(i).result(DEADLINE) for i in range(8)]
    assert [number for number, _ in told] == list(range(8))
    assert len({process for _, process in told}) == 2
    assert executor.plans == 2


class OneIsLate(Passing):
    """Two workers that take turns, one of which misses the beginning."""

    def __init__(self, executor, late):
        super().__init__(executor)
        self.late = late

    def submit(self, fn, /, *args, **kwargs):
        if len(self.sizes) >= 2:
            self.executor, self.late = self.late, self.executor
        return super().submit(fn, *args, **kwargs)


def test_all_that_reaches_a_worker_too_early_does_not_bring_it_the_plan_again(opened):
    table = np.arange(BIG, dtype=float)
    with spawned() as one, spawned() as other:
        executor = OneIsLate(one, other)
        job = opened(executor, lambda item: (table[item], os.getpid()))
        told = results([job.submit(i) for i in range(100)])
    assert [number for number, _ in told] == list(range(100))
    assert len({process for _, process in told}) == 2
    assert 3 <= executor.plans <= 4
    assert len(executor.sizes) > 120  # so many have come too early


def test_the_big_arrays_of_a_plan_cannot_be_written_to(pool, opened):
    table = np.zeros(BIG)

    def quarantine(item):
        table[item] = 1

    with pytest.raises(ValueError, match="read-only"):
        opened(pool, quarantine).submit(0).result(DEADLINE)


def test_arrays_come_back_writable(pool, opened):
    job = opened(pool, lambda item: {"small": np.zeros(3), "big": np.zeros(item)})
    for array in job.submit(BIG).result(DEADLINE).values():
        array += 1
        assert array.sum() == len(array)


def test_classes_come_back_as_the_same_classes(pool, opened):
    class Local:
        pass

    assert type(opened(pool, lambda item: Local()).submit(0).result(DEADLINE)) is Local
    with pytest.raises(Counted):
        opened(pool, _raises).submit(0).result(DEADLINE)


def _raises(item):
    raise Counted


def test_an_item_is_packed_at_once(pool, opened):
    job = opened(pool, sum)
    item = np.ones(10)
    future = job.submit(item)
    item[:] = 0
    assert future.result(DEADLINE) == 10


def test_an_item_that_cannot_travel_is_named(pool, opened):
    with pytest.raises(ArgumentTypeError, match=r"the item\['held'\], of type lock"):
        opened(pool, len).submit({"held": threading.Lock()})


def test_a_result_that_cannot_travel_is_named(pool, opened):
    job = opened(pool, lambda item: [threading.Lock()])
    with pytest.raises(ArgumentTypeError, match=r"the result\[0\], of type lock"):
        job.submit(0).result(DEADLINE)


# ---- the worker's side


@pytest.fixture
def _in_a_worker(monkeypatch):
    """Let this process do as if it were one."""
    monkeypatch.setattr(call, "mark_worker", lambda: None)
    monkeypatch.setattr(call, "_functions", type(call._functions)())


def key_of(name):
    return FunctionKey(name, "another machine", 1)


@pytest.mark.usefixtures("_in_a_worker")
def test_a_worker_keeps_the_functions_used_last():
    plan, item = SentFunction.of(pack(abs)), pickle.dumps(-3)

    def call(name, plan=None):
        return remote_call(key_of(name), plan, item, ())[0]

    for name in "abcd":
        assert call(name, plan) == DONE
    assert call("a") == DONE
    assert call("e", plan) == DONE
    assert [call(name) for name in "abcde"] == [DONE, MISSING, DONE, DONE, DONE]


@pytest.mark.usefixtures("_in_a_worker")
def test_a_worker_forgets_functions_that_have_ended():
    plan, item = SentFunction.of(pack(abs)), pickle.dumps(-3)
    remote_call(key_of("a"), plan, item, ())
    remote_call(key_of("b"), plan, item, ("a", "never seen"))
    assert remote_call(key_of("a"), None, item, ())[0] == MISSING


@pytest.mark.usefixtures("_in_a_worker")
def test_each_thread_of_a_worker_has_a_function_of_its_own():
    class Own:
        def __call__(self, item):
            self.seen = [*getattr(self, "seen", ()), item]
            return self.seen

    plan = SentFunction.of(pack(Own()))

    def work(_):
        return [
            pickle.loads(remote_call(key_of("a"), plan, pickle.dumps(i), ())[1]) for i in range(2)
        ]

    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        told = [executor.submit(work, 0).result() for executor in (one, other)]
    assert told == [[[0], [0, 1]]] * 2


# ---- deaths


def test_a_broken_executor_of_an_unknown_kind_is_an_error_that_helps(opened):
    class Unknown(ProcessPoolExecutor):
        pass

    with Unknown(1, mp_context=get_context("spawn")) as executor:
        future = opened(executor, lambda item: os._exit(1)).submit(0)
        with pytest.raises(BatchflowError, match="pass a function that makes it") as caught:
            future.result(DEADLINE)
    assert isinstance(caught.value.__cause__, BrokenProcessPool)


def test_an_executor_that_was_broken_before_is_made_again(opened):
    with spawned(1) as executor:
        with pytest.raises(BrokenProcessPool):
            executor.submit(os._exit, 1).result(DEADLINE)
        assert results([opened(executor, abs).submit(-3)]) == [3]


def test_an_executor_made_in_place_of_another_has_its_settings(opened, tmp_path):
    (tmp_path / "once").touch()

    def work(item):
        if item == 1 and (tmp_path / "once").exists():
            (tmp_path / "once").unlink()
            os._exit(1)
        return os.getcwd()

    with spawned(1, initializer=os.chdir, initargs=(tmp_path,)) as executor:
        job = opened(executor, work)
        assert results([job.submit(i) for i in range(4)]) == [str(tmp_path)] * 4


def test_an_executor_that_cannot_start_workers_is_an_error(opened):
    with spawned(1, initializer=os._exit, initargs=(5,)) as executor:
        future = opened(executor, abs).submit(-1)
        with pytest.raises(WorkerDiedError, match="exit code 5"):
            future.result(DEADLINE)


def test_a_function_that_makes_broken_executors_is_not_called_for_ever(opened, monkeypatch):
    class Broken(Executor):
        made = 0

        def __init__(self):
            Broken.made += 1

        def submit(self, fn, /, *args, **kwargs):
            raise BrokenProcessPool("as always")

    job = opened(Broken, abs)
    with pytest.raises(BatchflowError, match="broken down 5 times in a row"):
        job.submit(1).result(DEADLINE)
    assert Broken.made == 6


def test_only_who_was_at_work_is_tried_alone(opened, tmp_path):
    """The others wait, and all are done once the guilty one is known."""
    (tmp_path / "once").touch()
    log = tmp_path / "log"

    def work(item):
        with open(log, "a") as file:
            print(item, file=file)
        if item == 2 and (tmp_path / "once").exists():
            (tmp_path / "once").unlink()
            os._exit(1)
        return item * 10

    with spawned(1) as executor:
        job = opened(executor, work)
        assert results([job.submit(i) for i in range(8)]) == [i * 10 for i in range(8)]
    done = [int(line) for line in log.read_text().split()]
    assert sorted(done) == [0, 1, 2, 2, 3, 4, 5, 6, 7]
    assert done.count(2) == 2


class Cancelling(Passing):
    """Cancels the first tasks by itself, as Dask does with what depends on lost data."""

    n_left = 2

    def submit(self, fn, /, *args, **kwargs):
        if self.n_left:
            self.n_left -= 1
            future = Future()
            future.cancel()
            future.set_running_or_notify_cancel()
            return future
        return super().submit(fn, *args, **kwargs)


def test_a_task_that_the_executor_cancels_is_done_again(pool, opened):
    assert results([opened(Cancelling(pool), abs).submit(-3)]) == [3]


def test_a_task_that_the_executor_always_cancels_is_an_error(pool, opened):
    executor = Cancelling(pool)
    executor.n_left = 100
    with pytest.raises(BatchflowError, match="the executor has cancelled this task"):
        opened(executor, abs).submit(-3).result(DEADLINE)


def test_an_error_of_the_executor_itself_arrives(opened):
    class Refusing(Executor):
        def submit(self, fn, /, *args, **kwargs):
            raise OSError("no network")

    with pytest.raises(OSError, match="no network") as caught:
        opened(Refusing(), abs).submit(1).result(DEADLINE)
    assert any("did not take the task" in note for note in caught.value.__notes__)


def test_a_closed_executor_is_an_error(opened):
    executor = spawned(1)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        opened(executor, abs).submit(1).result(DEADLINE)


# ---- the end


def test_the_users_executor_is_never_shut_down(pool):
    executor = Passing(pool)
    job = open_job(executor, pack(abs), 2)
    job.submit(1).result(DEADLINE)
    job.close(1)
    assert not executor.is_shut_down


def test_what_a_function_has_made_ends_with_the_job(tmp_path):
    pids = []

    def make():
        made = spawned(2)
        pids.append(lambda: list(made._processes))
        return made

    with nothing_left():
        job = open_job(make, pack(waits(tmp_path)), 2)
        futures = [job.submit(i) for i in range(4)]
        until((tmp_path / "begun-0").exists)
        processes = pids.pop()()
        job.close(0.1)
        assert [type(future.exception(DEADLINE)) for future in futures[:1]] == [RunClosedError]
        assert processes
        assert not any(os.path.exists(f"/proc/{process}") for process in processes)
        del job, futures


def test_close_cancels_what_waits_and_gives_up_what_goes_on(tmp_path):
    with spawned(1) as executor:
        job = open_job(executor, pack(waits(tmp_path)), 1)
        futures = [job.submit(i) for i in range(3)]
        until((tmp_path / "begun-0").exists)
        start = time.monotonic()
        job.close(0.05)
        assert time.monotonic() - start < DEADLINE / 10
        for future in futures:
            assert future.done()
        with pytest.raises(RunClosedError):
            futures[0].result()
        with pytest.raises(RunClosedError):
            job.submit(4)
        job.close(0.05)
        (tmp_path / "go").touch()


def test_a_worker_that_dies_behind_the_end_of_a_job_takes_its_pool_along(tmp_path):
    """As at Ctrl-C, which reaches the workers, too."""
    executor = spawned(2)
    job = open_job(executor, pack(waits(tmp_path)), 2)
    futures = [job.submit(i) for i in range(10)]
    until(lambda: {"begun-0", "begun-1"} <= {*os.listdir(tmp_path)})
    workers, manager = list(executor._processes), executor._executor_manager_thread
    job.close(0)
    assert all(future.done() for future in futures)
    try:
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: not any(map(runs, workers)))
        until(lambda: not manager.is_alive())
    finally:  # or they would hold up the tests
        for worker in filter(runs, workers):
            os.kill(worker, signal.SIGKILL)


def test_a_task_that_is_nearly_done_has_its_grace(pool, tmp_path):
    job = open_job(pool, pack(waits(tmp_path)), 2)
    future = job.submit(0)
    until((tmp_path / "begun-0").exists)
    threading.Timer(0.05, (tmp_path / "go").touch).start()
    job.close(DEADLINE)
    assert future.result()[0] == 0


def test_a_cancelled_task_is_not_begun(tmp_path):
    with spawned(1) as executor:
        job = open_job(executor, pack(waits(tmp_path)), 1)
        first = job.submit(0)
        until((tmp_path / "begun-0").exists)
        job_of_one = open_job(Passing(executor), pack(waits(tmp_path)), 1)
        waiting = [job_of_one.submit(i) for i in (1, 2, 3)]
        job_of_one.close(0)
        assert all(future.done() for future in waiting)
        (tmp_path / "go").touch()
        first.result(DEADLINE)
        job.close(1)
    assert not (tmp_path / "begun-3").exists()


def test_no_more_tasks_than_workers_were_asked_for(pool, opened):
    def clocked(item):
        start = time.monotonic()
        time.sleep(0.003)
        return start, time.monotonic()

    job = opened(pool, clocked, n_workers=1)
    times = results([job.submit(i) for i in range(12)])
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(times))


def test_a_mistake_in_the_scheduler_leaves_nobody_waiting(pool, opened, monkeypatch):
    def broken(self, task):
        raise ZeroDivisionError

    monkeypatch.setattr(scheduler.ScheduledJob, "_next", broken, raising=True)
    job = opened(pool, abs)
    with pytest.raises(BatchflowError, match="broken down: ") as caught:
        job.submit(1).result(DEADLINE)
    assert caught.value.__cause__ is not None
    with pytest.raises(BatchflowError):
        job.submit(1).result(DEADLINE)


# ---- what is refused


def test_a_pool_that_forks_is_refused():
    executor = ProcessPoolExecutor(1, mp_context=get_context("fork"))
    with pytest.raises(ArgumentValueError, match=r"forks.*get_context"):
        open_job(executor, pack(abs), 1)


def test_a_function_must_make_an_executor():
    with pytest.raises(
        ArgumentTypeError, match=r"must make a concurrent\.futures\.Executor, got int"
    ):
        open_job(lambda: 4, pack(abs), 1)


def test_an_executor_of_threads_is_refused(opened):
    with ThreadPoolExecutor(1) as threads:
        future = opened(Passing(threads), abs).submit(1)
        with pytest.raises(ArgumentValueError, match="works in threads of this process"):
            future.result(DEADLINE)


def test_ray_that_is_not_installed_is_an_error_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BatchflowError, match=r"pip install '\.\[ray\]'"):
        check_available("ray")


def test_the_number_of_workers_is_asked(pool):
    assert worker_count(pool) == 2
    assert worker_count(Passing(pool)) is None
    assert worker_count(lambda: pool) is None
