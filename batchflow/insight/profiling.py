"""Watches a run and sums up what its steps cost, in the consumer's thread."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from batchflow.batch import Batch
from batchflow.counts import checked_count
from batchflow.engine.timing import Call, CallKey, ItemCalls, Recorder
from batchflow.engine.usage import peak_memory, run_delay
from batchflow.errors import ArgumentTypeError
from batchflow.insight.costs import StepCost, Totals
from batchflow.insight.profile import Profile

if TYPE_CHECKING:
    from batchflow.engine import Run, RunOptions

T = TypeVar("T")

_KEPT = 2048  # calls of each step, for the middle and the 95th percentile
_TRACED = 20_000  # calls for the trace
_TOGETHER = 256  # calls that are summed up at once
_NAMES = "wall", "cpu", "faults", "delay", "is_ahead", "n_bytes", "thread"
_WALL, _CPU, _FAULTS, _DELAY, _AHEAD, _BYTES, _THREAD = map(Call._fields.index, _NAMES)
_FEW = 3  # batches that are not enough to leave the first one out


def profiled(
    pipeline: Any, n_batches: int, batch_size: int | None, options: Mapping[str, Any]
) -> Profile:
    """Run a pipeline for some batches, and return where the time went."""
    n_batches = checked_count("n_batches", n_batches)
    for name in ("n_iters", "profile"):
        if name in options:
            raise ArgumentTypeError(f"profile() takes n_batches, and no {name}")
    run = pipeline.gen_batch(
        batch_size, **{"n_epochs": None, **options}, n_iters=n_batches, profile=True
    )
    with run:
        run._exhaust()
    profile: Profile = pipeline._state.profiler.profile
    return profile


class _Sum:
    """The calls of one step so far."""

    def __init__(self) -> None:
        self.n_calls = self.n_measured = self.n_bytes = self.n_sizes = self.n_faults = (
            self.n_ahead
        ) = 0
        self.wall = self.cpu = self.delay = 0.0
        self.calls: deque[Call] = deque(maxlen=_KEPT)
        self.items: deque[ItemCalls] = deque(maxlen=_KEPT)
        self.threads: dict[tuple[int, int], None] = {}

    def add(self, calls: list[Call]) -> None:
        columns = [*zip(*calls, strict=True)]
        self.n_calls += len(calls)
        self.n_measured += len(calls)
        self.wall += sum(columns[_WALL])
        self.cpu += sum(columns[_CPU])
        self.n_faults += sum(columns[_FAULTS])
        self.delay += sum(columns[_DELAY])
        self.n_ahead += sum(columns[_AHEAD])
        sizes = [n_bytes for n_bytes in columns[_BYTES] if n_bytes >= 0]
        self.n_bytes += sum(sizes)
        self.n_sizes += len(sizes)
        self.calls.extend(calls)
        self.threads.update(dict.fromkeys(columns[_THREAD]))


class Profiler:
    """Watches a run: see `Observer`.

    Args:
        options: Those of the run.
    """

    def __init__(self, options: RunOptions) -> None:
        self.recorder = Recorder()
        self.recorder.is_watched = bool(options.prefetch) and not options.is_far
        self._options = options
        self._sums: defaultdict[CallKey, _Sum] = defaultdict(_Sum)
        self._traced: deque[Call] = deque(maxlen=_TRACED)
        self._consumed: deque[tuple[float, float]] = deque(maxlen=_TRACED)
        self._consumers: dict[tuple[int, int], None] = {}  # the threads that have read the run
        self._reader = 0  # the latest of them
        self._main = 0  # the seed of the run: that of the outermost pipeline
        self._n_batches = self._n_live = 0
        self._waited = self._used = 0.0
        self._begun = self._now = 0.0
        # When it was given, the time waited by then, and that for a CPU.
        self._first: tuple[float, float, float] | None = None
        self._delay = 0.0
        self._given_at: float | None = None
        self._profile: Profile | None = None

    def open(self, run: Run) -> None:
        """Begin with a run that has not begun."""
        self._main = run.seed

    def watch(self, made: Iterator[T]) -> Iterator[T]:
        """Pass batches on, and measure how long each was waited for."""
        clock = time.perf_counter
        self._begun = self._begun or clock()
        while True:
            start = clock()
            if self._given_at is not None:
                self._consumer_was_busy(start)
            if threading.get_ident() != self._reader:
                self._reader = threading.get_ident()
                self._consumers[os.getpid(), self._reader] = None
            held = [next(made, None)]
            self._waited += clock() - start
            batch = held[0]
            if batch is None:
                return
            newest = self.recorder.newest.get(self._main, -1)
            if isinstance(batch, Batch):
                number = batch.number or 0
                if batch._sources is not None:
                    number = max(batch.source_numbers, default=newest)
                if newest - number >= self._n_live:
                    self._n_live = newest - number + 1
            del batch
            yield held.pop()  # type: ignore[misc]

    def _consumer_was_busy(self, now: float) -> None:
        if self._given_at is not None:
            self._used += now - self._given_at
            self._consumed.append((self._given_at, now - self._given_at))
            self._given_at = None

    def delivered(self, batch: Batch) -> None:  # noqa: ARG002  as every observer
        """Record a batch that goes to the consumer."""
        now = time.perf_counter()
        if self._given_at is not None:
            self._consumer_was_busy(now)
        self._n_batches += 1
        if len(self.recorder.calls) > _TOGETHER:
            self._take()
            now = time.perf_counter()
        if self._n_batches % 16 == 1:
            self._delay = run_delay()
        self._now = self._given_at = now
        if self._first is None:
            self._first = self._now, self._waited, self._delay

    def closed(self) -> None:
        """Record the end."""
        self.recorder.watch.close()
        self._now = time.perf_counter()
        if threading.get_ident() == self._reader:
            self._delay = run_delay()
        self._consumer_was_busy(self._now)
        self._take()
        self._profile = self.profile
        self._sums.clear()

    def _take(self) -> None:
        """Sum up what was measured since the last time."""
        start, recorder, sums = time.perf_counter(), self.recorder, self._sums
        calls = [recorder.calls.popleft() for _ in range(len(recorder.calls))]
        by_key: defaultdict[CallKey, list[Call]] = defaultdict(list)
        for call in calls:
            by_key[call[0]].append(call)
        for key, own in by_key.items():
            sums[key].add(own)
        self._traced.extend(calls)
        for key, n in recorder.skips():
            sums[key].n_calls += n
        for _ in range(len(recorder.items)):
            items = recorder.items.popleft()
            sums[items.key].items.append(items)
        recorder.spent += time.perf_counter() - start

    @property
    def profile(self) -> Profile:
        """What was found so far."""
        if self._profile is not None:
            return self._profile
        self._take()
        began, waited, n_batches, delay = self._begun, self._waited, self._n_batches, self._delay
        if self._first is not None and n_batches >= _FEW:  # the start of workers is left out
            began, waited, n_batches = self._first[0], waited - self._first[1], n_batches - 1
            delay -= self._first[2]
        totals = Totals(
            n_batches=n_batches,
            elapsed=max(self._now - began, 0.0),
            waited=max(waited, 0.0),
            consumer=self._used,
            delay=delay if self._first is not None and len(self._consumers) == 1 else 0.0,
            n_live=self._n_live,
            memory=peak_memory() + sum(self.recorder.peaks.values()),
            prefetch=self._options.prefetch,
            n_workers=self._options.n_workers,
            is_far=bool(self._options.prefetch) and self._options.is_far,
            consumers=tuple(self._consumers),
            share_late=self.recorder.watch.looks.share_late,
        )
        keys = [key for key in self._sums if key.kind != "outside"]
        costs = [self._cost(key, self._sums[key]) for key in keys]
        return Profile(totals, costs, [*self._traced], [*self._consumed])

    def _cost(self, key: CallKey, own: _Sum) -> StepCost:
        latest = [*own.calls]
        awake = sorted(max(c.wall - c.delay, 0.0) for c in latest[1:] or latest) or [0.0]
        usual = awake[: len(awake) - len(awake) // 20]
        cpus = sorted(call.cpu for call in latest) or [0.0]
        walls = sorted(call.wall for call in latest) or [0.0]
        busy = _busy(latest) if key.kind == "work" else 0.0
        busy = min(busy * own.n_calls / max(own.n_measured, 1), 1.0)
        faults = sorted(call.faults for call in own.calls) or [0]
        items = sorted(part.n_items * part.cpu for part in own.items) or [0.0]
        n = max(own.n_measured, 1)
        return StepCost(
            key=key,
            n_calls=own.n_calls,
            is_ahead=own.n_ahead * 2 > own.n_measured,
            is_nested=key.graph not in (0, self._main),
            mean=own.wall / n,
            usual=sum(usual) / len(usual),
            p95=walls[min(int(len(walls) * 0.95), len(walls) - 1)],
            cpu=own.cpu / n,
            median_cpu=cpus[len(cpus) // 2],
            delay=own.delay / n,
            n_bytes=own.n_bytes // max(own.n_sizes, 1),
            n_faults=own.n_faults // n,
            middle_faults=faults[len(faults) // 2],
            threads=tuple(own.threads),
            busy=busy,
            median=awake[len(awake) // 2],
            least=awake[len(awake) // 4],
            of_items=items[len(items) // 2],
            waiting_items=sum(p.wall > 3 * p.cpu + 2e-5 for p in own.items) * 2 > len(own.items),
            n_of_items=len(own.items),
            share_locked=self.recorder.watch.looks.share_locked(key),
            first=min((call.start for call in latest), default=0.0),
            in_turn=sum(c.thread in self._consumers for c in latest) / max(len(latest), 1),
        )


def _busy(calls: list[Call]) -> float:
    """Return which share of its time a worker was at work, from its first call to its last."""
    by_thread: dict[tuple[int, int], list[Call]] = {}
    for call in calls:
        by_thread.setdefault(call.thread, []).append(call)
    spans = working = 0.0
    for own in by_thread.values():
        if len(own) > 1:  # from the end of the first call to the end of the last
            spans += own[-1].start + own[-1].whole - own[0].start - own[0].whole
            working += sum(call.whole for call in own[1:])
    return working / spans if spans else 1.0
