"""Elements of items of different lengths, and what stands where an item has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.arrays import exact_array, joined_arrays
from batchflow.errors import ArgumentTypeError, ArgumentValueError

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]


def elements_of(item: Any, word: str, name: str, value: Any) -> Array:
    """Return the elements of an item along its first axis.

    Args:
        item: A sequence, or something that NumPy reads as an array.
        word: The step.
        name: Its component.
        value: What is to stand where there are none: an empty list has its dtype.
    """
    is_list = isinstance(item, (list, tuple))
    if is_list and not item:
        return np.empty(0, np.asarray(value).dtype)
    array = exact_array(item) if is_list else np.asarray(item)
    if not array.ndim:
        raise ArgumentTypeError(
            f"{word}: an item of {name!r} is {item!r:.60}, which has no elements"
        )
    return array


def like_all(items: Sequence[Array], word: str, name: str) -> Array:
    """Return no elements, with the dtype and the shape that the elements of all items have.

    Items without elements are not asked, as far as others have some.
    """
    known = [item for item in items if len(item)] or items[:1]
    shapes = sorted({item.shape[1:] for item in known})
    if len(shapes) > 1:
        raise ArgumentValueError(
            f"{word}: the elements of {name!r} have different shapes: {', '.join(map(str, shapes))}"
        )
    return joined_arrays(known)[:0]


def filled(n_rows: int, length: int, value: Any, like: Array, word: str, name: str) -> Array:
    """Return an array of shape `(n_rows, length, ...)` of a value, which is kept as it is."""
    array = np.empty((n_rows, length, *like.shape[1:]), like.dtype)
    try:
        with np.errstate(invalid="ignore"):  # of NaN as an integer, which is refused here
            fill = np.full(like.shape[1:], value, dtype=like.dtype)
        same = fill == value
        is_kept = bool(np.all(same | (fill != fill)))  # NaN is not equal to itself
    except (OverflowError, TypeError, ValueError):
        is_kept = False
    if not is_kept:
        raise ArgumentValueError(
            f"{word}: value={value!r} is no value of {name!r}, whose elements are {like.dtype}"
        )
    array[:] = fill
    return array
