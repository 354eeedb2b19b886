"""The values of items as rows, of the kind that the first item says.

Guarantees:
    - Which other items are read with one does not change what becomes of it: numbers, bools and
      dates have the dtype of the first item, alone and beside others, in an array or, where the
      shapes differ, in a list of arrays.
    - A value that does not fit is an error that names its position.
    - Arrays, lists and mappings are the batch's own: it may change them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from batchflow.arrays import (
    common_dtype,
    exact_array,
    joined_arrays,
    object_array,
    ragged_shapes,
)
from batchflow.errors import ArgumentValueError


class ValueKind:
    """What the values of a component are.

    Args:
        component: Its name, for messages.
        values: Values of the first items, as many as are needed: an empty list says nothing.
    """

    def __init__(self, component: str, values: Iterable[Any]) -> None:
        self._component = component
        value = next((value for value in values if not _is_empty(value)), ())
        # A list that is ragged itself is no array; nor do empty lists say which.
        self._stays_list = bool(ragged_shapes([value])) or _is_empty(value)
        found = exact_array([value], reads_tensors=True).dtype
        is_kept = self._stays_list or found.hasobject or found.kind in "US"
        self._dtype: np.dtype[Any] | None = None if is_kept else found

    def rows(self, values: Sequence[Any], positions: Sequence[int]) -> Any:
        """Return values as rows.

        Args:
            values: One for each item.
            positions: The positions of the items, for messages.

        Raises:
            ArgumentValueError: A value does not fit the dtype.
        """
        dtype = self._dtype
        if dtype is None:
            kept = [_own(value) for value in values]
            return kept if self._stays_list else object_array(kept)
        together = exact_array(values, reads_tensors=True)
        if _fits(together, dtype):
            return together.astype(dtype, copy=False)
        rows = [self._row(value, at) for value, at in zip(values, positions, strict=True)]
        if any(row is None for row in rows):
            return [_own(value) for value in values]
        one_shape = len({row.shape for row in rows}) == 1
        return joined_arrays(rows) if one_shape else [row[0] for row in rows]

    def _row(self, value: Any, position: int) -> Any:
        """Return a value as an array of one row; None for a list that is ragged itself."""
        row = exact_array([value], reads_tensors=True)
        if not row.size or row.dtype.hasobject:
            if _is_empty(value):
                return np.empty((1, *np.shape(value)), self._dtype)
            if ragged_shapes([value]):
                return None
        if not _fits(row, self._dtype):
            is_other = row.dtype.hasobject or row.dtype.kind in "US"
            found = f"{value!r:.80}" if is_other else f"{row.dtype}"
            raise ArgumentValueError(
                f"from_items: {self._component!r} is {self._dtype} in the first item, and {found} "
                f"at position {position}: give one kind, "
                f"components={{{self._component!r}: lambda item: ...}}"
            )
        return row.astype(self._dtype, copy=False)


def _fits(array: Any, dtype: Any) -> bool:
    if array.dtype.hasobject:
        return False
    return bool(array.dtype == dtype) or common_dtype([array, np.empty(0, dtype)]) == dtype


def _is_empty(value: Any) -> bool:
    """Check whether a value is a list without numbers, whose dtype is nobody's choice."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_empty, value))
    return isinstance(value, np.ndarray) and value.size == 0 and value.dtype.hasobject


def _own(value: Any) -> Any:
    """Return a copy of what a batch may change in place. Objects of other types are shared."""
    if isinstance(value, np.ndarray):
        return value.copy()
    if type(value) is dict:
        return {key: _own(part) for key, part in value.items()}
    if type(value) in (list, tuple):
        return type(value)(map(_own, value))
    return value
