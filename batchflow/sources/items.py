"""Objects that give one item at a time: data sets of Hugging Face, torch, Keras, or a user's own.

Guarantees:
    - Several items are asked for in one call, where the object can do that.
    - What the items hold is taken by name or place and never guessed: another number of values, or
      a key that is not there, is an error.
    - Numbers have the dtype that they have in the first item, whichever items are read. Those that
      do not fit are an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.arrays import common_dtype, exact_array, package_of, ragged_shapes
from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError, did_you_mean

if TYPE_CHECKING:
    import numpy.typing as npt

Key = Any  # of a mapping, the place in a tuple, or a function of the item


class ItemsSource:
    """A `Source` of an object with `len(items)` and `items[position]`.

    Args:
        items: The object. An item is a mapping (or has fields: a named tuple, a dataclass), a
            tuple, or one value.
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
        if package_of(items) in ("pandas", "polars", "pyarrow") or hasattr(items, "iloc"):
            raise ArgumentTypeError(
                f"from_items takes items by position, and a {type(items).__name__} has rows and "
                "columns: use from_dataframe, or from_arrays for one column"
            )
        if (
            isinstance(items, type)
            or not hasattr(items, "__len__")
            or not hasattr(items, "__getitem__")
        ):
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
        is_by_place = isinstance(first, tuple) and not isinstance(components, Mapping)
        self._n_values = len(first) if is_by_place else None
        values = {name: _stacked([_value(first, name, key)]) for name, key in self._keys.items()}
        self._dtypes = {name: getattr(value, "dtype", None) for name, value in values.items()}
        self._gives_columns = _gives_columns(items, first)

    def __len__(self) -> int:
        return len(self._items)

    def read(self, positions: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Return the values of the items at some positions, by component."""
        wanted = positions.tolist()
        if self._gives_columns and not any(callable(key) for key in self._keys.values()):
            columns = self._items[wanted]
            return {name: self._rows(name, list(columns[key])) for name, key in self._keys.items()}
        several = getattr(self._items, "__getitems__", None)
        items = [self._items[p] for p in wanted] if several is None else list(several(wanted))
        if len(items) != len(wanted):
            raise ArgumentValueError(f"asked for {len(wanted)} items, got {len(items)}")
        for position, item in zip(wanted, items if self._n_values else (), strict=False):
            if not isinstance(item, tuple) or len(item) != self._n_values:
                raise ArgumentValueError(
                    f"from_items: the first item is a tuple of {self._n_values} values, and the "
                    f"one at position {position} is {item!r:.80}"
                )
        return {
            component: self._rows(component, [_value(item, component, key) for item in items])
            for component, key in self._keys.items()
        }

    def _rows(self, component: str, values: list[Any]) -> Any:
        """Return values as an array, numbers in the dtype of the first item."""
        rows: Any = _stacked(values)
        wanted, found = self._dtypes[component], getattr(rows, "dtype", None)
        if wanted is None or found is None or found == wanted:
            return rows
        if wanted.hasobject or found.hasobject:
            return rows
        if common_dtype([rows, np.empty(0, wanted)]) != wanted:
            raise ArgumentValueError(
                f"from_items: {component!r} is {wanted} in the first item, and {found} in these: "
                f"give one kind, components={{{component!r}: lambda item: ...}}"
            )
        return rows.astype(wanted)

    def __repr__(self) -> str:
        return f"ItemsSource of {len(self)} items of {type(self._items).__name__}"


def _keys(first: Any, components: Any, known: Sequence[str]) -> dict[str, Key]:
    """Return by component where its value is in an item; None: the item itself."""
    if isinstance(components, Mapping):
        return dict(components)
    names = known or ("data",)
    if components is not None:
        names = (components,) if isinstance(components, str) else tuple(components)
    named = _fields(first)
    if isinstance(first, tuple) and not set(names) <= set(named):
        named = ()  # the names of a named tuple are others: its values go by place
    if isinstance(first, Mapping) or named:
        first = first if isinstance(first, Mapping) else named
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


def _fields(item: Any) -> tuple[str, ...]:
    """Return the names of the values of a named tuple, a dataclass or a record of NumPy."""
    if is_dataclass(item):
        return tuple(field.name for field in fields(item))
    record = getattr(getattr(item, "dtype", None), "names", None)
    return tuple(getattr(item, "_fields", None) or record or ())


def _value(item: Any, component: str, key: Key | Callable[[Any], Any]) -> Any:
    if key is None:
        return item
    if callable(key):
        return key(item)
    try:
        is_named = isinstance(key, str) and (isinstance(item, tuple) or is_dataclass(item))
        return getattr(item, key) if is_named else item[key]
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
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
