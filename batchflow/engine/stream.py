"""Ordered streaming: work on many batches at once, given back in their order.

    tickets ---> [ work, in workers ] ---> a FIFO of futures ---> next batch

Guarantees:
    - Batches come out in the order of their tickets, each exactly once, whatever finishes first.
    - At most `ahead` batches exist that have not been taken.
    - An error comes out at its batch's turn, after all batches before it.
    - However the generator is left (end, error, close), no task starts afterwards; tasks under way
      stop at their next step.
    - What comes out does not depend on `ahead`, on the executor, or on where a batch was made.
    - A batch that has been given away is not held: it goes when the consumer lets it go.

There are no locks, sentinels or service threads: append futures right, take them left.
"""

from __future__ import annotations

from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any

from batchflow.engine.pace import LOOK, Pace
from batchflow.executors.waiting import result_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from concurrent.futures import Executor, Future
    from contextvars import Context

    from batchflow.executors.threads import Borrowed

    # From a ticket, or from a batch of the stage before, to a batch; None when it is skipped.
    Work = Callable[[Any, "Halt"], Any]

    # A batch, and the seconds that it took.
    _Made = tuple[Any, float]


class Halt:
    """A switch that workers look at between steps: when it is on, nobody wants the result."""

    __slots__ = ("is_on",)

    def __init__(self) -> None:
        self.is_on = False


NEVER = Halt()


def in_turn(work: Work, tickets: Iterator[Any], context: Context) -> Generator[Any, None, None]:
    """Work on one batch after the other, in the consumer's thread: what all others must equal."""
    halt = Halt()
    for ticket in tickets:
        made = [context.copy().run(work, ticket, halt)]
        del ticket  # it may be the batch itself
        if made[0] is not None:
            yield made.pop()


def parallel(
    work: Work, tickets: Iterator[Any], context: Context, executor: Executor | Borrowed, ahead: int
) -> Generator[Any, None, None]:
    """Work on up to `ahead` batches that have not been taken yet.

    Args:
        work: The function that is called for each batch.
        tickets: The source batches, or the batches of the stage before. Read in the consumer's
            thread only.
        context: Each task runs in a copy of it.
        executor: Where the tasks run.
        ahead: The most batches that are begun and not taken.

    Yields:
        The batches, in order.
    """
    halt, source, pace = Halt(), _Tickets(tickets), Pace(ahead)
    pending: deque[Future[_Made]] = deque()

    def fill(most: int = ahead) -> float:
        """Hand over as many batches as may be begun now; return the seconds that tickets took."""
        seconds = 0.0
        while pace.hands_over and len(pending) < most:
            start, ticket = perf_counter(), source.take()
            seconds += perf_counter() - start
            if ticket is None:
                break
            pending.append(executor.submit(context.copy().run, _timed, work, ticket, halt))
        return seconds

    try:
        fill(1)
        if pending and _is_quick(pending[0]):
            pace.try_in_turn()
        while True:
            ticket = None if pending or pace.hands_over else source.take()
            start = perf_counter()
            if ticket is not None:
                made = [context.copy().run(work, ticket, halt)]
                seconds = worked = perf_counter() - start
                ticket = None  # it may be the batch itself
            else:
                start += fill()
                if not pending:
                    break
                *made, worked = result_of(pending.popleft())
                start += fill()
                seconds = perf_counter() - start
            pace.record(seconds, worked)
            if made[0] is not None:
                yield made.pop()
        source.check()
    finally:
        halt.is_on = True
        for future in pending:
            future.cancel()


def elsewhere(
    submit: Callable[[Any], Future[Any]],
    collect: Callable[[Any, Future[Any]], Any],
    tickets: Iterator[Any],
    ahead: int,
) -> Generator[Any, None, None]:
    """Let others work on up to `ahead` batches that have not been taken yet.

    Args:
        submit: Hands a ticket over; never waits.
        collect: Waits for what has become of a ticket: the batch; None if it is skipped.
        tickets: As for `parallel`.
        ahead: The most batches that are begun and not taken.
    """
    pending: deque[tuple[Any, Future[Any]]] = deque()
    source = _Tickets(tickets)

    def fill() -> None:
        while len(pending) < ahead and (ticket := source.take()) is not None:
            pending.append((ticket, submit(ticket)))

    try:
        fill()
        while pending:
            made = [collect(*pending.popleft())]
            fill()
            if made[0] is not None:
                yield made.pop()
        source.check()
    finally:
        for _, future in pending:
            future.cancel()


class _Tickets:
    """Takes one ticket after the other. An error of their source waits for its turn."""

    def __init__(self, tickets: Iterator[Any]) -> None:
        self._tickets = tickets
        self._error: Exception | None = None

    def take(self) -> Any:
        """Return the next ticket; None if there is none, or none that could be made."""
        if self._error is not None:
            return None
        try:
            return next(self._tickets, None)
        except Exception as error:  # noqa: BLE001  check() raises it, after the batches before
            self._error = error
            return None

    def check(self) -> None:
        """Raise the error that ended the tickets, if one did."""
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None  # it holds this frame: no circle


def _is_quick(future: Future[_Made]) -> bool:
    try:
        future.exception(LOOK)
    except TimeoutError:
        return False
    return True


def _timed(work: Work, ticket: Any, halt: Halt) -> _Made:
    start = perf_counter()
    batch = None if halt.is_on else work(ticket, halt)
    return batch, perf_counter() - start
