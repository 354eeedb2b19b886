"""Windows over records: which there are, and where each begins, computed from running sums.

records of the lengths 10, 3, 7; size 4, stride 2   ->  4 + 0 + 2 windows; the sums 4, 4, 6
window 5  ->  the record behind the last sum that is not above 5, and which of its windows
"""

from __future__ import annotations

import copy
import operator
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self

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


class Records(NamedTuple):
    """Some records, as a selection of windows: all that these records have."""

    chosen: Numbers


class Windows(Computed):
    """The windows of records: their ids are `(record, start)`.

    In memory is one number for each record, with several axes one more for each axis.

    Args:
        records: The ids of the records.
        lengths: The length of each along each axis: of shape `(n_records, n_axes)`.
        cut: How they are cut.

    Attributes:
        records: The ids of the records that have windows.
        n_given: How many were given.

    Raises:
        ArgumentValueError: No record has a window.
    """

    def __init__(self, records: DatasetIndex, lengths: Numbers, cut: Cut) -> None:
        counts = cut.counts(lengths)
        has = (counts > 0).all(axis=1)
        if not has.any():
            raise ArgumentValueError(
                f"windows: none of the {len(records)} records is as long as a window of "
                f"{_shown(cut.size)}; the longest has {_shown(lengths.max(axis=0))}"
            )
        # The positions of these records among all that were given; None: they are all.
        self._places = None if has.all() else _small(np.flatnonzero(has))
        self.records = records if self._places is None else records._take(self._places)
        self.cut, self.n_given, counts = cut, len(records), counts[has]
        self._ends = _small(np.cumsum(counts.prod(axis=1)))
        self._counts = None if counts.shape[1] == 1 else _small(counts)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def of_records(self, chosen: Numbers) -> Windows:
        """Return the windows of some records, given by their places in `records`."""
        part = copy.copy(self)
        part.records = self.records._take(chosen)
        part._places = self.places(chosen)  # where ids count the records, the same array as these
        part._ends = _small(np.cumsum(self._of_each()[chosen]))
        part._counts = None if self._counts is None else self._counts[chosen]
        return part

    def places(self, chosen: Numbers) -> Numbers:
        """Return the positions of records among all that were given."""
        return chosen if self._places is None else self._places[chosen].astype(np.int64)

    def locate(self, numbers: Numbers) -> tuple[Numbers, Numbers]:
        """Return the records, by their places in `records`, and where windows begin in them.

        Returns:
            Arrays of the shapes `(n,)` and `(n, n_axes)`.
        """
        ends = self._ends  # of another dtype than what is looked for, all would be converted
        records = np.searchsorted(ends, numbers.astype(ends.dtype), side="right")
        rest = numbers - np.where(records > 0, ends[records - 1], 0).astype(np.int64)
        if self._counts is None:
            return records, (rest * self.cut.stride[0])[:, None]
        starts = np.empty((len(numbers), len(self.cut.size)), dtype=np.int64)
        for axis in reversed(range(len(self.cut.size))):
            rest, along = np.divmod(rest, self._counts[records, axis].astype(np.int64))
            starts[:, axis] = along * self.cut.stride[axis]
        return records, starts

    def records_and_starts(self, numbers: Numbers) -> tuple[npt.NDArray[Any], Numbers]:
        """Return the ids of the records, shape `(n,)`; the starts, `(n,)` or `(n, n_axes)`."""
        records, starts = self.locate(numbers)
        return self.records._take(records).indices, starts[:, 0] if self.cut.is_flat else starts

    def ids(self, numbers: Numbers) -> npt.NDArray[Any]:
        """Return the ids of some windows."""
        records, starts = self.records_and_starts(numbers)
        listed = starts.tolist() if self.cut.is_flat else list(map(tuple, starts.tolist()))
        return of_tuples(list(zip(plain(records), listed, strict=True)))

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

    def content(self) -> list[Any]:
        """Return what tells these windows from others."""
        counts = self._of_each() if self._counts is None else self._counts
        return [tuple(self.cut), counts.tolist(), self.records]

    def without_others(self, numbers: Numbers) -> tuple[Windows, Numbers]:
        """Return the windows of the records that some windows are of, and their numbers there."""
        records, _ = self.locate(numbers)
        chosen = np.unique(records)
        part = self.of_records(chosen)
        places = np.searchsorted(chosen, records)
        before = part._ends.astype(np.int64) - part._of_each()
        first = self._ends[chosen].astype(np.int64) - part._of_each()
        return part, numbers - first[places] + before[places]

    def _of_each(self) -> Numbers:
        """Return how many windows each record has."""
        ends = self._ends.astype(np.int64)
        return ends - np.append(0, ends[:-1])  # type: ignore[no-any-return]


def _small(numbers: Numbers) -> npt.NDArray[Any]:
    """Return numbers from 0 on in the smallest dtype that holds them."""
    return numbers.astype(np.min_scalar_type(int(numbers.max(initial=0))))


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
        if n_short := windows.n_given - len(windows.records):
            short = np.delete(
                np.arange(len(records)), windows.places(np.arange(len(windows.records)))
            )
            warnings.warn(
                f"{n_short} of {len(records)} records are shorter than a window of "
                f"{_shown(cut.size)} and have none, such as "
                f"{records._take(short[:5]).indices.tolist()}"
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
    def records(self) -> DatasetIndex:
        """The ids of the records that have windows."""
        return self.windows.records

    @property
    def n_too_short(self) -> int:
        """How many records have no window."""
        return self.windows.n_given - len(self.windows.records)

    def __repr__(self) -> str:
        size, records = _shown(self.windows.cut.size), len(self.windows.records)
        return f"WindowsIndex({len(self)} windows of {size}, {records} records)"

    def located(self) -> tuple[Numbers, Numbers]:
        """Return the records and the starts: see `Windows.locate`."""
        return self.windows.locate(self._ids.numbers)

    def _block_starts(self) -> Numbers:
        """Return the positions at which the windows of another record begin."""
        return np.flatnonzero(np.diff(self.located()[0], prepend=-1))

    def _take(self, positions: Any) -> Self:
        if not isinstance(positions, Records):
            return super()._take(positions)
        part = type(self).of(self.windows.of_records(positions.chosen))
        part.__dict__.update(self.__dict__)
        return part

    _take_part = _take

    def _taker(self) -> Callable[[Any], Any]:
        return self._take  # batches make tuples where somebody asks for them

    # ---- splits, of the records

    def _split_positions(self, parts: Any, shuffle: Any, rules: Any) -> Any:
        from batchflow.index.split import Selection

        if Selection in map(type, parts):
            positions, shares = super()._split_positions(parts, shuffle, rules)
            self._refuse_leaks(positions)
            return positions, shares
        records, chosen, rules = self._by_records(rules)
        positions, shares = records._split_positions(parts, shuffle, rules)
        return [self._of_records(chosen, part) for part in positions], shares

    def _fold_positions(self, n_splits: Any, shuffle: Any, rules: Any) -> Any:
        records, chosen, rules = self._by_records(rules)
        return [
            (self._of_records(chosen, train), self._of_records(chosen, test), shares)
            for train, test, shares in records._fold_positions(n_splits, shuffle, rules)
        ]

    def _is_whole(self) -> bool:
        return isinstance(self._ids.chosen, range) and len(self) == len(self.windows)

    def _by_records(self, rules: Any) -> tuple[DatasetIndex, Numbers, Any]:
        """Return the records that have windows here, their places, rules with values for them."""
        chosen = np.arange(len(self.records))
        if not self._is_whole():
            chosen = np.unique(self.located()[0])
        stratify, groups, by = rules
        values = self._for_records(stratify, chosen, "stratify")
        return (
            self.records._take(chosen),
            chosen,
            (values, self._for_records(groups, chosen, "groups"), by),
        )

    def _for_records(self, values: Any, chosen: Numbers, name: str) -> Any:
        """Return the values of some records, given for them, for all records or for all windows."""
        n_values = len(values) if hasattr(values, "__len__") else len(chosen)
        if values is None or n_values == len(chosen) or hasattr(values, "iloc"):
            return values
        if n_values == self.windows.n_given:
            where = self.windows.places(chosen)
        elif n_values == len(self):
            places = np.searchsorted(chosen, self.located()[0])
            _, where, back = np.unique(places, return_index=True, return_inverse=True)
            own = np.asarray(values)
            if (own[where][back] != own).any():
                raise ArgumentValueError(
                    f"split: {name}: the windows of one record have different values, and a split "
                    "parts records; give one value for each record"
                )
        else:
            raise ArgumentValueError(
                f"split: {name}: expected one value for each of the {self.windows.n_given} records "
                f"(or of the {len(self)} windows), got {n_values}"
            )
        return np.asarray(values)[where] if hasattr(values, "dtype") else [values[i] for i in where]

    def _of_records(self, chosen: Numbers, part: Any) -> Any:
        """Return the windows of some of the chosen records, as `_take` takes them."""
        places = part.array() if hasattr(part, "array") else np.arange(len(chosen))[part]
        if self._is_whole():
            return Records(places)
        rank = np.full(len(chosen), len(chosen))
        rank[places] = np.arange(len(places))
        ranks = rank[np.searchsorted(chosen, self.located()[0])]
        order = np.argsort(ranks, kind="stable")
        return order[: np.count_nonzero(ranks < len(chosen))]

    def _refuse_leaks(self, parts: Any) -> None:
        """Refuse parts that have windows of one record."""
        of_windows, _ = self.located()
        seen = np.zeros(len(self.records), dtype=bool)
        for part in parts:
            own = np.unique(of_windows[part])
            if seen[own].any():
                shared = self.records._take(own[seen[own]]).indices
                raise ArgumentValueError(
                    f"split: windows of {len(shared)} records are in two parts, such as of "
                    f"{shared[:5].tolist()}. Split by shares, which parts records, or take windows "
                    "yourself: dataset.take(positions)"
                )
            seen[own] = True


def _shown(sizes: Any) -> str:
    return " x ".join(str(int(size)) for size in sizes)
