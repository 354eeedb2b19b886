"""Ordered streaming: work on many batches at once, given back in their order.

    tickets ---> [ work, in workers ] ---> a FIFO of futures ---> next batch

Guarantees:
    - Batches come out in the order of their tickets, each exactly once, whatever finishes first.
    - At most `ahead` batches exist that have not been taken.
    - An error comes out at its batch's turn, after all batches before it.
    - However the generator is left (end, error, close), no task starts afterwards; tasks under way
      stop at their next step.

There are no locks, sentinels or service threads: append futures right, take them left.
"""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, Future
from time import perf_counter
from typing import NamedTuple

from batchflow.batch import Batch
from batchflow.engine.source import Ticket

__all__ = ["Halt", "Work", "in_turn", "parallel"]


class Halt:
    """A switch that workers look at between steps: when it is on, nobody wants the result."""

    __slots__ = ("is_on",)

    def __init__(self) -> None:
        self.is_on = False


# From a ticket to a batch; None when the batch is skipped.
Work = Callable[[Ticket, Halt], Batch | None]


class _Failure(NamedTuple):
    error: BaseException


class _Group(NamedTuple):
    """What a task gives back: batches in order (None: skipped), the last perhaps a failure."""

    results: list[Batch | _Failure | None]
    seconds_per_batch: float


# A hand-over between threads costs some 50 microseconds, so small batches travel in groups that
# take about this long. None of it shows in the result: only the number of hand-overs changes.
SECONDS_PER_TASK = 2e-4

# For tests: as many batches per task, whatever they cost. 1 forces the most interleavings.
_batches_per_task: int | None = None


def in_turn(
    work: Work, tickets: Iterator[Ticket], context: contextvars.Context
) -> Generator[Batch, None, None]:
    """Work on one batch after the other, in the consumer's thread: what all others must equal."""
    halt = Halt()
    for ticket in tickets:
        batch = context.copy().run(work, ticket, halt)
        if batch is not None:
            yield batch


def parallel(
    work: Work,
    tickets: Iterator[Ticket],
    context: contextvars.Context,
    executor: Executor,
    ahead: int,
) -> Generator[Batch, None, None]:
    """Work on up to `ahead` batches that have not been taken yet.

    Args:
        work: What is done to each batch.
        tickets: The source batches. Read in the consumer's thread only.
        context: Each task runs in a copy of it.
        executor: Where the tasks run.
        ahead: The most batches that are begun and not taken.

    Yields:
        The batches, in order.
    """
    halt = Halt()
    pending: deque[Future[_Group]] = deque()
    source = _Groups(tickets)
    free = ahead  # how many more batches may be begun
    size = _batches_per_task or 1
    seconds = float("inf")

    def fill() -> int:
        """Submit groups while there is room for a whole one; give how many batches they have."""
        begun = 0
        while free - begun >= size and (group := source.take(size)):
            pending.append(executor.submit(context.copy().run, _run_group, work, group, halt))
            begun += len(group)
        return begun

    try:
        free -= fill()
        while pending:
            results, took = pending.popleft().result()
            seconds = min(took, 2 * seconds)
            if _batches_per_task is None:
                size = max(1, min(int(SECONDS_PER_TASK / (seconds + 1e-9)), ahead // 2))
            for result in _taken(results):
                free += 1
                if result is not None:
                    free -= fill()
                    yield result
                    del result
            free -= fill()
        source.check()
    finally:
        halt.is_on = True
        for future in pending:
            future.cancel()


def _taken(results: list[Batch | _Failure | None]) -> Iterator[Batch | None]:
    """Take results out of their list, so that a batch is gone when its consumer drops it."""
    results.reverse()
    while results:
        result = results.pop()
        if isinstance(result, _Failure):
            try:
                raise result.error
            finally:
                del result  # the traceback of the error holds this frame
        yield result
        del result


class _Groups:
    """Takes tickets in groups. An error of their source waits until all before it is delivered."""

    def __init__(self, tickets: Iterator[Ticket]) -> None:
        self._tickets = tickets
        self._error: Exception | None = None

    def take(self, size: int) -> list[Ticket]:
        group: list[Ticket] = []
        try:
            while len(group) < size:
                group.append(next(self._tickets))
        except StopIteration:
            pass
        except Exception as error:  # noqa: BLE001  raised by check(), in its turn
            self._error = self._error or error
        return group

    def check(self) -> None:
        """Raise the error that ended the source, if there was one."""
        if self._error is not None:
            raise self._error


def _run_group(work: Work, tickets: list[Ticket], halt: Halt) -> _Group:
    """Work on a few batches in a worker; an error ends the group."""
    results: list[Batch | _Failure | None] = []
    start = perf_counter()
    for ticket in tickets:
        if halt.is_on:
            break
        try:
            results.append(work(ticket, halt))
        except BaseException as error:  # noqa: BLE001  it travels to the consumer
            results.append(_Failure(error))
            break
    return _Group(results, (perf_counter() - start) / len(tickets))
