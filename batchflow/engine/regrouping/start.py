"""Where the streams of a run begin that does not begin at its first epoch.

    concat    reads an epoch of the others in each epoch: they begin as many epochs later
    merge     reads a batch of the others for each batch: they begin as many batches later

Guarantees:
    - What comes out is what one long run gives from that epoch on.
    - Where it is not known how many batches `merge` has taken, as `filter` or `discard_batch` stand
      ahead of it, or others regroup batches themselves, the epochs before are made again as far as
      there, and thrown away. Ordered steps are never taken again: that is refused.
    - An action that skips batches of its own accord is not foreseen: the others of a `merge` behind
      it begin where they would be had it skipped none.
"""

from __future__ import annotations

from collections.abc import Sequence

from batchflow.engine.regrouping.count import Counted, EpochSize, keeps_batches
from batchflow.errors import ArgumentValueError
from batchflow.plan import BoundRegrouping, Merge
from batchflow.records import Record


class Start(Record):
    """Where the streams of a pipeline begin.

    Attributes:
        n_epochs: How many epochs are gone.
        n_remade: Behind how many regroupings those epochs are thrown away; 0: they are not made.
        others: For each regrouping, how many epochs and batches of its other pipelines are gone.
        n_before: For each regrouping, how many batches come out of it and are thrown away.
    """

    n_epochs: int
    n_remade: int
    others: Sequence[tuple[int, int]]
    n_before: Sequence[int]

    @classmethod
    def behind(
        cls, n_epochs: int, counted: Counted, sizes: Sequence[EpochSize], *, skips: bool = False
    ) -> Start:
        """Find out where streams begin behind some epochs; `skips`: an action has skipped a batch.

        Raises:
            ArgumentValueError: They would have to be made again, with ordered steps.
        """
        steps = counted.plan.regroupings
        unknown = [
            place
            for place, step in enumerate(steps, start=1)
            if n_epochs and isinstance(step.what, Merge)
            if skips
            or not (sizes[place - 1].is_known and all(map(_is_plain, counted.others[id(step)])))
        ]
        n_remade = max(unknown, default=0)
        if n_remade:
            _refuse_ordered(counted, steps[n_remade - 1])
        gone = [
            (0, n_epochs * size.batches) if isinstance(step.what, Merge) else (n_epochs, 0)
            for step, size in zip(steps, sizes, strict=False)
        ]
        remade = [n_epochs * size.batches for size in sizes[:n_remade]]
        return cls(n_epochs, n_remade, [(0, 0)] * n_remade + gone[n_remade:], remade)


def refuse_ended(counted: Counted) -> None:
    """Refuse a run that would have no batches, as a pipeline that it merges has ended before."""
    for step in counted.plan.regroupings:
        for other in counted.others[id(step)] if isinstance(step.what, Merge) else ():
            if other.schedule.n_batches == 0:
                raise has_ended(step)
            refuse_ended(other)


def has_ended(merge: BoundRegrouping) -> ArgumentValueError:
    """Return the error of a run that would have no batches."""
    return ArgumentValueError(
        f"{merge.step}, chained at {merge.step.where}, ends with the pipeline that ends first, and "
        "one of them has ended in the epochs before this run: it has fewer batches in an epoch, or "
        "n_epochs or n_iters of its own. Give it as many as are needed: "
        "run_later(..., n_epochs=None)"
    )


def _is_plain(other: Counted) -> bool:
    """Check whether each source batch of a pipeline comes out as one batch, as far as is known."""
    return not other.plan.regroupings and all(map(keeps_batches, other.plan.steps))


def _refuse_ordered(counted: Counted, merge: BoundRegrouping) -> None:
    steps = counted.plan.steps
    place = next(i for i, step in enumerate(steps) if step is merge)
    if any(counted.plan.ordered[: place + 1]):
        raise ArgumentValueError(
            f"how many batches {merge.step}, chained at {merge.step.where}, takes in an epoch is "
            "not known, as steps ahead of it may leave out some; and the epochs before cannot be "
            "made again to find out, as ordered steps stand there. Begin at epoch 0, or let the "
            "ordered steps follow behind it"
        )
