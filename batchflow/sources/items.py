"""Objects that give one item at a time: data sets of Hugging Face, torch, Keras, or a user's own.

Guarantees:
    - Several items are asked for in one call, where the object can do that.
    - What the items hold is taken by name or place and never guessed: items of another type or with
      another number of values, or without a key, are errors that name the position.
    - Values have the dtype that they have in the first item, whichever items are read; see
      item_values.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any

from batchflow.arrays import is_table, package_of
from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError, did_you_mean
from batchflow.sources.item_values import ValueKind

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Key = Any  # of a mapping, the place in a tuple, or a function of the item

_N_LOOKED_AT = 100  # items at most, to see what the values of a component are


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
        _check_has_positions(items)
        try:
            self._length = len(items)
            first: Any = items[0] if self._length else None
        except Exception as error:
            error.add_note(f"while from_items asked a {type(items).__name__} for its first item")
            raise
        if not self._length:
            raise ArgumentValueError("from_items: there are no items")
        self._items = items
        self._keys = _keys(first, components, known)
        by_key = not all(key is None or callable(key) for key in self._keys.values())
        kinds: tuple[type, ...] = (Mapping, tuple, list) if by_key else ()
        self._type = next((kind for kind in kinds if isinstance(first, kind)), None)
        is_by_place = isinstance(first, tuple) and not isinstance(components, Mapping)
        self._n_values = len(first) if is_by_place else None
        self._left_out = [name for name in known if name not in self._keys]
        if components is not None or self._type is not Mapping:
            self._left_out = []  # nobody expects them
        self._column_dtypes = None
        if _gives_columns(items, first):
            self._column_dtypes = {key: _dtype_of(value) for key, value in first.items()}
        seen = [first]
        self._kinds: dict[str, ValueKind] = {}
        for name in self._keys:
            try:
                self._kinds[name] = ValueKind(name, self._first_values(name, seen))
            except Exception as error:
                error.add_note(f"while from_items looked at {name!r} of the first item")
                raise

    def __len__(self) -> int:
        return self._length

    def read(self, positions: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Return the values of the items at some positions, by component."""
        wanted = positions.tolist()
        items = self._several(wanted)
        return {
            name: self._rows(name, list(map(self._value, items, wanted, repeat(name))), wanted)
            for name in self._keys
        }

    def _several(self, positions: list[int]) -> list[Any]:
        """Return the items at some positions, and check that they are like the first."""
        read_several = getattr(self._items, "__getitems__", None)
        if self._column_dtypes is not None:
            items: Any = self._of_columns(self._items[positions])
        elif read_several is not None:
            items = read_several(positions)
        else:
            items = None
        if items is None:
            items = [self._item(position) for position in positions]
        if isinstance(items, Mapping) or len(items) != len(positions):
            raise ArgumentValueError(
                f"from_items: {type(self._items).__name__} was asked for {len(positions)} items at "
                f"once, and must give a list of so many; got {type(items).__name__} {items!r:.80}"
            )
        for position, item in zip(positions, items, strict=True):
            self._check_like_first(item, position)
        return list(items)

    def _of_columns(self, columns: Mapping[Any, Any]) -> list[Any] | None:
        """Return the items that columns hold; None: their values are others than of single items.

        Data sets of Hugging Face in the format of NumPy or torch convert a column as a whole: whole
        numbers become float32, where others in it are missing.
        """
        for key, dtype in (self._column_dtypes or {}).items():
            if _dtype_of(columns[key]) not in (None, dtype):
                return None
        rows = zip(*map(list, columns.values()), strict=True)
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def _item(self, position: int) -> Any:
        try:
            return self._items[position]
        except Exception as error:
            error.add_note(f"while the item at position {position} was read")
            raise

    def _check_like_first(self, item: Any, position: int) -> None:
        number = self._n_values
        is_alike = self._type is None or isinstance(item, self._type)
        if self._type and not (is_alike and (number is None or len(item) == number)):
            values = "" if number is None else f" of {number} values"
            raise ArgumentValueError(
                f"from_items: the first item is a {self._type.__name__.lower()}{values}, and the "
                f"one at position {position} is {item!r:.80}"
            )
        if found := [name for name in self._left_out if name in item]:
            raise ArgumentValueError(
                f"from_items: the first item has no {found[0]!r}, and the one at position "
                f"{position} has: say which components are read, components=..."
            )

    def _value(self, item: Any, position: int, component: str) -> Any:
        try:
            return _value(item, component, self._keys[component])
        except Exception as error:
            error.add_note(f"while {component!r} of the item at position {position} was read")
            raise

    def _first_values(self, component: str, seen: list[Any]) -> Iterator[Any]:
        """Yield the values of the first items, one by one; items are added to those seen."""
        for position in range(min(self._length, _N_LOOKED_AT)):
            if position == len(seen):
                seen.append(self._item(position))
            yield self._value(seen[position], position, component)

    def _rows(self, component: str, values: list[Any], positions: list[int]) -> Any:
        try:
            return self._kinds[component].rows(values, positions)
        except ArgumentValueError:
            raise
        except Exception as error:
            error.add_note(f"while {component!r} of items was made an array")
            raise

    def __repr__(self) -> str:
        return f"ItemsSource of {len(self)} items of {type(self._items).__name__}"


def names_of(components: Any) -> tuple[str, ...]:
    """Return the names that are given as components; none, where None is given.

    Raises:
        ArgumentTypeError: They have no order, or are no names.
        ArgumentValueError: There are none, or one occurs twice.
    """
    if components is None:
        return ()
    names = (components,) if isinstance(components, str) else components
    if not isinstance(names, (tuple, list, Mapping)):
        raise ArgumentTypeError(
            "from_items: components are names in the order of the values of an item, or a mapping "
            f"from names to keys; got {type(components).__name__} {components!r:.60}"
        )
    if not names or len(set(names)) < len(names):
        raise ArgumentValueError(f"from_items: components={components!r:.60}: name each once")
    return tuple(names)


def _check_has_positions(items: Any) -> None:
    shown = type(items).__name__
    if package_of(items) in ("pandas", "polars", "pyarrow") or hasattr(items, "iloc"):
        raise ArgumentTypeError(
            f"from_items takes items by position, and a {shown} has rows and columns: use "
            "from_dataframe, or from_arrays for one column"
        )
    if isinstance(items, type) or not (hasattr(items, "__len__") and hasattr(items, "__getitem__")):
        hint = ". Items of a stream have no positions: give list(items), where they fit in memory"
        raise ArgumentTypeError(
            f"from_items takes an object with len(items) and items[position], got {shown} "
            f"{items!r:.60}{hint if hasattr(items, '__iter__') else ''}"
        )
    if isinstance(items, Mapping):
        raise ArgumentTypeError(
            f"from_items takes items by position, and a {shown} has keys, "
            f"{', '.join(map(repr, list(items)[:5]))}: give the part with the items, "
            "items[key]; columns of values go into Dataset.from_arrays"
        )
    if isinstance(items, (str, bytes)):
        raise ArgumentTypeError(f"from_items takes items by position, and a {shown} has none")


def _keys(first: Any, components: Any, known: Sequence[str]) -> dict[str, Key]:
    """Return by component where its value is in an item; None: the item itself."""
    if isinstance(components, Mapping):
        return dict(components)
    names = names_of(components) or known or ("data",)
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
            f"{', '.join(names)}{_advice(first, names)}"
        )
    return {names[0]: None}


def _advice(first: Any, names: Sequence[str]) -> str:
    """Return what to write where an item is one value, and there are several components."""
    if is_table(first):
        return ": give the table itself to from_dataframe, or items in another format"
    if isinstance(first, list) and len(first) == len(names):
        places = ", ".join(f"{name!r}: {place}" for place, name in enumerate(names))
        return f": the values of a list go by place with components={{{places}}}"
    return f": say which it is, components={names[0]!r}"


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
    if not isinstance(first, Mapping):
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


def _dtype_of(value: Any) -> Any:
    """Return the dtype of an array or a tensor of numbers; None: it is none."""
    dtype = getattr(value, "dtype", None)
    return None if getattr(dtype, "kind", "") in tuple("OSUT") else dtype
