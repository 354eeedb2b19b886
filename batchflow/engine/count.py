"""How many batches come out of a run, if no step skips one or changes its size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil, inf
from typing import NamedTuple

from batchflow.engine.source import Schedule
from batchflow.plan import BoundPlan, BoundRegrouping, Concat, Merge, Rebatch
from batchflow.plan.builtin import filter_items

__all__ = ["Counted"]


class Counted(NamedTuple):
    """What the number of batches follows from.

    Attributes:
        plan: The steps.
        schedule: The source batches.
        others: By the id of a regrouping, the pipelines that it reads from.
    """

    plan: BoundPlan
    schedule: Schedule
    others: Mapping[int, Sequence[Counted]]

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

    def total(self) -> float | None:
        """Tell how many batches come out; None: that is not known."""
        count = self.n_sources
        sizes_are_known = True
        for step in self.plan.steps:
            if isinstance(step, BoundRegrouping):
                more = self._behind(step, count, sizes_are_known)
                if more is None:
                    return None
                count, sizes_are_known = more, False
            else:
                sizes_are_known &= all(leaf.function is not filter_items for leaf in step.leaves)
        return count

    def _behind(self, step: BoundRegrouping, count: float, sizes_are_known: bool) -> float | None:
        """Tell how many batches a regrouping makes of `count`."""
        what, others = step.what, self.others[id(step)]
        if isinstance(what, Rebatch):
            is_known = sizes_are_known and count != inf
            return self._rebatched(what, int(count)) if is_known else None
        if isinstance(what, Concat):
            counts = [other._in_epochs(self.n_epochs) for other in others]
        else:
            counts = [other.total() for other in others]
        known = [number for number in counts if number is not None]
        if len(known) < len(counts):
            return None
        return min([count, *known]) if isinstance(what, Merge) else count + sum(known)

    def _in_epochs(self, n_epochs: float) -> float | None:
        """Tell how many batches come out in so many epochs; None: that is not known."""
        if self.plan.regroupings:
            return None
        return min(self.n_sources, n_epochs * self.schedule.batches_per_epoch)

    def _rebatched(self, what: Rebatch, n_sources: int) -> int:
        """Tell how many batches are made of the first source batches."""
        schedule = self.schedule
        drop = schedule.drop_last if what.drop_last is None else what.drop_last

        def made(n_of_epoch: int) -> int:
            n_items = min(n_of_epoch * schedule.batch_size, schedule.n_items)
            whole, rest = divmod(n_items, what.size)
            return whole + (rest > 0 and not drop)

        epochs, rest = divmod(n_sources, schedule.batches_per_epoch)
        return epochs * made(schedule.batches_per_epoch) + made(rest)
