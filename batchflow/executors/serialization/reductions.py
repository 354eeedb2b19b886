"""Values that travel in a form of their own: arrays of files, code, caches.

Arrays of files travel as a path and a place, and are opened again, to read, where they arrive. Code
of functions that travel by value shows in tracebacks where its user wrote it.

Guarantees:
    - An array of an HDF5 file, or one that is mapped, or a view of a mapped one, is not copied.
    - A process opens an HDF5 file once, and keeps it open.
    - What was changed in memory alone (mapped with mode "c"), or has no file, travels as it is; so
      does a mapped array whose file was replaced or removed since, which its path does not lead to.
    - A function with a cache, or with one function for each type, travels where it does without;
      its cache is empty there.
    - Code names its file in a worker as it does here, whatever the release of cloudpickle.
    - Where no file is behind that name (a cell of a notebook, a line typed in), the source lines
      travel with it.
"""

from __future__ import annotations

import functools
import linecache
import mmap
import operator
import os
import sys
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from batchflow.errors import ArgumentValueError

Lines = list[str]


def reduced_to_file(value: Any) -> tuple[Any, ...] | None:
    """Reduce an array of a file for a pickler; None: it is none."""
    if type(value) is np.ndarray or type(value) is np.memmap:
        place = _place_in_file(value)
        return None if place is None else (_open_mapped, place)
    if type(value).__module__ == "h5py._hl.dataset" and hasattr(value, "chunks"):
        return _open_hdf5, (_hdf5_path(value.file), value.name)
    return None


def _hdf5_path(file: Any) -> str:
    """Return the path of an open HDF5 file, wherever the process has gone since it was opened.

    Raises:
        ArgumentValueError: The file that is open is not to be found by a path.
    """
    path: str = os.path.abspath(file.filename)
    try:
        if file.driver == "sec2":
            number = file.id.get_vfd_handle()
            if os.path.isdir("/proc/self/fd"):
                path = os.readlink(f"/proc/self/fd/{number}")
            found = os.path.samestat(os.fstat(number), os.stat(path))
        else:
            found = file.driver != "fileobj" and os.path.isfile(path)
    except OSError:
        found = False
    if not found:
        raise ArgumentValueError(
            f"worker processes open an HDF5 file by its path, and {path!r} is not the one that is "
            "open here: it was replaced or removed, or lies in memory alone"
        )
    return path


def _open_hdf5(path: str, name: str) -> Any:
    file = _hdf5_file(path)
    if name not in file:
        raise ArgumentValueError(f"the HDF5 file {path!r} has no {name!r} any more")
    return file[name]


@functools.cache
def _hdf5_file(path: str) -> Any:
    import h5py  # on use

    try:
        return h5py.File(path, "r")
    except OSError as error:
        error.add_note(
            f"while a worker process opened {path!r}, which must be a file of its machine that "
            'nobody has open to write: open it with h5py.File(path, "r")'
        )
        raise


def _place_in_file(array: Any) -> tuple[Any, ...] | None:
    """Return path, dtype, shape, strides and offset of a mapped array, or of a view of one."""
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    if not isinstance(root.base, mmap.mmap) or type(root) is not np.memmap:
        return None  # not mapped
    if root.filename is None or root.mode == "c" or array.dtype.hasobject:
        return None
    address = root.__array_interface__["data"][0]
    if _is_file_gone(address):
        return None
    before = array.__array_interface__["data"][0] - address
    path = os.path.abspath(root.filename)
    return path, array.dtype, array.shape, array.strides, root.offset + before


def _is_file_gone(address: int) -> bool:
    """Check whether the file that is mapped at an address has no path any more."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
            for line in maps:
                first, _, last = line.partition(" ")[0].partition("-")
                if int(first, 16) <= address < int(last, 16):
                    return line.endswith(" (deleted)\n")
    except OSError:  # another system
        pass
    return False


def _open_mapped(
    path: str, dtype: Any, shape: tuple[int, ...], strides: tuple[int, ...], offset: int
) -> Any:
    try:
        file = np.memmap(path, np.uint8, "r")
    except OSError as error:
        error.add_note(f"a mapped array travels as the path of its file, and {path!r} is not here")
        raise
    return np.ndarray(shape, dtype, file, offset, strides)


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


def reduced_wrapper(value: Any) -> Any:
    """Reduce a function with a cache, or one by the type of its argument; None: it is none.

    One that its module has travels as its name.
    """
    if type(value) is functools.cached_property:  # in Python 3.11 it holds a lock
        return functools.cached_property, (value.func,), {"attrname": value.attrname}
    if type(value) is _LruCache and not _is_importable(value):
        return _lru_cache, (value.__wrapped__, value.cache_parameters())
    if type(value) is types.FunctionType and _is_dispatch(value) and not _is_importable(value):
        # The functions may call it: they come when it is there.
        state = [*value.registry.items()], value.__wrapped__  # type: ignore[attr-defined]
        return _new_dispatch, (), state, None, None, _fill_dispatch
    return None


def _is_dispatch(function: types.FunctionType) -> bool:
    return function.__code__ is _DISPATCH and hasattr(function, "registry")


def _is_importable(value: Any) -> bool:
    if value.__module__ == "__main__":
        return False
    try:
        return operator.attrgetter(value.__qualname__)(sys.modules[value.__module__]) is value
    except (AttributeError, KeyError):
        return False


def _lru_cache(function: Any, parameters: dict[str, Any]) -> Any:
    return functools.lru_cache(**parameters)(function)


def _new_dispatch() -> Any:
    return functools.singledispatch(_lru_cache)  # which its own function replaces


_DISPATCH = _new_dispatch().__code__


def _fill_dispatch(function: Any, state: tuple[list[tuple[type, Any]], Any]) -> None:
    functions, wrapped = state
    for cls, own in functions:
        function.register(cls, own)
    functools.update_wrapper(function, wrapped)
