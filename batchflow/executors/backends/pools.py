"""Process pools: that of the standard library, and those of loky."""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, Future
from concurrent.futures.process import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from batchflow.errors import ArgumentValueError
from batchflow.executors.backends.base import Backend
from batchflow.executors.exceptions import describe_exit

EXIT_SECONDS = 0.2  # from the last word of a process to its exit code


class StandardPool(Backend):
    """A `ProcessPoolExecutor`, which breaks with the death of a worker."""

    _is_shut_down = False
    _is_mended = sys.version_info >= (3, 12)

    def __init__(self, executor: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(executor, *args, **kwargs)
        queue = getattr(executor, "_call_queue", None)
        if sys.version_info < (3, 11, 5) and queue is not None:
            queue.close = functools.partial(_close, weakref.ref(queue))

    def submit(self, *args: Any) -> Future[Any]:
        """Let a worker call `remote_call`."""
        future = super().submit(*args)
        if not self._is_mended:
            manager = getattr(self.executor, "_executor_manager_thread", None)
            if manager is not None:  # it starts with the first task
                self._is_mended = True
                manager.terminate_broken = functools.partial(_terminate, weakref.ref(manager))
        return future

    def cause(self, error: BaseException) -> str:
        """Return how a worker has died: by its exit code, while the pool still has the process."""
        with suppress(Exception):
            processes = {p.sentinel: p for p in list(self.executor._processes.values())}
            for sentinel in wait(list(processes), timeout=0):
                dead = processes[sentinel]
                dead.join(EXIT_SECONDS)
                if dead.exitcode is not None:
                    return describe_exit(dead.exitcode)
        return super().cause(error)

    def _alike(self) -> Executor | None:
        if type(self.executor) is not ProcessPoolExecutor:
            return None
        given: Any = self.executor
        return ProcessPoolExecutor(
            given._max_workers,
            given._mp_context,
            given._initializer,
            given._initargs,
            max_tasks_per_child=given._max_tasks_per_child,
        )

    def stop(self, futures: Iterable[Future[Any]]) -> None:
        """Cancel those tasks that have not begun."""
        if self._is_ours:
            self._shut_down()
        else:
            super().stop(futures)

    def _shut_down(self) -> None:
        if not self._is_shut_down:
            self._is_shut_down = True
            self._processes = list((self.executor._processes or {}).values())
            self._manager = self.executor._executor_manager_thread
            self.executor.shutdown(wait=False, cancel_futures=True)

    def _end(self, is_busy: bool) -> None:
        self._shut_down()
        for process in self._processes if is_busy else ():
            process.kill()
        if self._manager is not None:
            self._manager.join()
        self._processes, self._manager = [], None


def _close(queue: Callable[[], Any]) -> None:
    """Close the queue of a pool and first its own reading end, as from Python 3.11.5 on.

    Before, a pool whose workers had died waited for ever if the queue was full.
    """
    closed = queue()
    closed._reader.close()
    type(closed).close(closed)


def _terminate(manager: Callable[[], Any], cause: Any) -> None:
    """Fail the tasks of a broken pool but those that are cancelled, as from Python 3.12 on.

    Before, one of those ended the thread of the pool: workers were left, and held up the exit.
    """
    broken = manager()
    tasks = broken.pending_work_items
    for number, task in list(tasks.items()):
        if not task.future.running() and not task.future.set_running_or_notify_cancel():
            del tasks[number]
    type(broken).terminate_broken(broken, cause)


class LokyPool(Backend):
    """A pool of loky. In place of the reusable one comes a pool of this job alone."""

    def _alike(self) -> Executor | None:
        import loky

        given: Any = self.executor
        return loky.ProcessPoolExecutor(  # type: ignore[no-any-return]
            given._max_workers,
            context=given._context,
            timeout=given._timeout,
            initializer=given._initializer,
            initargs=given._initargs,
            env=given._env,
        )

    def _end(self, is_busy: bool) -> None:
        self.executor.shutdown(wait=True, kill_workers=is_busy)


def refuse_fork(executor: Any) -> None:
    """Refuse a pool that forks this process; anything else passes."""
    if isinstance(executor, ProcessPoolExecutor):
        pool: Any = executor
        if pool._mp_context.get_start_method() == "fork":
            raise ArgumentValueError(
                "this ProcessPoolExecutor forks, and a program with threads that is forked may "
                'hang: make it with mp_context=multiprocessing.get_context("forkserver"), or pass '
                'executor="processes"'
            )
