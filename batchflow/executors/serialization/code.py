"""Code of functions that travel by value, and what caches their results.

Guarantees:
    - A function with a cache travels where it does without; its cache is empty there.
    - Tracebacks show where its user wrote it: code names its file in a worker as it does here,
      whatever the release of cloudpickle.
    - Where no file is behind that name (a cell of a notebook, a line typed in), the source lines
      travel with it.
"""

from __future__ import annotations

import functools
import linecache
import operator
import sys
import types
from collections.abc import Callable
from typing import Any

__all__ = ["reduced_cache", "reduced_code"]

Lines = list[str]


def reduced_code(code: types.CodeType, reduce: Callable[[types.CodeType], Any]) -> Any:
    """Reduce code for a pickler.

    Args:
        code: The code.
        reduce: How cloudpickle does it. Release 3.1.3 puts `<dynamic-code>` in the file's place.
    """
    make, args = reduce(code)
    return _code_of, (make, args, code.co_filename, _lines_without_a_file(code.co_filename))


def _lines_without_a_file(name: str) -> Lines | None:
    entry: Any = linecache.cache.get(name)
    if entry is None or len(entry) != 4 or entry[1] is not None:  # a time: read from a file
        return None
    lines: Lines = entry[2]
    return lines


def _code_of(
    make: Callable[..., types.CodeType], args: tuple[Any, ...], name: str, lines: Lines | None
) -> types.CodeType:
    if lines is not None:
        linecache.cache[name] = sum(map(len, lines)), None, lines, name
    return make(*args).replace(co_filename=name)


_LruCache = type(functools.cache(len))


def reduced_cache(value: Any) -> Any:
    """Reduce a function with a cache for a pickler; None: it is none, or its module has it."""
    if type(value) is functools.cached_property:  # in Python 3.11 it holds a lock
        return _cached_property, (value.func, value.attrname)
    if type(value) is _LruCache and not _is_importable(value):
        return _lru_cache, (value.__wrapped__, value.cache_parameters())
    return None


def _is_importable(value: Any) -> bool:
    if value.__module__ == "__main__":
        return False
    try:
        return operator.attrgetter(value.__qualname__)(sys.modules[value.__module__]) is value
    except (AttributeError, KeyError):
        return False


def _cached_property(function: Any, name: str | None) -> functools.cached_property[Any]:
    made = functools.cached_property(function)
    made.attrname = name
    return made


def _lru_cache(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)
