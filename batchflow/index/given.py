"""The ids and positions that users pass: checked, and turned into arrays."""

from __future__ import annotations

import operator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.arrays import column_array, exact_array, is_column
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.labels import by_label
from batchflow.index.lookup import HashLookup, compact_texts, find_duplicates, is_hashed

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.index.labels import Index
    from batchflow.index.lookup import Lookup

BOOLS = (bool, np.bool_)
_NOT_EQUAL = "an id must be equal to itself, so that it can be found; NaN and NaT are not"


def as_ids(index: Any) -> tuple[range | npt.NDArray[Any], Lookup | None]:
    """Return the ids that a user passes to an index as a range or a read-only array.

    The table of their positions comes with them, if one was made to see that they are unique.
    """
    if isinstance(index, (bool, np.bool_, str, bytes, set, frozenset, dict)):
        raise ArgumentTypeError(
            "an index is made from a number of items or a sequence of ids (list, array), got "
            f"{type(index).__name__} {index!r:.60}; put the ids in a list"
        )
    try:
        size = operator.index(index)
    except TypeError:
        pass
    else:
        if size < 1:
            raise ArgumentValueError(f"an index needs at least one item, got a size of {size}")
        return range(size), None
    if isinstance(index, range) and index.step == 1 and len(index):
        return index, None
    ids = _as_array(index)
    if len(ids) == 0:
        raise ArgumentValueError("an index needs at least one item, got an empty sequence of ids")
    if ids.dtype.kind in "fcmM" and (ids != ids).any():
        raise ArgumentValueError(_NOT_EQUAL)
    table = refuse_duplicates(ids)
    ids.flags.writeable = False
    return ids, table


def _as_array(index: Any) -> npt.NDArray[Any]:
    """Return a new array of ids, all of their types unchanged."""
    if not hasattr(index, "__len__") or not hasattr(index, "__iter__"):
        raise ArgumentTypeError(
            "an index is made from a number of items, a sequence of ids, an array or another "
            f"index, got {type(index).__name__} {index!r:.60}"
        )
    if np.ma.is_masked(index):
        raise ArgumentValueError("some of the ids are masked; give those that are not: ids[~mask]")
    if is_column(index):
        ids = column_array(index)
        index = ids.tolist() if ids.dtype.hasobject else ids
    if hasattr(index, "__array__"):
        ids = np.array(index)
        if ids.ndim != 1 or ids.dtype == bool:
            raise ArgumentTypeError(
                "ids are a one-dimensional array of ints, strings or other hashable values, "
                f"got shape {ids.shape} of {ids.dtype}; data of the items are given by name: "
                "Dataset.from_arrays(MyBatch, images=...)"
            )
        return _object_array(ids.tolist()) if ids.dtype == object else ids
    items = list(islice(index, len(index) + 1))
    kinds = set(map(type, items))
    if len(kinds) == 1 and issubclass(kind := next(iter(kinds)), (int, float, np.number)):
        ids = exact_array(items)
        if ids.dtype.kind in ("iu" if issubclass(kind, (int, np.integer)) else "f"):
            return ids
    return compact_texts(items) if kinds <= {str, np.str_} else _object_array(items)


def as_mask(ids: Any, index: Index) -> npt.NDArray[np.bool_] | None:
    """Return a mask, one bool for each item, as an array; None if the values are ids.

    If a mask has labels, each bool is for the item whose id is its label.
    """
    if isinstance(ids, BOOLS):
        raise ArgumentTypeError(f"{ids!r} is no id; a mask has one bool for each item")
    kinds = set(map(type, ids)) if isinstance(ids, list) else set()
    if kinds and not kinds <= set(BOOLS):
        if not kinds.isdisjoint(BOOLS):
            raise ArgumentTypeError(
                f"an id is no bool, and a mask has one bool for each item; got both: {ids!r:.60}"
            )
        return None
    if not kinds and not _is_of_bools(ids):
        return None
    ids = by_label(ids, index, "a mask")
    if is_column(ids):
        ids = column_array(ids)
    if isinstance(ids, np.ndarray) and ids.dtype.hasobject:  # a missing value selects nothing
        ids = [isinstance(item, BOOLS) and bool(item) for item in ids]
    mask = np.ma.filled(np.ma.asarray(ids), False).astype(bool)
    if mask.shape != (len(index),):
        raise ArgumentValueError(
            f"a mask has one bool for each of the {len(index)} items, this one has the shape "
            f"{mask.shape}"
        )
    return mask


def _is_of_bools(ids: Any) -> bool:
    dtype = getattr(ids, "dtype", None)
    if dtype is None or isinstance(ids, np.generic):
        return False
    if dtype == np.dtype(object) and isinstance(ids, np.ndarray):
        return ids.ndim == 1 and ids.size > 0 and set(map(type, ids)) <= set(BOOLS)
    return str(getattr(dtype, "name", dtype)) in ("bool", "boolean", "torch.bool", "Boolean")


def checked_positions(
    positions: Any, n_items: int, where: str = "take"
) -> slice | npt.NDArray[np.int64]:
    """Return a selection of elements, checked: a slice with step 1, or an array of positions."""
    if isinstance(positions, slice):
        start, stop, step = positions.indices(n_items)
        return slice(start, stop) if step == 1 else np.arange(start, stop, step)
    array = np.asarray(positions)
    if array.dtype == bool and array.shape == (n_items,):
        return np.flatnonzero(array)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ArgumentTypeError(
            f"{where}: expected a slice, a list or an array of positions, or one bool for each of "
            f"the {n_items} items, got {positions!r:.60}; by ids, use create_subset"
        )
    # Ahead of the cast, in which the highest whole numbers without a sign become negative.
    outside = array[(array >= n_items) | (array < -n_items)]
    if outside.size:
        raise ArgumentValueError(
            f"{where}: position {outside[0]} is outside of an index of {n_items} items"
        )
    array = array.astype(np.int64)  # a copy, as the caller may change the array
    array[array < 0] += n_items
    return array


def _object_array(items: list[Any]) -> npt.NDArray[Any]:
    ids = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        try:
            hash(item)
        except TypeError:
            raise ArgumentTypeError(
                f"ids must be hashable; the one at position {i} is a {type(item).__name__}. "
                "An index is one-dimensional: a list of ids, not of lists"
            ) from None
        if isinstance(item, BOOLS):
            raise ArgumentTypeError(
                f"an id is no bool, and the one at position {i} is {item!r}; a mask selects from "
                "an index: create_subset(mask)"
            )
        if isinstance(item, float) and item != item:
            raise ArgumentValueError(_NOT_EQUAL)
        ids[i] = item
    return ids


def refuse_duplicates(ids: npt.NDArray[Any]) -> Lookup | None:
    """Refuse ids that occur more than once. The error names some.

    Returns:
        The table of the ids, where one was made to see that; numbers are sorted sooner.
    """
    table = HashLookup(ids) if ids.dtype.kind in "OUST" and is_hashed(ids) else None
    if table is None:
        repeated = find_duplicates(ids)
    else:
        repeated = list(dict.fromkeys(ids[table.repeated[:1000]].tolist()))[:5]
    if repeated:
        raise ArgumentValueError(f"ids must be unique; more than once: {repeated}")
    return table
