"""Worker threads that end with their run and never hold up the interpreter's exit.

The standard library's `ThreadPoolExecutor` joins its workers when the interpreter ends, so one
long action of an abandoned run would keep the process alive. Here workers are daemon threads.

Guarantees:
    - Tasks start in the order in which they were submitted.
    - After `shutdown` no task starts; an idle worker ends at once, a busy one after its task.
    - The executor is not kept alive by its workers.
    - When the interpreter ends, executors are shut down and waited for, `EXIT_GRACE` seconds
      altogether.
"""

from __future__ import annotations

import atexit
import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from concurrent.futures import wait as wait_for
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")
Task = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]

EXIT_GRACE = 1.0
_live: weakref.WeakSet[ThreadExecutor] = weakref.WeakSet()
_numbers = itertools.count(1)


class ThreadExecutor(Executor):
    """An executor of daemon threads, started as tasks arrive.

    Args:
        n_workers: The most threads.
    """

    def __init__(self, n_workers: int) -> None:
        self._n_workers = n_workers
        self._tasks: SimpleQueue[Task | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads: list[threading.Thread] = []
        self._name = f"batchflow-{next(_numbers)}"
        self._is_shut_down = False
        _live.add(self)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Hand over a task. For one submitting thread at a time."""
        if self._is_shut_down:
            raise RuntimeError("cannot submit a task after shutdown")
        future: Future[T] = Future()
        self._tasks.put((future, fn, args, kwargs))
        if len(self._threads) < self._n_workers and not self._idle.acquire(blocking=False):
            thread = threading.Thread(
                target=_work,
                args=(self._tasks, self._idle),
                name=f"{self._name}-{len(self._threads)}",
                daemon=True,
            )
            self._threads.append(thread)  # first: an interrupt may come while it starts
            thread.start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers end.

        Args:
            wait: Whether to return only when they have.
            cancel_futures: Whether tasks that have not started are cancelled.
        """
        self._is_shut_down = True
        with suppress(Empty):
            while cancel_futures:  # until there is none; a worker may be quicker to take the last
                task = self._tasks.get_nowait()
                if task is not None:
                    task[0].cancel()
        for _ in self._threads:
            self._tasks.put(None)
        if wait:
            self.join(None)

    def join(self, timeout: float | None) -> bool:
        """Wait until the workers have ended, at most `timeout` seconds. A worker may call it.

        Returns:
            Whether all other threads have ended.
        """
        end = None if timeout is None else time.monotonic() + timeout
        me = threading.current_thread()
        others = [t for t in self._threads if t is not me and t.ident is not None]
        for thread in others:
            thread.join(None if end is None else max(0.0, end - time.monotonic()))
        return not any(thread.is_alive() for thread in others)


class Borrowed:
    """Threads of another executor, for one run, which can end its tasks there and wait for them.

    Args:
        executor: The executor, which stays open.
        n_workers: The most tasks at work at once.
    """

    def __init__(self, executor: Executor, n_workers: int) -> None:
        self._executor = executor
        self._turns = threading.Semaphore(n_workers)
        self._waiting: deque[Task] = deque()
        self._futures: set[Future[Any]] = set()

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Hand over a task: it starts when one of those before it has ended, if need be."""
        future: Future[T] = Future()
        self._futures.add(future)
        future.add_done_callback(self._futures.discard)
        self._waiting.append((future, fn, args, kwargs))
        self._begin()
        return future

    def _begin(self) -> None:
        if self._waiting and self._turns.acquire(blocking=False):
            try:
                self._executor.submit(self._work)
            except BaseException:
                self._turns.release()
                raise

    def _work(self) -> None:
        """Do the tasks that wait, in a thread of the executor."""
        try:
            while True:
                try:
                    future, function, args, kwargs = self._waiting.popleft()
                except IndexError:
                    break
                _run(future, function, args, kwargs)
                del future, function, args, kwargs
        finally:
            self._turns.release()
        with suppress(RuntimeError):  # the executor has been shut down
            self._begin()  # what came between the last look and the release

    def shutdown(self, **_: bool) -> None:
        """Cancel the tasks that have not started, as `ThreadExecutor` does it for a run."""
        for future in list(self._futures):
            future.cancel()

    def join(self, timeout: float | None) -> bool:
        """Wait for the tasks that have started, at most `timeout` seconds.

        Returns:
            Whether all has ended.
        """
        return not wait_for(list(self._futures), timeout).not_done


def _work(tasks: SimpleQueue[Task | None], idle: threading.Semaphore) -> None:
    """Run tasks until None comes. Holds no reference to the executor."""
    while True:
        task = tasks.get()
        if task is None:
            return
        _run(*task)
        del task  # an idle worker keeps nothing alive
        idle.release()


def _run(future: Future[Any], function: Callable[..., Any], args: Any, kwargs: Any) -> None:
    if future.set_running_or_notify_cancel():
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            future.set_exception(error)
            del future, args, kwargs  # the error holds this frame: no circle
        else:
            future.set_result(result)


def _end_all() -> None:
    executors = list(_live)
    for executor in executors:
        executor.shutdown(wait=False, cancel_futures=True)
    end = time.monotonic() + EXIT_GRACE
    for executor in executors:
        executor.join(max(0.0, end - time.monotonic()))


atexit.register(_end_all)
