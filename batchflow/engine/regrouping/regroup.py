"""Regrouping: other batches out of a stream of batches, in the consumer's thread.

Guarantees:
    - Nothing is read before it is needed for the batch that is asked for: no ordered step runs
      ahead of the batch in the consumer's hands.
    - No batch has items of two epochs. What is left at the end of an epoch, at the end of the
      stream or at `StopPipeline` comes as a shorter batch, unless it is to be dropped.
    - The new batches have numbers of their own, and keep their epoch. An epoch begins at the number
      that it would have if no step left out or added something: so numbers, too, are a function of
      the epoch alone. Their randomness is a function of (seed, path of the regrouping, epoch,
      number).
    - What comes out is a function of what comes in: nothing here depends on the parallelism.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

from batchflow.batch import Batch
from batchflow.batch.regroup import merge_batches, part
from batchflow.engine.source import EpochEnd
from batchflow.engine.steps import ReplayNote
from batchflow.errors import ActionResultError, SkipBatch, StopPipeline, add_note_once
from batchflow.plan import Concat, Merge, Regrouping, Step

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
        first = parts[0]
        facts = batch.__dict__
        own = _own_numbers(parts)
        epoch = first.epoch if epoch is None else epoch
        if epoch != self._epoch:
            self._epoch, self._next = epoch, (epoch or 0) * self._per_epoch
        facts["_sources"] = own or first.source_numbers
        facts.update(number=self._next, epoch=first.epoch, dataset=first.dataset)
        facts.update(pipeline=first.pipeline, _loop=first._loop, _rng_key=self._rng_key)
        facts.update(_rng=None, _n_batches=None, _closes=closes)
        facts["_foreign"] = foreign if foreign is not None or own else first._foreign
        self._next += 1
        return batch


def _own_numbers(parts: Sequence[Batch]) -> tuple[int, ...]:
    """Return the numbers of the source batches, as far as they are of this pipeline."""
    own = (number for p in parts if p._foreign is None for number in p.source_numbers)
    return tuple(dict.fromkeys(own))


class _Made(NamedTuple):
    """How batches are put together."""

    merge: MergeBatches
    naming: Naming

    def of(
        self, batches: list[Batch], sources: list[Batch], *, closes: bool
    ) -> Batch | EpochEnd | None:
        """Make a batch of several; None, or the end of the epoch, if the function skips it."""
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
            return EpochEnd() if closes else None
        except StopPipeline:
            raise
        except StopIteration as error:
            failure = RuntimeError("the function that merges batches raised StopIteration")
            self.naming.explain(failure, sources)
            raise failure from error
        except Exception as error:
            self.naming.explain(error, sources)
            raise
        return self.naming.name(merged, sources, closes=closes)


def merging(batch_class: type[Batch]) -> MergeBatches:
    """Return what makes one batch of several, where no function is given."""
    if "merge" in batch_class._actions:  # the user's own step
        return partial(merge_batches, batch_class)
    return batch_class.merge


def regroup(
    what: Regrouping,
    stream: Flow,
    others: Sequence[Flow],
    merge: MergeBatches,
    naming: Naming,
    drop_last: bool,
    first_epoch: int,
) -> Stage:
    """Make other batches of a stream; `EpochEnd` where an epoch ends behind the last of them.

    Args:
        what: How.
        stream: The batches of the pipeline.
        others: The batches of the other pipelines.
        merge: Makes one batch of a list of them, where `what` has no function.
        naming: Names the new ones.
        drop_last: Whether the run leaves out short last batches.
        first_epoch: The epoch that comes first.
    """
    if isinstance(what, Concat):
        return _concat(stream, others, naming, first_epoch)
    made = _Made(what.function or merge, naming)
    if isinstance(what, Merge):
        return _merge(stream, others, made)
    drop = drop_last if what.drop_last is None else what.drop_last
    return _rebatch(stream, what.size, drop, made)


def _rebatch(stream: Flow, size: int, drop_last: bool, made: _Made) -> Stage:
    held: deque[Batch] = deque()
    n_held = 0
    for item in _until_stop(stream):
        closes = isinstance(item, EpochEnd) or item._closes
        if isinstance(item, Batch):
            held.append(item)
            n_held += len(item)
        del item
        while n_held >= size:
            n_held -= size
            is_last = closes and (n_held == 0 or (drop_last and n_held < size))
            taken = [_taken(held, size, made, closes=is_last)]
            if taken[0] is not None:
                yield taken.pop()  # type: ignore[misc]
            if is_last:
                closes = False
                held.clear()
                n_held = 0
        if closes:
            keeps = held and not drop_last
            yield (_taken(held, n_held, made, closes=True) if keeps else None) or EpochEnd()
            held.clear()
            n_held = 0
    if held and not drop_last:
        taken = [_taken(held, n_held, made, closes=False)]
        if taken[0] is not None:
            yield taken.pop()  # type: ignore[misc]


def _taken(held: deque[Batch], size: int, made: _Made, *, closes: bool) -> Batch | EpochEnd | None:
    """Take `size` items off the left."""
    parts: list[Batch] = []
    sources: list[Batch] = []
    while size:
        batch = held.popleft()
        sources.append(batch)
        if len(batch) > size:
            try:
                held.appendleft(part(batch, slice(size, len(batch))))
                batch = part(batch, slice(0, size))
            except Exception as error:
                made.naming.explain(error, sources)
                raise
        size -= len(batch)
        parts.append(batch)
    return made.of(parts, sources, closes=closes)


def _merge(stream: Flow, others: Sequence[Flow], made: _Made) -> Stage:
    for item in stream:
        if isinstance(item, EpochEnd):
            yield item
            continue
        batches = [item]
        batch: Batch | None = item
        for other in others:
            batch = next((one for one in other if isinstance(one, Batch)), None)
            if batch is None:
                return
            batches.append(batch)
        merged = [made.of(batches, batches[:1], closes=item._closes)]
        del item, batch, batches
        if merged[0] is not None:
            yield merged.pop()  # type: ignore[misc]


def _concat(stream: Flow, others: Sequence[Flow], naming: Naming, epoch: int) -> Stage:
    while (yield from _one_epoch(stream, naming, epoch, None)):
        for place, other in enumerate(others):
            yield from _one_epoch(other, naming, epoch, f"the concatenated pipeline {place}")
        yield EpochEnd()
        epoch += 1


def _one_epoch(
    stream: Flow, naming: Naming, epoch: int, foreign: str | None
) -> Generator[Batch, None, bool]:
    """Pass on the batches of one epoch. Return whether there was anything of it."""
    is_there = False
    for item in stream:
        is_there = True
        closes = isinstance(item, EpochEnd) or item._closes
        named = []
        if isinstance(item, Batch):
            named.append(naming.name(item, [item], closes=False, epoch=epoch, foreign=foreign))
        del item
        if named:
            yield named.pop()
        if closes:
            break
    return is_there


def _until_stop(stream: Flow) -> Flow:
    """Let `StopPipeline` end the stream as if the data had ended."""
    try:
        yield from stream
    except StopPipeline:
        return
