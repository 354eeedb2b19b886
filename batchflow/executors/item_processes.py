"""The worker processes that all per-item work of the program shares.

    chunks of items, `n_workers` at a time ---> processes

Guarantees:
    - However a call ends, no chunk of it is begun afterwards, and no process works for nobody: when
      a timeout, Ctrl-C or an error ends a call, those at work are killed.
    - A chunk whose process was killed runs again in a new one: `ATTEMPTS` times in all, any number
      of times where another call had its processes killed.
    - Nothing starts before it is needed. What has started stays for later calls, idle and bounded;
      it never holds up the exit, and `shutdown` ends it. (Two small processes with which Python
      keeps track of shared resources stay to the end of the program.)
    - What runs in a worker process does per-item work of its own in place.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import suppress
from typing import Any

from batchflow.errors import BatchflowError, ItemTimeoutError, WorkerDiedError
from batchflow.executors.pool import (
    WAKE_UP,
    at_shutdown,
    cpu_count,
    end_of,
    is_worker,
    mark_worker,
)

__all__ = ["ATTEMPTS", "in_processes", "needs_loky"]

ATTEMPTS = 3
IDLE_SECONDS = 300  # after which a process that nobody needs ends by itself


def in_processes(
    work: Callable[..., Any],
    chunks: Sequence[tuple[Any, ...]],
    *,
    n_workers: int | None = None,
    timeout: float | None = None,
) -> list[Any]:
    """Call `work(*chunk)` for each chunk in worker processes.

    In a worker process it calls them in place.

    Args:
        work: A function that can be imported there. It should not raise.
        chunks: The arguments of each call; they must be picklable.
        n_workers: The most chunks at work at once, by default as many as there are processes: one
            for each CPU.
        timeout: Seconds for the whole call. Processes at work when it ends are killed.

    Returns:
        What the calls returned, in the order of the chunks.

    Raises:
        BatchflowError: The extra `processes` is not installed.
        ItemTimeoutError: Some chunks were not finished in time.
        WorkerDiedError: A chunk lost `ATTEMPTS` processes.
    """
    if is_worker():
        return [work(*chunk) for chunk in chunks]
    end = end_of(timeout)
    ahead = _Ahead(work, chunks)
    try:
        while not ahead.is_done:
            left = WAKE_UP if end is None else end - time.monotonic()
            if left <= 0:
                raise ItemTimeoutError(f"not finished after {timeout} s", ahead.unfinished())
            ahead.fill(n_workers or cpu_count())
            ahead.collect(min(left, WAKE_UP))
    except BaseException:
        if any(not future.cancel() for future in ahead.at_work):
            _processes.end()  # or a process would be at work for nobody, perhaps for ever
        raise
    return ahead.results


class _Ahead:
    """The chunks of one call: handed over a few at a time, again where a process died."""

    def __init__(self, work: Callable[..., Any], chunks: Sequence[tuple[Any, ...]]) -> None:
        self._work = work
        self._chunks = chunks
        self._waiting = deque(range(len(chunks)))
        self._deaths = [0] * len(chunks)
        self.at_work: dict[Future[Any], int] = {}
        self.results: list[Any] = [None] * len(chunks)

    @property
    def is_done(self) -> bool:
        return not self._waiting and not self.at_work

    def unfinished(self) -> list[int]:
        return sorted([*self._waiting, *self.at_work.values()])

    def fill(self, n_workers: int) -> None:
        while self._waiting and len(self.at_work) < n_workers:
            place = self._waiting[0]
            future = _processes.submit(self._work, *self._chunks[place])
            self.at_work[future] = self._waiting.popleft()

    def collect(self, seconds: float) -> None:
        done, _ = wait(self.at_work, seconds, return_when=FIRST_COMPLETED)
        for future in done:
            place = self.at_work.pop(future)
            error = future.exception()
            if error is None:
                self.results[place] = future.result()
            elif isinstance(error, BrokenExecutor):
                self._deaths[place] += 1
                if self._deaths[place] == ATTEMPTS:
                    message = f"{ATTEMPTS} processes died (killed? out of memory?)"
                    raise WorkerDiedError(message, place) from error
                self._waiting.appendleft(place)
            elif _was_ended(error):
                self._waiting.appendleft(place)
            else:
                raise error


class _Processes:
    """The pool of processes: one for the whole program.

    Not loky's reusable executor, of which each thread has its own.
    """

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._guard = threading.Lock()
        self._executor: Any = None
        self._is_registered = self._is_over = False

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        with self._guard:
            if self._is_over:
                raise BatchflowError("the program ends: no work in processes is begun any more")
            if self._executor is not None:
                try:
                    return self._executor.submit(function, *args)  # type: ignore[no-any-return]
                except RuntimeError:  # it has lost a process while it was idle
                    pass
            self._executor = _new_process_executor()
            future: Future[Any] = self._executor.submit(function, *args)
            if not self._is_registered:
                # Hooks run last in, first out: so this one comes before the executor's own, made by
                # its first task, which waits for all that is at work.
                threading._register_atexit(self._exit)  # type: ignore[attr-defined]
                self._is_registered = True
            return future

    def end(self) -> None:
        """Kill the processes."""
        with self._guard:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, kill_workers=True)

    def _exit(self) -> None:
        self._is_over = True
        self.end()


_processes = _Processes()
at_shutdown(_processes.end)


def needs_loky() -> None:
    """Import the package that makes processes.

    Raises:
        BatchflowError: It is not installed.
    """
    try:
        import loky  # noqa: F401
    except ImportError as error:
        raise BatchflowError(
            "work in processes needs the package loky: pip install batchflow[processes]"
        ) from error


def _new_process_executor() -> Any:
    needs_loky()
    from loky import ProcessPoolExecutor

    return ProcessPoolExecutor(cpu_count(), timeout=IDLE_SECONDS, initializer=_begin_process)


def _was_ended(error: BaseException) -> bool:
    """Tell whether an error says that the processes were killed on purpose, by another call."""
    from loky.process_executor import ShutdownExecutorError

    return isinstance(error, ShutdownExecutorError)


def _begin_process() -> None:
    mark_worker()
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the main process
