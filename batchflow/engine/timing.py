"""What the steps of a run cost: a recorder that measures calls where they are made.

    measured call ---> record ---> the consumer's thread, or with the result from a worker process

Guarantees:
    - A run that is not profiled has no recorder, and its steps are not wrapped.
    - Measuring takes about `BUDGET` of the time: of quick batches only some are measured, by their
      numbers. What is not measured is counted.
    - Nothing of it shows in the results.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator
from math import ceil
from threading import get_ident
from time import perf_counter
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from batchflow.batch import Batch
from batchflow.batch.items.watching import ItemTimer, cost_of_timing, watched_calls
from batchflow.engine.usage import Reading, bytes_of, peak_memory, reading
from batchflow.engine.waiting import Looks, WaitWatch

BUDGET = 0.005  # of the time; caches that it makes cold come on top
_WINDOW = 0.004  # seconds after which the share that measuring takes is looked at
_GAP = 1e-4  # seconds between calls in which a thread has done something else, or nothing
_FIRST = 60  # calls that are measured, whatever that costs
_DEAREST = 1 << 12  # at least one batch of so many is measured
_ORDERS = 8  # of one of so many measured batches the order is, too
_SIZES = 16  # of one of so many measured calls the size of the batch is looked at


class CallKey(NamedTuple):
    """What is measured.

    Attributes:
        kind: `"step"`; `"source"`: a batch is made, or its items are drawn; `"regrouping"`;
            `"outside"`: what a regrouping waits for; `"work"`: all that is done for a batch ahead.
        name: The name of the step.
        where: Where it was chained.
        place: Which of the steps with the same name and place.
        graph: The seed of the pipeline inside of the run that it belongs to.
    """

    kind: str
    name: str
    where: str = ""
    place: int = 0
    graph: int = 0


class Call(NamedTuple):
    """One measured call. Times are in seconds; those of calls inside of it are in theirs.

    Attributes:
        key: What was called.
        number: The number of the batch.
        start: When it began, by `time.perf_counter`.
        whole: The time that it took, with all calls inside of it.
        wall: The time without these.
        cpu: The CPU time of its thread.
        faults: The page faults of its thread.
        n_bytes: The size of the batch that it returned; -1: not looked at.
        is_ahead: Whether it was part of the work ahead of the ordered section.
        thread: Process and thread.
        delay: How long its thread waited for a CPU.
    """

    key: CallKey
    number: int
    start: float
    whole: float
    wall: float
    cpu: float
    faults: int
    n_bytes: int
    is_ahead: bool
    thread: tuple[int, int]
    delay: float


class ItemCalls(NamedTuple):
    """The calls for items that a step made for one batch: how many, and the cost of one."""

    key: CallKey
    n_items: int
    wall: float
    cpu: float


class Sent(NamedTuple):
    """A result on its way from another process, with what was measured there."""

    made: Any
    calls: list[Call]
    items: list[ItemCalls]
    skipped: list[tuple[CallKey, int]]
    looks: Looks
    n_bytes_peak: int


class Recorder:
    """Measures calls of one run in one process.

    Args:
        name: Tells it from the recorders of other runs; None: a new one.

    Attributes:
        calls: What was measured and has not been taken.
        items: The same of calls for items.
        spent: The seconds that measuring has taken lately.
        peaks: The most memory that each other process has had, in bytes.
        active: By thread, the innermost call that is measured now.
        newest: By pipeline, the number of the source batch that was begun last.
        watch: Looks what the threads of this process wait for.
        is_watched: Whether there are threads that may wait for each other.
    """

    def __init__(self, name: str | None = None) -> None:
        self.calls: deque[Call] = deque()
        self.items: deque[ItemCalls] = deque()
        self.peaks: dict[int, int] = {}
        self.active: dict[int, Frame] = {}
        self.newest: dict[int, int] = {}
        self.watch, self.is_watched = WaitWatch(self.active), False
        self._skipped: dict[CallKey, _Tally] = {}
        self._elsewhere: deque[tuple[CallKey, int]] = deque()
        self._name, self._process = name or os.urandom(8).hex(), os.getpid()
        self._item_cost = cost_of_timing()
        self._stride, self._n_measured = 1, 0
        self.spent, self._since = 0.0, perf_counter()

    def __reduce__(self) -> tuple[Any, ...]:
        return _in_worker, (self._name,)  # there it begins empty

    # ---- what is measured

    def steps_of(self, graph: int) -> Callable[[Any, Callable[..., Any]], Callable[..., Any]]:
        """Return what makes measured calls of the steps of a pipeline, in their order."""
        seen: dict[CallKey, int] = {}

        def timed(step: Any, take: Callable[..., Any]) -> Callable[..., Any]:
            key = CallKey("step", step.name, str(step.where), 0, graph)
            place = seen[key] = seen.get(key, -1) + 1
            return self.measured(key._replace(place=place), take)

        return timed

    def measured(self, key: CallKey, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that makes the same calls and measures them.

        Their first argument is a batch, or several, or a ticket.
        """
        skip = self._tally(key)

        def timed(subject: Any, *args: Any) -> Any:
            number = subject.number or 0 if isinstance(subject, Batch) else 0
            if number % self._stride:
                skip()
                return call(subject, *args)
            return self._measured(key, number, call, (subject, *args))

        return timed

    def reading(self, read: Callable[..., Any], graph: int) -> Callable[..., Any]:
        """Measure what makes batches of positions and facts."""
        key = CallKey("source", "source", graph=graph)
        skip = self._tally(key)

        def timed(positions: Any, facts: dict[str, Any]) -> Any:
            number = facts["number"] or 0
            if number % self._stride:
                skip()
                return read(positions, facts)
            return self._measured(key, number, read, (positions, facts))

        return timed

    def working(self, work: Callable[..., Any], graph: int) -> Callable[..., Any]:
        """Measure the work on tickets, or on regrouped batches."""
        key = CallKey("work", "work", graph=graph)
        skip = self._tally(key)

        def timed(item: Any, halt: Any) -> Any:
            number = item[0] if isinstance(item, tuple) else getattr(item, "number", None) or 0
            if number % self._stride:
                skip()
                return work(item, halt)
            return self._measured(key, number, work, (item, halt))

        return timed

    def drawing(self, tickets: Iterator[Any], graph: int) -> Iterator[Any]:
        """Measure how long tickets take, and note the newest."""
        for ticket in self._iterating(CallKey("source", "order", graph=graph), tickets, _ORDERS):
            self.newest[graph] = ticket[0]
            yield ticket

    def regrouping(self, step: Any, stage: Iterator[Any], graph: int) -> Generator[Any, None, None]:
        """Measure what a regrouping costs; what it waits for is measured by `outside`."""
        key = CallKey("regrouping", step.name, str(step.where), graph=graph)
        return self._iterating(key, stage)

    def outside(self, made: Iterator[Any]) -> Iterator[Any]:
        """Measure the batches that a regrouping takes."""
        return self._iterating(CallKey("outside", "outside"), made)

    def _iterating(
        self, key: CallKey, items: Iterator[Any], each: int = 1
    ) -> Generator[Any, None, None]:
        """Measure what the items of an iterator take to come: one of so many."""
        skip = self._tally(key)
        try:
            for turn in itertools.count():
                if turn % (each * self._stride):
                    skip()
                    made = [next(items, None)]
                else:
                    made = [self._measured(key, turn, next, (items, None))]
                if made[0] is None:
                    return
                yield made.pop()
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def _tally(self, key: CallKey) -> Callable[[], int]:
        return self._skipped.setdefault(key, _Tally()).add

    def _measured(
        self, key: CallKey, number: int, call: Callable[..., Any], args: tuple[Any, ...]
    ) -> Any:
        entered, thread, made = perf_counter(), get_ident(), None
        outer = self.active.get(thread)
        begun = reading() if outer is None else outer.next_reading()
        frame = self.active[thread] = Frame(key, outer, begun)
        token = watched_calls.set(frame.watched) if key.kind == "step" else None
        try:
            made = call(*args)
            return made
        finally:
            left = perf_counter()
            ended = reading() if frame.last is None or frame.last is begun else frame.last
            if outer is None:
                del self.active[thread]
            else:
                self.active[thread] = outer
                outer.add(begun, ended)
            if token is not None:
                watched_calls.reset(token)
            is_sized = number % (_SIZES * self._stride) == 0 and key.kind != "work"
            n_bytes = bytes_of(made) if is_sized and isinstance(made, Batch) else -1
            self.calls.append(frame.call(number, ended, n_bytes, (self._process, thread)))
            if frame.timer is not None and frame.timer.times:
                self.items.append(ItemCalls(key, *frame.timer.summed(self._item_cost)))
            if self.is_watched or frame.timer is not None:
                self.watch.begin()
            self._n_measured += 1
            if outer is None and ended[0] - self._since > _WINDOW and self._n_measured > _FIRST:
                self._adapt(ended[0])
            self.spent += perf_counter() - left + begun[0] - entered

    def _adapt(self, now: float) -> None:
        """Measure more or fewer batches, as measuring has taken less or more than its share."""
        wanted = ceil(self._stride * self.spent / (now - self._since) / BUDGET)
        self._stride = max(min(wanted, _DEAREST), self._stride // 2, 1)
        self._since, self.spent = now, 0.0

    # ---- on its way

    def sent(self, made: Any) -> Sent:
        """Return a result with what was measured, for another process."""
        parts = _taken(self.calls), _taken(self.items), self.skips()
        return Sent(made, *parts, self.watch.taken(), peak_memory())

    def received(self, sent: Any) -> Any:
        """Take what was measured elsewhere; return the result."""
        if not isinstance(sent, Sent):
            return sent
        self.calls.extend(sent.calls)
        self.items.extend(sent.items)
        self._elsewhere.extend(sent.skipped)
        self.watch.looks.add(sent.looks)
        if sent.calls:
            self.peaks[sent.calls[0].thread[0]] = sent.n_bytes_peak
        return sent.made

    def skips(self) -> list[tuple[CallKey, int]]:
        """Return what was called and not measured since the last time, and how often."""
        own = [(key, tally.taken()) for key, tally in [*self._skipped.items()]]
        return [(key, n) for key, n in own if n] + _taken(self._elsewhere)


class _Tally:
    """Counts calls of any number of threads."""

    def __init__(self) -> None:
        count = itertools.count()
        self.add: Callable[[], int] = count.__next__  # nothing is quicker
        self._n_taken = 0

    def taken(self) -> int:
        """Return how many there were since the last time."""
        before, self._n_taken = self._n_taken, self.add() + 1
        return self._n_taken - before - 1


class Frame:
    """A call that is measured now, and what the calls inside of it have cost so far.

    Args:
        key: What is called.
        outer: The call that it is inside of, or None.
        begun: What its thread had used when it began.

    Attributes:
        last: Work is a row of calls: where the last of them has ended, and the next one begins.
            None: it is no such row.
        is_ahead: Whether it is part of the work ahead of the ordered section.
        timer: Times the calls for items; None: there are none.
    """

    __slots__ = ("_begun", "_cpu", "_delay", "_faults", "_wall", "is_ahead", "key", "last", "timer")

    def __init__(self, key: CallKey, outer: Frame | None, begun: Reading) -> None:
        self.key, self._begun = key, begun
        self.is_ahead: bool = key.kind == "work" or (outer is not None and outer.is_ahead)
        self._wall = self._cpu = self._delay = 0.0
        self._faults = 0
        self.last: Reading | None = begun if key.kind == "work" else None
        self.timer: ItemTimer | None = None

    def next_reading(self) -> Reading:
        """Return what its thread has used, where the next call inside begins."""
        if self.last is None:
            return reading()
        (wall, cpu, faults, delay), now = self.last, perf_counter()
        if now - wall > _GAP:
            return reading()
        return now, cpu + (now - wall), faults, delay

    def add(self, begun: Reading, ended: Reading) -> None:
        """Count a call inside of it."""
        self._wall += ended[0] - begun[0]
        self._cpu += ended[1] - begun[1]
        self._faults += ended[2] - begun[2]
        self._delay += ended[3] - begun[3]
        if self.last is not None:
            self.last = ended

    def call(self, number: int, ended: Reading, n_bytes: int, thread: tuple[int, int]) -> Call:
        """Return what was measured, without the calls inside."""
        start, cpu, faults, delay = self._begun
        whole = ended[0] - start
        wall, cpu = whole - self._wall, ended[1] - cpu - self._cpu
        faults, delay = ended[2] - faults - self._faults, ended[3] - delay - self._delay
        return Call(
            self.key, number, start, whole, wall, cpu, faults, n_bytes, self.is_ahead, thread, delay
        )

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function of calls for items, with some of them timed."""
        self.timer = self.timer or ItemTimer()
        return self.timer.watched(function)


def _taken(queue: deque[Any]) -> list[Any]:
    """Take what is in a queue, while other threads may append."""
    return [queue.popleft() for _ in range(len(queue))]


_in_this_process: WeakValueDictionary[str, Recorder] = WeakValueDictionary()


def _in_worker(name: str) -> Recorder:
    """Return the recorder of a run in a worker process: its threads have one in common."""
    recorder = _in_this_process.setdefault(name, Recorder(name))
    recorder.is_watched = True
    return recorder
