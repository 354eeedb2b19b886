"""The ordered section: one batch at a time, in order, in the consumer's thread.

Guarantees:
    - While it works on a batch it holds the locks of its pipeline and of its models, so that runs
      which share one exclude each other.
    - The locks are taken in one order everywhere: no two sections can wait for each other.
    - However a step ends, the locks are free afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any

from batchflow.batch import Batch
from batchflow.engine.steps import ReadyStep, ReplayNote, run_steps
from batchflow.errors import SkipBatch

__all__ = ["in_order"]


def in_order(
    batches: Iterator[Batch],
    section: Sequence[ReadyStep],
    rest: Sequence[ReadyStep],
    locks: Sequence[Any],
    pipeline: Any,
    replay_note: ReplayNote,
) -> Iterator[Batch]:
    """Take batches through the ordered section and what follows it, each when it is asked for.

    Args:
        batches: The batches, in order.
        section: The steps of the ordered section.
        rest: The steps behind it.
        locks: What the section holds while it works, in the order in which it is taken.
        pipeline: What the batches get as their `pipeline`, from here on without restriction.
        replay_note: See `run_steps`.

    Yields:
        The batches; those that raise `SkipBatch` are left out.
    """
    for batch in batches:
        batch.pipeline = pipeline
        done: Batch | None = batch
        try:
            if section:
                with ExitStack() as held:
                    for lock in locks:
                        held.enter_context(lock)
                    done = run_steps(batch, section, replay_note)
            if rest and done is not None:
                done = run_steps(done, rest, replay_note)
        except SkipBatch:
            continue
        del batch
        yield done  # type: ignore[misc]
        del done
