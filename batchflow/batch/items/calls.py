"""The calls of one function for the items of a batch, and their outcomes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from batchflow.counts import checked_count
from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    ItemTimeoutError,
    SkipBatch,
    StopPipeline,
    add_note_once,
    did_you_mean,
)
from batchflow.records import Record

if TYPE_CHECKING:
    from batchflow.batch.core import BaseBatch
    from batchflow.batch.items.stacked import Stacked

# The arguments of one call: those by position and those by name.
Call = tuple[Sequence[Any], Mapping[str, Any]]

_KINDS = ("threads", "processes", "async", "for")
_KIND_OF = {kind[0]: kind for kind in _KINDS} | {"mpc": "processes", "m": "processes"}


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


class Target(Record):
    """Where calls run. Nonsense is refused."""

    kind: str = "threads"  # or "processes", "async", "for"; or an older name of one
    n_workers: int | None = None  # the most calls at work at once, as the target thinks good
    timeout: float | None = None  # seconds for all calls together

    def __post_init__(self) -> None:
        kind, number, seconds = self.kind, self.n_workers, self.timeout
        if not isinstance(kind, str) or (known := _KIND_OF.get(kind, kind)) not in _KINDS:
            raise ArgumentValueError(
                f"target is one of {', '.join(map(repr, _KINDS))}, got {kind!r:.60}."
                f"{did_you_mean(kind, _KINDS, only_near=True)}"
            )
        object.__setattr__(self, "kind", known)
        if number is not None:
            checked_count("n_workers", number)
        if seconds is not None and isinstance(seconds, (str, bool)):
            raise ArgumentTypeError(f"timeout is a number of seconds or None, got {seconds!r:.60}")
        if seconds is not None and not seconds > 0:
            raise ArgumentValueError(f"timeout must be more than 0 seconds, got {seconds}")

    def for_function(self, function: Callable[..., Any]) -> Target:
        """Return the same target, but async for a function that is written with `async def`."""
        if self.kind == "async" or not inspect.iscoroutinefunction(function):
            return self
        return Target("async", self.n_workers, self.timeout)


@dataclass(repr=False, eq=False)
class ItemCalls:
    """The calls of one function for the items of a batch."""

    batch: BaseBatch
    name: str  # of the function in messages
    function: Callable[..., Any]
    calls: list[Call] = field(default_factory=list)
    takes_batch: bool = True  # as the first argument of each call
    ids: list[Any] | None = None  # of the items; None where the calls are for no single item
    # What the function is the `__wrapped__` of, or None. Where a decorator has taken the function's
    # place, worker processes find the function by its wrapper.
    wrapper: Any = None
    keeps_results: bool = True
    gives_items: bool = False  # whether each call is given an `Item` that no other call has
    # Where the results are put together while the calls are made; None: they are kept as they are.
    stacked: Stacked | None = None

    @property
    def first(self) -> tuple[Any, ...]:
        """The arguments that come before those of each call."""
        return (self.batch,) if self.takes_batch else ()

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
        """Return the words that say for which item a call is."""
        if self.ids is not None:
            return f"for the item with the id {self.ids[position]!r}"
        return f"number {position} of {len(self.calls)}"

    def timeout_error(self, target: Target, unfinished: Sequence[int]) -> ItemTimeoutError:
        """Return the error that says which calls were not finished in time."""
        shown = [i if self.ids is None else self.ids[i] for i in unfinished[:10]]
        which = "the calls number" if self.ids is None else "the items with the ids"
        dots = ", ..." if len(unfinished) > 10 else ""
        return ItemTimeoutError(
            f"{self.name}(): {len(unfinished)} of {len(self.calls)} calls were not finished after "
            f"timeout={target.timeout} seconds: {which} [{', '.join(map(repr, shown))}{dots}]",
            unfinished,
        )
