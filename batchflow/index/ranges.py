"""Whole numbers in a few ranges, such as the ids or positions around a test part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Any, overload

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


class Ranges:
    """A few ranges with step 1 in a row. Only their borders are in memory.

    Args:
        parts: The ranges, without common numbers. Empty ones are left out.

    Example:
        >>> around = Ranges([range(3), range(5, 10**9)])
        >>> len(around), around.index(5), around[2:5]
        (999999998, 3, range(2, 3) + range(5, 7))
    """

    __slots__ = ("_parts", "_starts")

    def __init__(self, parts: Iterable[range]) -> None:
        self._parts = tuple(part for part in parts if len(part)) or (range(0),)
        # The places at which the parts begin, and the length of all.
        self._starts = tuple(accumulate(map(len, self._parts), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[int]:
        return chain(*self._parts)

    def __repr__(self) -> str:
        return " + ".join(map(str, self._parts))

    @overload
    def __getitem__(self, places: slice | Ranges) -> range | Ranges: ...
    @overload
    def __getitem__(self, places: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]: ...
    def __getitem__(self, places: Any) -> Any:
        """Return the numbers at some places, given by a slice with step 1, ranges or an array."""
        if isinstance(places, np.ndarray):
            shifts = [part.start - start for part, start in self._placed()]
            which = np.searchsorted(self._starts[1:], places, side="right")
            return places + np.array(shifts)[which]
        if isinstance(places, slice):
            places = Ranges([range(*places.indices(len(self)))])
        cut = Ranges(
            part[max(wanted.start - start, 0) : max(wanted.stop - start, 0)]
            for wanted in places._parts
            for part, start in self._placed()
        )
        return cut if len(cut._parts) > 1 else cut._parts[0]

    def index(self, number: int) -> int:
        """Return the place of a number.

        Raises:
            ValueError: The number is not in the ranges.
        """
        for part, start in self._placed():
            if number in part:
                return start + part.index(number)
        raise ValueError(f"{number} is not in {self!r}")

    def array(self) -> npt.NDArray[np.int64]:
        """Return all numbers as an array of shape `(n,)`."""
        return np.concatenate([np.arange(part.start, part.stop) for part in self._parts])

    def _placed(self) -> Iterator[tuple[range, int]]:
        return zip(self._parts, self._starts[:-1], strict=True)
