"""Batches of arrays: what is put in is checked and stacked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.batch.batch import Batch
from batchflow.batch.regroup import plain_array
from batchflow.errors import ArgumentTypeError, ArgumentValueError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["ArrayBatch", "plain_array", "stack_items"]


class ArrayBatch(Batch):
    """A batch whose data, or whose components, are NumPy arrays with one row for each item.

    Whatever is assigned is made an array: lists of equal-shaped items are stacked, objects that
    NumPy can read (tensors, table columns) are converted. The first axis must have as many
    elements as the batch has items. None means: no data (yet).

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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in cls.components:
            if not isinstance(vars(cls).get(name), _ArrayComponent):
                setattr(cls, name, _ArrayComponent(f"{cls.__name__}.{name}", name))

    @property
    def data(self) -> Any:
        """The array of a batch without components; otherwise a tuple of the components."""
        return Batch.data.fget(self) if self.components else self._data  # type: ignore[attr-defined]

    @data.setter
    def data(self, value: Any) -> None:
        if self.components:
            Batch.data.fset(self, value)  # type: ignore[attr-defined]
            return
        n_items = len(self.index._ids)
        if not (value.__class__ is np.ndarray and value.ndim and len(value) == n_items):
            value = stack_items(value, n_items, f"{type(self).__name__}.data")
        self._data = value


class _ArrayComponent:
    """Checks what is assigned to a component.

    It has `__set__` and, on purpose, no `__get__`: Python then reads the value straight from the
    batch's dictionary, at the speed of a plain attribute.
    """

    def __init__(self, shown: str, name: str) -> None:
        self._shown = shown
        self._name = name

    def __set__(self, batch: ArrayBatch, value: Any) -> None:
        n_items = len(batch.index._ids)
        if not (value.__class__ is np.ndarray and value.ndim and len(value) == n_items):
            value = stack_items(value, n_items, self._shown)
        batch.__dict__[self._name] = value


def stack_items(value: Any, n_items: int, shown: str) -> npt.NDArray[Any] | None:
    """Make an array with one row for each of `n_items` items.

    Args:
        value: An array, something that NumPy converts, a sequence of equal-shaped items, or None.
        n_items: The length that the first axis must have.
        shown: What to call it in a message.

    Returns:
        An array of shape `(n_items, ...)`: `value` itself where it is one.

    Raises:
        ArgumentTypeError: `value` is no array and no sequence of items.
        ArgumentValueError: The items have different shapes, or there are not `n_items` of them.
    """
    if value is None:
        return None
    if isinstance(value, (list, tuple)):
        try:
            items = [np.asarray(item) for item in value]
        except ValueError as error:
            raise ArgumentValueError(f"{shown}: an item is no array: {error}") from None
        shapes = {item.shape for item in items}
        if len(shapes) > 1:
            raise ArgumentValueError(
                f"{shown}: the items have different shapes, {sorted(shapes)[:4]}; an ArrayBatch "
                "stacks items of one shape. Resize them first, or use Batch"
            )
        value = np.stack(items) if items else np.empty(0)
    array = plain_array(value)
    if array.ndim == 0:
        raise ArgumentTypeError(
            f"{shown}: expected an array or a list with one row for each of {n_items} items, got "
            f"{type(value).__name__} {value!r:.60}"
        )
    if len(array) != n_items:
        raise ArgumentValueError(
            f"{shown}: expected {n_items} items, got {len(array)} (shape {array.shape})"
        )
    return array
