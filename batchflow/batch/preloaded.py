"""Data in memory, from which batches get copies of their rows."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from batchflow.batch.array import plain_array
from batchflow.batch.batch import Batch
from batchflow.errors import ArgumentTypeError, ArgumentValueError, did_you_mean

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Preloaded"]


class Preloaded:
    """The arrays of a dataset, by the attribute of the batch that they become.

    Guarantee: nothing that a batch does to its data in place reaches these arrays.
    """

    def __init__(self, arrays: dict[str, npt.NDArray[Any]]) -> None:
        self._arrays = arrays
        self._of_objects = [name for name, array in arrays.items() if array.dtype.hasobject]

    @classmethod
    def of(cls, given: Any, batch_class: type[Batch], n_items: int) -> Self | None:
        """Check data against a batch class.

        Args:
            given: An array for a class without components; a tuple in the order of the components,
                or a mapping from their names; None.
            batch_class: The class.
            n_items: The number of items, which is the length of each array.

        Raises:
            ArgumentTypeError: The data does not fit the class.
            ArgumentValueError: An array has another length.
        """
        if given is None:
            return None
        by_name = _by_name(given, batch_class)
        arrays = {}
        for name, value in by_name.items():
            array = _as_rows(value, f"{batch_class.__name__}.{name.lstrip('_')}")
            if len(array) != n_items:
                raise ArgumentValueError(
                    f"{batch_class.__name__}.{name.lstrip('_')}: the index has {n_items} items, "
                    f"the preloaded data {len(array)} rows (shape {array.shape})"
                )
            arrays[name] = array
        return cls(arrays)

    def copy_rows(self, rows: slice | npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """Copy rows out of every array."""
        if rows.__class__ is slice:
            copies = {name: array[rows].copy() for name, array in self._arrays.items()}
        else:  # selection by an array copies
            copies = {name: array[rows] for name, array in self._arrays.items()}
        for name in self._of_objects:  # the elements, too, become the batch's own
            copies[name] = copy.deepcopy(copies[name])
        return copies


def _by_name(given: Any, batch_class: type[Batch]) -> dict[str, Any]:
    names: tuple[str, ...] = tuple(batch_class.components)
    class_name = batch_class.__name__
    if not names:
        if isinstance(given, Mapping):
            raise ArgumentTypeError(
                f"{class_name} has no components, so its data is one array, got "
                f"{', '.join(map(repr, given))}. Name them in the class: "
                f"components = {', '.join(map(repr, given))}"
            )
        return {"_data": given}
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in names]
        if unknown:
            raise ArgumentTypeError(
                f"{class_name} has no component {unknown[0]!r}.{did_you_mean(unknown[0], names)}"
            )
        return dict(given)
    if len(names) == 1 and not isinstance(given, tuple):
        return {names[0]: given}
    if not isinstance(given, (tuple, list)) or len(given) != len(names):
        got = f"{len(given)} of them" if isinstance(given, (tuple, list)) else type(given).__name__
        raise ArgumentTypeError(
            f"{class_name} has the components {', '.join(names)}: give the data as a tuple of "
            f"{len(names)} arrays in this order, or as a mapping from these names; got {got}"
        )
    return dict(zip(names, given, strict=True))


def _as_rows(value: Any, shown: str) -> npt.NDArray[Any]:
    if isinstance(value, (list, tuple)) and _needs_objects(value):
        array = np.empty(len(value), dtype=object)
        for i, item in enumerate(value):
            array[i] = item
    else:
        array = plain_array(value)
    if array.ndim == 0:
        raise ArgumentTypeError(
            f"{shown}: expected an array with one row per item, got {type(value).__name__}"
        )
    return array


def _needs_objects(items: list[Any] | tuple[Any, ...]) -> bool:
    """Tell whether an array would change the items: ragged ones, or numbers among strings."""
    try:
        if len({np.shape(item) for item in items}) > 1:
            return True
    except ValueError:  # an item is ragged by itself
        return True
    kinds = {isinstance(item, (str, bytes)) for item in items}
    return len(kinds) > 1
