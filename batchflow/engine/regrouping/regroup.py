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
from collections.abc import Generator, Sequence

from batchflow.batch import Batch
from batchflow.batch.regroup import part
from batchflow.engine.regrouping.naming import (
    Flow,
    Making,
    Naming,
    Stage,
    merging,
    until_stop,
)
from batchflow.engine.source import EpochEnd, Schedule
from batchflow.plan import Concat, Merge, MixRows, Pack, Regrouping


def regroup(
    what: Regrouping,
    stream: Flow,
    others: Sequence[Flow],
    batch_class: type[Batch],
    naming: Naming,
    schedule: Schedule,
) -> Stage:
    """Make other batches of a stream; `EpochEnd` where an epoch ends behind the last of them.

    Args:
        what: How.
        stream: The batches of the pipeline.
        others: The batches of the other pipelines.
        batch_class: The class of the batches: merges them, where `what` has no function for it.
        naming: Names the new ones.
        schedule: The source batches of the run.
    """
    if isinstance(what, Concat):
        return _concat(stream, others, naming, schedule.first_epoch)
    made = Making(getattr(what, "function", None) or merging(batch_class), naming)
    if isinstance(what, Merge):
        return _merge(stream, others, made)
    if isinstance(what, MixRows):
        from batchflow.engine.regrouping.mixing import mix_rows  # on use, for a light import

        return mix_rows(stream, what.window, made)
    if isinstance(what, Pack):
        from batchflow.engine.regrouping.packing import packed  # on use

        return packed(stream, what, batch_class, schedule, naming)
    drop = schedule.drop_last if what.drop_last is None else what.drop_last
    return _rebatch(stream, what.size, drop, made)


def _rebatch(stream: Flow, size: int, drop_last: bool, made: Making) -> Stage:
    held: deque[Batch] = deque()
    n_held = 0
    for item in until_stop(stream):
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


def _taken(held: deque[Batch], size: int, made: Making, *, closes: bool) -> Batch | EpochEnd | None:
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


def _merge(stream: Flow, others: Sequence[Flow], made: Making) -> Stage:
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
