"""Where the parts of one batch run: the threads and processes that all per-item work shares.

    positions, dealt out one by one ---> the caller's thread, and helpers from the pool
    chunks, `n_workers` at a time   ---> processes

Guarantees:
    - However a call ends (last item, timeout, Ctrl-C, error), no item is begun afterwards.
    - Waiting cannot deadlock: a caller does itself what no helper has begun, and what runs in one
      of the pool's threads or processes does per-item work of its own in place.
    - Nothing starts before it is needed. What has started stays for later calls, idle and bounded;
      it never holds up the exit, and `shutdown` ends it.
    - A chunk whose process was killed runs again in a new one, `ATTEMPTS` times in all.
"""

from __future__ import annotations

import contextvars
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import suppress
from typing import Any

from batchflow.errors import BatchflowError
from batchflow.executors.threads import ThreadExecutor

__all__ = [
    "ItemTimeoutError",
    "WorkerDiedError",
    "cpu_count",
    "in_processes",
    "in_this_thread",
    "in_threads",
    "needs_loky",
    "shutdown",
]

ATTEMPTS = 3
MAX_THREADS = 32
IDLE_SECONDS = 300  # after which a process that nobody needs ends by itself
WAKE_UP = 1.0  # seconds; a wait without end can miss a Ctrl-C

Work = Callable[[int], None]


class ItemTimeoutError(BatchflowError, TimeoutError):
    """Per-item work took longer than its `timeout`.

    Attributes:
        unfinished: The positions that were not finished.
    """

    def __init__(self, message: str, unfinished: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.unfinished = tuple(unfinished)


class WorkerDiedError(BatchflowError, RuntimeError):
    """Worker processes were killed again and again while they worked on one chunk.

    Attributes:
        position: The position of the chunk.
    """

    def __init__(self, message: str, position: int = 0) -> None:
        super().__init__(message)
        self.position = position


def cpu_count() -> int:
    """Give the number of CPUs that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def shutdown() -> None:
    """End the threads and processes that per-item work shares; the next need makes new ones.

    Items at work in threads go on to their end. Processes are killed; calls that wait for them
    begin anew.
    """
    _threads.end()
    _processes.end()


# ---- threads

_here = threading.local()


def in_this_thread(work: Work, n_items: int, timeout: float | None = None) -> None:
    """Call `work` with the positions 0, 1, ... in turn.

    Args:
        work: Takes a position. What it raises ends the call.
        n_items: The number of positions.
        timeout: Seconds after which no item is begun.

    Raises:
        ItemTimeoutError: Some were not begun in time.
    """
    end = _end(timeout)
    turns = _Turns(work, n_items)
    contextvars.copy_context().run(turns.take, end)
    if turns.waiting:
        raise turns.timeout_error(timeout)


def in_threads(
    work: Work, n_items: int, *, n_workers: int | None = None, timeout: float | None = None
) -> None:
    """Call `work` with each position below `n_items` once, in several threads.

    Each thread works in a copy of the caller's context. Without a timeout the caller's thread is
    one of them.

    Args:
        work: Takes a position. What it raises ends the call.
        n_items: The number of positions.
        n_workers: The most items at work at once; by default four for each CPU, and never more than
            `MAX_THREADS` besides the caller.
        timeout: Seconds for the whole call. Items at work when it ends go on to their end. In a
            thread of the pool it is looked at between items only.

    Raises:
        ItemTimeoutError: Some were not finished in time.
    """
    n_workers = min(n_workers or 4 * cpu_count(), n_items)
    if getattr(_here, "is_pool", False) or (n_workers <= 1 and timeout is None):
        in_this_thread(work, n_items, timeout)
        return
    turns = _Turns(work, n_items)
    turns.call_helpers(n_workers - (timeout is None))
    try:
        if timeout is None:
            contextvars.copy_context().run(turns.take)
        turns.wait_for_helpers(timeout)
    finally:
        turns.waiting.clear()


class _Turns:
    """Deals out positions, each once, to the threads that ask for them.

    Attributes:
        waiting: The positions that nobody has begun.
    """

    def __init__(self, work: Work, n_items: int) -> None:
        self.waiting = deque(range(n_items))
        self._unfinished = dict.fromkeys(range(n_items))
        self._work = work
        self._helpers: deque[Future[None]] = deque()

    def take(self, end: float | None = None) -> None:
        """Work until no position is left, or the clock shows `end`."""
        try:
            while end is None or time.monotonic() < end:
                try:
                    position = self.waiting.popleft()
                except IndexError:
                    return
                self._work(position)
                del self._unfinished[position]
        except BaseException:
            self.waiting.clear()
            raise

    def call_helpers(self, n_helpers: int) -> None:
        """Ask the pool for a helper, who asks for the next one: small work ends before many come.

        Args:
            n_helpers: The most that may come.
        """
        if n_helpers and self.waiting:
            context = contextvars.copy_context()
            self._helpers.append(_threads.submit(context.run, self._help, n_helpers - 1))

    def _help(self, n_more: int) -> None:
        _here.is_pool = True
        self.call_helpers(n_more)
        self.take()

    def wait_for_helpers(self, timeout: float | None) -> None:
        """Wait until those who have come are done; the others need not come, unless time is kept.

        Raises:
            ItemTimeoutError: They are not done in time.
        """
        end = _end(timeout)
        while self._helpers:  # one that is at work may add another
            helper = self._helpers.popleft()
            if end is None and helper.cancel():
                continue
            while not helper.done():
                left = WAKE_UP if end is None else end - time.monotonic()
                if left <= 0:
                    helper.cancel()
                    raise self.timeout_error(timeout)
                wait([helper], min(left, WAKE_UP))
            helper.result()

    def timeout_error(self, timeout: float | None) -> ItemTimeoutError:
        """Make the error that says what is not finished. Nothing is begun any more."""
        self.waiting.clear()
        return ItemTimeoutError(f"not finished after {timeout} s", list(self._unfinished))


class _Threads:
    """The pool of threads."""

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):  # a child has none of the threads
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._guard = threading.Lock()
        self._executor: ThreadExecutor | None = None

    def submit(self, function: Callable[..., None], *args: Any) -> Future[None]:
        with self._guard:
            if self._executor is None:
                self._executor = ThreadExecutor(MAX_THREADS)
                self._executor._name = "batchflow-items"
            return self._executor.submit(function, *args)

    def end(self) -> None:
        with self._guard:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=False)


_threads = _Threads()


# ---- processes


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
    if _is_worker:
        return [work(*chunk) for chunk in chunks]
    end = _end(timeout)
    ahead = _Ahead(work, chunks)
    try:
        while not ahead.is_done:
            ahead.fill(n_workers or cpu_count())
            left = WAKE_UP if end is None else end - time.monotonic()
            if left <= 0:
                raise ItemTimeoutError(f"not finished after {timeout} s", ahead.unfinished())
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
                    raise WorkerDiedError(f"{ATTEMPTS} processes died ({error})", place) from error
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
        self._is_registered = False

    def submit(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        with self._guard:
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
                threading._register_atexit(self.end)  # type: ignore[attr-defined]
                self._is_registered = True
            return future

    def end(self) -> None:
        """Kill the processes."""
        with self._guard:
            executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, kill_workers=True)


_processes = _Processes()
_is_worker = False


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
    global _is_worker
    _is_worker = True
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the main process


def _end(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout
