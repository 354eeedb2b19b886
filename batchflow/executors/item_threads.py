"""The threads that all per-item work of the program shares.

    positions, dealt out one by one ---> the caller's thread, and helpers from the pool

Guarantees:
    - However a call ends (last item, timeout, Ctrl-C, error), no item is begun afterwards.
    - Waiting cannot deadlock: a caller does itself what no helper has begun, and what runs in a
      thread of the pool does per-item work of its own in place.
    - Where nobody says how many threads there are, those beyond one for each CPU come only while
      the CPUs have time. More of them would take the interpreter lock from each other, and wait
      for a CPU while they hold it: decoding pictures on two CPUs, eight threads cost 5 % more than
      two; waiting for files, they are four times as fast.
    - Nothing starts before it is needed. What has started stays for later calls, idle and bounded;
      it never holds up the exit, and `shutdown` ends it.
"""

from __future__ import annotations

import contextvars
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from batchflow.errors import BatchflowError, ItemTimeoutError
from batchflow.executors.waiting import WAKE_UP

if TYPE_CHECKING:
    from concurrent.futures import Future

    from batchflow.executors.threads import ThreadExecutor

MAX_THREADS = 32
BUSY = 0.8  # share of the CPUs that the process uses when no more threads are wanted
IDLE = 0.3  # the same when all of them are wanted at once
_FIRST_LOOK, _LAST_LOOK = 0.001, 0.032  # seconds for which the use of the CPUs is looked at

Work = Callable[[int], None]


def end_of(timeout: float | None) -> float | None:
    """Return what `time.monotonic()` will show when a timeout that begins now ends."""
    return None if timeout is None else time.monotonic() + timeout


def cpu_count() -> int:
    """Return the number of CPUs that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on every system
        return os.cpu_count() or 1


def at_shutdown(end: Callable[[], None]) -> None:
    """Let `shutdown` also call a function, which ends threads or processes."""
    _ends.append(end)


def shutdown() -> None:
    """End the threads and processes that per-item work shares; the next need makes new ones.

    Items at work in threads go on to their end. Processes are killed; a call that waits for them
    goes on in new ones.
    """
    for end in _ends:
        end()


_here = threading.local()
_at_work: set[int] = set()  # the threads that work on items
_is_worker = False


def threads_at_work() -> set[int]:
    """Return the threads that work on items now."""
    return set(_at_work)


def mark_worker() -> None:
    """Mark this process as a worker."""
    global _is_worker
    _is_worker = True


def is_worker() -> bool:
    """Check whether this process is a worker."""
    return _is_worker


class _Unpacking:
    """While a worker process unpacks its work in this thread, no other process gets work.

    What is unpacked may import a module which runs a pipeline in processes as it is imported. Their
    workers would import it again, and start others without end.
    """

    def __enter__(self) -> None:
        _here.n_unpacking = getattr(_here, "n_unpacking", 0) + 1

    def __exit__(self, *args: object) -> None:
        _here.n_unpacking -= 1


unpacking = _Unpacking()


def refuse_while_unpacking() -> None:
    """Refuse to begin work in other processes while a worker unpacks its own."""
    if not getattr(_here, "n_unpacking", 0):
        return
    frame = sys._getframe()
    while frame.f_code.co_name != "<module>" and frame.f_back is not None:
        frame = frame.f_back
    name, path = frame.f_globals.get("__name__"), frame.f_code.co_filename
    raise BatchflowError(
        f"the module {name!r} runs work in processes while it is imported ({path}, line "
        f"{frame.f_lineno}), and worker processes import it for what is defined in it: they would "
        "start workers without end. Run the pipeline below "
        'if __name__ == "__main__": or in a function'
    )


def in_this_thread(work: Work, n_items: int, timeout: float | None = None) -> None:
    """Call `work` with the positions 0, 1, ... in turn; see `in_threads`."""
    end = end_of(timeout)
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
        n_workers: The most items at work at once, never more than `MAX_THREADS` besides the caller.
            By default one for each CPU, and up to four while the CPUs are not busy.
        timeout: Seconds for the whole call. Items at work when it ends go on to their end. In a
            thread of the pool it is looked at between items only.

    Raises:
        ItemTimeoutError: Some were not finished in time.
    """
    n_wanted = min(n_workers or 4 * cpu_count(), n_items)
    if getattr(_here, "is_pool", False) or (n_wanted <= 1 and timeout is None):
        in_this_thread(work, n_items, timeout)
        return
    turns = _Turns(work, n_items, looks_at_cpus=n_workers is None)
    try:
        turns.call_helpers(n_wanted - (timeout is None))
        if timeout is None:
            contextvars.copy_context().run(turns.take)
        turns.wait_for_helpers(timeout)
    finally:
        turns.end()


class _Turns:
    """Deals out positions, each once, to the threads that ask for them.

    Attributes:
        waiting: The positions that nobody has begun.

    Args:
        work: Takes a position.
        n_items: The number of positions.
        looks_at_cpus: Whether threads beyond one for each CPU come only while the CPUs have time.
    """

    def __init__(self, work: Work, n_items: int, *, looks_at_cpus: bool = False) -> None:
        self.waiting = deque(range(n_items))
        self._looks_at_cpus = looks_at_cpus
        self._is_over = threading.Event() if looks_at_cpus else None
        self._unfinished = dict.fromkeys(range(n_items))
        self._work = work
        self._helpers: deque[Future[None]] = deque()

    def take(self, end: float | None = None) -> None:
        """Work until no position is left, or the clock shows `end`."""
        me = threading.get_ident()
        is_first = me not in _at_work  # this may be the work of an item
        _at_work.add(me)
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
        finally:
            if is_first:
                _at_work.discard(me)
            if self._is_over is not None:
                self._is_over.set()

    def end(self) -> None:
        """Begin no more items."""
        self.waiting.clear()
        if self._is_over is not None:
            self._is_over.set()

    def call_helpers(self, n_helpers: int) -> None:
        """Ask the pool for a helper, which asks for the next one: small work ends before many come.

        Args:
            n_helpers: The most that may come.
        """
        if n_helpers and self.waiting:
            context = contextvars.copy_context()
            self._helpers.append(_threads.submit(context.run, self._help, n_helpers - 1))

    def _help(self, n_more: int) -> None:
        _here.is_pool = True
        if self._is_wanted():
            self.call_helpers(n_more)
            self.take()

    def _is_wanted(self) -> bool:
        """Wait until the CPUs have time for one more thread; return False if it is not needed."""
        seconds = _FIRST_LOOK
        while self.waiting:
            n_cpus = cpu_count()
            if self._is_over is None or not self._looks_at_cpus or len(_at_work) < n_cpus:
                return True
            start, used = time.perf_counter(), time.process_time()
            if self._is_over.wait(seconds):
                return False
            used = (time.process_time() - used) / (time.perf_counter() - start) / n_cpus
            if used < BUSY:
                self._looks_at_cpus = used > IDLE
                return bool(self.waiting)
            seconds = min(2 * seconds, _LAST_LOOK)
        return False

    def wait_for_helpers(self, timeout: float | None) -> None:
        """Wait for the helpers that have begun; without a timeout the others need not come."""
        from concurrent.futures import wait  # on use, for a light import

        end = end_of(timeout)
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
            try:
                helper.result()
            finally:
                del helper  # its error holds this frame: no circle

    def timeout_error(self, timeout: float | None) -> ItemTimeoutError:
        """Begin no more items, and return the error that names the unfinished ones."""
        self.end()
        return ItemTimeoutError(f"not finished after {timeout} s", list(self._unfinished))


class _Threads:
    """The pool of threads."""

    def __init__(self) -> None:
        self._forget()
        if hasattr(os, "register_at_fork"):  # a child has none of the threads
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        _at_work.clear()
        self._guard = threading.Lock()
        self._executor: ThreadExecutor | None = None

    def submit(self, function: Callable[..., None], *args: Any) -> Future[None]:
        from batchflow.executors.threads import ThreadExecutor  # on use, for a light import

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
_ends: list[Callable[[], None]] = [_threads.end]
