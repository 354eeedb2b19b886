"""The components of a batch class: their names, and what is assigned to them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.batch.actions import RESERVED
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.labels import by_label

if TYPE_CHECKING:
    from batchflow.batch.core import BaseBatch

# Attributes of every batch that neither an action nor a component may hide,
TAKEN = frozenset(
    {
        "components",
        "create_subset",
        "data",
        "deepcopy",
        "epoch",
        "get_model_by_name",
        "number",
        "source_ids",
        "source_numbers",
    }
)
# and those that an action may.
METHODS = frozenset({"apply_parallel", "load", "merge"})
_WITHOUT_LABELS = frozenset({np.ndarray, list, tuple, type(None)})


def checked_components(cls: type[BaseBatch], taken: frozenset[str]) -> tuple[str, ...]:
    """Return the names of the components that a batch class declares, as a tuple.

    Args:
        cls: The class.
        taken: Names that no component may have, beside the reserved ones.

    Raises:
        ArgumentTypeError: They are no names of attributes.
        ArgumentValueError: One is taken, or is there twice.
    """
    declared: Any = cls.components
    if isinstance(declared, property):
        declared = _of_property(cls, declared)
    if not isinstance(declared, (str, tuple, list)):
        raise ArgumentTypeError(
            f"{cls.__name__}.components is a tuple of attribute names, got {declared!r:.60}"
        )
    names = (declared,) if isinstance(declared, str) else tuple(declared)
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            raise ArgumentTypeError(
                f"{cls.__name__}.components is a tuple of attribute names, got {name!r}"
            )
        if name in RESERVED or name in taken or name.startswith("_"):
            raise ArgumentValueError(
                f"{cls.__name__}: a component cannot be called {name!r}, a name that every batch "
                "has already (or that starts with an underscore)"
            )
    if len(set(names)) < len(names):
        raise ArgumentValueError(f"{cls.__name__}.components names one twice: {names}")
    return names


def _of_property(cls: type[BaseBatch], given: property) -> Any:
    """Return what a property says, as in an older batchflow: the same for every batch."""
    try:
        return given.__get__(cls.__new__(cls))
    except Exception as error:
        raise ArgumentTypeError(
            f"{cls.__name__}.components is a tuple of attribute names, the same for all batches of "
            f"the class: components = ...; as a property it cannot be read without a batch: {error}"
        ) from error


class Component:
    """Takes the rows of a table by their labels, where the ids were given.

    It has `__set__` and no `__get__`: Python reads the value straight from the batch's dictionary.
    """

    def __init__(self, shown: str, name: str) -> None:
        self._shown = shown
        self._name = name

    def __set__(self, batch: BaseBatch, value: Any) -> None:
        if value.__class__ not in _WITHOUT_LABELS:
            value = by_label(value, batch.index, self._shown)
        batch.__dict__[self._name] = value


class NoData:
    """Stands where a batch without components keeps its data: here nobody would find it."""

    def __get__(self, batch: BaseBatch | None, cls: type) -> None:
        """Return None: there is no data beside the components."""

    def __set__(self, batch: BaseBatch, value: Any) -> None:
        names = ", ".join(batch.components) + "," * (len(batch.components) == 1)
        raise ArgumentTypeError(
            f"{type(batch).__name__}._data: a batch with components keeps its data in them. Assign "
            f"to one, batch.{batch.components[0]} = ..., or to all: batch.data = ({names})"
        )


def check_new_component(batch: BaseBatch, name: str) -> None:
    """Check that a batch can get a component of this name, beside those of its class.

    Raises:
        ArgumentTypeError: It is no name of an attribute.
        ArgumentValueError: It is taken.
    """
    shown = type(batch).__name__
    if not batch.components:
        raise ArgumentValueError(
            f"{shown}: a batch without components keeps its data in data and gets no component "
            f"{name!r}; name the components in the class"
        )
    if not isinstance(name, str) or not name.isidentifier():
        raise ArgumentTypeError(f"{shown}: a component has the name of an attribute, got {name!r}")
    if name in RESERVED or name in TAKEN or name in METHODS or name.startswith("_"):
        raise ArgumentValueError(f"{shown}: {name!r} is a name that every batch has already")
    if callable(getattr(type(batch), name, None)):
        raise ArgumentValueError(f"{shown}: {name!r} is a method, and cannot be a component")


def set_component(batch: BaseBatch, name: str, value: Any) -> None:
    """Set a component. One that is new to this batch goes with it, and with what is made of it."""
    is_new = bool(batch.components) and name not in batch.components
    if is_new:
        check_new_component(batch, name)
        declare_added(type(batch), [name])
        batch.__dict__["components"] = (*batch.components, name)
    try:
        setattr(batch, name, value)
    except Exception:
        if is_new:
            batch.__dict__["components"] = batch.components[:-1]
        raise


def declare_added(cls: type[BaseBatch], names: Iterable[str]) -> None:
    """Let batches of a class convert what is assigned to components that some of them have."""
    for name in names:
        held = inspect.getattr_static(cls, name, None)
        if hasattr(type(held), "__set__"):  # declared, added before, or a property of the user's
            continue
        ways = (inspect.getattr_static(cls, one, None) for one in cls.components)
        make: Any = next((type(way) for way in ways if hasattr(way, "_shown")), Component)
        setattr(cls, name, _AddedComponent(make(f"{cls.__name__}.{name}", name), name, held))


class _AddedComponent:
    """A component of those batches of a class that were given it; an attribute of all others.

    Args:
        declared: What a declared component of this class is.
        name: The name.
        default: What the class has there for batches that have no such attribute; None: nothing.
    """

    def __init__(self, declared: Any, name: str, default: Any) -> None:
        self._declared, self._name, self._default = declared, name, default

    def __get__(self, batch: BaseBatch | None, cls: type) -> Any:
        """Return the value of a batch, or what the class has."""
        if batch is not None and self._name in batch.__dict__:
            return batch.__dict__[self._name]
        if self._default is None:
            raise AttributeError(self._name)
        bind = getattr(type(self._default), "__get__", None)
        return self._default if bind is None else bind(self._default, batch, cls)

    def __set__(self, batch: BaseBatch, value: Any) -> None:
        if self._name in batch.components:
            self._declared.__set__(batch, value)
        else:
            batch.__dict__[self._name] = value

    def __delete__(self, batch: BaseBatch) -> None:
        if batch.__dict__.pop(self._name, self) is self:
            raise AttributeError(self._name)
