"""Errors across the border of two processes.

Guarantees:
    - An error arrives as what it is, whatever its constructor, with its attributes and notes, and
      with the traceback of the other process as one more note; one of a class that cannot be
      packed, as a `BatchflowError` with its text.
    - What cannot be packed is named, down to the attribute.
"""

from __future__ import annotations

import functools
import pickle
import traceback
import types
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from batchflow.errors import BatchflowError, add_note_once

__all__ = ["culprit", "said_by", "sendable"]

Dumps = Callable[[Any], bytes]
E = TypeVar("E", bound=BaseException)

MAX_DEPTH = 8
MAX_PARTS = 10_000


def sendable(error: E, dumps: Dumps) -> E | BatchflowError:
    """Make of an error what can be packed and is the error again when it is unpacked.

    Args:
        error: The error. It gets the text of its traceback as a note, with that of its causes.
        dumps: Packs a value so that `pickle.loads` unpacks it.
    """
    text = "".join(traceback.format_exception(error)).rstrip()
    note = f"in a worker process:\n{text}"
    add_note_once(error, note)
    for form in (error, _Bare(error)):
        try:
            unpacked = pickle.loads(dumps(form))
        except Exception:  # whatever is wrong with it: the next form
            continue
        if type(unpacked) is type(error):
            return form  # type: ignore[return-value]
    plain = BatchflowError(f"{said_by(error)} (which cannot be sent as it is)")
    for said in error.__notes__:
        plain.add_note(said)
    return plain


def said_by(error: BaseException) -> str:
    """Give the last line of an error's traceback: its type and message, even if it has none."""
    said = traceback.TracebackException(type(error), error, None)
    said.__notes__ = None  # they would come last
    return list(said.format_exception_only())[-1].strip()


class _Bare:
    """Unpacks as an error whose constructor cannot make it of its `args`."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self._error), self._error.args, self._error.__dict__)


def _rebuilt(
    kind: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]
) -> BaseException:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


# ---- what cannot be packed


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
    for _ in range(MAX_DEPTH):
        for suffix, part in _parts(value):
            found = _problem(part, dumps)
            if found is not None:
                name, value, problem = name + suffix, part, found
                break
        else:
            break
    return f"{name}, of type {type(value).__name__} ({said_by(problem)})"


def _problem(value: Any, dumps: Dumps) -> Exception | None:
    try:
        dumps(value)
    except Exception as error:
        return error
    return None


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    """Give the parts of a value with what is written behind it to reach them."""
    parts: Iterator[tuple[str, Any]]
    if isinstance(value, dict):
        parts = ((f"[{key!r}]", part) for key, part in value.items())
    elif isinstance(value, list | tuple):
        parts = ((f"[{number}]", part) for number, part in enumerate(value))
    elif isinstance(value, types.MethodType):
        parts = iter([("", value.__self__), ("", value.__func__)])
    elif isinstance(value, functools.partial):
        parts = iter([(".func", value.func), (".args", value.args), (".keywords", value.keywords)])
    elif isinstance(value, types.FunctionType):
        parts = ((f": its variable {name!r}", part) for name, part in _used_by(value))
    else:
        parts = ((f".{name}", part) for name, part in getattr(value, "__dict__", {}).items())
    for _, pair in zip(range(MAX_PARTS), parts, strict=False):
        yield pair


def _used_by(function: Any) -> Iterator[tuple[str, Any]]:
    """Give the variables outside of a function that it uses."""
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        try:
            yield name, cell.cell_contents
        except ValueError:  # nothing is in it yet
            continue
    for name in code.co_names:
        if name in function.__globals__:
            yield name, function.__globals__[name]
    for default in function.__defaults__ or ():
        yield "a default", default
