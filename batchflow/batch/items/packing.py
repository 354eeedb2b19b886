"""Packing functions, items and errors for another process.

Guarantees:
    - An error arrives as what it is, with the traceback of the other process as one more note: see
      executors/exceptions.py.
    - Arrays of files travel to a worker as the path of the file, and views as they lie in memory:
      see executors/serialization/mapped_files.py and views.py.
    - Of an item its own values are packed, not its batch; of a batch class everything but models.
"""

from __future__ import annotations

import functools
import io
import pickle
import types
from typing import Any, NoReturn

import numpy as np

from batchflow.batch.directory import ModelSlot
from batchflow.batch.item import Item
from batchflow.errors import ArgumentTypeError
from batchflow.executors import exceptions
from batchflow.executors.serialization.code import reduced_code
from batchflow.executors.serialization.mapped_files import reduced_to_file
from batchflow.executors.serialization.pickling import INLINE, needs_cloudpickle
from batchflow.executors.serialization.strided import has_gaps, reduced_view

__all__ = ["FixedList", "packed", "refuse_writing", "sendable"]


def packed(value: Any, *, is_for_worker: bool = False) -> bytes:
    """Pack a value; `pickle.loads` unpacks it.

    Args:
        value: The value.
        is_for_worker: Whether arrays of files travel as their paths. A worker that sends one back
            may delete the file.
    """
    with io.BytesIO() as file:
        _pickler(is_for_worker=is_for_worker)(file, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
        return file.getvalue()


@functools.cache
def _pickler(*, is_for_worker: bool) -> type[Any]:
    """Make the class of the pickler; its package comes with the extra `processes`."""
    needs_cloudpickle()
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Packs functions and classes, those without a module of their own as well."""

        def reducer_override(self, value: Any) -> Any:
            if type(value) is Item:
                return _lone_item, _of_item(value)
            if type(value) is ModelSlot:
                return ModelSlot, (value._name,)
            is_small = isinstance(value, np.ndarray) and value.nbytes <= INLINE
            by_file = reduced_to_file(value) if is_for_worker and not is_small else None
            if by_file is not None:
                return by_file
            if type(value) is np.ndarray and has_gaps(value):
                return reduced_view(value)
            if type(value) is types.CodeType:
                return reduced_code(value, self.dispatch_table[types.CodeType])
            return super().reducer_override(value)

    return Pickler


# ---- errors


def sendable(error: Exception) -> Any:
    """Make of an error what can be packed and is the error again when it is unpacked."""
    return exceptions.sendable(error, packed)


# ---- items


def refuse_writing(what: object) -> NoReturn:
    """Refuse to write to the batch in a worker process.

    Raises:
        ArgumentTypeError: Always.
    """
    raise ArgumentTypeError(
        f"a worker process cannot write to the batch ({what!r}): it would be lost. Return the "
        'value and store it by post=, use apply_parallel, or write target="threads"'
    )


class FixedList(list[Any]):
    """A list whose elements cannot be replaced."""

    def __setitem__(self, place: Any, value: Any) -> NoReturn:
        refuse_writing(place)


class _OneItem:
    """Holds the components of one item, as its batch does."""

    def __init__(self, components: tuple[str, ...], values: list[Any]) -> None:
        self.components = components
        for name, value in zip(components, values, strict=True):
            setattr(self, name, None if value is None else FixedList(value))

    def __repr__(self) -> str:
        return "<a batch of one item in a worker process>"


def _of_item(item: Item) -> tuple[tuple[str, ...], list[Any]]:
    batch, position = item._batch, item._position
    parts = [getattr(batch, name) for name in batch.components]
    return tuple(batch.components), [p if p is None else [p[position]] for p in parts]


def _lone_item(components: tuple[str, ...], values: list[Any]) -> Item:
    return Item(_OneItem(components, values), 0)  # type: ignore[arg-type]
