"""From ids to positions: the table that an index makes on first use."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from contextlib import suppress
from datetime import date, timedelta
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.arrays import object_array
from batchflow.index.hashing import hashed, mixed
from batchflow.index.ranges import Ranges

if TYPE_CHECKING:
    import numpy.typing as npt

# Above this size a table of hashes takes the place of a dict, which takes 100 bytes for each id.
DICT_UP_TO = 2**12
_WIDE_BYTES = 44  # of a text of fixed width beyond its characters, which is 60 with the table
_SPAN = 8  # places for each id, of 4 bytes, up to which there is one for each number between
_BLOCK = 2**15  # so many ids are looked up at once, so that what is made for them stays small
# The type of an array of texts that are too different in length, or too long, for a fixed width:
# 17 bytes for each beyond its text. Nobody sees it; with `coerce` it equals no type of a user's.
TEXTS = np.dtypes.StringDType(coerce=False)
# Before NumPy 2.2 comparisons of such arrays fail ("Failed to load string"): there it is objects.
_KEEPS_TEXTS = np.lib.NumpyVersion(np.__version__) >= "2.2.0"


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
    if ids.dtype == np.int64 and is_hashed(ids):
        first, last = int(ids.min()), int(ids.max())
        if last - first < _SPAN * len(ids):
            return _DenseLookup(ids, first, last)
    return HashLookup(ids) if is_hashed(ids) else _DictLookup(ids)


def is_hashed(ids: npt.NDArray[Any]) -> bool:
    """Check whether ids are so many, and of such a type, that their table is one of hashes."""
    is_known = ids.dtype.kind in "iuUSTOmM" or (ids.dtype.kind == "f" and ids.dtype.itemsize <= 8)
    return len(ids) > DICT_UP_TO and is_known


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


_OF_PYTHON = (date, timedelta)  # a `datetime` is a `date`


class _DictLookup(Lookup):
    def __init__(self, ids: npt.NDArray[Any]) -> None:
        self._positions = {item: i for i, item in enumerate(plain(ids))}
        if ids.dtype.kind in "mM":
            # What Python gives for them is equal, and has another hash: a `date` always, the others
            # in NumPy 2.0, for one.
            times = (pair for pair in enumerate(ids.tolist()) if isinstance(pair[1], _OF_PYTHON))
            self._positions |= {item: place for place, item in times}

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


class _DenseLookup(Lookup):
    """A table with a place for each whole number from the least id to the greatest."""

    def __init__(self, ids: npt.NDArray[np.int64], first: int, last: int) -> None:
        self._first = first
        dtype = np.int32 if len(ids) < 2**31 else np.int64
        self._table = np.full(last - first + 1, -1, dtype=dtype)
        self._table[ids - first] = np.arange(len(ids))

    def __call__(self, item: Any) -> int | None:
        try:
            place = int(item) - self._first
            if item != int(item) or not 0 <= place < len(self._table):
                return None
        except (ValueError, TypeError, OverflowError):
            return None
        return None if self._table[place] < 0 else int(self._table[place])

    def many(self, items: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        wanted = _as_array_of("iu", items)
        if wanted is None or wanted.dtype == np.uint64:
            return super().many(items)
        places = wanted.astype(np.int64, copy=False) - self._first
        if len(places) and (places.min() < 0 or places.max() >= len(self._table)):
            inside = (places >= 0) & (places < len(self._table))
            return np.where(inside, self._table[np.where(inside, places, 0)], -1)
        return self._table[places].astype(np.int64, copy=False)


class HashLookup(Lookup):
    """A table of hashes, made and read many at a time: 6 to 12 bytes for each id.

    Open addressing (Knuth, The Art of Computer Programming 3, 6.4): an id is at the first free
    place of those that its hash names one after the other. In each round all ids that are left try
    their next place at once; the earlier one gets it.

    Attributes:
        repeated: The positions of ids that an earlier one is equal to, in order.
    """

    def __init__(self, ids: npt.NDArray[Any]) -> None:
        self._ids = ids
        room = 4 if ids.dtype.kind in "iufmM" else 1.5  # numbers are small, and soon compared
        self._bits = int(room * len(ids)).bit_length()
        dtype = np.int32 if len(ids) < 2**31 else np.int64
        self._table = np.full(2**self._bits, -1, dtype=dtype)
        self.repeated = self._insert(self._hashes(ids))

    def _insert(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        table, rows, places = self._table, np.arange(len(hashes)), self._first_places(hashes)
        repeated = []
        while rows.size:
            is_free = table[places] < 0
            table[places[is_free][::-1]] = rows[is_free][::-1]  # of several the last one stays
            held = table[places]
            left = np.flatnonzero(held != rows)
            rows, places, held = rows[left], places[left], held[left]
            alike = np.flatnonzero(hashes[held] == hashes[rows])
            alike = alike[self._are_equal(self._ids[held[alike]], self._ids[rows[alike]])]
            if alike.size:
                repeated.append(rows[alike])
                rows, places = np.delete(rows, alike), np.delete(places, alike)
            places = self._next_places(places, hashes[rows])
        return np.sort(np.concatenate([np.empty(0, dtype=np.int64), *repeated]))

    def _first_places(self, hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        places: npt.NDArray[np.int64] = (hashes >> np.uint64(64 - self._bits)).astype(np.int64)
        return places

    def _next_places(
        self, places: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64]
    ) -> npt.NDArray[np.int64]:
        # An odd step comes to all places of a table of 2**bits.
        steps = (hashes & np.uint64(2**self._bits - 1)).astype(np.int64) | 1
        after: npt.NDArray[np.int64] = (places + steps) & (2**self._bits - 1)
        return after

    def _are_equal(self, some: npt.NDArray[Any], others: npt.NDArray[Any]) -> Any:
        if some.dtype.kind != "O":
            return some == others
        pairs = zip(some.tolist(), others.tolist(), strict=True)
        same = (a is b or (hash(a) == hash(b) and bool(a == b)) for a, b in pairs)  # as in a dict
        return np.fromiter(same, dtype=bool, count=len(some))

    def _hashes(self, keys: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
        if keys.dtype.kind != "O":
            return hashed(keys)
        numbers = np.fromiter(map(hash, keys.tolist()), dtype=np.int64, count=len(keys))
        return mixed(numbers.view(np.uint64))

    def __call__(self, item: Any) -> int | None:
        """Return the position of an id; None if it is not known."""
        try:
            keys = self._key(item)
        except (TypeError, ValueError, OverflowError):  # it is of no such type, or not hashable
            return None
        place = -1 if keys is None else int(self._find(keys)[0])
        return None if place < 0 else place

    def _key(self, item: Any) -> npt.NDArray[Any] | None:
        """Return an id in the form of those of the table; None if that would change it."""
        dtype = self._ids.dtype
        if dtype.kind == "O":
            hash(item)
            return object_array([item])
        key: Any = str(item) if dtype.kind == "T" else dtype.type(item)
        if dtype.kind != "T" and key.dtype.itemsize > dtype.itemsize:
            return None
        keys = np.array([key], dtype=dtype)
        is_same = bool(key == item) and bool(keys[0] == key)  # a NUL at the end may be cut
        return keys if is_same else None

    def many(self, items: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the position of each of several ids; -1 if one is not known."""
        keys = self._keys(items)
        if keys is None:
            return super().many(items)
        found = np.empty(len(keys), dtype=np.int64)
        for start in range(0, len(keys), _BLOCK):
            found[start : start + _BLOCK] = self._find(keys[start : start + _BLOCK])
        return found

    def _keys(self, items: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        """Return several ids in the form of those of the table; None: they go one by one."""
        dtype = self._ids.dtype
        if dtype.kind == "O":
            listed = plain(items) if isinstance(items, np.ndarray) else items
            keys = object_array(listed)
            try:
                for key in listed:
                    hash(key)
            except TypeError:
                return None
            return keys
        if dtype.kind == "T":
            return _as_texts(items)
        wanted = _as_array_of(dtype.kind, items)
        if wanted is None or dtype.kind == "U" or wanted.dtype == dtype:
            return wanted
        if dtype.kind in "iu":
            keys = wanted.astype(dtype)
            return keys if bool((keys == wanted).all()) else None
        return None

    def _find(self, keys: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Return the positions of some ids; -1 for those that are not in the table."""
        hashes = self._hashes(keys)
        places = self._first_places(hashes)
        held = self._table[places]
        is_it = self._are_equal(self._ids[held], keys) & (held >= 0)
        found = np.where(is_it, held, -1).astype(np.int64, copy=False)
        rows = np.flatnonzero((held >= 0) & ~is_it)
        while rows.size:  # another id is there: try the next place
            places[rows] = self._next_places(places[rows], hashes[rows])
            held = self._table[places[rows]]
            rows, held = rows[held >= 0], held[held >= 0]
            is_it = self._are_equal(self._ids[held], keys[rows])
            found[rows[is_it]] = held[is_it]
            rows = rows[~is_it]
        return found


def _as_texts(items: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[Any] | None:
    """Return texts as they are kept where they are long; None: there is something else."""
    if isinstance(items, np.ndarray):
        if items.dtype.kind == "T":
            return items
        if items.dtype.kind not in "UO":
            return None
        items = items.tolist()
    if not set(map(type, items)) <= {str}:
        return None
    try:
        return np.array(items, dtype=TEXTS)
    except UnicodeEncodeError:  # a half of a pair
        return None


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
    """Return an array of texts: of fixed width, unless that takes much memory or cuts an end.

    Otherwise one of `TEXTS`, or of objects if the texts are few.
    """
    lengths = np.fromiter(map(len, items), dtype=np.int64, count=len(items))
    longest, total = int(lengths.max(initial=0)), int(lengths.sum())
    if 4 * longest * len(items) <= total + _WIDE_BYTES * len(items):
        array = np.array(items, dtype=str)
        if bool((np.strings.str_len(array) == lengths).all()):  # no NUL at an end
            return array
    if _KEEPS_TEXTS and len(items) > DICT_UP_TO and (texts := _as_texts(items)) is not None:
        return texts
    return object_array(items)
