"""From ids to positions: the table an index makes when it is first asked."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.index.ranges import Ranges

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Lookup", "find_duplicates", "make_lookup", "plain"]

# Above this size a sorted order (16 bytes per id) takes the place of a dict (some 150).
_DICT_UP_TO = 2**16

Lookup = Callable[[Any], int | None]


def plain(ids: npt.NDArray[Any]) -> list[Any]:
    """Give ids as Python objects where these are the same values, which is quicker to work with."""
    return list(ids) if ids.dtype.kind in "mM" else ids.tolist()


def make_lookup(ids: range | Ranges | npt.NDArray[Any]) -> Lookup:
    """Give a function from an id to its position in `ids`, or to None where there is none."""
    if isinstance(ids, (range, Ranges)):
        return _range_lookup(ids)
    if ids.dtype == object or len(ids) <= _DICT_UP_TO:
        return _dict_lookup(ids)
    return _sorted_lookup(ids)


def find_duplicates(ids: npt.NDArray[Any], most: int = 5) -> list[Any]:
    """Give up to `most` ids that occur more than once, in the order of their second occurrence."""
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


def _range_lookup(ids: range | Ranges) -> Lookup:
    def find(item: Any) -> int | None:
        try:
            return ids.index(int(item)) if item == int(item) else None
        except (ValueError, TypeError, OverflowError):
            return None

    return find


def _dict_lookup(ids: npt.NDArray[Any]) -> Lookup:
    positions = {item: i for i, item in enumerate(plain(ids))}

    def find(item: Any) -> int | None:
        try:
            return positions.get(item)
        except TypeError:  # not hashable, so not an id
            return None

    return find


def _sorted_lookup(ids: npt.NDArray[Any]) -> Lookup:
    order = np.argsort(ids, kind="stable")
    ordered = ids[order]

    def find(item: Any) -> int | None:
        try:
            key = ids.dtype.type(item)  # comparing in one type: searching would go through floats
            place = int(np.searchsorted(ordered, key))
            found = place < len(ordered) and bool(ordered[place] == key) and bool(key == item)
        except (TypeError, ValueError, OverflowError):
            return None
        return int(order[place]) if found else None

    return find
