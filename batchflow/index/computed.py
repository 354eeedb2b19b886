"""Ids that are computed and not stored: those of windows, and of mixed sources.

number of an item --> (record, start)      found in running sums, when it is asked for
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from batchflow.index.ids import DatasetIndex
from batchflow.index.lookup import Lookup
from batchflow.index.ranges import Ranges

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.index.order import Positions

    Numbers = npt.NDArray[np.int64]

_BLOCK = 4096  # ids that are made at once where all are gone through


class Computed(ABC):
    """Ids that follow from their numbers `0 ... n - 1`."""

    @abstractmethod
    def __len__(self) -> int:
        """Return how many there are."""

    @abstractmethod
    def ids(self, numbers: Numbers) -> npt.NDArray[Any]:
        """Return the ids of some numbers: tuples, in an array of objects."""

    @abstractmethod
    def number(self, item: Any) -> int | None:
        """Return the number of an id; None if it is none."""

    def content(self) -> list[Any]:
        """Return what tells these ids from others: plain values, and indexes."""
        return [self.ids(np.arange(len(self))).tolist()]

    def without_others(self, numbers: Numbers) -> tuple[Computed, Numbers]:
        """Return less, that still has the ids of some numbers, and their numbers there."""
        return self, numbers


class ComputedIds:
    """Some of the computed ids, in an order.

    Args:
        of: All of them.
        chosen: Their numbers; None: all.
    """

    def __init__(self, of: Computed, chosen: range | Ranges | Numbers | None = None) -> None:
        self.of = of
        self.chosen: Any = range(len(of)) if chosen is None else chosen

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, len(self), _BLOCK):
            yield from self[slice(start, min(start + _BLOCK, len(self)))].array().tolist()

    def __getitem__(self, positions: Any) -> ComputedIds:
        chosen = self.chosen
        if isinstance(chosen, range) and isinstance(positions, np.ndarray):
            return ComputedIds(self.of, positions + chosen.start)
        if isinstance(chosen, range) and isinstance(positions, Ranges):
            chosen = Ranges([chosen])
        return ComputedIds(self.of, chosen[positions])

    @property
    def numbers(self) -> Numbers:
        """Their numbers, as an array."""
        chosen = self.chosen
        if isinstance(chosen, range):
            return np.arange(chosen.start, chosen.stop)
        return chosen.array() if isinstance(chosen, Ranges) else chosen

    def __reduce__(self) -> Any:
        """Leave out what only other ids need: what travels with a batch is small."""
        if len(self) == len(self.of) and isinstance(self.chosen, range):
            return ComputedIds, (self.of, self.chosen)
        return ComputedIds, self.of.without_others(self.numbers)

    def content(self) -> list[Any]:
        """Return what tells these ids from others."""
        chosen = self.chosen
        return [*self.of.content(), chosen.tolist() if isinstance(chosen, np.ndarray) else chosen]

    def array(self) -> npt.NDArray[Any]:
        """Return the ids."""
        return self.of.ids(self.numbers)


class _ComputedLookup(Lookup):
    def __init__(self, ids: ComputedIds) -> None:
        self._of = ids.of
        chosen = ids.chosen
        self._order = None
        if isinstance(chosen, np.ndarray):
            self._order = np.argsort(chosen, kind="stable")
            self._sorted = chosen[self._order]
        self._chosen = chosen

    def __call__(self, item: Any) -> int | None:
        number = self._of.number(item)
        if number is None:
            return None
        if self._order is not None:
            place = int(np.searchsorted(self._sorted, number))
            is_there = place < len(self._sorted) and self._sorted[place] == number
            return int(self._order[place]) if is_there else None
        try:
            return int(self._chosen.index(number))
        except ValueError:
            return None


class ComputedIndex(DatasetIndex):
    """An index whose ids are computed. Its batches have indexes of tuples."""

    _ids: Any

    @classmethod
    def of(cls, computed: Computed) -> Self:
        """Return the index of all ids."""
        index = cls.__new__(cls)
        index._ids, index._is_given, index._lookup = ComputedIds(computed), True, None
        return index

    @property
    def indices(self) -> npt.NDArray[Any]:
        """The ids: a read-only array of tuples, made now, of shape `(n_items,)`."""
        ids: npt.NDArray[Any] = self._ids.array()
        ids.flags.writeable = False
        return ids

    @property
    def _table(self) -> Lookup:
        if self._lookup is None:
            self._lookup = _ComputedLookup(self._ids)
        return self._lookup

    def _take(self, positions: Any) -> Self:
        part = type(self).__new__(type(self))
        part._ids, part._is_given, part._lookup = self._ids[positions], True, None
        part.__dict__.update(self.__dict__)
        return part

    _take_part = _take

    def _taker(self) -> Callable[[Positions], Any]:
        ids, new = self._ids, DatasetIndex.__new__

        def take(positions: Any) -> DatasetIndex:
            part = new(DatasetIndex)
            part._ids, part._is_given, part._lookup = ids[positions].array(), True, None
            return part

        return take


def of_tuples(items: list[Any]) -> npt.NDArray[Any]:
    """Return an array of objects of tuples."""
    ids = np.empty(len(items), dtype=object)
    ids[:] = items
    return ids
