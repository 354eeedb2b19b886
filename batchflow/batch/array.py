"""Batches of arrays: what is put in is checked and stacked."""

from __future__ import annotations

import inspect
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.batch.batch import Batch
from batchflow.batch.rows import array_rows
from batchflow.index.labels import by_label

if TYPE_CHECKING:
    import numpy.typing as npt


class ArrayBatch(Batch):
    """A batch whose data, or whose components, are NumPy arrays with one row for each item.

    Whatever is assigned is made an array, without a change of any value: lists of equal-shaped
    items are stacked, tensors and tables are converted, what no array can hold stays as objects
    (`docs/reference/data.md`). The first axis must have as many elements as the batch has items.
    None means: no data (yet).

    Example:
        >>> from batchflow import ArrayBatch
        >>> batch = ArrayBatch(["a", "b"])
        >>> batch.data = [[1, 2], [3, 4]]
        >>> batch.data.shape, batch["b"]
        ((2, 2), array([3, 4]))
        >>> batch.data = [1, 2, 3]
        Traceback (most recent call last):
            ...
        batchflow.errors.ArgumentValueError: ArrayBatch.data: expected 2 items, got 3 (shape (3,))
    """

    _holds_arrays = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in cls.components:
            if not isinstance(vars(cls).get(name), _ArrayComponent):
                setattr(cls, name, _ArrayComponent(f"{cls.__name__}.{name}", name))
        if inspect.getattr_static(cls, "data") in (Batch.data, ArrayBatch.data):
            cls.data = Batch.data if cls.components else ArrayBatch.data

    def _set_data(self, value: Any) -> None:
        n_items = len(self.index._ids)
        if not (value.__class__ is np.ndarray and value.ndim and len(value) == n_items):
            value = _component(value, self, f"{type(self).__name__}.data")
        self._data = value

    # A class with components has that of `Batch`: none asks for components each time.
    data: Any = property(attrgetter("_data"), _set_data, doc="The array; None: no data yet.")


class _ArrayComponent:
    """Checks what is assigned to a component.

    It has `__set__` and, on purpose, no `__get__`: Python then reads the value straight from the
    batch's dictionary, at the speed of a plain attribute.
    """

    def __init__(self, shown: str, name: str) -> None:
        self._shown = shown
        self._name = name

    def __set__(self, batch: ArrayBatch, value: Any) -> None:
        held = batch.__dict__  # quicker than attributes, where a class has __getattr__
        n_items = len(held["index"]._ids)
        if not (value.__class__ is np.ndarray and value.ndim and len(value) == n_items):
            value = _component(value, batch, self._shown)
        held[self._name] = value


def _component(value: Any, batch: ArrayBatch, shown: str) -> npt.NDArray[Any] | None:
    """Make a component of what is assigned; rows with labels go by label where ids were given."""
    if value is None:
        return None
    index = batch.index
    return array_rows(by_label(value, index, shown), len(index), shown, batch.indices)
