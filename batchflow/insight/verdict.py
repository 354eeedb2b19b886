"""Names the bottleneck of a run, from shares of its time: they hold on a busy machine, too.

What decides is which share of the time the next batch was waited for, and what the workers did
meanwhile: worked, waited for a CPU, for a lock, for the interpreter, for the disk, or for something
to do. Absolute times decide nothing, but what a batch costs at all decides what is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import ceil

from batchflow.allocator import seconds_of_a_fault
from batchflow.executors.item_threads import cpu_count
from batchflow.insight.costs import StepCost, Totals

_FEW = 3  # batches that tell nothing
_WAITS = 0.15  # less is no waiting to speak of
_IDLE = 0.6  # workers that work less are kept from it
_FAULTS = 0.4  # of a step whose page faults are its bottleneck, as one call makes an end of them
_SMALL = 2e-4  # seconds of steps for a batch that may cost less than its way
_TINY = 5e-5  # the same: that does
_BIG = 200_000  # bytes of a batch whose way costs more than handing over
_MOST = 0.5  # of the work ahead: who takes more is the one
_LIMITS = 0.7  # of the time, where nothing is waited for: the same

Found = tuple[str | None, str]


def judge(totals: Totals, costs: Sequence[StepCost]) -> Found:
    """Return the bottleneck and a verdict in words."""
    if totals.n_batches < _FEW or totals.elapsed <= 0:
        return None, f"{totals.n_batches} batches tell nothing: profile more of them"
    return _Judge(totals, costs).found()


class _Judge:
    """The figures of a run, by batch, and the rules."""

    def __init__(self, totals: Totals, costs: Sequence[StepCost]) -> None:
        self.totals = totals
        self.period = max(totals.elapsed - totals.delay, 1e-9) / totals.n_batches
        self.waits = min(totals.waited / totals.elapsed, 1.0)
        self.consumer = min(totals.consumer / totals.elapsed, 1.0)
        self.work = [cost for cost in costs if cost.key.kind == "work"]
        n_calls = max((cost.n_calls for cost in self.work), default=0)
        # By batch that comes out. The first batches were made before the time begins to count.
        self.scale = totals.n_batches / n_calls if n_calls else 1.0
        own = [cost for cost in costs if cost.key.kind in ("step", "source", "regrouping")]
        self.ahead = [cost for cost in own if cost.is_ahead or cost.key.kind == "source"]
        self.ordered = [cost for cost in own if cost not in self.ahead]

    def by_batch(self, cost: StepCost, value: float | None = None) -> float:
        """Return what a step costs by batch that comes out."""
        value = cost.usual if value is None else value
        return value * cost.n_calls * self.scale / self.totals.n_batches

    @cached_property
    def making(self) -> float:
        """The seconds of work ahead for a batch, in all steps together."""
        return sum(map(self.by_batch, self.ahead))

    @cached_property
    def own(self) -> float:
        """Which share of the time the ordered steps and the consumer took."""
        ordered = sum(map(self.by_batch, self.ordered)) / self.period
        return min(self.consumer + ordered, 1.0)

    @cached_property
    def in_turn(self) -> bool:
        """Whether batches were made in the consumer's thread."""
        n = sum(cost.n_calls for cost in self.work) or 1
        return sum(cost.in_turn * cost.n_calls for cost in self.work) > _MOST * n

    @cached_property
    def top(self) -> StepCost | None:
        """The step ahead that costs most."""
        return max(self.ahead, key=self.by_batch, default=None)

    @cached_property
    def busy(self) -> float:
        """Which share of the time the workers were at work, without waiting for a CPU."""
        n = sum(cost.n_calls for cost in self.work) or 1
        busy = sum(cost.busy * cost.n_calls for cost in self.work) / n
        busy *= (1 - self.delay) / max(1 - self.delay * busy, 1e-9)
        if self.totals.is_far:
            return busy
        seen = len({thread for cost in self.work for thread in cost.threads})
        return busy * min(seen / self.totals.n_workers, 1.0)

    @cached_property
    def delay(self) -> float:
        """Which share of the time of the work ahead it waited for a CPU."""
        parts = [*self.work, *self.ahead]
        whole = sum(cost.mean * cost.n_calls for cost in parts)
        return sum(cost.delay * cost.n_calls for cost in parts) / whole if whole else 0.0

    def share(self, cost: StepCost) -> float:
        """Return which share of the work ahead a step takes."""
        return self.by_batch(cost) / self.making if self.making else 0.0

    def taken(self, cost: StepCost) -> float:
        """Return which share of the time an ordered step takes."""
        return min(self.by_batch(cost) / self.period, 1.0)

    # ---- the rules

    def found(self) -> Found:
        """Return the bottleneck and the verdict."""
        is_used = max([self.consumer, *map(self.taken, self.ordered)]) > _LIMITS
        waits = self.waits >= _WAITS and not is_used
        name, words = self._waiting() if waits else self._keeping_up()
        return name, words + self._remarks(name)

    def _waiting(self) -> Found:
        head = f"the next batch is waited for {self.waits:.0%} of the time: "
        top = self.top
        if top is None:
            return "overhead", head + "the pipeline has nothing to do for a batch"
        rules = [self._items, self._tiny, self._unmade, self._locked, self._interpreter]
        rules += [self._faulting, self._idle]
        for rule in rules:
            if (found := rule(top)) is not None:
                return found[0], head + found[1]
        return self._named(top), head + self._slowest(top)

    def _items(self, top: StepCost) -> Found | None:
        """Calls for items that cost more than the items."""
        if not _dispatches(top) or self.share(top) < _MOST:
            return None
        return "overhead", self._of_items(top)

    def _of_items(self, top: StepCost) -> str:
        return (
            f"{top.name} takes {time_of(top.usual)} for a batch, and the calls for its items "
            f"{time_of(top.of_items)} of that; the rest is the cost of calling. Work on the "
            "whole batch in one action, or on several items in one call"
        )

    def _tiny(self, _: StepCost) -> Found | None:
        """Batches that cost less than their way."""
        steps = [cost for cost in self.ahead if cost.key.kind != "source"]
        # The least: on a busy machine quick steps take many times as long as they need.
        least = sum(self.by_batch(c, max(c.least, c.median_cpu)) for c in steps)
        making = sum(self.by_batch(cost, cost.median) for cost in self.ahead)
        waited = self.waits * self.period
        if self.in_turn:  # what all batches took is surer than what some of them took
            least = min(least, waited)
        if self.totals.is_far or least > _SMALL or min(making, waited) > 10 * _SMALL:
            return None
        rest = waited - (making if self.in_turn else 0.0)
        is_most = rest > 0.4 * self.period or making > waited
        if least > _TINY and not is_most:
            return None
        return "overhead", (
            f"a batch is {time_of(making)} of work and comes every {time_of(self.period)}; "
            "making and passing on a batch at all is the rest. Larger batches are the cure"
        )

    def _unmade(self, _: StepCost) -> Found | None:
        """Nothing, or only one batch, is made ahead."""
        if self.totals.prefetch > 1 or self.own < 0.25:
            return None
        hidden = min(self.waits, self.own)
        return "prefetch", (
            f"prefetch={self.totals.prefetch}, and {time_of(self.making)} of work for a batch "
            f"could be done while another is used. prefetch=4 would hide up to {hidden:.0%}"
        )

    def _locked(self, top: StepCost) -> Found | None:
        if top.share_locked < 0.25 or self.in_turn:
            return None
        return "lock", (
            f"{top.share_locked:.0%} of the threads in {top.name} wait for a lock that another "
            "one holds, so they work one after the other. Hold it shorter, or give each thread "
            "an object of its own"
        )

    def _interpreter(self, top: StepCost) -> Found | None:
        parts = [*self.work, *self.ahead]
        cpu = sum(cost.cpu * cost.n_calls for cost in parts)
        wall = sum((cost.mean - cost.delay) * cost.n_calls for cost in parts)
        blocked = 1 - cpu / wall if wall > 0 else 0.0
        if self.totals.share_late < 0.5 or blocked < 0.2:
            return None
        advice = 'executor="processes" works side by side'
        if top.n_of_items:
            advice = 'target="processes" works side by side, and target="for" waits for nobody'
        elif self.totals.is_far:
            advice = "give each worker process of the cluster one thread"
        return "gil", (
            f"the threads wait {blocked:.0%} of their time for the interpreter (the GIL), most of "
            f"all in {top.name}: it runs Python, which one thread at a time can do. {advice}"
        )

    def _idle(self, _: StepCost) -> Found | None:
        """Workers that are kept from working."""
        prefetch, n_workers = self.totals.prefetch, self.totals.n_workers
        # Threads that have batches to make are idle for want of a CPU alone.
        is_short = self.totals.is_far or prefetch < n_workers or self.own > _WAITS
        if self.in_turn or self.busy >= _IDLE or not is_short:
            return None
        idle = f"the workers are idle {1 - self.busy:.0%} of the time"
        n_bytes = self._bytes_out()
        if self.totals.is_far and n_bytes >= _BIG and prefetch >= n_workers:
            return "transfer", (
                f"{idle}, as batches of {size_of(n_bytes)} come from their processes slower "
                "than they are made. Send less (smaller dtypes, drop components early), make them "
                "bigger behind the workers, or run in threads"
            )
        is_begun = self.totals.is_far and prefetch >= 2 * n_workers  # but on its way
        if is_begun or (prefetch >= n_workers and self.making < 3e-4):
            return "overhead", (
                f"{idle}: {time_of(self.making)} of work for a batch is less than it costs to "
                "hand it over. Larger batches are the cure"
            )
        return "prefetch", (
            f"{idle}: with prefetch={prefetch} there is nothing more to be begun. "
            f"prefetch={2 * max(prefetch, n_workers)} would give them work"
        )

    def _bytes_out(self) -> int:
        steps = [cost for cost in self.ahead if cost.n_bytes and not cost.is_nested]
        return steps[-1].n_bytes if steps else 0

    def _faulting(self, top: StepCost) -> Found | None:
        share = self.share_of_faults
        if share < _FAULTS * self.share(top):
            return None
        return "faults", (
            f"page faults take about {share:.0%} of the work, most of all in {top.name}: the "
            "memory of arrays is given back and asked for again. Call keep_memory() once"
        )

    @cached_property
    def share_of_faults(self) -> float:
        """Which share of the work ahead page faults take."""
        n_faults = sum(self.by_batch(cost, cost.middle_faults) for cost in self.ahead)
        if n_faults < 64 or not self.making or self.totals.is_far:  # 256 KiB: no big arrays
            return 0.0
        return min(n_faults * seconds_of_a_fault() / self.making, 0.99)

    def _slowest(self, top: StepCost) -> str:
        """Say how much of the work the slowest step is, and what would hide it."""
        n = self.totals.n_workers
        workers = f" on {n} worker{'s' * (n > 1)}" if self.totals.prefetch else " in your thread"
        part = f"{time_of(self.by_batch(top))} of {time_of(self.making)} per batch{workers}"
        words = f"{top.name} takes {part}"
        needs = self.period * self.own
        n_wanted = ceil(self.making / needs) if needs > 0.02 * self.making else 0
        awake = top.mean - top.delay
        is_waiting = top.cpu < 0.5 * awake
        if is_waiting:
            share = min(1 - top.cpu / awake, 1.0)
            words += f", and waits for {share:.0%} of that (disk, net, sleep)"
        if not is_waiting and max(n_wanted, n + 1) > cpu_count():
            return words + f". This machine has {cpu_count()} CPUs: make the step cheaper"
        if not self.totals.prefetch:
            n_wanted = max(n_wanted, 2)
            return words + f". prefetch={n_wanted} makes batches ahead, {n_wanted} at once"
        if n_wanted > n:
            return words + f"; {n_wanted} workers would hide it"
        return words + f". More workers, n_workers={max(2 * n, 2)}, make more batches at once"

    def _named(self, cost: StepCost) -> str:
        return "source" if cost.key.kind == "source" else cost.key.name

    def _keeping_up(self) -> Found:
        """Say what takes the time, where batches are there when they are asked for."""
        head = f"the next batch is waited for {self.waits:.0%} of the time"
        top = max(self.ordered, key=self.by_batch, default=None)
        taken = self.taken(top) if top is not None else 0.0
        if self.waits + self.own < 0.6:
            return "overhead", head + "; what it costs to pass batches on is most of the rest"
        if self.consumer > _LIMITS:
            return "consumer", f"{head}: your own loop takes {self.consumer:.0%} of it"
        if top is not None and taken > _LIMITS:
            if _dispatches(top):
                return "overhead", f"{head}; {self._of_items(top)}"
            return top.key.name, f"{head}: the ordered step {top.name} takes {taken:.0%} of it"
        return None, f"{head}, and nothing takes most of the rest: there is no bottleneck"

    def _remarks(self, name: str | None) -> str:
        words = ""
        if name != "faults" and self.share_of_faults >= 0.1:
            words += f". Page faults take {self.share_of_faults:.0%} of the work: keep_memory()"
        if self.delay > 0.2:
            words += f". The machine is busy: {self.delay:.0%} of the work's time waits for a CPU"
        return words


def _dispatches(cost: StepCost) -> bool:
    """Check whether calling costs more than what is called."""
    return cost.n_of_items > 0 and not cost.waiting_items and cost.of_items < 0.5 * cost.least


def time_of(seconds: float) -> str:
    """Write a time: three digits, in the unit that fits."""
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if seconds * factor >= 0.9995:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def size_of(n_bytes: float) -> str:
    """Write a size."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if n_bytes < 1000 or unit == "GiB":
            break
        n_bytes /= 1024
    return f"{n_bytes:.3g} {unit}"
