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
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from math import ceil
from threading import get_ident
from time import perf_counter
from typing import Any, NamedTuple

from batchflow.batch import Batch
from batchflow.engine.usage import bytes_of, peak_memory, run_delay, usage

BUDGET = 0.008  # of the time; caches that it makes cold come on top
_WINDOW = 0.01  # seconds after which the share that measuring takes is looked at
_DEAREST = 1 << 12  # at least one batch of so many is measured
_ITEMS = 8  # one of so many items is timed
_SIZES = 4  # the size of one of so many batches is looked at


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
    skipped: list[CallKey]
    n_bytes_peak: int


class Recorder:
    """Measures calls of one run in one process.

    Attributes:
        calls: What was measured and has not been taken.
        items: The same of calls for items.
        skipped: What was called and not measured.
        peaks: The most memory that each other process has had, in bytes.
        active: By thread, the innermost call that is measured now.
        newest: By pipeline, the number of the source batch that was begun last.
    """

    def __init__(self) -> None:
        self.calls: deque[Call] = deque()
        self.items: deque[ItemCalls] = deque()
        self.skipped: deque[CallKey] = deque()
        self.peaks: dict[int, int] = {}
        self.active: dict[int, list[Any]] = {}
        self.newest: dict[int, int] = {}
        self._stride = 1
        self._since, self._n_new = perf_counter(), 0
        self.cost = self._own_cost()
        self._item_cost = _cost_of_timing()

    def __reduce__(self) -> tuple[Any, ...]:
        return Recorder, ()  # in a worker process it begins empty

    def _own_cost(self) -> float:
        """Return the seconds that it takes to measure one call."""
        key, costs = CallKey("work", ""), []
        for _ in range(16):
            start = perf_counter()
            self._measured(key, 0, int, ())
            costs.append(perf_counter() - start)
        self.calls.clear()
        return min(costs)  # the others may have been interrupted

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
        skipped = self.skipped

        def timed(subject: Any, *args: Any) -> Any:
            number = subject.number or 0 if isinstance(subject, Batch) else 0
            if number % self._stride:
                skipped.append(key)
                return call(subject, *args)
            return self._measured(key, number, call, (subject, *args))

        return timed

    def reading(self, read: Callable[..., Any], graph: int) -> Callable[..., Any]:
        """Measure what makes batches of positions and facts."""
        key = CallKey("source", "source", graph=graph)

        def timed(positions: Any, facts: dict[str, Any]) -> Any:
            number = facts["number"] or 0
            if number % self._stride:
                self.skipped.append(key)
                return read(positions, facts)
            return self._measured(key, number, read, (positions, facts))

        return timed

    def working(self, work: Callable[..., Any], graph: int) -> Callable[..., Any]:
        """Measure the work on tickets, or on regrouped batches."""
        key = CallKey("work", "work", graph=graph)

        def timed(item: Any, halt: Any) -> Any:
            number = (item.number or 0) if isinstance(item, Batch) else _number(item)
            if number % self._stride:
                self.skipped.append(key)
                return work(item, halt)
            return self._measured(key, number, work, (item, halt))

        return timed

    def drawing(self, tickets: Iterator[Any], graph: int) -> Iterator[Any]:
        """Measure how long tickets take, and note the newest."""
        for ticket in self._iterating(CallKey("source", "order", graph=graph), tickets):
            self.newest[graph] = ticket[0]
            yield ticket

    def regrouping(self, step: Any, stage: Iterator[Any], graph: int) -> Generator[Any, None, None]:
        """Measure what a regrouping costs; what it waits for is measured by `outside`."""
        key = CallKey("regrouping", step.name, str(step.where), graph=graph)
        return self._iterating(key, stage)

    def outside(self, made: Iterator[Any]) -> Iterator[Any]:
        """Measure the batches that a regrouping takes."""
        return self._iterating(CallKey("outside", "outside"), made)

    def _iterating(self, key: CallKey, items: Iterator[Any]) -> Generator[Any, None, None]:
        """Measure what the items of an iterator take to come."""
        try:
            for turn in itertools.count():
                if turn % self._stride:
                    self.skipped.append(key)
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

    def _measured(
        self, key: CallKey, number: int, call: Callable[..., Any], args: tuple[Any, ...]
    ) -> Any:
        active, thread, is_work = self.active, get_ident(), key.kind == "work"
        outer = active.get(thread)
        is_ahead = is_work or (outer is not None and outer[4])
        frame: list[Any] = [key, 0.0, 0.0, 0, is_ahead, 0.0]
        active[thread] = frame
        n_bytes, delay, (cpu, faults), start = -1, run_delay(), usage(), perf_counter()
        try:
            made = call(*args) if key.kind != "step" else self._with_items(key, call, args)
            if number % _SIZES == 0 and not is_work and isinstance(made, Batch):
                n_bytes = bytes_of(made)
            return made
        finally:
            whole, (cpu_after, faults_after) = perf_counter() - start, usage()
            cpu, faults, delay = cpu_after - cpu, faults_after - faults, run_delay() - delay
            if outer is None:
                active.pop(thread, None)
            else:
                active[thread] = outer
                outer[1] += whole
                outer[2] += cpu
                outer[3] += faults
                outer[5] += delay
            at, delay = (os.getpid(), thread), delay - frame[5]
            wall, cpu, faults = whole - frame[1], cpu - frame[2], faults - frame[3]
            self.calls.append(
                Call(key, number, start, whole, wall, cpu, faults, n_bytes, is_ahead, at, delay)
            )

    def _with_items(self, key: CallKey, call: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Make a call, and measure some of those that it makes for the items of the batch."""
        from batchflow.batch.items.watching import watched_calls  # on use, for a light import

        timer = _ItemTimer()
        token = watched_calls.set(timer.watched)
        try:
            return call(*args)
        finally:
            watched_calls.reset(token)
            if timer.times:
                n_items, middle = next(timer.count), len(timer.times) // 2
                wall, cpu = (sorted(part)[middle] for part in zip(*timer.times, strict=True))
                wall, cpu = max(wall - self._item_cost[0], 0.0), max(cpu - self._item_cost[1], 0.0)
                self.items.append(ItemCalls(key, n_items, wall, cpu))

    # ---- on its way

    def sent(self, made: Any) -> Sent:
        """Return a result with what was measured, for another process."""
        calls, items = _taken(self.calls), _taken(self.items)
        skipped = _taken(self.skipped)
        self.adapt(len(calls))
        return Sent(made, calls, items, skipped, peak_memory())

    def received(self, sent: Any) -> Any:
        """Take what was measured elsewhere; return the result."""
        if not isinstance(sent, Sent):
            return sent
        self.calls.extend(sent.calls)
        self.items.extend(sent.items)
        self.skipped.extend(sent.skipped)
        if sent.calls:
            self.peaks[sent.calls[0].thread[0]] = sent.n_bytes_peak
        return sent.made

    def adapt(self, n_calls: int) -> None:
        """Measure more or fewer batches, after `n_calls` more measured calls."""
        self._n_new += n_calls
        elapsed = perf_counter() - self._since
        if elapsed < _WINDOW:
            return
        share = self._n_new * self.cost / elapsed
        wanted = ceil(self._stride * share / BUDGET)
        self._stride = max(min(wanted, _DEAREST), self._stride // 2, 1)
        self._since, self._n_new = perf_counter(), 0


class _ItemTimer:
    """Times some of the calls for the items of a batch."""

    def __init__(self) -> None:
        self.count = itertools.count()
        self.times: deque[tuple[float, float]] = deque()

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, with every eighth call timed."""
        count, times = self.count, self.times

        def timed(*args: Any, **kwargs: Any) -> Any:
            if next(count) % _ITEMS:
                return function(*args, **kwargs)
            start, cpu = perf_counter(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                times.append((perf_counter() - start, time.thread_time() - cpu))

        return timed


def _cost_of_timing() -> tuple[float, float]:
    """Return what the timing of a call for an item adds to it: wall and CPU seconds."""
    timer = _ItemTimer()
    call = timer.watched(int)
    for _ in range(8 * _ITEMS):
        call()
    walls, cpus = zip(*timer.times, strict=True)
    return min(walls), min(cpus)


def _number(item: Any) -> int:
    return int(item[0]) if isinstance(item, tuple) else 0  # of a ticket; or the end of an epoch


def _taken(queue: deque[Any]) -> list[Any]:
    """Take what is in a queue, while other threads may append."""
    return [queue.popleft() for _ in range(len(queue))]
