"""The ordered section: one batch at a time, in order, in the consumer's thread.

Guarantees:
    - While it works on a batch it holds the locks of its pipeline and of its models, so that runs
      which share one exclude each other.
    - The locks are taken in one order everywhere, those of models first, so no two sections wait
      for each other; and a step may run another pipeline on its own model, which other threads run
      as well. (A step that runs a pipeline on another model, while a second thread does the same
      the other way round, can wait for ever, as with any two locks.)
    - However a step ends, the locks are free afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from batchflow.batch import Batch
from batchflow.engine.source import EpochEnd
from batchflow.engine.steps import ReadyStep, ReplayNote, run_steps
from batchflow.errors import SkipBatch

T = TypeVar("T")


def in_order(
    batches: Iterator[Batch | EpochEnd],
    section: Sequence[ReadyStep],
    rest: Sequence[ReadyStep],
    locks: Sequence[Any],
    pipeline: Any,
    replay_note: ReplayNote,
) -> Iterator[Batch | EpochEnd]:
    """Take batches through the ordered section and what follows it, each when it is asked for.

    Args:
        batches: The batches, in order.
        section: The steps of the ordered section.
        rest: The steps behind it.
        locks: The locks that the section holds while it works, in the order in which it is taken.
        pipeline: The `pipeline` of the batches, from here on without restriction.
        replay_note: See `run_steps`.

    Returns:
        The batches; those that raise `SkipBatch` are left out. Ends of epochs are passed on.
    """
    free = map(partial(_freed, pipeline), batches)
    if not section and not rest:
        return free
    finish = partial(finished, section=section, rest=rest, locks=locks, replay_note=replay_note)
    # Other than a generator, these keep no batch.
    return filter(lambda item: item is not None, map(finish, free))  # type: ignore[arg-type]


def _freed(pipeline: Any, batch: Batch | EpochEnd) -> Batch | EpochEnd:
    """Give a batch that comes out of parallel steps its pipeline without restriction."""
    if batch.__class__ is not EpochEnd:
        batch.pipeline = pipeline  # type: ignore[union-attr]
    return batch


def finished(
    item: Batch | EpochEnd,
    section: Sequence[ReadyStep],
    rest: Sequence[ReadyStep],
    locks: Sequence[Any],
    replay_note: ReplayNote,
) -> Batch | EpochEnd | None:
    """Take one batch through the section and what follows it; None if it is skipped."""
    if isinstance(item, EpochEnd):
        return item
    done: Batch | None = item
    try:
        if section:
            done = holding(locks, run_steps, item, section, replay_note)
        if rest and done is not None:
            done = run_steps(done, rest, replay_note)
    except SkipBatch:
        return EpochEnd() if item._closes else None
    return done


def holding(locks: Sequence[Any], work: Callable[..., T], *args: Any) -> T:
    """Do some work with all the locks held.

    Nested `with` statements: an interrupt cannot come between taking a lock and being ready to
    free it.
    """
    if not locks:
        return work(*args)
    with locks[0]:
        return holding(locks[1:], work, *args) if len(locks) > 1 else work(*args)
