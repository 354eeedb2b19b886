"""The names of regrouped batches: their places in the run, and the notes of their errors."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from batchflow.batch import Batch
from batchflow.batch.regroup import merge_batches
from batchflow.engine.source import EpochEnd
from batchflow.engine.steps import ReplayNote
from batchflow.errors import ActionResultError, SkipBatch, StopPipeline, add_note_once
from batchflow.index.order import keyed_rng
from batchflow.plan import Step

# Spawn key word of the generators that mix rows; batches use 1, orders 0.
_MIX_KEY = 2

# What flows between the stages of a run.
Flow = Iterator[Batch | EpochEnd]
Stage = Generator[Batch | EpochEnd, None, None]
MergeBatches = Callable[[list[Batch]], Any]


class Naming:
    """Sets the place of regrouped batches in the run.

    Args:
        rng_key: The key of their randomness, beside epoch and number.
        step: The step.
        replay_note: See `run_steps`.
        per_epoch: How many numbers an epoch has.
    """

    def __init__(
        self, rng_key: tuple[int, ...], step: Step, replay_note: ReplayNote, per_epoch: int
    ) -> None:
        self._rng_key = rng_key
        self._per_epoch = per_epoch
        self._epoch: int | None = None
        self._next = 0
        self._step = step
        self._replay_note = replay_note

    def rng(self, epoch: int, number: int) -> np.random.Generator:
        """Return the generator of one choice among the batches of an epoch."""
        seed, *path = self._rng_key
        return keyed_rng(seed, _MIX_KEY, *path, epoch, number)

    def explain(self, error: BaseException, sources: Sequence[Batch]) -> None:
        """Add notes to an error of the function that merges batches."""
        with suppress(Exception):  # nothing that goes wrong here may hide the error itself
            numbers = _own_numbers(sources)
            ids = [i for batch in sources for i in batch.source_ids[:10].tolist()]
            add_note_once(error, f"in {self._step}, chained at {self._step.where}")
            add_note_once(
                error,
                f"epoch {sources[0].epoch}, of the source batches {', '.join(map(str, numbers))}, "
                f"with the ids {ids[:10]}",
            )
            if numbers:
                add_note_once(error, self._replay_note(numbers))

    def name(
        self,
        batch: Batch,
        parts: Sequence[Batch],
        *,
        closes: bool,
        epoch: int | None = None,
        foreign: str | None = None,
    ) -> Batch:
        """Name a batch that was made of others.

        Args:
            batch: The batch.
            parts: The batches that it was made of: the first gives the epoch, all their sources.
            closes: Whether it is the last of its epoch.
            epoch: In which epoch of this pipeline it comes; None: that of its parts.
            foreign: Of which other pipeline the source batches are.
        """
        self.place(batch, parts, closes=closes, epoch=epoch, foreign=foreign)
        batch.__dict__["number"] = self._next
        self._next += 1
        return batch

    def place(
        self,
        batch: Batch,
        parts: Sequence[Batch],
        *,
        closes: bool = False,
        epoch: int | None = None,
        foreign: str | None = None,
    ) -> None:
        """Set all of that but the number: see `name`."""
        first = parts[0]
        facts = batch.__dict__
        own = _own_numbers(parts)
        epoch = first.epoch if epoch is None else epoch
        if epoch != self._epoch:
            self._epoch, self._next = epoch, (epoch or 0) * self._per_epoch
        facts["_sources"] = own or first.source_numbers
        facts.update(epoch=first.epoch, dataset=first.dataset)
        facts.update(pipeline=first.pipeline, _loop=first._loop, _rng_key=self._rng_key)
        facts.update(_rng=None, _n_batches=None, _closes=closes)
        facts["_foreign"] = foreign if foreign is not None or own else first._foreign


def _own_numbers(parts: Sequence[Batch]) -> tuple[int, ...]:
    """Return the numbers of the source batches, as far as they are of this pipeline."""
    own = (number for p in parts if p._foreign is None for number in p.source_numbers)
    return tuple(dict.fromkeys(own))


class Making(NamedTuple):
    """How batches are put together."""

    merge: MergeBatches
    naming: Naming

    def of(
        self, batches: list[Batch], sources: list[Batch], *, closes: bool
    ) -> Batch | EpochEnd | None:
        """Make a batch of several; None, or the end of the epoch, if the function skips it."""
        merged = self.merged(batches, sources)
        if merged is None:
            return EpochEnd() if closes else None
        return self.naming.name(merged, sources, closes=closes)

    def merged(self, batches: list[Batch], sources: list[Batch]) -> Batch | None:
        """Make a batch of several, without a name; None if the function skips it."""
        try:
            merged = self.merge(batches)
            if isinstance(merged, tuple) and merged[1:] == (None,):
                merged = merged[0]  # as in an older batchflow: the batch, and no rest
            if not isinstance(merged, Batch):
                raise ActionResultError(
                    f"the function that merges batches must return a batch, got "
                    f"{type(merged).__name__} {merged!r:.60}. It gets as many items as the batch "
                    "has, and leaves no rest"
                )
        except SkipBatch:
            return None
        except StopPipeline:
            raise
        except StopIteration as error:
            failure = RuntimeError("the function that merges batches raised StopIteration")
            self.naming.explain(failure, sources)
            raise failure from error
        except Exception as error:
            self.naming.explain(error, sources)
            raise
        return merged


def merging(batch_class: type[Batch]) -> MergeBatches:
    """Return what makes one batch of several, where no function is given."""
    if "merge" in batch_class._actions:  # the user's own step
        return partial(merge_batches, batch_class)
    return batch_class.merge


def until_stop(stream: Flow) -> Flow:
    """Let `StopPipeline` end the stream as if the data had ended."""
    try:
        yield from stream
    except StopPipeline:
        return
