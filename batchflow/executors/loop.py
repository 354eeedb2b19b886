"""Event loops that live as long as a run: in a thread of their own, or in the caller's.

    any thread: run(coroutine) ---> a task of the loop ---> its result, or its exception

Guarantees:
    - A task sees the context variables of the caller, and the caller waits until it is done.
    - After `close` no task, thread or file of the loop is left, unless one blocks the loop's thread
      for longer than the time given. Whoever waited for a task then gets a `RunClosedError`.
    - A loop that is garbage-collected closes itself; one that is never used starts nothing.
    - What cannot work (waiting for a loop in the loop's own thread) is refused, not a deadlock.

`asyncio` is imported at first use.
"""

from __future__ import annotations

import contextvars
import threading
import weakref
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from batchflow.errors import BatchflowError, RunClosedError
from batchflow.executors.waiting import result_of

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

T = TypeVar("T")
Task = Coroutine[Any, Any, T]

CLOSE_SECONDS = 1.0


def runs_here() -> bool:
    """Check whether an event loop runs in this thread, such as Jupyter's own."""
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class EventLoop:
    """An event loop in one daemon thread, which begins with the first task."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ends = threading.Event()
        self._is_given_up = False  # closed, and its thread did not end

    @property
    def is_closed(self) -> bool:
        """Whether it takes no more tasks."""
        return self._ends.is_set()

    def run(self, coroutine: Task[T]) -> T:
        """Run a coroutine as a task and give its result. For any thread but the loop's own.

        Raises:
            BatchflowError: It was called in the loop's own thread.
            RunClosedError: The loop has been closed, before or while the task was at work.
            BaseException: What the coroutine raises.
        """
        from concurrent.futures import CancelledError  # on use, for a light import

        try:
            future = self._submit(coroutine)
        except BaseException:
            coroutine.close()
            raise
        try:
            return cast(T, result_of(future, look=partial(self._look, future)))
        except CancelledError:
            if self._ends.is_set():
                raise _closed() from None
            raise
        finally:
            future.cancel()  # after an interrupt; a task that is done is not affected
            del future  # its error holds this frame: no circle

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:
        """Cancel the tasks, end the thread. A second call does nothing.

        Args:
            timeout: How many seconds the thread has to end.

        Returns:
            Whether it has. If not, a task blocks it; it ends with that task.
        """
        with self._guard:
            loop, thread = self._loop, self._thread
            if loop is not None:
                _stop(loop, self._ends)
            self._ends.set()
        if loop is None or thread is None:
            return True
        if thread is not threading.current_thread():
            thread.join(timeout)
        self._is_given_up = thread.is_alive()
        return not self._is_given_up

    def _submit(self, coroutine: Task[T]) -> Future[T]:
        import asyncio

        if self._thread is threading.current_thread():
            raise BatchflowError(
                "a task of the event loop cannot wait for another one in this way: it would wait "
                "for ever. In code written with async def, await the coroutine instead"
            )
        with self._guard:
            if self._ends.is_set():
                raise _closed()
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                held = self._loop, self._ends
                weakref.finalize(self, _stop, *held)
                self._thread = threading.Thread(
                    target=_serve, args=held, name="batchflow-loop", daemon=True
                )
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _look(self, future: Future[Any]) -> None:
        """Refuse to wait for a task of a loop whose thread was given up."""
        if self._is_given_up and not future.done():
            raise _closed()


class PrivateLoop:
    """An event loop without a thread: it runs in the caller's own, while a task is at work.

    Attributes:
        is_closed: Whether it takes no more coroutines.
    """

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._runner: asyncio.Runner | None = None
        self.is_closed = False

    def run(self, coroutine: Task[T]) -> T:
        """Run a coroutine and give its result.

        Raises:
            BatchflowError: An event loop runs in this thread already.
            RunClosedError: The loop has been closed.
            BaseException: What the coroutine raises.
        """
        import asyncio

        error: Exception | None = None
        try:
            if runs_here():
                raise BatchflowError(
                    'executor="serial" cannot run async actions where an event loop runs already, '
                    'as in Jupyter: use executor="threads"'
                )
            with self._turn:
                if self.is_closed:
                    raise _closed()
                if self._runner is None:
                    self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
                    weakref.finalize(self, _end_runner, self._runner)
                context = contextvars.copy_context()
                value, error = self._runner.run(_outcome(coroutine), context=context)
            if error is not None:
                raise error
            return cast(T, value)
        finally:
            coroutine.close()  # one that was refused; another has ended
            error = None  # it holds this frame: no circle

    def close(self, timeout: float = CLOSE_SECONDS) -> bool:  # noqa: ARG002  as EventLoop.close
        """Close the loop. A second call does nothing.

        Returns:
            True: nothing is left.
        """
        with self._turn:
            self.is_closed = True
            if self._runner is not None:
                _end_runner(self._runner)
        return True


async def _outcome(coroutine: Task[Any]) -> tuple[Any, Exception | None]:
    """Return what a coroutine returned, or the error that it raised."""
    # An error that leaves a loop is held by a frame of the loop, which it holds: a circle.
    try:
        return await coroutine, None
    except Exception as error:
        return None, error


def _closed() -> RunClosedError:
    return RunClosedError("the event loop of this run has been closed")


def _serve(loop: asyncio.AbstractEventLoop, ends: threading.Event) -> None:
    """Run the tasks of a loop until it is stopped. Holds no reference to the `EventLoop`."""
    import asyncio

    try:
        while not ends.is_set():
            with suppress(KeyboardInterrupt, SystemExit):  # of a task; who waits for it gets it
                loop.run_forever()
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            _run_whole(loop, asyncio.wait(tasks))
        _run_whole(loop, loop.shutdown_asyncgens())
        _run_whole(loop, loop.shutdown_default_executor())
    finally:
        loop.close()


def _run_whole(loop: asyncio.AbstractEventLoop, coroutine: Task[Any]) -> None:
    """Run a coroutine to its end, also where a stop that was asked for before comes in between."""
    task = loop.create_task(coroutine)
    while not task.done():
        with suppress(RuntimeError):
            loop.run_until_complete(task)


def _stop(loop: asyncio.AbstractEventLoop, ends: threading.Event) -> None:
    if ends.is_set():
        return
    ends.set()
    with suppress(RuntimeError):  # it is closed already
        loop.call_soon_threadsafe(loop.stop)


def _end_runner(runner: asyncio.Runner) -> None:
    try:
        runner.close()
    except RuntimeError:  # garbage-collected in a thread where another loop runs
        runner.get_loop().close()
