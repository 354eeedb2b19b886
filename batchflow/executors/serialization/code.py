"""Code of functions that travel by value: tracebacks show where its user wrote it.

Guarantees:
    - Code names its file in a worker as it does here, whatever the release of cloudpickle.
    - Where no file is behind that name (a cell of a notebook, a line typed in), the source lines
      travel with it.
"""

from __future__ import annotations

import linecache
import types
from collections.abc import Callable
from typing import Any

__all__ = ["reduced_code"]

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
