"""The data of a dataset of windows: cut out of records that another dataset has.

Guarantees:
    - Of an array in memory, a mapped file or an array of h5py or Zarr, only the windows are read.
    - What a batch gets is its own.
    - Behind the end of a record stands the value that was asked for, or it is refused.
    - The dtype of a component never depends on which windows are in a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batchflow.arrays import common_dtype
from batchflow.batch.core import BatchData
from batchflow.batch.filling import filled
from batchflow.batch.preloaded import Preloaded, Rows, rows_at
from batchflow.batch.rows import own, take_rows
from batchflow.errors import ArgumentTypeError, ArgumentValueError, did_you_mean
from batchflow.index import DatasetIndex

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.index.order import Positions


class Padding(NamedTuple):
    """What stands behind the end of a record, in a window that goes beyond it.

    Attributes:
        value: The value.
        mask: The component that tells where the record is; None: there is none.
    """

    value: Any
    mask: str | None

    @classmethod
    def checked(cls, partial: str, value: Any, mask: Any) -> Padding | None:
        """Return what a user has given; None: shorter windows are left out.

        Raises:
            ArgumentValueError: They are left out, and it is said what fills them up.
        """
        if partial == "pad":
            return cls(value, mask)
        if mask is not None or type(value) is not int or value:
            raise ArgumentValueError(
                f'windows: value and mask are of what is filled up, partial="pad"; got '
                f"{value=!r:.60}, {mask=!r:.60} without it"
            )
        return None


class _Cut(NamedTuple):
    """How a component is cut; without a dtype that is known with the records only."""

    is_ragged: bool
    dtype: Any = None
    tail: tuple[int, ...] = ()

    def made(
        self, n_windows: int, size: tuple[int, ...], padding: Padding | None, name: str
    ) -> npt.NDArray[Any]:
        """Return an array for windows, filled up where records may end in them."""
        shape = (n_windows, *size, *self.tail)
        if padding is None:
            return np.empty(shape, self.dtype)
        like = np.empty((0, *self.tail), self.dtype)
        one = filled(1, 1, padding.value, like, "windows", name)[0, 0]
        return np.full(shape, one, self.dtype)


class Windowed(BatchData):
    """Components of windows: cut, or those of the whole record.

    Args:
        data: The data of the records; None: there are none, but a mask.
        rows: The rows of the records there; None: their positions.
        names: The components of the batch class, or `data`.
        lengths: The lengths of the records, shape `(n_records, n_axes)`.
        src: The components that are cut; None: those of which each item has the length of its
            record.
        padding: What stands behind the end of a record; None: no window goes beyond it.

    Raises:
        ArgumentTypeError: `src` must be given, or a component cannot be cut.
        ArgumentValueError: The items have other lengths; or the value of the padding is none of a
            component, or its mask has data.
    """

    is_by_id = True
    blocks = None
    labels = None

    def __init__(
        self,
        data: Rows | None,
        rows: Any,
        names: tuple[str, ...],
        lengths: npt.NDArray[np.int64],
        src: Any,
        padding: Padding | None,
    ) -> None:
        self._data: Any = data
        self._rows, self._padding = rows, padding
        own_names = names if names != ("data",) else ("_data",)
        wanted = None if src is None else _names(src, names)
        columns = columns_of(data)
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
            shown = name.lstrip("_")
            cut = _cut_of(columns[name], rows, lengths, shown, is_asked=bool(wanted))
            if cut is not None:
                cut.made(0, (1,), padding, shown)  # its value fits, or it is refused now
                self._cuts[name] = cut
        self._mask = None if padding is None else padding.mask
        if self._mask is not None:
            _check_mask(self._mask, names, {**(columns or {}), **self._cuts})
            self._lengths = lengths

    def copy_rows(self, rows: Positions, index: Any) -> dict[str, Any]:  # noqa: ARG002  by its ids
        """Return the components of the windows of an index."""
        which, starts = index.located()
        records = index.windows.places(which)
        places = rows_at(self._rows, records)
        columns = columns_of(self._data)
        if columns is None:
            columns, places = self._read(places)
        size = index.windows.cut.size
        found = {}
        for name, column in columns.items():
            if name in self._cuts:
                shown = name.lstrip("_")
                cut = self._cuts[name]
                found[name] = _pieces(column, places, starts, size, cut, self._padding, shown)
            else:
                found[name] = own(take_rows(column, places, name))
        if self._mask is not None:
            _check_mask(self._mask, (self._mask,), found)  # a source may read anything
            found[self._mask] = _inside(self._lengths[records] - starts, size)
        return found

    def _read(self, places: Any) -> tuple[dict[str, Any], Any]:
        """Read whole records, each once: their components, and the place of each window there."""
        wanted, back = np.unique(places, return_inverse=True)
        return self._data.copy_rows(wanted, DatasetIndex(len(wanted))), back

    def values(self, name: str, rows: Any, index: Any) -> Any:  # noqa: ARG002  by its ids
        """Return the values of all windows of an index; None if there are none."""
        if name in self._cuts or name == self._mask:
            return self.copy_rows(slice(0, 0), index)[name]
        if self._data is None:
            return None
        places = index.windows.places(index.located()[0])
        n_records = int(places.max()) + 1
        of_records = self._data.values(name, rows_at(self._rows, slice(0, n_records)), index)
        return take_rows(of_records, places, name)


def columns_of(data: Any) -> dict[str, Any] | None:
    """Return containers that are read by rows, by attribute; None: a source reads whole records."""
    if data is None or isinstance(data, Preloaded):
        return {} if data is None else data.columns
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
    column: Any,
    rows: Any,
    starts: Any,
    size: tuple[int, ...],
    cut: _Cut,
    padding: Padding | None,
    shown: str,
) -> npt.NDArray[Any]:
    """Return windows in one array."""
    n_axes = len(size)
    if cut.dtype is None:
        items = [np.asarray(item) for item in column]
        column = items
        cut = cut._replace(dtype=common_dtype(items), tail=items[0].shape[n_axes:])
    pieces = cut.made(len(rows), size, padding, shown)
    for place, (row, begin) in enumerate(zip(rows.tolist(), starts.tolist(), strict=True)):
        where = tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))
        piece = column[row][where] if cut.is_ragged else column[(row, *where)]
        found = piece.shape[:n_axes]
        if found != size and padding is None:
            raise ArgumentValueError(
                f"windows: {shown}: the window at {begin} of a record has the shape {found}, and "
                f"not {size}: the record is shorter than lengths says"
            )
        pieces[place][tuple(slice(0, n) for n in found)] = piece
    return pieces


def _check_mask(mask: str, names: tuple[str, ...], taken: Mapping[str, Any]) -> None:
    """Check that a mask has a component, and no data of the records there."""
    if mask not in names or mask == "data":
        raise ArgumentTypeError(
            f"windows: mask={mask!r:.60} is to be a component of the batch class."
            f"{did_you_mean(mask, names)}"
        )
    if mask in taken:
        raise ArgumentValueError(
            f"windows: the records have data in {mask!r}, so the mask needs another component"
        )


def _inside(lengths: npt.NDArray[np.int64], size: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Return where records are in windows, by what is left of them along each axis."""
    mask = np.ones((len(lengths), *size), dtype=bool)
    for axis, n in enumerate(size):
        here = np.arange(n) < lengths[:, axis, None]
        mask &= here.reshape(-1, *[1] * axis, n, *[1] * (len(size) - axis - 1))
    return mask
