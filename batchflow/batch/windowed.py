"""Batches of windows: data that are cut out of the records of another dataset."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchflow.arrays import exact_array
from batchflow.batch.core import BatchData
from batchflow.batch.rows import own, row_at, take_rows
from batchflow.errors import ArgumentValueError
from batchflow.index import DatasetIndex
from batchflow.index.windows import Cut
from batchflow.sources.lazy import is_lazy


class Windowed(BatchData):
    """The components of records, cut into windows; of others, the rows of the records.

    Args:
        dataset: The dataset of the records.
        names: The components that are cut.
        cut: How.
    """

    labels = None
    blocks = None
    is_by_id = True

    def __init__(self, dataset: Any, names: tuple[str, ...], cut: Cut) -> None:
        self._dataset, self._names, self._cut = dataset, names, cut

    def copy_rows(self, rows: Any, index: DatasetIndex) -> dict[str, Any]:  # noqa: ARG002
        """Return the data of the windows of an index, by the attribute that they become."""
        ids = index.indices.tolist()
        dataset, names = self._dataset, self._dataset.batch_class.components or ("_data",)
        positions = dataset.index.get_pos(_listed([record for record, _ in ids]))
        unique, places = np.unique(positions, return_inverse=True)
        starts = [start if isinstance(start, tuple) else (start,) for _, start in ids]
        whole = _columns(dataset, unique, names)
        found = {}
        for name in names:
            column, rows_of = whole.get(name, (None, None))
            if column is None:
                continue
            at = places if rows_of is None else rows_of[places]
            shown = f"{dataset.batch_class.__name__}.{name.lstrip('_')}"
            if name.lstrip("_") in self._names:
                found[name] = self._windows(column, at.tolist(), starts, shown)
            else:
                found[name] = own(take_rows(column, at, shown))
        return found

    def _windows(self, column: Any, rows: list[int], starts: list[Any], shown: str) -> Any:
        size = self._cut.size
        pieces = []
        for row, start in zip(rows, starts, strict=True):
            where = tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))
            is_one = is_lazy(column) or (isinstance(column, np.ndarray) and column.ndim > len(size))
            piece = column[(row, *where)] if is_one else row_at(column, row)[where]
            pieces.append(np.asarray(piece))
        first = pieces[0]
        windows: Any = np.zeros((len(pieces), *size, *first.shape[len(size) :]), dtype=first.dtype)
        for place, piece in enumerate(pieces):
            if piece.dtype != first.dtype or piece.ndim != first.ndim:
                raise ArgumentValueError(
                    f"{shown}: the records are of {first.dtype} and {piece.dtype}, or have "
                    "different numbers of axes; convert them to one kind first"
                )
            windows[(place, *(slice(n) for n in piece.shape))] = piece
        return windows

    def values(self, name: str, rows: Any, index: DatasetIndex) -> Any:
        """Return the rows of the windows of an index under one name; None if there are none."""
        return self.copy_rows(rows, index).get(name)


def _columns(dataset: Any, positions: Any, names: tuple[str, ...]) -> dict[str, tuple[Any, Any]]:
    """Return containers of records, and which rows of them some records are."""
    from batchflow.batch.preloaded import Preloaded, rows_at

    data = dataset._data
    own_rows = rows_at(dataset._rows, positions)
    if isinstance(data, Preloaded):
        return {name: (data.columns.get(name), np.asarray(own_rows)) for name in names}
    read = data.copy_rows(own_rows, dataset.index._take(positions))  # whole records
    return {name: (column, None) for name, column in read.items()}


def _listed(records: list[Any]) -> Any:
    return exact_array(records) if not any(isinstance(r, tuple) for r in records) else records
