"""The ids of several datasets that are mixed, one dataset after the other."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.arrays import object_array
from batchflow.errors import ArgumentTypeError
from batchflow.index.computed import Computed, ComputedIndex, of_tuples
from batchflow.index.files import FilesIndex
from batchflow.index.ids import DatasetIndex
from batchflow.index.lookup import plain

if TYPE_CHECKING:
    import numpy.typing as npt

    Positions = npt.NDArray[np.int64]


class MixedIds(Computed):
    """The ids of several indexes in a row.

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

    def ids(self, numbers: Positions) -> npt.NDArray[Any]:
        """Return the ids at some positions."""
        owners, rows = self.located(numbers)
        found, places = [], []
        for owner in np.unique(owners).tolist():
            places.append(np.flatnonzero(owners == owner))
            ids = self.parts[owner]._take(rows[places[-1]]).indices
            if self.are_pairs:
                ids = of_tuples([(owner, item) for item in plain(ids)])
            found.append(ids)
        if len({ids.dtype.kind for ids in found}) > 1:  # so that 1 and "1" stay what they are
            found = [object_array(plain(ids)) for ids in found]
        if not found:
            return np.empty(0, object)
        joined: npt.NDArray[Any] = np.concatenate(found)
        return joined[np.argsort(np.concatenate(places))]

    def number(self, item: Any) -> int | None:
        """Return the position of an id; None if it is none."""
        for owner, part in enumerate(self.parts):
            own = item
            if self.are_pairs:
                if not (isinstance(item, tuple) and len(item) == 2 and item[0] == owner):
                    continue
                own = item[1]
            row = part._table(own)
            if row is not None:
                return self.starts[owner] + row
        return None

    def content(self) -> list[Any]:
        """Return what tells these ids from others."""
        return [self.are_pairs, *self.parts]

    def located(self, positions: Positions) -> tuple[Positions, Positions]:
        """Return for each position the number of an index, and the position there."""
        owners = np.searchsorted(self.starts[1:], positions, side="right")
        return owners, positions - np.array(self.starts)[owners]


class MixedIndex(ComputedIndex):
    """The items of several indexes, one index after the other.

    If two have an id in common, the ids of all become `(number of the index, id there)`.
    """

    def __repr__(self) -> str:
        return f"MixedIndex({len(self)} ids of {len(self._ids.of.parts)} indexes)"

    def own_id(self, item: Any) -> Any:
        """Return the id that an item has in its own index."""
        return item[1] if self._ids.of.are_pairs else item

    def get_fullpath(self, item: Any) -> str:
        """Return the path of the file with an id, where the item is a file.

        Raises:
            UnknownNameError: (a `KeyError`) The id is not in this index.
            ArgumentTypeError: The item is no file.
        """
        number = self._ids.numbers[self._position(item) :][:1]
        part = self._ids.of.parts[int(self._ids.of.located(number)[0][0])]
        if not isinstance(part, FilesIndex):
            raise ArgumentTypeError(f"the item {item!r} is no file: its index is {part!r}")
        return part.get_fullpath(self.own_id(item))


def _collide(parts: Sequence[DatasetIndex]) -> bool:
    """Check whether two indexes have an id in common."""
    pairs = ((part, other) for number, part in enumerate(parts) for other in parts[:number])
    return any(_share(part, other) for part, other in pairs)


def _share(one: DatasetIndex, other: DatasetIndex) -> bool:
    first, second = one._ids, other._ids
    if isinstance(first, range) and isinstance(second, range):
        return max(first.start, second.start) < min(first.stop, second.stop)
    small, large = sorted((one, other), key=len)
    return bool((large._table.many(small.indices) >= 0).any())
