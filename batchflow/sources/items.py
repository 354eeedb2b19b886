"""Objects that give one item at a time: data sets of Hugging Face, torch, Keras, or a user's own.

Guarantees:
    - Several items are asked for in one call, where the object can do that.
    - What the items hold is taken by name or place and never guessed: another number of values, or
      a key that is not there, is an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from batchflow.arrays import exact_array, ragged_shapes
from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["ItemsSource"]

Key = Any  # of a mapping, the place in a tuple, or a function of the item


class ItemsSource:
    """A `Source` of an object with `len(items)` and `items[position]`.

    Args:
        items: The object. An item is a mapping, a tuple, or one value.
        components: The names of the components, in the order of the values of a tuple; or a mapping
            from them to keys, places in a tuple, or functions of an item. None: the components of
            the batch class.
        known: The components of the batch class.

    Raises:
        ArgumentTypeError: The object has no items by position, or an item does not fit.
        ArgumentValueError: It is empty.
        UnknownNameError: (a `KeyError`) The items have no such key.
    """

    def __init__(self, items: Any, components: Any, known: Sequence[str]) -> None:
        if not hasattr(items, "__len__") or not hasattr(items, "__getitem__"):
            raise ArgumentTypeError(
                f"from_items takes an object with len(items) and items[position], got "
                f"{type(items).__name__} {items!r:.60}"
            )
        if isinstance(items, (str, bytes, Mapping)):
            raise ArgumentTypeError(
                f"from_items takes items by position, and a {type(items).__name__} has none"
            )
        if not len(items):
            raise ArgumentValueError("from_items: there are no items")
        self._items = items
        first = items[0]
        self._keys = _keys(first, components, known)
        for component, key in self._keys.items():
            _value(first, component, key)
        self._gives_columns = _gives_columns(items, first)

    def __len__(self) -> int:
        return len(self._items)

    def read(self, positions: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Return the values of the items at some positions, by component."""
        wanted = positions.tolist()
        if self._gives_columns and not any(callable(key) for key in self._keys.values()):
            columns = self._items[wanted]
            return {name: _stacked(list(columns[key])) for name, key in self._keys.items()}
        several = getattr(self._items, "__getitems__", None)
        items = [self._items[p] for p in wanted] if several is None else list(several(wanted))
        if len(items) != len(wanted):
            raise ArgumentValueError(f"asked for {len(wanted)} items, got {len(items)}")
        return {
            component: _stacked([_value(item, component, key) for item in items])
            for component, key in self._keys.items()
        }

    def __repr__(self) -> str:
        return f"ItemsSource of {len(self)} items of {type(self._items).__name__}"


def _keys(first: Any, components: Any, known: Sequence[str]) -> dict[str, Key]:
    """Return by component where its value is in an item; None: the item itself."""
    if isinstance(components, Mapping):
        return dict(components)
    names = known or ("data",)
    if components is not None:
        names = (components,) if isinstance(components, str) else tuple(components)
    if isinstance(first, Mapping):
        found = [name for name in names if name in first]
        if not found or (components is not None and len(found) < len(names)):
            missing = next(name for name in names if name not in found)
            raise UnknownNameError(
                f"from_items: the items have no {missing!r}."
                f"{did_you_mean(missing, map(str, first))} Say which key is which component: "
                f"components={{{missing!r}: ...}}"
            )
        return {name: name for name in found}
    if isinstance(first, tuple):
        if len(first) != len(names):
            raise ArgumentTypeError(
                f"from_items: an item is a tuple of {len(first)} values, and the components are "
                f"{', '.join(names)}: name one for each, components=(...), or their places, "
                f"components={{{names[0]!r}: 0}}"
            )
        return dict(zip(names, range(len(names)), strict=True))
    if len(names) != 1:
        raise ArgumentTypeError(
            f"from_items: an item is one value, a {type(first).__name__}, and the components are "
            f"{', '.join(names)}: say which it is, components={names[0]!r}"
        )
    return {names[0]: None}


def _value(item: Any, component: str, key: Key | Callable[[Any], Any]) -> Any:
    if key is None:
        return item
    if callable(key):
        return key(item)
    try:
        return item[key]
    except (KeyError, IndexError, TypeError) as error:
        raise UnknownNameError(
            f"from_items: an item has no {key!r} for {component!r}: {item!r:.80}"
        ) from error


def _gives_columns(items: Any, first: Any) -> bool:
    """Check whether a list of positions gives columns by key, as in data sets of Hugging Face."""
    if not isinstance(first, Mapping) or hasattr(items, "__getitems__"):
        return False
    try:
        columns = items[[0]]
    except Exception:  # noqa: BLE001  whatever it raises, it does not take lists
        return False
    return (
        isinstance(columns, Mapping)
        and columns.keys() == first.keys()
        and all(hasattr(column, "__len__") and len(column) == 1 for column in columns.values())
    )


def _stacked(values: list[Any]) -> Any:
    """Return values as an array; those of different shapes stay a list."""
    return values if ragged_shapes(values) else exact_array(values, reads_tensors=True)
