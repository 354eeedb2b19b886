"""Labels and groups of items as whole numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batchflow.arrays import column_array, exact_array, is_column, object_array
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.hashing import hashed
from batchflow.index.labels import by_label

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.index.labels import Index


_SPAN = 4  # numbers for each item, up to which there is a place for each number between


class Numbered(NamedTuple):
    """Values of items, of which the different ones are counted in the order of their first places.

    Attributes:
        codes: The number of each item's value: an int64 array of shape `(n_items,)`.
        values: The different values: an array.
        counts: How many items have each of them.
    """

    codes: npt.NDArray[np.int64]
    values: npt.NDArray[Any]
    counts: npt.NDArray[np.int64]


def numbered(values: Any, index: Index, shown: str) -> Numbered:
    """Count the values of the items of an index.

    Args:
        values: One value for each item: an array, a list or a column. If a column has labels and
            the ids were given, a value is for the item whose id is its label.
        index: The index.
        shown: The name of the values in messages.

    Raises:
        ArgumentTypeError: They are no values of items.
        ArgumentValueError: Their number is another, or some are missing.
    """
    array = _as_array(by_label(values, index, shown), shown)
    if array.shape != (len(index),):
        raise ArgumentValueError(
            f"{shown}: expected one value for each of the {len(index)} items, got the shape "
            f"{array.shape}"
        )
    try:
        found = _counted(array)
    except TypeError as error:
        raise ArgumentTypeError(f"{shown}: the values must be hashable ({error})") from None
    lacking = _are_missing(found.values)[found.codes]
    if isinstance(array, np.ma.MaskedArray):
        lacking |= np.ma.getmaskarray(array)
    if lacking.any():
        ids = index.indices[lacking]
        raise ArgumentValueError(
            f"{shown}: {len(ids)} items have no value, such as those with the ids "
            f"{ids[:5].tolist()}; give them one, or take the others first: dataset.take(~missing)"
        )
    return found


def _as_array(values: Any, shown: str) -> npt.NDArray[Any]:
    if isinstance(values, (str, bytes, dict, set, frozenset)) or not hasattr(values, "__len__"):
        raise ArgumentTypeError(
            f"{shown}: expected one value for each item (an array, a list or a column), got "
            f"{values!r:.60}"
        )
    if is_column(values):
        return column_array(values)
    if isinstance(values, (list, tuple)):
        return exact_array(list(values))
    return np.asanyarray(values)


def _are_missing(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    if values.dtype.kind == "O":
        return np.array([_is_missing(value) for value in values], dtype=bool)
    missing: npt.NDArray[np.bool_] = values != values
    return missing


def _is_missing(item: Any) -> bool:
    if item is None:
        return True
    try:
        return bool(item != item)
    except (TypeError, ValueError):  # pd.NA is neither
        return type(item).__name__ == "NAType"


def _counted(array: npt.NDArray[Any]) -> Numbered:
    array = np.asarray(array)
    kind = array.dtype.kind
    if kind in "iu" and len(array):
        least, greatest = int(array.min()), int(array.max())
        if greatest - least < _SPAN * len(array) and greatest < 2**63:
            return _counted_in_a_table(array, least, greatest)
    if kind != "O":
        keys = hashed(array) if kind in "UST" else array  # these sort faster than texts
        _, first, codes, counts = np.unique(
            keys, return_index=True, return_inverse=True, return_counts=True
        )
        order = np.argsort(first)
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order))
        codes, first, counts = rank[codes], first[order], counts[order]
        values = array[first]
        if keys is array or bool((values[codes] == array).all()):  # no two texts have one hash
            return Numbered(codes.astype(np.int64), values, counts)
    items = array.tolist()
    numbers = {item: number for number, item in enumerate(dict.fromkeys(items))}
    codes = np.fromiter(map(numbers.__getitem__, items), dtype=np.int64, count=len(items))
    return Numbered(codes, object_array(list(numbers)), np.bincount(codes, minlength=len(numbers)))


def _counted_in_a_table(array: npt.NDArray[Any], least: int, greatest: int) -> Numbered:
    """Count whole numbers that are near to each other, without sorting them."""
    offsets = array.astype(np.int64) - least
    first = np.full(greatest - least + 1, -1)
    first[offsets[::-1]] = np.arange(len(array))[::-1]  # of several the last one stays
    there = np.flatnonzero(first >= 0)
    there = there[np.argsort(first[there])]
    number = np.empty(len(first), dtype=np.int64)
    number[there] = np.arange(len(there))
    codes = number[offsets]
    return Numbered(codes, array[first[there]], np.bincount(codes))
