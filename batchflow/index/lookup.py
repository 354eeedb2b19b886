"""From ids to positions: the table that an index makes on first use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from contextlib import suppress
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.arrays import TEXT_BYTES, object_array
from batchflow.index.ranges import Ranges

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Lookup", "compact_texts", "find_duplicates", "make_lookup", "plain"]

# Above this size a sorted order (16 bytes per id) takes the place of a dict (some 150).
_DICT_UP_TO = 2**16


def plain(ids: npt.NDArray[Any]) -> list[Any]:
    """Return ids as Python objects if these have the same values: they are faster to work with."""
    return list(ids) if ids.dtype.kind in "mM" else ids.tolist()


class Lookup(ABC):
    """A table from ids to positions."""

    @abstractmethod
    def __call__(self, item: Any) -> int | None:
        """Return the position of an id; None if it is not known."""

    def many(self, items: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the position of each of several ids; -1 if one is not known."""
        listed = plain(items) if isinstance(items, np.ndarray) else items
        found = map(self, listed)
        places = (-1 if place is None else place for place in found)
        return np.fromiter(places, dtype=np.int64, count=len(listed))


def make_lookup(ids: range | Ranges | npt.NDArray[Any]) -> Lookup:
    """Return the table of the positions of `ids`."""
    if isinstance(ids, (range, Ranges)):
        return _RangeLookup(ids)
    if ids.dtype == object or len(ids) <= _DICT_UP_TO:
        return _DictLookup(ids)
    return _SortedLookup(ids)


def find_duplicates(ids: npt.NDArray[Any], most: int = 5) -> list[Any]:
    """Return up to `most` ids that occur more than once, in the order of their second places."""
    if ids.dtype == object:
        return _first_repeats(ids, most)
    ordered = np.sort(ids)
    if not (ordered[1:] == ordered[:-1]).any():
        return []
    return _first_repeats(ids.tolist(), most)


def _first_repeats(ids: Iterable[Hashable], most: int) -> list[Any]:
    seen: set[Hashable] = set()
    repeated: dict[Hashable, None] = {}
    for item in ids:
        if item in seen:
            repeated[item] = None
            if len(repeated) == most:
                break
        seen.add(item)
    return list(repeated)


class _RangeLookup(Lookup):
    def __init__(self, ids: range | Ranges) -> None:
        self._ids = ids

    def __call__(self, item: Any) -> int | None:
        try:
            return self._ids.index(int(item)) if item == int(item) else None
        except (ValueError, TypeError, OverflowError):
            return None

    def many(self, items: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        ids, wanted = self._ids, _as_array_of("iu", items)
        if isinstance(ids, Ranges) or wanted is None or wanted.dtype == np.uint64:
            return super().many(items)
        places = wanted.astype(np.int64) - ids.start
        places[(places < 0) | (places >= len(ids))] = -1
        return places


class _DictLookup(Lookup):
    def __init__(self, ids: npt.NDArray[Any]) -> None:
        self._positions = {item: i for i, item in enumerate(plain(ids))}

    def __call__(self, item: Any) -> int | None:
        try:
            return self._positions.get(item)
        except TypeError:  # not hashable, so not an id
            return None

    def many(self, items: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        listed = plain(items) if isinstance(items, np.ndarray) else items
        try:
            places = map(self._positions.get, listed, repeat(-1))
            return np.fromiter(places, dtype=np.int64, count=len(listed))
        except TypeError:
            return super().many(items)


class _SortedLookup(Lookup):
    def __init__(self, ids: npt.NDArray[Any]) -> None:
        self._order = np.argsort(ids, kind="stable")
        self._ordered = ids[self._order]

    def __call__(self, item: Any) -> int | None:
        ordered = self._ordered
        try:
            key = ordered.dtype.type(item)  # in one type: a search would compare floats
            if key.dtype.itemsize > ordered.dtype.itemsize:  # longer: the search would copy all ids
                return None
            place = int(np.searchsorted(ordered, key))
            found = place < len(ordered) and bool(ordered[place] == key) and bool(key == item)
        except (TypeError, ValueError, OverflowError):
            return None
        return int(self._order[place]) if found else None

    def many(self, items: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        ordered = self._ordered
        wanted = _as_array_of(ordered.dtype.kind, items)
        if wanted is None or (wanted.dtype.kind != "U" and wanted.dtype != ordered.dtype):
            return super().many(items)
        keys = wanted
        if keys.dtype.itemsize > ordered.dtype.itemsize:  # or the search would copy all ids
            keys = wanted.astype(ordered.dtype)
        places = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
        is_found = (ordered[places] == keys) & (keys == wanted)
        return np.where(is_found, self._order[places], -1)


def _as_array_of(kinds: str, items: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Return ids as an array; None if it is of no such kind, or an id would change."""
    if isinstance(items, np.ndarray):
        return items if items.dtype.kind in kinds else None
    types = set(map(type, items))
    if types == {int} and "i" in kinds:
        with suppress(OverflowError):
            array = np.array(items)
            return array if array.dtype == np.int64 else None
    if types == {str} and kinds == "U":
        array = compact_texts(items)
        return array if array.dtype.kind == "U" else None
    return None


def compact_texts(items: Sequence[str]) -> npt.NDArray[Any]:
    """Return an array of texts: of fixed width, unless that takes much memory or cuts an end."""
    longest, total = max(map(len, items), default=0), sum(map(len, items))
    is_compact = 4 * longest * len(items) <= 2 * total + TEXT_BYTES * len(items)
    if is_compact and not any(item.endswith("\0") for item in items):
        return np.array(items)
    return object_array(items)
