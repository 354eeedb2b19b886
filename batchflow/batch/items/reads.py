"""Which attributes of the batch a function reads, as far as its code tells.

    def crop(self, image, size):
        scale = self.pipeline.v("scale")          ("pipeline", "v", "scale")
        return self.cut(self[3].masks, scale)     ("[]", "masks"), ("cut",): a method, read as well

Guarantee: what a function reads is among the paths, or it is None: where the batch is passed on,
kept, compared or inspected, its code does not tell what is read of it there.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterator
from typing import Any

# Attributes, one behind the other; behind a method that takes a name, the name.
Path = tuple[str, ...]

ITEM = "[]"  # stands in a path for `self[...]`

_SKIPPED = frozenset({"CACHE", "EXTENDED_ARG", "NOP", "PRECALL", "PUSH_NULL"})
_CLOSURES = frozenset({"LOAD_CLOSURE", "MAKE_CELL"})
_ATTRIBUTES = frozenset({"LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"})
_SIMPLE_LOADS = frozenset({"LOAD_FAST", "LOAD_DEREF", "LOAD_CONST"})
_INSPECTIONS = frozenset({"locals", "eval", "exec", "_getframe", "currentframe"})
NAME_TAKERS = frozenset({"v", "get_variable"})
_ATTRIBUTE_HOOKS = frozenset({"__getattr__", "__getattribute__"})
# Attributes of every batch that read no component.
_LIGHT = frozenset({"indices", "source_ids", "source_numbers", "rng", "__len__"})


def paths_read(function: Any, cls: Any) -> frozenset[Path] | None:
    """Return what a function reads of its first argument, a batch; None if that cannot be told.

    Of the methods of the batch's class those are read that the function names.
    """
    found: set[Path] = set()
    todo, seen = [function], set()
    while todo:
        function = todo.pop()
        if function in seen:
            continue
        seen.add(function)
        paths = _paths_of(function)
        if paths is None:
            return None
        for path in paths - found:
            functions = _functions_behind(path, cls)
            if functions is None:
                return None
            todo += functions
        found |= paths
    return frozenset(found)


def names_read(function: Any, place: int) -> frozenset[str] | None:
    """Return the attributes that a function reads of its argument number `place`, as above."""
    paths = _paths_of(function, place)
    return None if paths is None else frozenset(path[0] for path in paths)


def _paths_of(function: Any, place: int = 0) -> frozenset[Path] | None:
    if not isinstance(function, types.FunctionType) or function.__code__.co_argcount <= place:
        return None
    paths = _paths_in(function.__code__, function.__code__.co_varnames[place])
    return None if "len" in function.__globals__ else paths


def _functions_behind(path: Path, cls: Any) -> list[Any] | None:
    """Return the functions that get the batch where the first attribute of a path is read.

    All definitions of the name are taken, for `super()` may lead to any. None: they are unknown.
    """
    name = "__getitem__" if path[0] == ITEM else path[0]
    functions: list[Any] = []
    for owner in cls.__mro__:
        is_ours = owner.__module__.startswith("batchflow.batch.")
        if not is_ours and owner is not object and not _ATTRIBUTE_HOOKS.isdisjoint(vars(owner)):
            return None
        member = vars(owner).get(name)
        if isinstance(member, property):
            member = member.fget
        elif isinstance(member, functools.cached_property):
            member = member.func
        if is_ours and isinstance(member, types.FunctionType):
            if name not in _LIGHT and not (path[0] == ITEM and cls.components):
                return None
        elif isinstance(member, types.FunctionType):
            functions.append(member)
        elif not isinstance(member, staticmethod | classmethod) and hasattr(member, "__get__"):
            return None
    return functions


@functools.lru_cache(maxsize=1024)  # code holds nothing of the user's but constants
def _paths_in(code: types.CodeType, variable: str) -> frozenset[Path] | None:
    """Return the paths that begin at a variable; None if more is done with it."""
    names = set(code.co_names)
    if names & _INSPECTIONS:
        return None
    found: set[Path] = {(name,) for name in names} if "super" in names else set()
    steps = [step for step in dis.get_instructions(code) if step.opname not in _SKIPPED]
    for place in _uses(code, variable, steps):
        path = _path_at(steps, place, variable)
        if path is None:
            return None
        found.add(path)
    for part in code.co_consts:
        if isinstance(part, types.CodeType) and variable in part.co_freevars:
            paths = _paths_in(part, variable)
            if paths is None:
                return None
            found |= paths
    return frozenset(found)


def _uses(code: types.CodeType, variable: str, steps: list[dis.Instruction]) -> Iterator[int]:
    """Go through the places of the instructions that use a variable."""
    is_cell = variable in (*code.co_cellvars, *code.co_freevars)
    kinds = dis.hasfree if is_cell else dis.haslocal
    for place, step in enumerate(steps):
        if step.opcode in kinds and step.opname not in _CLOSURES and variable in _variables(step):
            yield place


def _variables(step: dis.Instruction) -> tuple[Any, ...]:
    """Return the variables of an instruction: Python 3.13 has some for two of them."""
    return step.argval if isinstance(step.argval, tuple) else (step.argval,)


def _path_at(steps: list[dis.Instruction], place: int, variable: str) -> Path | None:
    """Return the path that begins where a variable is loaded; None if something else happens."""
    loaded = _variables(steps[place])
    is_load = steps[place].opname.startswith("LOAD_") or (
        steps[place].opname == "STORE_FAST_LOAD_FAST" and loaded[-1] == variable
    )
    if not is_load or loaded.count(variable) > 1:
        return None
    before, rest = steps[max(place - 1, 0)], iter(steps[place + 1 :])
    step = next(rest)
    path: list[str] = []
    is_len = (before.opname, before.argval) == ("LOAD_GLOBAL", "len") and loaded == (variable,)
    if is_len and not steps[place].is_jump_target and _is_call_of_one(step):
        return ("__len__",)
    has_index = loaded[-1] != variable  # by an instruction for two variables
    if not has_index and step.opname in _SIMPLE_LOADS:
        has_index, step = True, next(rest)
    if has_index:
        if not _is_subscript(step):
            return None
        path.append(ITEM)
        step = next(rest)
    while step.opname in _ATTRIBUTES:
        path.append(step.argval)
        step = next(rest)
    if path[-1:] and path[-1] in NAME_TAKERS and step.opname == "LOAD_CONST":
        name = step.argval
        if _is_call_of_one(next(rest)) and isinstance(name, str):
            path.append(name)
    return tuple(path) if path and path != [ITEM] else None


def _is_call_of_one(step: dis.Instruction) -> bool:
    return step.opname == "CALL" and step.argval == 1


def _is_subscript(step: dis.Instruction) -> bool:
    return step.opname == "BINARY_SUBSCR" or (step.opname, step.argrepr) == ("BINARY_OP", "[]")
