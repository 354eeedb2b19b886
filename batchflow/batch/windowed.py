"""The data of a dataset of windows: cut out of records that another dataset has.

Guarantees:
    - Of an array in memory, a mapped file or an array of h5py or Zarr, only the windows are read.
    - What a batch gets is its own.
    - The dtype of a component never depends on which windows are in a batch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batchflow.arrays import common_dtype
from batchflow.batch.core import BatchData
from batchflow.batch.preloaded import Preloaded, Rows, rows_at
from batchflow.batch.rows import own, take_rows
from batchflow.errors import ArgumentTypeError, ArgumentValueError, did_you_mean
from batchflow.index import DatasetIndex

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.index.order import Positions


class _Cut(NamedTuple):
    """How a component is cut; without a dtype that is known with the records only."""

    is_ragged: bool
    dtype: Any = None
    tail: tuple[int, ...] = ()


class Windowed(BatchData):
    """Components of windows: cut, or those of the whole record.

    Args:
        data: The data of the records.
        rows: The rows of the records there; None: their positions.
        names: The components of the batch class, or `data`.
        lengths: The lengths of the records, shape `(n_records, n_axes)`.
        src: The components that are cut; None: those of which each item has the length of its
            record.
        fill: What stands behind the end of a record; None: no window goes beyond it.

    Raises:
        ArgumentTypeError: `src` must be given, or a component cannot be cut.
        ArgumentValueError: The items have other lengths.
    """

    is_by_id = True
    blocks = None
    labels = None

    def __init__(
        self,
        data: Rows,
        rows: Any,
        names: tuple[str, ...],
        lengths: npt.NDArray[np.int64],
        src: Any,
        fill: Any,
    ) -> None:
        self._data: Any = data
        self._rows, self._fill = rows, fill
        own_names = names if names != ("data",) else ("_data",)
        wanted = None if src is None else _names(src, names)
        columns = columns_of(self._data)
        if columns is None and wanted is None:
            raise ArgumentTypeError(
                "windows: the data are read by a source, so nobody knows which components are to "
                "be cut: src=..., or src=() for none"
            )
        self._cuts: dict[str, _Cut] = {}
        for name in own_names if wanted is None else wanted:
            if columns is None:
                self._cuts[name] = _Cut(is_ragged=True)
                continue
            if name not in columns:
                if wanted is not None:
                    raise ArgumentValueError(f"windows: src: the dataset has no data in {name!r}")
                continue
            cut = _cut_of(columns[name], rows, lengths, name.lstrip("_"), is_asked=bool(wanted))
            if cut is not None:
                self._cuts[name] = cut

    def copy_rows(self, rows: Positions, index: Any) -> dict[str, Any]:  # noqa: ARG002  by its ids
        """Return the components of the windows of an index."""
        which, starts = index.located()
        places = rows_at(self._rows, index.windows.places(which))
        columns = columns_of(self._data)
        if columns is None:
            columns, places = self._read(places)
        size = index.windows.cut.size
        found = {}
        for name, column in columns.items():
            if name in self._cuts:
                shown = f"windows: {name.lstrip('_')}"
                cut = self._cuts[name]
                found[name] = _pieces(column, places, starts, size, cut, self._fill, shown)
            else:
                found[name] = own(take_rows(column, places, name))
        return found

    def _read(self, places: Any) -> tuple[dict[str, Any], Any]:
        """Read whole records, each once: their components, and the place of each window there."""
        wanted, back = np.unique(places, return_inverse=True)
        return self._data.copy_rows(wanted, DatasetIndex(len(wanted))), back

    def values(self, name: str, rows: Any, index: Any) -> Any:  # noqa: ARG002  by its ids
        """Return the values of all windows of an index; None if there are none."""
        if name in self._cuts:
            return self.copy_rows(slice(0, 0), index)[name]
        places = index.windows.places(index.located()[0])
        n_records = int(places.max()) + 1
        of_records = self._data.values(name, rows_at(self._rows, slice(0, n_records)), index)
        return take_rows(of_records, places, name)


def columns_of(data: Any) -> dict[str, Any] | None:
    """Return containers that are read by rows, by attribute; None: a source reads whole records."""
    if isinstance(data, Preloaded):
        return data.columns
    arrays = getattr(getattr(data, "_source", None), "arrays", None)
    if arrays is None:
        return None
    known = data._class.components
    return {name if known else "_data": array for name, array in arrays().items()}


def _names(src: Any, names: tuple[str, ...]) -> list[str]:
    given = [src] if isinstance(src, str) else list(src)
    for name in given:
        if name not in names:
            raise ArgumentTypeError(
                f"windows: src: there is no component {name!r}.{did_you_mean(name, names)}"
            )
    return ["_data" if names == ("data",) else name for name in given]


def _cut_of(
    column: Any, rows: Any, lengths: npt.NDArray[np.int64], name: str, *, is_asked: bool
) -> _Cut | None:
    """Return how a column is cut; None: its items are no records of these lengths."""
    n_records, n_axes = lengths.shape
    is_ragged = isinstance(column, (list, tuple)) or _holds_objects(column)
    if not is_ragged:
        shape = tuple(getattr(column, "shape", ()))
        fits = np.zeros(n_records, bool)
        if len(shape) > n_axes and hasattr(column, "dtype"):
            fits = (lengths == shape[1 : 1 + n_axes]).all(1)
        cut = _Cut(False, getattr(column, "dtype", None), shape[1 + n_axes :])
        return cut if _all_fit(fits, shape[1:], name, is_asked=is_asked) else None
    items = take_items(column, rows, n_records)
    shapes: list[Any] = [getattr(item, "shape", None) for item in items]
    fits = np.array(
        [
            shape is not None and tuple(shape[:n_axes]) == tuple(length)
            for shape, length in zip(shapes, lengths.tolist(), strict=True)
        ]
    )
    if not _all_fit(fits, shapes, name, is_asked=is_asked):
        return None
    tails = {tuple(shape[n_axes:]) for shape in shapes}
    dtypes: set[Any] = {item.dtype for item in items}
    dtype = common_dtype([np.empty(0, each) for each in dtypes])
    if len(tails) > 1 or dtype is None:
        raise ArgumentValueError(
            f"windows: {name}: the records have different channels {sorted(tails)} or dtypes "
            f"{sorted(map(str, dtypes))}, so their windows are no rows of one array"
        )
    return _Cut(True, dtype, tails.pop())


def _all_fit(fits: npt.NDArray[np.bool_], shapes: Any, name: str, *, is_asked: bool) -> bool:
    if fits.all():
        return True
    if is_asked or fits.any():
        first = int(np.argmin(fits))
        shape = shapes[first] if isinstance(shapes, list) else shapes
        raise ArgumentValueError(
            f"windows: {name}: {int((~fits).sum())} of {len(fits)} records have another length "
            f"than lengths says; the one at position {first} has the shape {shape}. What is to be "
            "cut: src=...; the components that are not named there come whole"
        )
    return False


def _holds_objects(column: Any) -> bool:
    return isinstance(getattr(column, "dtype", None), np.dtype) and column.dtype.hasobject


def take_items(column: Any, rows: Any, n_records: int) -> list[Any]:
    """Return the items of a column in memory, as they are."""
    where = np.arange(n_records) if rows is None else rows
    if isinstance(where, slice):
        return list(column[where])
    return [column[row] for row in where.tolist()]


def _pieces(
    column: Any, rows: Any, starts: Any, size: tuple[int, ...], cut: _Cut, fill: Any, shown: str
) -> npt.NDArray[Any]:
    """Return windows in one array."""
    n_axes = len(size)
    dtype, tail = cut.dtype, cut.tail
    if dtype is None:
        items = [np.asarray(item) for item in column]
        column, dtype = items, common_dtype(items)
        tail = items[0].shape[n_axes:]
    pieces = np.empty((len(rows), *size, *tail), dtype)
    for place, (row, begin) in enumerate(zip(rows.tolist(), starts.tolist(), strict=True)):
        where = tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))
        piece = column[row][where] if cut.is_ragged else column[(row, *where)]
        found = piece.shape[:n_axes]
        if found != size:
            if fill is None:
                raise ArgumentValueError(
                    f"{shown}: the window at {begin} of a record has the shape {found}, and not "
                    f"{size}: the record is shorter than lengths says"
                )
            pieces[place] = fill
        pieces[place][tuple(slice(0, n) for n in found)] = piece
    return pieces
