"""The ids of several datasets that are mixed, one dataset after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from batchflow.arrays import object_array
from batchflow.errors import ArgumentTypeError
from batchflow.index.files import FilesIndex
from batchflow.index.ids import DatasetIndex
from batchflow.index.lookup import Lookup, plain
from batchflow.index.ranges import Ranges

if TYPE_CHECKING:
    import numpy.typing as npt

    Positions = npt.NDArray[np.int64]


class MixedIds:
    """The ids of several indexes in a row, computed when they are read.

    Attributes:
        parts: The indexes.
        starts: The position of the first item of each among all; at the end, how many there are.
        are_pairs: Whether an id is `(number of the index, id there)`: two have an id in common.
    """

    def __init__(self, parts: Sequence[DatasetIndex]) -> None:
        self.parts = tuple(parts)
        self.starts = tuple(accumulate(map(len, parts), initial=0))
        self.are_pairs = _collide(self.parts)

    def __len__(self) -> int:
        return self.starts[-1]

    def __iter__(self) -> Iterator[Any]:
        for number, part in enumerate(self.parts):
            yield from ((number, item) for item in part) if self.are_pairs else part

    def __getitem__(self, positions: Any) -> npt.NDArray[Any]:
        """Return the ids at some positions: a slice, ranges or an int64 array of shape `(n,)`."""
        if isinstance(positions, slice):
            positions = np.arange(*positions.indices(len(self)))
        elif isinstance(positions, Ranges):
            positions = positions.array()
        numbers, rows = self.located(positions)
        found, places = [], []
        for number in np.unique(numbers).tolist():
            places.append(np.flatnonzero(numbers == number))
            ids = self.parts[number]._take(rows[places[-1]]).indices
            if self.are_pairs:
                ids = object_array([(number, item) for item in plain(ids)])
            found.append(ids)
        if len(found) == 1:
            return found[0]  # type: ignore[no-any-return]
        if len({ids.dtype.kind for ids in found}) > 1:  # so that 1 and "1" stay what they are
            found = [object_array(plain(ids)) for ids in found]
        order = np.argsort(np.concatenate([np.empty(0, np.int64), *places]))
        joined: npt.NDArray[Any] = np.concatenate(found)[order] if found else np.empty(0, object)
        return joined

    def located(self, positions: Positions) -> tuple[Positions, Positions]:
        """Return for each position the number of an index, and the position there."""
        numbers = np.searchsorted(self.starts[1:], positions, side="right")
        return numbers, positions - np.array(self.starts)[numbers]


class MixedIndex(DatasetIndex):
    """The items of several indexes, one index after the other.

    Args:
        parts: The indexes. If two have an id in common, the ids of all become
            `(number of the index, id there)`.
    """

    _ids: Any  # all of `_whole`, or an array of some of them
    _whole: MixedIds  # which all subsets share

    def __init__(self, parts: Sequence[DatasetIndex]) -> None:
        self._ids = self._whole = MixedIds(parts)
        self._lookup = None
        self._is_given = any(part.is_given for part in parts)

    @property
    def indices(self) -> npt.NDArray[Any]:
        """The ids: a read-only array of shape `(n_items,)`."""
        if self._ids is not self._whole:
            return super().indices
        ids = self._whole[:]
        ids.flags.writeable = False
        return ids

    def __repr__(self) -> str:
        if self._ids is not self._whole:
            return super().__repr__()
        return f"MixedIndex({len(self)} ids of {len(self._whole.parts)} indexes)"

    def get_fullpath(self, item: Any) -> str:
        """Return the path of the file with an id, where the items are files.

        Raises:
            UnknownNameError: (a `KeyError`) The id is not in this index.
            ArgumentTypeError: The item is no file.
        """
        self._position(item)  # a subset has fewer
        position = np.array([_MixedLookup(self._whole)(item)])
        part = self._whole.parts[int(self._whole.located(position)[0][0])]
        if not isinstance(part, FilesIndex):
            raise ArgumentTypeError(f"the item {item!r} is no file: its index is {part!r}")
        return part.get_fullpath(item[1] if self._whole.are_pairs else item)

    def _take_part(self, positions: Any) -> Self:
        is_all = isinstance(positions, slice) and positions == slice(0, len(self))
        return self if is_all else super()._take_part(positions)

    @property
    def _table(self) -> Lookup:
        if self._ids is not self._whole:
            return super()._table
        return _MixedLookup(self._whole)


class _MixedLookup(Lookup):
    def __init__(self, ids: MixedIds) -> None:
        self._ids = ids

    def __call__(self, item: Any) -> int | None:
        position = int(self.many([item])[0])
        return None if position < 0 else position

    def many(self, items: Sequence[Any] | npt.NDArray[Any]) -> Positions:
        ids = self._ids
        wanted = plain(items) if isinstance(items, np.ndarray) else list(items)
        positions = np.full(len(wanted), -1, np.int64)
        for number, (part, start) in enumerate(zip(ids.parts, ids.starts, strict=False)):
            places = [
                place
                for place, item in enumerate(wanted)
                if not ids.are_pairs or (_is_pair(item) and item[0] == number)
            ]
            own = [wanted[place][1] if ids.are_pairs else wanted[place] for place in places]
            rows = part._table.many(own)
            positions[places] = np.where(rows < 0, positions[places], rows + start)
        return positions


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2


def _collide(parts: Sequence[DatasetIndex]) -> bool:
    """Check whether two indexes have an id in common."""
    return any(_share(part, other) for number, part in enumerate(parts) for other in parts[:number])


def _share(one: DatasetIndex, other: DatasetIndex) -> bool:
    first, second = one._ids, other._ids
    if isinstance(first, range) and isinstance(second, range):
        return max(first.start, second.start) < min(first.stop, second.stop)
    small, large = sorted((one, other), key=len)
    return bool((large._table.many(small.indices) >= 0).any())
