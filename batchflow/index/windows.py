"""Windows over records: which there are, and where each begins, computed from running sums.

records of the lengths 10, 3, 7; size 4, stride 2   ->  4 + 0 + 2 windows; the sums 4, 4, 6
window 5  ->  the record behind the last sum that is not above 5, and which of its windows
"""

from __future__ import annotations

import operator
import warnings
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.computed import Computed, ComputedIndex, of_tuples
from batchflow.index.ids import DatasetIndex
from batchflow.index.lookup import plain

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

Partial = Literal["drop", "pad"]


class Cut(NamedTuple):
    """How records are cut into windows.

    Attributes:
        size: The size of a window, along each axis.
        stride: How far one begins behind the other, along each axis.
        partial: What becomes of a shorter window at the end: `"drop"` or `"pad"`.
        is_flat: Whether there is one axis, so that starts are numbers and no tuples.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    partial: Partial
    is_flat: bool

    @classmethod
    def checked(cls, size: Any, stride: Any, partial: Any) -> Cut:
        """Check what a user has given.

        Raises:
            ArgumentTypeError: A size or a stride is no whole number.
            ArgumentValueError: One is below 1, they have different numbers of axes, or `partial` is
                not known.
        """
        if partial not in ("drop", "pad"):
            raise ArgumentValueError(f'windows: partial is "drop" or "pad", got {partial!r:.60}')
        sizes = _wholes("size", size)
        strides = sizes if stride is None else _wholes("stride", stride)
        if len(sizes) != len(strides):
            raise ArgumentValueError(
                f"windows: size has {len(sizes)} axes, stride {len(strides)}: {size!r}, {stride!r}"
            )
        return cls(sizes, strides, partial, not isinstance(size, (tuple, list)))

    def counts(self, lengths: Numbers) -> Numbers:
        """Return how many windows records have along each axis: of the shape of `lengths`."""
        size, stride = np.array(self.size), np.array(self.stride)
        if self.partial == "drop":
            return np.where(lengths >= size, (lengths - size) // stride + 1, 0)
        more = np.maximum(-((size - lengths) // stride), 0) + 1  # rounded up
        within = -(-lengths // stride)  # so many begin inside of the record
        return np.where(lengths > 0, np.minimum(more, within), 0)


def _wholes(name: str, given: Any) -> tuple[int, ...]:
    values = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    for value in values:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise ArgumentTypeError(
                f"windows: {name} is a whole number, or a tuple with one for each axis, got "
                f"{given!r:.60}"
            )
        if value < 1:
            raise ArgumentValueError(f"windows: {name} must be at least 1, got {given!r:.60}")
    if not values:
        raise ArgumentValueError(f"windows: {name} has no axes: {given!r}")
    return tuple(map(operator.index, values))


class Windows(Computed):
    """The windows of records: their ids are `(record, start)`.

    Args:
        records: The ids of the records.
        lengths: The length of each along each axis: of shape `(n_records, n_axes)`.
        cut: How they are cut.

    Raises:
        ArgumentValueError: No record has a window.
    """

    def __init__(self, records: DatasetIndex, lengths: Numbers, cut: Cut) -> None:
        self.records, self.cut = records, cut
        counts = cut.counts(lengths)
        of_records = counts.prod(axis=1)
        total = int(of_records.sum())
        if not total:
            raise ArgumentValueError(
                f"windows: none of the {len(records)} records is as long as a window of "
                f"{_shown(cut.size)}; the longest has {_shown(lengths.max(axis=0))}"
            )
        self.n_too_short = int((of_records == 0).sum())
        small = np.int32 if total < 2**31 else np.int64
        self._ends = np.cumsum(of_records, dtype=small)
        self._counts = None if counts.shape[1] == 1 else counts.astype(np.int32)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def places(self, numbers: Numbers) -> tuple[Numbers, Numbers]:
        """Return the positions of the records, and where the windows begin in them.

        Returns:
            Arrays of the shapes `(n,)` and `(n, n_axes)`.
        """
        records = np.searchsorted(self._ends, numbers, side="right")
        first = np.where(records > 0, self._ends[np.maximum(records - 1, 0)], 0)
        rest = numbers - first
        if self._counts is None:
            return records, (rest * self.cut.stride[0])[:, None]
        starts = np.empty((len(numbers), len(self.cut.size)), dtype=np.int64)
        for axis in reversed(range(len(self.cut.size))):
            rest, along = np.divmod(rest, self._counts[records, axis])
            starts[:, axis] = along * self.cut.stride[axis]
        return records, starts

    def ids(self, numbers: Numbers) -> npt.NDArray[Any]:
        """Return the ids of some windows."""
        records, starts = self.places(numbers)
        names = plain(self.records._take(records).indices)
        listed = starts[:, 0].tolist() if self.cut.is_flat else list(map(tuple, starts.tolist()))
        return of_tuples(list(zip(names, listed, strict=True)))

    def number(self, item: Any) -> int | None:
        """Return the number of a window; None if there is none of this id."""
        if not isinstance(item, tuple) or len(item) != 2:
            return None
        record, start = item
        starts = (start,) if self.cut.is_flat else start
        position = self.records._table(record)
        if position is None or not isinstance(starts, tuple) or len(starts) != len(self.cut.size):
            return None
        first = int(self._ends[position - 1]) if position else 0
        n_windows = int(self._ends[position]) - first
        counts = (n_windows,) if self._counts is None else self._counts[position].tolist()
        number = 0
        for value, stride, count in zip(starts, self.cut.stride, counts, strict=True):
            try:
                along, rest = divmod(operator.index(value), stride)
            except TypeError:
                return None
            if rest or not 0 <= along < count:
                return None
            number = number * count + along
        return first + number


class WindowsIndex(ComputedIndex):
    """The index of windows. Its splits part records: none has windows in two parts."""

    @classmethod
    def made(cls, records: DatasetIndex, lengths: Any, cut: Cut) -> WindowsIndex:
        """Return the index of all windows of some records; warn of records that have none.

        Args:
            records: Their ids.
            lengths: Their lengths: of shape `(n_records,)` or `(n_records, n_axes)`.
            cut: How they are cut.

        Raises:
            ArgumentTypeError: The lengths are no whole numbers.
            ArgumentValueError: Their shape is another, one is negative, or no record has a window.
        """
        array = np.asarray(lengths)
        if array.dtype.kind not in "iu":
            raise ArgumentTypeError(
                f"windows: lengths are whole numbers, one for each record, got {array.dtype}"
            )
        array = array.reshape(-1, 1) if array.ndim == 1 else array
        if array.shape != (len(records), len(cut.size)) or (array < 0).any():
            raise ArgumentValueError(
                f"windows: expected lengths from 0 on of {len(records)} records along "
                f"{len(cut.size)} axes, got the shape {np.shape(lengths)}"
            )
        windows = Windows(records, array.astype(np.int64), cut)
        if windows.n_too_short:
            warnings.warn(
                f"{windows.n_too_short} of {len(records)} records are shorter than a window of "
                f"{_shown(cut.size)} and have none"
                + ('; partial="pad" fills them up' if cut.partial == "drop" else ""),
                stacklevel=3,
            )
        return cls.of(windows)

    @property
    def windows(self) -> Windows:
        """All windows of which these are some."""
        found: Windows = self._ids.of
        return found

    @property
    def n_too_short(self) -> int:
        """How many records have no window."""
        return self.windows.n_too_short

    def __repr__(self) -> str:
        size, records = _shown(self.windows.cut.size), len(self.windows.records)
        return f"WindowsIndex({len(self)} windows of {size}, {records} records)"

    def _records_here(self) -> tuple[DatasetIndex, Numbers]:
        """Return the index of the records that have windows here, and the record of each window."""
        of_windows, _ = self.windows.places(self._ids.numbers)
        numbers, codes = np.unique(of_windows, return_inverse=True)
        return self.windows.records._take(numbers), codes

    def _split_positions(self, parts: Any, shuffle: Any, rules: Any) -> Any:
        from batchflow.index.split import Selection

        if Selection in map(type, parts):  # windows that the user has chosen
            return super()._split_positions(parts, shuffle, rules)
        records, codes = self._records_here()
        positions, shares = records._split_positions(parts, shuffle, rules)
        return [_of_records(codes, len(records), part) for part in positions], shares

    def _fold_positions(self, n_splits: Any, shuffle: Any, rules: Any) -> Any:
        records, codes = self._records_here()
        n_records = len(records)
        return [
            (_of_records(codes, n_records, train), _of_records(codes, n_records, test), shares)
            for train, test, shares in records._fold_positions(n_splits, shuffle, rules)
        ]


def _of_records(codes: Numbers, n_records: int, part: Any) -> Any:
    """Return the positions of the windows whose records are in a part."""
    chosen = np.zeros(n_records, dtype=bool)
    chosen[part.array() if hasattr(part, "array") else part] = True
    places = np.flatnonzero(chosen[codes])
    if len(places) and places[-1] - places[0] + 1 == len(places):
        return slice(int(places[0]), int(places[-1]) + 1)
    return places


def _shown(sizes: Any) -> str:
    return " x ".join(str(int(size)) for size in sizes)
