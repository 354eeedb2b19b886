"""Several items in one row: texts of different lengths, packed into rows of one length.

Guarantees:
    - Items keep their order within a row, and their elements.
    - None is cut or left out but by choice.
    - Each goes into the first row of the batch that has room for it.
    - No row has items of two epochs.
    - What comes out is a function of what comes in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from batchflow.arrays import joined_arrays, object_array
from batchflow.batch import Batch
from batchflow.batch.components import set_component
from batchflow.batch.filling import elements_of, filled, like_all
from batchflow.batch.regroup import data_of
from batchflow.batch.rows import row_at
from batchflow.engine.regrouping.naming import Flow, Naming, Stage, until_stop
from batchflow.engine.source import EpochEnd, Schedule
from batchflow.errors import ArgumentValueError, UnknownNameError, did_you_mean
from batchflow.index import DatasetIndex
from batchflow.plan import Pack


class _Row:
    """What has come into one row: for each item its pieces, and what else it has."""

    def __init__(self) -> None:
        self.n_used = 0
        self.pieces: list[dict[str, Any]] = []
        self.lengths: list[int] = []
        self.ids: list[Any] = []
        self.more: list[dict[str, Any]] = []


def packed(
    stream: Flow, what: Pack, batch_class: type[Batch], schedule: Schedule, naming: Naming
) -> Stage:
    """Pack the items of the batches of each epoch."""
    rows: list[_Row] = []
    sources: list[Batch] = []
    n_rows, drop_last = what.batch_size or schedule.batch_size, schedule.drop_last
    for item in until_stop(stream):
        closes = isinstance(item, EpochEnd) or item._closes
        if isinstance(item, Batch):
            sources.append(_without_data(item))
            for pieces, length, item_id, more in _items(item, what, naming):
                row = next((r for r in rows if r.n_used + length <= what.length), None)
                if row is None and len(rows) == n_rows:
                    yield _made(rows, what, batch_class, sources, naming, closes=False)
                    rows, sources = [], [_without_data(item)]
                if row is None:
                    rows.append(row := _Row())
                row.n_used += length
                row.pieces.append(pieces)
                row.lengths.append(length)
                row.ids.append(item_id)
                row.more.append(more)
        del item
        if closes:
            is_short = len(rows) < n_rows
            if rows and not (drop_last and is_short):
                yield _made(rows, what, batch_class, sources, naming, closes=True)
            else:
                yield EpochEnd()
            rows, sources = [], []
    if rows and not drop_last:
        yield _made(rows, what, batch_class, sources, naming, closes=False)


def _without_data(batch: Batch) -> Batch:
    """Return a batch with the place of another in the run, its ids, and none of its data."""
    place = Batch(batch.index)
    place._adopt(batch)
    place._source_ids = batch._source_ids
    return place


def _items(
    batch: Batch, what: Pack, naming: Naming
) -> Iterator[tuple[dict[str, Any], int, Any, dict[str, Any]]]:
    """Go through the pieces of a batch: elements, how many, the item's id, what else it has."""
    data = {name.lstrip("_"): value for name, value in data_of(batch).items()}
    for place, item_id in enumerate(batch.source_ids.tolist()):
        try:
            pieces = {name: _elements(name, data, place, what.value) for name in what.src}
            n_elements = {len(piece) for piece in pieces.values()}
            if len(n_elements) > 1:
                raise ArgumentValueError(
                    f"pack: the components {', '.join(what.src)} of the item {item_id!r} have "
                    f"different lengths: {', '.join(str(len(p)) for p in pieces.values())}"
                )
            length = n_elements.pop()
            if length > what.length and what.long == "error":
                raise ArgumentValueError(
                    f"pack: the item {item_id!r} has {length} elements, and a row has "
                    f'{what.length}; long="cut" leaves out what is too much, long="split" gives it '
                    "rows of its own"
                )
        except Exception as error:
            naming.explain(error, [batch])
            raise
        more = {
            name: row_at(value, place)
            for name, value in data.items()
            if name not in what.src and value is not None
        }
        end = length if what.long == "split" else min(length, what.length)
        for start in range(0, max(end, 1), what.length):
            stop = min(start + what.length, end)
            cut = {name: piece[start:stop] for name, piece in pieces.items()}
            yield cut, stop - start, item_id, more


def _elements(name: str, data: dict[str, Any], place: int, value: Any) -> Any:
    if name not in data or data[name] is None:
        known = [key for key, value in data.items() if value is not None]
        raise UnknownNameError(
            f"pack: the batch has no data in a component {name!r}.{did_you_mean(name, known)}"
        )
    return elements_of(row_at(data[name], place), "pack", name, value)


def _made(
    rows: list[_Row],
    what: Pack,
    batch_class: type[Batch],
    sources: list[Batch],
    naming: Naming,
    *,
    closes: bool,
) -> Batch:
    """Make the batch of some rows."""
    batch = batch_class._make(DatasetIndex(len(rows)), None, {})
    batch.__dict__["_source_ids"] = object_array([tuple(row.ids) for row in rows])
    try:
        for name in what.src:
            set_component(batch, name, _filled(rows, name, what))
        for name in dict.fromkeys(name for row in rows for beside in row.more for name in beside):
            lists = [[beside.get(name) for beside in row.more] for row in rows]
            set_component(batch, name, object_array(lists))
        _tell(batch, rows, what)
    except Exception as error:
        naming.explain(error, sources)
        raise
    return naming.name(batch, sources, closes=closes)


def _filled(rows: list[_Row], name: str, what: Pack) -> Any:
    """Return the rows of one component: an array of shape `(n_rows, length, ...)`."""
    pieces = [[p for one in row.pieces if len(p := one[name])] for row in rows]
    known = [piece for of_row in pieces for piece in of_row]
    like = like_all(known or [rows[0].pieces[0][name]], "pack", name)
    array = filled(len(rows), what.length, what.value, like, "pack", name)
    for place, of_row in enumerate(pieces):
        if of_row:
            row = joined_arrays(of_row)
            array[place, : len(row)] = row
    return array


def _tell(batch: Batch, rows: list[_Row], what: Pack) -> None:
    """Tell of each place which item of its row stands there, and how far in it."""
    shape = (len(rows), what.length)
    segments, positions = np.zeros(shape, np.int32), np.zeros(shape, np.int32)
    for place, row in enumerate(rows):
        start = 0
        for number, length in enumerate(row.lengths, start=1):
            segments[place, start : start + length] = number
            positions[place, start : start + length] = np.arange(length)
            start += length
    for component, values in ((what.segment, segments), (what.position, positions)):
        if component is not None:
            set_component(batch, component, values)
