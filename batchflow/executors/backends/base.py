"""Executors of others, as far as they differ: how they die, end, and are made again.

Guarantees:
    - What the user has made is never shut down; what was made here is ended by `end`.
    - An executor that is broken for good is replaced by one with the same settings, or it is said
      what to pass instead.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor, Future
from concurrent.futures.process import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Any

from batchflow.errors import ArgumentTypeError, ArgumentValueError, BatchflowError
from batchflow.executors.backends import dask
from batchflow.executors.backends.call import SentFunction, remote_call
from batchflow.executors.backends.ray import cpus_of
from batchflow.executors.exit_codes import describe_exit

__all__ = ["Backend", "backend_of", "n_deaths", "refuse_fork", "worker_count"]

EXIT_SECONDS = 0.2  # from the last word of a process to its exit code

# How executors that go on say that a worker has died, with the number of workers that this cost.
_DEATHS = {
    "KilledWorker": 2,  # Dask: more than that, one after the other; which of its tasks did it?
    "WorkerCrashedError": 1,  # Ray, from here on
    "OutOfMemoryError": 1,
    "NodeDiedError": 1,
    "LocalRayletDiedError": 1,
}


def n_deaths(error: BaseException) -> int:
    """Tell how many workers have died if this is what an executor says of a task; 0: none."""
    if isinstance(error, BrokenExecutor):
        return 1
    return next((_DEATHS[c.__name__] for c in type(error).__mro__ if c.__name__ in _DEATHS), 0)


class Backend:
    """An executor to work on.

    Args:
        executor: The executor.
        make: What has made it, if that was called here; it is called again for another one.
        is_ours: Whether it was made here, and is ended here.

    Attributes:
        has_board: Whether workers are to note what they are at: `ended` tells who has died.
    """

    has_board = False

    def __init__(
        self, executor: Any, make: Callable[[], Executor] | None = None, *, is_ours: bool = False
    ) -> None:
        self.executor = executor
        self._make = make
        self._is_ours = is_ours

    @property
    def may_kill(self) -> bool:
        """Whether what is at work ends with the job, however long it would take."""
        return self._is_ours

    def begin(self) -> None:
        """Start what has to be started by the consumer's thread."""

    @property
    def n_workers(self) -> int | None:
        """How many tasks it works on at once; None: it does not tell."""
        return getattr(self.executor, "_max_workers", None)

    def submit(self, *args: Any) -> Future[Any]:
        """Let a worker call `remote_call`.

        Raises:
            ArgumentTypeError: The executor gives no future.
        """
        future = self.executor.submit(remote_call, *args)
        if not isinstance(future, Future):
            raise ArgumentTypeError(
                f"submit of the executor must give a concurrent.futures.Future, got "
                f"{type(future).__name__} {future!r:.60}"
            )
        return future

    def share(self, plan: SentFunction) -> Any:
        """Put a big plan where workers find it; give what stands for it in a call."""
        return plan

    def cause(self, error: BaseException) -> str:
        """Say what has become of a worker, when the executor tells of it."""
        return f"the executor said: {type(error).__name__}: {error}"

    def ended(self) -> list[int]:
        """Give the processes that have died, where the executor lets us see them."""
        return []

    def renewed(self) -> Backend:
        """Make another executor in place of this one, which is broken.

        Raises:
            BatchflowError: It is not known how.
        """
        if self._make is not None:
            return backend_of(self._make)
        executor = self._alike()
        if executor is None:
            raise BatchflowError(
                f"the executor {self.executor!r:.80} is broken after the death of a worker, and "
                "how to make another one is not known: instead of the executor, pass a function "
                "that makes it, such as executor=lambda: MyExecutor(4)"
            )
        return type(self)(executor, is_ours=True)

    def _alike(self) -> Executor | None:
        return None

    def stop(self, futures: Iterable[Future[Any]]) -> None:
        """Cancel those tasks that have not begun. Nothing is submitted afterwards."""
        for future in futures:
            future.cancel()

    def kill(self, future: Future[Any]) -> None:
        """Break off a task, if this can be done without harm to others."""

    def end(self, *, is_busy: bool) -> None:
        """End the executor, if it was made here.

        Args:
            is_busy: Whether tasks are at work that are to be killed, if that can be done.
        """
        if self._is_ours:
            self._end(is_busy)

    def _end(self, is_busy: bool) -> None:
        if hasattr(self.executor, "shutdown"):
            self.executor.shutdown(wait=not is_busy)


class _LocalPool(Backend):
    """A pool of processes of this machine."""

    has_board = True

    def ended(self) -> list[int]:
        with suppress(Exception):
            processes = {p.sentinel: p.pid for p in list(self.executor._processes.values())}
            return [processes[sentinel] for sentinel in wait(list(processes), timeout=0)]
        return []


class _StandardPool(_LocalPool):
    """The process pool of the standard library."""

    _is_shut_down = False

    def __init__(self, executor: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(executor, *args, **kwargs)
        queue = getattr(executor, "_call_queue", None)
        if sys.version_info < (3, 11, 5) and queue is not None:
            queue.close = functools.partial(_close, weakref.ref(queue))

    def cause(self, error: BaseException) -> str:
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
        # One's own `cancel` would break the pool's thread, should a worker be killed afterwards.
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


class _LokyPool(_LocalPool):
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


class _Dask(Backend):
    """A cluster of Dask."""

    @property
    def n_workers(self) -> int | None:
        return dask.worker_threads(self.executor)

    def submit(self, *args: Any) -> Future[Any]:
        return dask.submit(self.executor, remote_call, *args)

    def share(self, plan: SentFunction) -> Any:
        return dask.share(self.executor, plan)

    def stop(self, futures: Iterable[Future[Any]]) -> None:
        dask.cancel(self.executor, futures)


class _Ray(Backend):
    """A cluster of Ray, behind our adapter."""

    may_kill = True

    def begin(self) -> None:
        self.executor.begin()

    @property
    def n_workers(self) -> int | None:
        return self.executor.n_workers  # type: ignore[no-any-return]

    def share(self, plan: SentFunction) -> Any:
        return self.executor.share(plan)

    def stop(self, futures: Iterable[Future[Any]]) -> None:
        """Do nothing: Ray does not tell which of them have begun."""

    def kill(self, future: Any) -> None:
        future.kill()


_KINDS: dict[str, type[Backend]] = {
    "concurrent": _StandardPool,
    "loky": _LokyPool,
    "distributed": _Dask,
    "batchflow": _Ray,
}


def backend_of(executor: Any) -> Backend:
    """Take an executor, or what a function makes.

    Raises:
        ArgumentTypeError: The function made something else.
        ArgumentValueError: The executor forks this process.
    """
    make = None if _is_executor(executor) else executor
    if make is not None:
        executor = make()
        if not _is_executor(executor):
            raise ArgumentTypeError(
                f"the function given as executor must make a concurrent.futures.Executor, got "
                f"{type(executor).__name__} {executor!r:.60}"
            )
    refuse_fork(executor)
    return _kind_of(executor)(executor, make, is_ours=make is not None)


def _is_executor(value: Any) -> bool:
    """Tell an executor, or what works like one, from a function that makes it."""
    return not isinstance(value, type) and callable(getattr(value, "submit", None))


def _kind_of(executor: Any) -> type[Backend]:
    for cls in type(executor).__mro__:
        kind = _KINDS.get(cls.__module__.partition(".")[0])
        if kind is not None:
            is_pool = kind is not _StandardPool or isinstance(executor, ProcessPoolExecutor)
            return kind if is_pool else Backend
    return Backend


def worker_count(executor: Any) -> int | None:
    """Tell on how many tasks an executor works at once; None: it does not say.

    Nothing is started: of `"ray"` it is known if Ray runs already.

    Args:
        executor: The executor, its name, or a function that makes one, which is not called.
    """
    if executor == "ray":
        ray = sys.modules.get("ray")
        return cpus_of(ray) if ray is not None and ray.is_initialized() else None
    return _kind_of(executor)(executor).n_workers if _is_executor(executor) else None


def refuse_fork(executor: Any) -> None:
    """Refuse a pool that forks this process; anything else passes.

    Raises:
        ArgumentValueError: It does.
    """
    if isinstance(executor, ProcessPoolExecutor):
        pool: Any = executor
        if pool._mp_context.get_start_method() == "fork":
            raise ArgumentValueError(
                "this ProcessPoolExecutor forks, and a program with threads that is forked may "
                'hang: make it with mp_context=multiprocessing.get_context("forkserver"), or pass '
                'executor="processes"'
            )
