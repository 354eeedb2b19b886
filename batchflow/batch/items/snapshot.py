"""A read-only snapshot of a batch: `self` of calls for items in worker processes.

    Snapshot.of(batch, function) -------> pickled once for all workers -------> snapshot.batch()

Guarantees:
    - It has the class of the batch, and of its attributes those that the function reads: see
      reads.py. Where that cannot be told it has all of them.
    - Big arrays are copied once, into memory that all workers read. An attribute is unpacked when a
      worker first reads it.
    - An attribute that cannot travel is refused where it is read, by its name.
    - Writing to the batch, which would be lost, is refused.
    - The pipeline has the variables as they are when the calls begin. The dataset has its index and
      its attributes, and none of its data.
"""

from __future__ import annotations

import copy
import copyreg
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from batchflow.batch.core import BatchData
from batchflow.batch.directory import in_parallel
from batchflow.batch.item import Item
from batchflow.batch.items.calls import Failed
from batchflow.batch.items.fixed import fixed, fixed_item, refuse_writing
from batchflow.batch.items.reads import ITEM, NAME_TAKERS, Path, paths_read
from batchflow.batch.states import Absent
from batchflow.errors import (
    ArgumentTypeError,
    UnknownAttributeError,
    UnknownNameError,
    did_you_mean,
)
from batchflow.executors.exceptions import error_line
from batchflow.executors.item_threads import unpacking
from batchflow.executors.serialization.pickling import Opened, packed_for_worker
from batchflow.index import Split

_NEVER = frozenset({"_rng", "_rng_key", "_loop", "_writes", "_labels"})
_ALWAYS = frozenset({"index", "_source_ids", "_sources"})
_SMALL = (int, float, str, bool, type(None))
_ADVICE = 'Pass what the items need of it as an argument, or write target="threads"'


@dataclass
class Snapshot:
    """A snapshot of a batch."""

    batch_class: Any
    plain: dict[str, Any]  # small attributes of the batch's dictionary, as they are
    parts: dict[str, _Part | str]  # the other attributes; for one that cannot be read, the reason

    @classmethod
    def of(cls, batch: Any, function: Any) -> Snapshot:
        """Return a snapshot of a batch for a function that takes it."""
        paths = paths_read(function, type(batch))
        names = None if paths is None else {path[path[0] == ITEM] for path in paths}
        plain: dict[str, Any] = {}
        parts: dict[str, _Part | str] = {}
        if names is not None and "rng" not in names:
            parts["rng"] = _unseen("self.rng")
        for name, value in _attributes(batch).items():
            if name in batch.__dict__ and (type(value) in _SMALL or name in _ALWAYS):
                plain[name] = value
            elif names is not None and name not in names:
                parts[name] = _unseen(f"self.{name}")
            elif name == "pipeline":
                parts[name] = _packed(f"self.{name}", _PipelineSnapshot, value, paths)
            else:
                make = _without_data if name == "dataset" else _itself
                parts[name] = _packed(f"self.{name}", make, value)
        return cls(type(batch), plain, {**parts, **_members_that_stay(type(batch))})

    def batch(self) -> Any:
        """Return the batch, in a worker."""
        members: dict[str, Any] = {
            name: _Attribute(name, part) for name, part in self.parts.items()
        }
        own = self.batch_class  # not `self`: a class is freed late, and would hold the values
        members["__class__"] = property(lambda _: own)
        kind: Any = type(self.batch_class.__name__, (_ReadOnly, self.batch_class), members)
        kind.__module__ = self.batch_class.__module__
        batch = object.__new__(kind)
        readable = {name: part for name, part in self.parts.items() if isinstance(part, _Part)}
        object.__setattr__(batch, "__dict__", _Dictionary(self.plain | readable))
        return batch


def _unseen(shown: str) -> str:
    return f"{shown} is not here: no code is seen to read it"


def _members_that_stay(cls: Any) -> dict[str, str]:
    """Return the members that are refused: models, and ordered actions in parallel ones."""
    stay = {"models": "self.models is not here: models stay in the main process"}
    for name, function, spec in cls._actions.values() if in_parallel.get() else ():
        if spec.singleton or spec.model is not None:
            shown = function.__qualname__
            stay[name] = f"{shown} is not here: ordered actions stay in the main process"
    return stay


def _attributes(batch: Any) -> dict[str, Any]:
    slots: list[str] = copyreg._slotnames(type(batch))  # type: ignore[attr-defined]
    held = {name: getattr(batch, name) for name in slots if hasattr(batch, name)}
    return {name: value for name, value in (batch.__dict__ | held).items() if name not in _NEVER}


def _itself(value: Any) -> Any:
    return value


class _Attribute:
    """A member of the class of a snapshot, by which an attribute is read and never written.

    The values lie in the snapshot: a class is freed by the garbage collector, which may come late.
    """

    def __init__(self, name: str, part: _Part | str) -> None:
        self._name = name
        self._refusal = part if isinstance(part, str) else None

    def __get__(self, batch: Any, owner: Any = None) -> Any:
        if self._refusal is not None:
            return _read(self._refusal)
        return self if batch is None else batch.__dict__[self._name]

    def __set__(self, batch: Any, value: Any) -> NoReturn:
        refuse_writing(f"self.{self._name}")


@dataclass
class _Part:
    """A value that is unpacked when it is first read. `Failed`: reading it raises the error."""

    name: str
    packed: Opened | None
    value: Any = None


def _packed(name: str, make: Callable[..., Any], *args: Any) -> _Part | str:
    """Pack what a function returns or raises. If that cannot travel, return why."""
    try:
        value = make(*args)
    except Exception as error:  # noqa: BLE001  raised where it is read
        value = Failed(error.with_traceback(None))
    try:
        return _Part(name, packed_for_worker(value, name))
    except ArgumentTypeError as error:
        return f"{name}: {error_line(value.error)}" if isinstance(value, Failed) else str(error)


def _read(part: _Part | str) -> Any:
    """Return the value of a part.

    Raises:
        ArgumentTypeError: It has not travelled, or cannot be unpacked here.
    """
    if isinstance(part, str):
        raise ArgumentTypeError(f"{part}. {_ADVICE}")
    if part.packed is not None:
        try:
            with unpacking:
                value = part.packed.load()
        except Exception as error:
            raise ArgumentTypeError(
                f"a worker process cannot unpack {part.name}: {error_line(error)}. {_ADVICE}"
            ) from error
        if isinstance(value, Failed):
            raise value.error
        part.value, part.packed = fixed(value, part.name), None
    return part.value


class _Dictionary(dict[str, Any]):
    """The `__dict__` of a snapshot: a part is read when it is asked for, as an attribute is."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        return _read(value) if isinstance(value, _Part) else value

    def __iter__(self) -> Iterator[str]:  # with one of its own, `dict(self)` asks __getitem__
        return super().__iter__()

    def __or__(self, other: Any) -> Any:
        return self.copy() | other

    def copy(self) -> dict[str, Any]:
        """Return a copy with all values read."""
        return dict(self)

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, or the default."""
        try:
            return self[name]
        except KeyError:
            return default

    def items(self) -> Any:
        """Return the names with the values."""
        return self.copy().items()

    def values(self) -> Any:
        """Return the values."""
        return self.copy().values()


class _ReadOnly:
    """The first parent of the class of a snapshot, before the class of the batch."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Do nothing: the class was checked where it was defined."""

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        refuse_writing(f"self.{name}")

    def __setitem__(self, item_id: Any, value: Any) -> NoReturn:
        refuse_writing(f"self[{item_id!r}]")

    def create_subset(self, ids: Any) -> NoReturn:  # noqa: ARG002  refused
        """Refuse to make a batch of some items."""
        raise ArgumentTypeError(f"a worker process cannot make a batch of some items. {_ADVICE}")

    def __reduce__(self) -> NoReturn:
        raise TypeError("self stays in the worker process; return what was computed")


# ---- items


class _OneItem:
    """Holds the components of one item, as its batch does."""

    def __init__(self, components: tuple[str, ...], values: dict[str, Any]) -> None:
        self.components = components
        for name, value in values.items():
            setattr(self, name, None if value is None else fixed_item(value[0], f"item.{name}"))

    def __getattr__(self, name: str) -> Any:
        raise UnknownAttributeError(f"item.{name} is not here: no code is seen to read it")

    def __repr__(self) -> str:
        return "<a batch of one item in a worker process>"


def lone_item(item: Item, names: Collection[str] | None = None) -> tuple[Any, ...]:
    """Reduce an item for a pickler: to its own values of some components, or of all."""
    batch, position = item._batch, item._position
    parts = {n: getattr(batch, n) for n in batch.components if names is None or n in names}
    values = {name: part if part is None else [part[position]] for name, part in parts.items()}
    return _lone_item, (tuple(batch.components), values)


def _lone_item(components: tuple[str, ...], values: dict[str, Any]) -> Item:
    return Item(_OneItem(components, values), 0)  # type: ignore[arg-type]


# ---- pipeline and dataset


class _PipelineSnapshot:
    """A pipeline in a worker process: its variables as they were when the calls began."""

    def __init__(self, pipeline: Any, paths: frozenset[Path] | None) -> None:
        read = {path[1:] for path in paths or [("pipeline",)] if path[0] == "pipeline"}
        named = {path[1] for path in read if len(path) > 1 and path[0] in NAME_TAKERS}
        self._names = frozenset((getattr(pipeline, "_state", None) or pipeline).names)
        self.seed = pipeline.seed
        is_all = () in read
        is_any_name = is_all or not read.isdisjoint((name,) for name in NAME_TAKERS)
        self._variables = {
            name: _packed(f"the variable {name!r}", pipeline.v, name)
            for name in (self._names if is_any_name else self._names & named)
        }
        self._parts = {
            name: _packed(f"self.pipeline.{name}", make, getattr(pipeline, name))
            for name, make in (("config", _itself), ("dataset", _without_data))
            if is_all or any(path[0] == name for path in read)
        }

    def v(self, name: str) -> Any:
        """Return the value of a variable."""
        if name not in self._names:
            raise UnknownNameError(
                f"no variable {name!r} is declared.{did_you_mean(name, self._names)} Declare it "
                f"with .init_variable({name!r}, ...) in the chain"
            )
        return _read(self._variables[name])

    get_variable = v

    def has_variable(self, name: str) -> bool:
        """Check whether a variable is declared."""
        return name in self._names

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name in self._parts:
            return _read(self._parts[name])
        raise UnknownAttributeError(
            f"self.pipeline.{name} is not here: in a worker process the items read variables, "
            f"config, dataset and seed of their pipeline. {_ADVICE}"
        )


def _without_data(value: Any) -> Any:
    """Return a dataset without its data, and its parts as well."""
    if isinstance(value, BatchData):
        why = f"does not travel to worker processes for items. {_ADVICE}"
        return Absent("the data of a dataset", why)
    if isinstance(value, Split):
        return Split(*map(_without_data, value))
    if not hasattr(value, "batch_class"):
        return value
    twin = copy.copy(value)
    twin.__dict__.update({name: _without_data(part) for name, part in vars(twin).items()})
    return twin
