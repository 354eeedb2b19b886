"""Calls of one function for the items of a batch: in threads, processes, an event loop, in turn.

Guarantees:
    - Outcomes are in the order of the items, whatever finishes first.
    - Every item is called, whether or not another fails, on every target: what the calls leave in
      the batch does not depend on the target.
    - Nothing of a call is at work when it returns. When a timeout or an interrupt ends it, no item
      begins afterwards; a thread that is at work goes on to the end of its item.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batchflow.batch.items.streams import ItemStreams
from batchflow.batch.writes import collected_writes
from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ItemTimeoutError,
    SkipBatch,
    StopPipeline,
    add_note_once,
    did_you_mean,
)
from batchflow.executors.item_threads import (
    in_this_thread,
    in_threads,
    is_worker,
    refuse_while_unpacking,
)

if TYPE_CHECKING:
    from batchflow.batch.core import BaseBatch

__all__ = ["Call", "Failed", "How", "ItemCalls"]

# The arguments of one call: those by position and those by name.
Call = tuple[Sequence[Any], Mapping[str, Any]]

_TARGETS = {
    "threads": "threads",
    "t": "threads",
    "processes": "processes",
    "p": "processes",
    "mpc": "processes",
    "m": "processes",
    "async": "async",
    "a": "async",
    "for": "for",
    "f": "for",
}
_CANCEL_SECONDS = 1.0  # that tasks have to end when they are cancelled


class Failed:
    """The outcome of a call that raised."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error

    def taken(self) -> Exception:
        """Return the error and forget it.

        An error holds the frames that it went through, and with them what their variables hold. An
        outcome that one of them holds, or a list of outcomes, may therefore not hold the error: it
        would be a circle, in which the batch lives until the garbage collector runs.
        """
        error, self.error = self.error, None  # type: ignore[assignment]
        return error


@dataclass(frozen=True, repr=False, eq=False)
class How:
    """Where calls run.

    Attributes:
        target: `"threads"`, `"processes"`, `"async"` or `"for"`; or an older name of one.
        n_workers: The most calls at work at once; None: as many as the target thinks good.
        timeout: Seconds for all calls together, or None.

    Raises:
        ArgumentTypeError: One of them has the wrong type.
        ArgumentValueError: There is no such target, or a number makes no sense.
    """

    target: str = "threads"
    n_workers: int | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        target, number, seconds = self.target, self.n_workers, self.timeout
        if not isinstance(target, str) or target not in _TARGETS:
            known = ("threads", "processes", "async", "for")
            raise ArgumentValueError(
                f"target is one of {', '.join(map(repr, known))}, got {target!r:.60}."
                f"{did_you_mean(target, known, only_near=True)}"
            )
        object.__setattr__(self, "target", _TARGETS[target])
        if number is not None and (isinstance(number, bool) or not hasattr(number, "__index__")):
            raise ArgumentTypeError(f"n_workers is a whole number or None, got {number!r:.60}")
        if number is not None and number < 1:
            raise ArgumentValueError(f"n_workers must be at least 1, got {number}")
        if seconds is not None and isinstance(seconds, (str, bool)):
            raise ArgumentTypeError(f"timeout is a number of seconds or None, got {seconds!r:.60}")
        if seconds is not None and not seconds > 0:
            raise ArgumentValueError(f"timeout must be more than 0 seconds, got {seconds}")

    def for_function(self, function: Callable[..., Any]) -> How:
        """Give the same, but async for a function that is written with `async def`."""
        if self.target == "async" or not inspect.iscoroutinefunction(function):
            return self
        return How("async", self.n_workers, self.timeout)


@dataclass(repr=False, eq=False)
class ItemCalls:
    """The calls of one function for the items of a batch.

    Attributes:
        batch: The batch.
        name: What to call the function in messages.
        function: The function.
        calls: The arguments of each call.
        takes_batch: Whether the batch is the first argument of each call.
        ids: The ids of the items that the calls are for; None where they are for no single item.
        wrapper: What the function is the `__wrapped__` of, or None. Where a decorator has taken the
            function's place, worker processes find the function by way of what is there now.
        asked: What the function has asked for in worker processes so far: next time it goes along.
        keeps_results: Whether anybody wants what the function returns.
    """

    batch: BaseBatch
    name: str
    function: Callable[..., Any]
    calls: list[Call] = field(default_factory=list)
    takes_batch: bool = True
    ids: list[Any] | None = None
    wrapper: Any = None
    asked: set[Any] = field(default_factory=set)
    keeps_results: bool = True

    def run(self, how: How) -> list[Any]:
        """Make the calls.

        Returns:
            What each call returned, or `Failed`.

        Raises:
            ItemTimeoutError: (a `TimeoutError`) They were not finished in time.
        """
        try:
            if how.target == "async":
                with collected_writes(self.batch):
                    return self._in_loop(how)
            if how.target == "processes":
                refuse_while_unpacking()
            if how.target == "processes" and not is_worker():
                from batchflow.batch.items.remote import (
                    call_in_processes,  # an extra: only where used
                )

                return call_in_processes(self, how)
            with collected_writes(self.batch):
                return self._in_threads(how)
        except ItemTimeoutError as error:
            raise self._timeout_error(how, error.unfinished) from None

    def results(self, outcomes: list[Any]) -> list[Any]:
        """Return what the calls returned. The list is emptied if one has failed.

        Raises:
            Exception: What the first call that failed, in the order of the items, has raised.
        """
        for position, outcome in enumerate(outcomes):
            if isinstance(outcome, Failed):
                outcomes.clear()  # see Failed.taken
                raise self.explained(position, outcome.taken())
        return outcomes

    def results_and_errors(self, outcomes: list[Any]) -> list[Any]:
        """Return what the calls returned, or raised. The given list is emptied.

        Raises:
            SkipBatch: A call raised it.
            StopPipeline: A call raised it.
        """
        given = outcomes.copy()
        outcomes.clear()  # see Failed.taken
        for outcome in given:
            if isinstance(outcome, Failed) and isinstance(outcome.error, (SkipBatch, StopPipeline)):
                given.clear()
                raise outcome.taken()
        return [
            self.explained(position, outcome.taken()) if isinstance(outcome, Failed) else outcome
            for position, outcome in enumerate(given)
        ]

    def explained(self, position: int, error: Exception) -> Exception:
        """Add a note to the error of a call, which says for which item it was."""
        if not isinstance(error, (SkipBatch, StopPipeline)):
            add_note_once(error, f"in the call of {self.name}() {self.place(position)}")
        return error

    def place(self, position: int) -> str:
        """Say for which item a call is."""
        if self.ids is not None:
            return f"for the item with the id {self.ids[position]!r}"
        return f"number {position} of {len(self.calls)}"

    def _timeout_error(self, how: How, unfinished: Sequence[int]) -> ItemTimeoutError:
        shown = [i if self.ids is None else self.ids[i] for i in unfinished[:10]]
        which = "the calls number" if self.ids is None else "the items with the ids"
        dots = ", ..." if len(unfinished) > 10 else ""
        return ItemTimeoutError(
            f"{self.name}(): {len(unfinished)} of {len(self.calls)} calls were not finished after "
            f"timeout={how.timeout} seconds: {which} [{', '.join(map(repr, shown))}{dots}]",
            unfinished,
        )

    def _first(self) -> tuple[Any, ...]:
        return (self.batch,) if self.takes_batch else ()

    def _in_threads(self, how: How) -> list[Any]:
        function, first, calls = self.function, self._first(), self.calls
        enter = ItemStreams(self.batch).enter
        outcomes: list[Any] = [None] * len(calls)

        def work(position: int) -> None:
            enter(position)
            args, kwargs = calls[position]
            try:
                outcomes[position] = function(*first, *args, **kwargs)
            except Exception as error:  # noqa: BLE001  an outcome: the caller raises it
                outcomes[position] = Failed(error)

        if how.target in ("for", "processes"):  # in a worker process, work is done in place
            in_this_thread(work, len(calls), how.timeout)
        else:
            in_threads(work, len(calls), n_workers=how.n_workers, timeout=how.timeout)
        return outcomes

    def _in_loop(self, how: How) -> list[Any]:
        """Make the calls as tasks of the run's event loop, or of one for them alone."""
        from batchflow.executors.loop import EventLoop, PrivateLoop, runs_here

        shared = getattr(self.batch, "_loop", None)
        if shared is not None and not shared.is_closed:
            outcomes: list[Any] = shared.run(self._as_tasks(how))
            return outcomes
        own = EventLoop() if runs_here() else PrivateLoop()
        try:
            return own.run(self._as_tasks(how))
        finally:
            own.close(_CANCEL_SECONDS)

    async def _as_tasks(self, how: How) -> list[Any]:
        import asyncio

        first, streams = self._first(), ItemStreams(self.batch)
        seats = asyncio.Semaphore(how.n_workers or max(1, len(self.calls)))

        async def work(position: int) -> Any:
            async with seats:
                streams.enter(position)
                args, kwargs = self.calls[position]
                try:
                    result = self.function(*first, *args, **kwargs)
                    return await result if inspect.isawaitable(result) else result
                except Exception as error:  # noqa: BLE001  an outcome: the caller raises it
                    return Failed(error)

        tasks = [asyncio.ensure_future(work(i)) for i in range(len(self.calls))]
        try:
            if tasks:
                await asyncio.wait(tasks, timeout=how.timeout)
            unfinished = [i for i, task in enumerate(tasks) if not task.done()]
            if unfinished:
                raise ItemTimeoutError("", unfinished)
            return [task.result() for task in tasks]
        finally:
            left = [task for task in tasks if task.cancel()]
            if left:
                await asyncio.wait(left, timeout=_CANCEL_SECONDS)
