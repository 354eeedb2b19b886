"""Rows of several batches, mixed: a shuffle buffer with borders.

Guarantees:
    - Each row comes once, in a batch of its epoch. The batches keep their sizes and their number.
    - Which rows a batch gets is a function of (seed, path, epoch) and of the batches themselves.
    - At most `window` batches are held, and a copy of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from batchflow.batch import Batch
from batchflow.batch.regroup import part
from batchflow.engine.regrouping.naming import Flow, Making, Stage, until_stop
from batchflow.engine.source import EpochEnd
from batchflow.errors import ActionResultError


def mix_rows(stream: Flow, window: int, made: Making) -> Stage:
    """Mix the rows of each `window` batches in a row, within an epoch."""
    held: list[Batch] = []
    n_windows = 0
    for item in until_stop(stream):
        closes = isinstance(item, EpochEnd) or item._closes
        if isinstance(item, Batch):
            held.append(item)
        del item
        if held and (closes or len(held) == window):
            yield from _mixed(held, n_windows, made, closes=closes)
            n_windows += 1
        elif closes:
            yield EpochEnd()
        if closes:
            n_windows = 0
    if held:
        yield from _mixed(held, n_windows, made, closes=False)


def _mixed(held: list[Batch], number: int, made: Making, *, closes: bool) -> Flow:
    """Mix the rows of some batches, and forget these."""
    ends = np.cumsum([len(batch) for batch in held])
    merged = made.merged(held, held)
    if merged is None:  # the class's merge leaves them out
        held.clear()
        return iter([EpochEnd()] if closes else [])
    if len(merged) != ends[-1]:
        raise ActionResultError(
            f"mix_rows: {type(merged).__name__}.merge made {len(merged)} items of {ends[-1]}, so "
            "it is not known which batch gets which of them"
        )
    made.naming.place(merged, held)
    held.clear()
    places = made.naming.rng(merged.epoch or 0, number).permutation(len(merged))
    return _divided(merged, np.split(places, ends[:-1]), made, closes=closes)


def _divided(
    merged: Batch, places: list[np.typing.NDArray[np.int64]], made: Making, *, closes: bool
) -> Iterator[Batch]:
    for n_left, chosen in zip(reversed(range(len(places))), places, strict=True):
        one = [part(merged, chosen)]
        made.naming.name(one[0], one[:], closes=closes and not n_left)
        yield one.pop()
