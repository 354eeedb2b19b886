"""How many batches come out of a run, if no step skips one or changes its size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import ceil, inf
from typing import NoReturn

from batchflow.batch import Batch
from batchflow.engine.source import EpochEnd, Schedule
from batchflow.errors import ActionResultError
from batchflow.plan import (
    Bound,
    BoundPlan,
    BoundRegrouping,
    BoundStep,
    Concat,
    Merge,
    MixRows,
    Pack,
    Rebatch,
)
from batchflow.plan.builtin import discard_batch, filter_items
from batchflow.records import Record


class EpochSize(Record):
    """The size of an epoch somewhere in a chain, if no step leaves out or adds something.

    Attributes:
        batches: The number of batches; where they come together, the most there can be.
        items: The number of items, alike.
        largest: The most items in a batch.
        growth: How many items the steps since the source batches have made of each.
        is_known: Whether nothing ahead is there to change it.
    """

    batches: int
    items: int
    largest: int
    is_known: bool
    growth: int = 1


class Length:
    """Whether somebody counts on the length of a run, and what has turned out to change it.

    Attributes:
        is_counted_on: Whether it was asked for.
        changed_by: A text that names the first action that changed it; None: none has.
    """

    def __init__(self) -> None:
        self.is_counted_on = False
        self.changed_by: str | None = None

    def asked(self, *, is_hint: bool) -> None:
        """Record a call of `len`.

        Args:
            is_hint: Whether it followed a call of `iter`. So do those of `list(run)` and
                `tuple(run)`, which take a length that is wrong as well.
        """
        if self.changed_by is not None:
            raise TypeError(f"the number of batches is not known: {self.changed_by}")
        self.is_counted_on |= not is_hint

    def changes(self, by: str) -> None:
        """Record what changes the number of batches."""
        self.changed_by = self.changed_by or by
        if self.is_counted_on:
            raise ActionResultError(
                f"{by}, so len() of this run or feed, which was asked for, is wrong. Do not ask "
                "for it: loop until the batches end"
            )


def is_as_counted(
    stream: Iterator[Batch | EpochEnd],
    schedule: Schedule,
    length: Length,
    step: object,
    growth: int,
) -> Iterator[Batch | EpochEnd]:
    """Pass on source batches that come to a step; tell `length` if they are not as counted.

    Each item of the source has become `growth` of them.
    """
    number, per_epoch = schedule.first, schedule.batches_per_epoch

    def checked(item: Batch | EpochEnd) -> Batch | EpochEnd:
        nonlocal number
        last = (number // per_epoch + 1) * per_epoch - 1
        came = last + 1 if isinstance(item, EpochEnd) else item.number
        if came != number:
            length.changes(f"an action ahead of {step} skipped the batch {number}")
        if isinstance(item, Batch) and len(item) != (
            expected := schedule.size_of(came or 0) * growth
        ):
            by = item._resized or f"an action ahead of {step}"
            length.changes(f"{by} made {len(item)} items of the {expected} of batch {came}")
        number = last + 1 if isinstance(item, EpochEnd) else (came or 0) + 1
        return item

    return map(checked, stream)  # which, other than a generator, keeps no batch


def none_is_missing(
    stream: Iterator[Batch | EpochEnd], first: int, per_epoch: int, missing: Callable[[int], None]
) -> Iterator[Batch | EpochEnd]:
    """Pass on batches that come to a merge, and tell of those that an action has skipped.

    Args:
        stream: The batches.
        first: The number of the first one.
        per_epoch: How many an epoch has, if none is skipped.
        missing: Called with the number of the first one that is missing.
    """
    number = first

    def checked(item: Batch | EpochEnd) -> Batch | EpochEnd:
        nonlocal number
        if isinstance(item, EpochEnd):
            if per_epoch and number % per_epoch:  # 0: no batch of an epoch is large enough
                missing(number)
            number += -number % per_epoch if per_epoch else 0
        else:
            if item.number != number:
                missing(number)
            number = (item.number or 0) + 1
        return item

    return map(checked, stream)


def refuse_missing(step: object, number: int) -> NoReturn:
    """Refuse a batch that is missing in a run that begins at a later epoch.

    An action that has skipped one would have skipped some before, too, and nobody knows how many.
    """
    raise ActionResultError(
        f"an action ahead of {step} skipped the batch {number}, so with first_epoch it is not "
        "known which batches are merged with which. Leave items out by filter, or begin at epoch 0"
    )


class Counted(Record):
    """The facts from which the number of batches follows.

    Attributes:
        plan: The steps.
        schedule: The source batches.
        others: By the id of a regrouping, the pipelines that it reads from.
        n_before: By the id of a regrouping, how many batches of each it takes before this run's
            first one comes out.
    """

    plan: BoundPlan
    schedule: Schedule
    others: Mapping[int, Sequence[Counted]]
    n_before: Mapping[int, int]

    @property
    def n_sources(self) -> float:
        """The number of source batches: infinite where there is no end."""
        scheduled = self.schedule.n_batches
        return inf if scheduled is None else scheduled

    @property
    def n_epochs(self) -> float:
        """How many epochs are begun."""
        n_sources = self.n_sources
        return n_sources if n_sources == inf else ceil(n_sources / self.schedule.batches_per_epoch)

    @property
    def n_batches(self) -> int | None:
        """How many batches come out if none is skipped; None if endless, or not known."""
        count = self.total()
        return None if count is None or count == inf else int(count)

    def total(self) -> float | None:
        """Return how many batches come out; None: that is not known."""
        count = self.n_sources
        growth: int | None = 1
        for step in self.plan.steps:
            if isinstance(step, BoundRegrouping) and not isinstance(step.what, MixRows):
                more = self._behind(step, count, growth)
                if more is None:
                    return None
                count, growth = more, None
            else:
                growth = _times(growth, growth_of(step))
        return count

    def epoch_sizes(self) -> list[EpochSize]:
        """Return what an epoch has ahead of each regrouping, and at the end."""
        schedule = self.schedule
        batches, largest = schedule.batches_per_epoch, min(schedule.batch_size, schedule.n_items)
        items = min(schedule.n_items, batches * schedule.batch_size)
        size = EpochSize(batches, items, largest, True)
        sizes = []
        for step in self.plan.steps:
            if isinstance(step, BoundRegrouping):
                sizes.append(size)
                size = self._regrouped(step, size)
            elif (growth := growth_of(step)) is None:
                size = size._replace(is_known=False)
            elif growth > 1:
                size = size._replace(
                    items=size.items * growth,
                    largest=size.largest * growth,
                    growth=size.growth * growth,
                )
        return [*sizes, size]

    def _regrouped(self, step: BoundRegrouping, size: EpochSize) -> EpochSize:
        what, others = step.what, [other.epoch_sizes()[-1] for other in self.others[id(step)]]
        batches, items, largest = size.batches, size.items, size.largest
        if isinstance(what, MixRows):
            return size
        if isinstance(what, Pack):  # at most one row for each item
            rows = what.batch_size or self.schedule.batch_size
            return EpochSize(ceil(items / rows), items, rows, False)
        if isinstance(what, Rebatch):
            made, left = self._rebatched(what, items)
            return EpochSize(made, left, what.size, size.is_known)
        if isinstance(what, Merge):  # the others' batches may be of different sizes in each epoch
            more = sum(other.largest for other in others)
            return EpochSize(batches, items + batches * more, largest + more, False)
        return EpochSize(
            batches + sum(other.batches for other in others),
            items + sum(other.items for other in others),
            max(largest, *(other.largest for other in others)),
            size.is_known and all(other.is_known for other in others),
        )

    def _behind(self, step: BoundRegrouping, count: float, growth: int | None) -> float | None:
        """Return how many batches a regrouping makes of `count`."""
        what, others = step.what, self.others[id(step)]
        if isinstance(what, Pack):
            return None
        if isinstance(what, Rebatch):
            return None if growth is None else self._all_rebatched(what, count, growth)
        if isinstance(what, Concat):
            counts = [other._in_epochs(self.n_epochs) for other in others]
        else:
            counts = [other.total() for other in others]
        known = [number for number in counts if number is not None]
        if len(known) < len(counts):
            return None
        if isinstance(what, Merge):
            return max(
                min([count, *(number - self.n_before.get(id(step), 0) for number in known)]), 0
            )
        return count + sum(known)

    def _in_epochs(self, n_epochs: float) -> float | None:
        """Return how many batches come out in so many epochs; None: that is not known."""
        if self.plan.regroupings:
            return None
        return min(self.n_sources, n_epochs * self.schedule.batches_per_epoch)

    def _rebatched(self, what: Rebatch, n_items: int) -> tuple[int, int]:
        """Return how many batches are made of some items of an epoch, and of how many of them."""
        drop = self.schedule.drop_last if what.drop_last is None else what.drop_last
        whole, rest = divmod(n_items, what.size)
        return (whole, whole * what.size) if drop else (whole + (rest > 0), n_items)

    def _all_rebatched(self, what: Rebatch, n_sources: float, growth: int) -> float:
        """Return how many batches are made of the first source batches."""
        schedule, per_epoch = self.schedule, self.schedule.batches_per_epoch
        items = min(schedule.n_items, per_epoch * schedule.batch_size)
        of_epoch, _ = self._rebatched(what, items * growth)
        if n_sources == inf:
            return of_epoch and inf
        epochs, rest = divmod(int(n_sources), per_epoch)
        return epochs * of_epoch + self._rebatched(what, rest * schedule.batch_size * growth)[0]


def keeps_batches(step: Bound) -> bool:
    """Check whether a step leaves out no batch, as far as is known."""
    return all(leaf.function not in (discard_batch, filter_items) for leaf in step.leaves)


def growth_of(step: Bound) -> int | None:
    """Return how many items a step makes of each; None: that is not known."""
    growth: int | None = 1 if keeps_batches(step) else None
    for leaf in step.leaves:
        expands = leaf.expands or 1
        is_sure = expands is not True and (expands == 1 or isinstance(step, BoundStep))
        growth = _times(growth, expands if is_sure else None)
    return growth


def _times(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one * other
