"""Errors across the border of two processes.

Guarantees:
    - An error arrives as what it is, whatever its constructor, with its attributes and notes, its
      cause and its context, and with the traceback of the other process as one more note.
    - A part of it that cannot be packed arrives as its text, and a note names it. Where that is the
      class itself, the nearest base class that can be packed takes its place.
    - What cannot be packed is named, down to the attribute.
    - How a worker process has ended is said in words.
"""

from __future__ import annotations

import copyreg
import functools
import itertools
import pickle
import signal
import traceback
import types
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

from batchflow.errors import BatchflowError, add_note_once

Dumps = Callable[[Any], bytes]

MAX_DEPTH = 8
MAX_PARTS = 10_000


def sendable(error: BaseException, dumps: Dumps) -> Any:
    """Return a form of an error that can be packed, and is the error again when it is unpacked.

    Args:
        error: The error. It gets the text of its traceback as a note, with that of its causes.
        dumps: Packs a value so that `pickle.loads` unpacks it.
    """
    text = "".join(traceback.format_exception(error)).rstrip()
    with suppress(Exception):  # one that lets nobody set its attributes
        add_note_once(error, f"in a worker process:\n{text}")
    return _ready(error, dumps, ())


def _ready(error: BaseException, dumps: Dumps, outer: tuple[int, ...]) -> Any:
    """Return such a form; `outer` are the errors that it has led to, or is a member of."""
    outer = (*outer, id(error))
    form = _form(error, dumps, outer)
    before = {
        name: _ready(other, dumps, outer)
        for name in ("__cause__", "__context__")
        if (other := getattr(error, name)) is not None
        and id(other) not in outer
        and len(outer) < MAX_DEPTH
    }
    return _Form(_linked, form, before, error.__suppress_context__) if before else form


def _form(error: BaseException, dumps: Dumps, outer: tuple[int, ...]) -> Any:
    slots = _slots_of(error)
    bare = _Form(_rebuilt, type(error), error.args, error.__dict__, slots)
    for form in [bare] if slots else [error, bare]:  # pickle forgets slots
        if (unpacked := _unpacked(form, dumps)) is not None and type(unpacked) is type(error):
            return form
    with suppress(Exception):  # an attribute, or a text, that only raises
        parts = _Parts(error, dumps, outer)
        for kind in type(error).__mro__[:-1]:
            rebuilt = parts.rebuilt_as(kind)
            if (unpacked := _unpacked(rebuilt, dumps)) is not None and type(unpacked) is kind:
                return rebuilt
    plain = BatchflowError(f"{error_line(error)} (which cannot be sent as it is)")
    for said in getattr(error, "__notes__", ()):
        plain.add_note(said)
    return plain


def _unpacked(form: Any, dumps: Dumps) -> Any:
    """Return what arrives on the other side; None if nothing does."""
    try:
        return pickle.loads(dumps(form))
    except Exception:  # whatever is wrong with it
        return None


def error_line(error: BaseException) -> str:
    """Return the last line of an error's traceback: its type and message, even if it has none."""
    said = traceback.TracebackException(type(error), error, None)
    said.__notes__ = None  # they would come last
    return list(said.format_exception_only())[-1].strip()


class _Form:
    """Unpacks as what a function makes of its arguments."""

    def __init__(self, make: Callable[..., BaseException], *args: Any) -> None:
        self._reduced = make, args

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced


def _rebuilt(
    kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any], slots: dict[str, Any]
) -> BaseException:
    """Make an error without its constructor, which may take something else than its `args`."""
    try:
        error = kind.__new__(kind, *args)
    except TypeError:  # its own `__new__`
        error = kind.__new__(kind)
    if not isinstance(error, BaseExceptionGroup):
        BaseException.__setattr__(error, "args", args)  # one may let nobody set its attributes
    error.__dict__.update(state)
    for name, value in slots.items():
        BaseException.__setattr__(error, name, value)
    return error


def _slots_of(error: BaseException) -> dict[str, Any]:
    names: list[str] = copyreg._slotnames(type(error))  # type: ignore[attr-defined]
    return {name: getattr(error, name) for name in names if hasattr(error, name)}


def _linked(
    error: BaseException, before: dict[str, BaseException], hides_context: bool
) -> BaseException:
    """Give an error the errors that led to it."""
    for name, other in before.items():
        BaseException.__setattr__(error, name, other)
    BaseException.__setattr__(error, "__suppress_context__", hides_context)
    return error


class _Parts:
    """The parts of an error, with the text of those that cannot be packed in their places."""

    def __init__(self, error: BaseException, dumps: Dumps, outer: tuple[int, ...]) -> None:
        self._error, self._dumps, self._outer = error, dumps, outer
        self._replaced: list[str] = []
        if isinstance(error, BaseExceptionGroup):
            members = [_ready(member, dumps, outer) for member in error.exceptions]
            self._args: tuple[Any, ...] = (error.message, members)
        else:
            self._args = tuple(self._part(f"args[{i}]", arg) for i, arg in enumerate(error.args))
        self._state = {n: self._part(f".{n}", v) for n, v in vars(error).items()}
        self._slots = {n: self._part(f".{n}", v) for n, v in _slots_of(error).items()}

    def _part(self, name: str, value: Any) -> Any:
        if isinstance(value, BaseException) and id(value) not in self._outer:
            return _ready(value, self._dumps, self._outer)
        problem = _problem(value, self._dumps)
        if problem is None:
            return value
        self._replaced.append(_described(name, value, problem))
        try:
            return repr(value)
        except Exception:
            return f"<{type(value).__name__}>"

    def rebuilt_as(self, kind: type[BaseException]) -> _Form:
        """Return what unpacks as an error of its class, or of a base class."""
        args, notes, slots = self._args, list(self._state.get("__notes__", ())), self._slots
        if self._replaced:
            replaced = "; ".join(self._replaced)
            notes.append(f"in the place of what could not travel is its text: {replaced}")
        state = {**self._state, "__notes__": notes}
        if kind is not type(self._error):
            notes.append(f"its class {type(self._error).__qualname__} could not travel")
            state, slots = {**state, **slots}, {}
            if kind.__str__ is not type(self._error).__str__:
                args = (error_line(self._error),)
        return _Form(_rebuilt, kind, args, state, slots)


# ---- parts that cannot be packed


def culprit(value: Any, dumps: Dumps, name: str, problem: Exception) -> str:
    """Say which part of a value cannot be packed, and why.

    Args:
        value: The value.
        dumps: What failed to pack it.
        name: What the value is called.
        problem: How it failed.

    Returns:
        Such as "the result.extra['a'], of type generator (TypeError: cannot pickle ...)".
    """
    found = _found(value, dumps, name, problem, {id(value)})
    return _described(*(found or (name, value, problem)))


def _described(name: str, value: Any, problem: Exception) -> str:
    return f"{name}, of type {type(value).__name__} ({error_line(problem)})"


def _found(
    value: Any, dumps: Dumps, name: str, problem: Exception, seen: set[int], depth: int = 1
) -> tuple[str, Any, Exception] | None:
    """Return the name of the innermost part that cannot be packed, the part, and its problem.

    None: it can be packed but for parts that have been seen, as functions of a class mention the
    class: then another of its parts is the one.
    """
    mentions_seen = False
    for suffix, part in _parts(value):
        if id(part) in seen:
            mentions_seen = True
            continue
        found = _problem(part, dumps)
        if isinstance(problem, BatchflowError) and not isinstance(found, BatchflowError):
            continue  # it was refused as a whole, in words
        if found is None:
            continue
        seen.add(id(part))
        if depth == MAX_DEPTH:
            return name + suffix, part, found
        inside = _found(part, dumps, name + suffix, found, seen, depth + 1)
        if inside is not None:
            return inside
        mentions_seen = True
    return None if mentions_seen else (name, value, problem)


def _problem(value: Any, dumps: Dumps) -> Exception | None:
    try:
        dumps(value)
    except Exception as error:
        return error
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a value, each with the text behind its name that reaches it."""
    parts: Iterator[tuple[str, Any]]
    if hasattr(type(value), "named_parts"):
        parts = iter(value.named_parts()[1])
    elif isinstance(value, dict):
        parts = ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, list | tuple):
        parts = ((f"[{number}]", part) for number, part in enumerate(value))
    elif isinstance(value, types.MethodType):
        parts = iter([("", value.__self__), ("", value.__func__)])
    elif isinstance(value, functools.partial):
        parts = iter([(".func", value.func), (".args", value.args), (".keywords", value.keywords)])
    elif isinstance(value, types.FunctionType):
        within = vars(value).get("__wrapped__")  # what it was written as says more
        used = ((f": its variable {name!r}", part) for name, part in _used_by(value))
        parts = itertools.chain([] if within is None else [("", within)], used)
    else:
        parts = ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items())
        if isinstance(value, type):
            bases = ((f", its base class {base.__name__}", base) for base in value.__bases__)
            parts = itertools.chain(bases, parts)
    for _, pair in zip(range(MAX_PARTS), parts, strict=False):
        yield pair


def _used_by(function: Any) -> Iterator[tuple[str, Any]]:
    """Yield the variables outside of a function that it uses, with their names."""
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # nothing is in it yet
            continue
    for name in dict.fromkeys(_names_in(code)):
        if name in function.__globals__:
            yield name, function.__globals__[name]
    for default in function.__defaults__ or ():
        yield "a default", default


def _names_in(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for part in code.co_consts:  # functions and comprehensions inside
        if isinstance(part, types.CodeType):
            yield from _names_in(part)


# ---- deaths


def describe_exit(code: int) -> str:
    """Return how a process has ended, in words, by its exit code."""
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    guess = {
        "SIGKILL": " (out of memory?)",
        "SIGSEGV": " (a crash in native code)",
        "SIGABRT": " (a crash in native code)",
        "SIGBUS": " (no memory left for what is shared?)",
    }
    return f"it was killed by {name}{guess.get(name, '')}"
