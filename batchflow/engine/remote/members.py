"""What of a batch class the parallel steps of a run need in workers, and what only might be.

A class of a script or a notebook travels by value, with everything that its functions mention. But
model definitions and ordered actions stay with the consumer, and what only they mention need not be
imported, or be able to travel at all. So those travel closed (see serialization/closed.py).

Guarantees:
    - A function that the steps name, or that one of those names, and so on, travels openly: if it
      cannot, the run is refused before the first batch.
    - Any other can be called in a worker as well, with the same result.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from batchflow.batch import Batch
from batchflow.batch.actions import spec_of
from batchflow.batch.directory import ModelDefinition
from batchflow.executors.serialization.pickling import Late
from batchflow.plan import BoundStep
from batchflow.plan.expressions import expressions_in

__all__ = ["late_members"]


def late_members(steps: Iterable[BoundStep], batch_classes: Iterable[type[Batch]]) -> Late:
    """Tell which members of batch classes travel closed.

    Args:
        steps: The parallel steps.
        batch_classes: The classes of their batches.
    """
    steps = list(steps)
    owners = dict.fromkeys(
        owner
        for cls in batch_classes
        for owner in cls.__mro__
        if owner is not object and not owner.__module__.startswith("batchflow.")
    )
    needed = _needed(steps, list(owners))
    openly = {id(function) for step in steps for function in _functions_in(step.function)}

    def functions_of(cls: type) -> Iterator[Any]:
        if not (cls in owners or issubclass(cls, Batch)):
            return
        for name, member in vars(cls).items():
            if _is_ordered(member) or not is_needed(cls, name):
                yield from (part for part in _functions_in(member) if id(part) not in openly)

    def is_needed(cls: type, name: str) -> bool:
        return not (cls in owners or issubclass(cls, Batch)) or _is_special(name) or name in needed

    return Late(functions_of, is_needed)


def _is_ordered(member: Any) -> bool:
    if isinstance(member, ModelDefinition):
        return True
    spec = spec_of(member)
    return spec is not None and (spec.singleton or spec.model is not None)


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _functions_in(member: Any) -> Iterator[Any]:
    """Give the functions that a member of a class consists of."""
    if isinstance(member, types.FunctionType):
        yield member
    elif isinstance(member, ModelDefinition):
        yield member.function
    elif isinstance(member, property):
        yield from (part for part in (member.fget, member.fset, member.fdel) if _is_function(part))
    elif isinstance(member, staticmethod | classmethod):
        yield from _functions_in(member.__func__)
    elif isinstance(member, functools.cached_property) and _is_function(member.func):
        yield member.func


def _is_function(value: Any) -> bool:
    return isinstance(value, types.FunctionType)


# ---- what is needed


def _needed(steps: Sequence[BoundStep], owners: Sequence[type]) -> set[str]:
    """Give the names that the steps mention, and what they name mentions, and so on."""
    mentions = _Mentions()
    for step in steps:
        mentions.names.add(step.step.name)
        mentions.read(step.function)
        given = [*step.args, *step.kwargs.values()]  # functions, and names of methods
        for value in (*given, *(getattr(part, "_value", None) for part in expressions_in(given))):
            mentions.read(value)
    members = [(name, member) for owner in owners for name, member in vars(owner).items()]
    while members:
        found = [pair for pair in members if pair[0] in mentions.names or _is_special(pair[0])]
        if not found:
            break
        members = [pair for pair in members if pair not in found]
        for _, member in found:
            if not _is_ordered(member):
                for function in _functions_in(member):
                    mentions.read(function)
    return mentions.names


class _Mentions:
    """Collects the names that functions mention.

    Attributes:
        names: The names.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._seen: set[int] = set()

    def read(self, value: Any) -> None:
        """Read a function, and the functions of its module and its closure that it mentions."""
        todo = [value]
        while todo:
            value = todo.pop()
            if isinstance(value, str):
                self.names.add(value)
            elif isinstance(value, functools.partial):
                todo += [value.func, *value.args, *value.keywords.values()]
            elif isinstance(value, types.MethodType):
                todo.append(value.__func__)
            elif isinstance(value, types.FunctionType) and id(value) not in self._seen:
                self._seen.add(id(value))
                todo += self._read_function(value)

    def _read_function(self, function: Any) -> list[Any]:
        names = set(_names_in(function.__code__))
        self.names |= names
        variables = function.__globals__
        todo = [variables[name] for name in names if _is_function(variables.get(name))]
        for cell in function.__closure__ or ():
            try:
                todo.append(cell.cell_contents)
            except ValueError:  # nothing is in it yet
                continue
        for mark in vars(function).values():  # of per-item actions: names of methods
            todo += [mark] if _is_function(mark) else vars(mark).values() if _has_dict(mark) else ()
        return todo


def _has_dict(value: Any) -> bool:
    return hasattr(value, "__dict__")


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from _names_in(part)
