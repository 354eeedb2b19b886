"""Values of Python as JSON and arrays, and back: of the same kinds, and without executing code.

What JSON has is itself; everything else is a mapping `{"~": kind, "v": ...}`. Arrays, and long
lists of numbers, stand in a file of arrays, and have their names there. What is met again is
`{"~": "same", "v": number}`; where it stood first it has that number: `"id"`, or, in a list, a
first element `{"~": "id", "v": number}`.

Guarantees:
    - A value that comes back is equal to what was written, and of its kind, NaN and -0.0 included.
    - One object at several places, whose changes are seen at all of them, is one object again.
      Arrays of numbers that share memory, as views of one do, share it again. (Not so tensors of
      torch: each gets a memory of its own.)
    - A value of any other kind is refused by its place, unless pickles are trusted.
"""

from __future__ import annotations

import base64
import collections
import importlib
import math
import random
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from batchflow.checkpoints import tensors
from batchflow.checkpoints.kinds import TAGGED, as_text
from batchflow.checkpoints.shared import SharedMemory, view
from batchflow.errors import ArgumentTypeError, ArgumentValueError

Arrays = dict[str, Any]
_TAG, _VALUE, _ID = "~", "v", "id"
_LONG = 64  # numbers in a row that are written as an array
_SHORT = 64  # bytes of a tensor that stand where it does
_LAZY = "batchflow.models.lazy"  # numbers that stay on their device until they are read
_INT64 = range(-(2**63), 2**63)
_PLAIN = (type(None), bool, int, str)
_BY_CLASS = {kind: (name, write) for name, (kind, write, _) in TAGGED.items()}
_CHANGING = {
    list, dict, set, np.ndarray, collections.OrderedDict, collections.Counter, collections.deque,
    collections.defaultdict, np.random.Generator, np.random.RandomState,
    random.Random,
}  # fmt: skip


class Encoder:
    """Makes data of values: of all those that are written together.

    Args:
        arrays: Gets the arrays in them, by names that are not taken. They are copies.
        trust: Whether a value that has no other way is pickled.
    """

    def __init__(self, arrays: Arrays, *, trust: bool = False) -> None:
        self._arrays, self._trust = arrays, trust
        # What can change, by `id`: the object (so that it keeps its id), what stands for it (None:
        # that is being made), and its number, if it was met again.
        self._met: dict[int, list[Any]] = {}
        self._n_shared = 0
        self._shared = SharedMemory(arrays)

    def __call__(self, value: Any, where: str) -> Any:
        """Return a value as what JSON can hold.

        Args:
            value: The value.
            where: What it is, for messages: `the variable 'loss'`.

        Raises:
            ArgumentTypeError: It has no other way, and pickles are not trusted.
        """
        try:
            return self._encoded(value, where)
        except RecursionError:
            raise _too_deep(where) from None

    def _encoded(self, value: Any, where: str) -> Any:
        if type(value) not in _CHANGING and not tensors.changes(value):
            return self._data(value, where)
        met = self._met.get(id(value))
        if met is None:
            met = self._met[id(value)] = [value, None, None]
            met[1] = self._data(value, where)
            return met[1]
        _, data, number = met
        if data is None:
            raise _too_deep(where)
        if number is None:
            number = met[2] = self._n_shared
            self._n_shared += 1
            if isinstance(data, list):
                data.insert(0, _tagged(_ID, number))
            else:
                data[_ID] = number
        return _tagged("same", number)

    def _data(self, value: Any, where: str) -> Any:
        arrays, kind = self._arrays, type(value)
        if kind in _PLAIN:
            return value
        if kind is float:
            return value if math.isfinite(value) else _tagged("float", repr(value))
        if kind is list:
            if (numbers := _numbers(value)) is not None:
                is_plain = not isinstance(value[0], np.generic)
                return _tagged("numbers" if is_plain else "scalars", _stored(numbers, arrays))
            return [self._encoded(part, f"{where}[{i}]") for i, part in enumerate(value)]
        if isinstance(value, (np.ndarray, np.generic)) and (found := self._of_numpy(value, where)):
            return found
        if kind is dict:
            pairs = [
                [self._encoded(key, f"a key of {where}"),
                 self._encoded(part, f"{where}[{key!r:.40}]")]
                for key, part in value.items()
            ]  # fmt: skip
            return _tagged("dict", pairs)
        if kind in _BY_CLASS:
            name, write = _BY_CLASS[kind]
            try:
                parts = write(value)
            except ArgumentTypeError as error:
                raise ArgumentTypeError(f"{where}: {error}") from None
            return _tagged(name, self._encoded(parts, where))
        if kind.__module__ == _LAZY:
            return float(value)  # it is one, wherever it is saved
        if (framework := tensors.framework_of(value)) is not None:
            return self._of_tensor(value, framework, where)
        if (names := _record_names(value)) is not None:
            parts = [
                self._encoded(part, f"{where}.{name}")
                for name, part in zip(kind._fields, value, strict=True)
            ]
            return _tagged("record", [*names, parts])
        return self._pickled(value, where)

    def _pickled(self, value: Any, where: str) -> Any:
        if not self._trust:
            raise ArgumentTypeError(
                f"{where} is a {type(value).__name__}, {value!r:.60}, which is not saved as data: "
                "numbers, texts, dates, arrays, and lists, tuples, sets and mappings of these are. "
                "Let it hold these, or allow a pickle: Checkpoint(..., trust=True)"
            )
        import dill  # type: ignore[import-untyped]  # on use

        return _tagged("pickle", as_text(dill.dumps(value)))

    def _of_tensor(self, value: Any, framework: tensors.Framework, where: str) -> Any:
        facts, data = tensors.written(value, framework, where)
        if data.dtype.hasobject:
            data = self._data(data, where)
        elif data.nbytes <= _SHORT:
            data = self._data(data.tobytes(), where)
        else:
            data = _tagged("array", _stored(data.copy(), self._arrays))
        gradient = self._encoded(getattr(value, "grad", None), f"the gradient of {where}")
        return _tagged(framework, [facts, data, gradient])

    def _of_numpy(self, value: Any, where: str) -> Any:
        """Return an array or a scalar of NumPy; None: it is of another class, or of objects."""
        arrays, kind, dtype = self._arrays, type(value), value.dtype
        is_array = kind is np.ndarray
        if not is_array and isinstance(value, np.ndarray):
            return None
        if _is_of_ml_dtypes(dtype):
            plain = np.array(value).view(f"u{dtype.itemsize}")
            return _tagged("ml_dtypes", [dtype.name, is_array, _stored(plain, arrays)])
        if not dtype.hasobject:
            copied = value.copy() if is_array else np.asarray(value)
            data = _tagged("array" if is_array else "scalar", _stored(copied, arrays))
            if is_array and dtype.names is None:
                self._shared.add(value, data)
            return data
        if is_array and dtype.kind == "O":
            parts = [self._encoded(part, f"{where}[{i}]") for i, part in enumerate(value.flat)]
            return _tagged("objects", [list(value.shape), parts])
        return None


def _too_deep(where: str) -> ArgumentTypeError:
    return ArgumentTypeError(f"{where} contains itself, or is too deep to be saved as data")


def encoded(value: Any, arrays: Arrays, where: str, *, trust: bool = False) -> Any:
    """Return a single value as what JSON can hold: see `Encoder`."""
    return Encoder(arrays, trust=trust)(value, where)


def is_known(value: Any) -> bool:
    """Check whether a value, whatever it holds, is of a kind that is written as data."""
    kind = type(value)
    return (
        isinstance(value, (*_PLAIN, float, list, dict, np.ndarray, np.generic))
        or kind in _BY_CLASS
        or kind.__module__ == _LAZY
        or tensors.framework_of(value) is not None
        or _record_names(value) is not None
    )


class Decoder:
    """Makes values of data again: of all that were written together.

    Args:
        data: All of it.
        arrays: The arrays in it. They become parts of the values.
        trust: Whether pickles are read.
    """

    def __init__(self, data: Any, arrays: Mapping[str, Any], *, trust: bool = False) -> None:
        self._arrays, self._trust = arrays, trust
        self._data = dict(_numbered(data))
        self._made: dict[int, Any] = {}  # by number

    def __call__(self, value: Any) -> Any:
        """Return the value that an `Encoder` has written.

        Raises:
            ArgumentValueError: It is no such value, or a pickle that is not trusted.
        """
        if not isinstance(value, (list, dict)):
            return value
        try:
            number = _number_of(value)
            if isinstance(value, dict) and value[_TAG] == "same":
                number = value[_VALUE]
                value = self._data[number]
            if number is None:
                return self._value(value)
            if number not in self._made:
                self._made[number] = self._value(value)
            return self._made[number]
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            if isinstance(error, (ArgumentValueError, ArgumentTypeError)):
                raise
            raise ArgumentValueError(f"this is no value that was saved: {value!r:.60}") from error

    def _value(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self(part) for part in (value if _number_of(value) is None else value[1:])]
        kind, inner = value[_TAG], value[_VALUE]
        if kind == "float":
            return float(inner)
        if kind in ("numbers", "array", "scalar"):
            array = self._arrays[inner]
            return array.tolist() if kind == "numbers" else array[()] if kind == "scalar" else array
        if kind == "view":
            return view(self._arrays[inner[0]], *inner[1:])
        if kind == "scalars":
            return list(self._arrays[inner])
        if kind == "objects":
            shape, parts = inner
            array = np.empty(len(parts), dtype=object)
            for place, part in enumerate(parts):
                array[place] = self(part)
            return array.reshape(shape)
        if kind == "ml_dtypes":
            name, is_array, place = inner
            return _of_ml_dtypes(name, is_array, self._arrays[place])
        if kind == "pickle":
            return _unpickled(inner, self._trust)
        if kind in ("jax", "torch", "tensorflow"):
            facts, data, gradient = inner
            made = tensors.made(kind, facts, self(data))
            if gradient is not None:
                made.grad = self(gradient)
            return made
        if kind == "record":
            module, name, parts = inner
            return _record(module, name, [self(part) for part in parts])
        return TAGGED[kind][2](self(inner))


def _number_of(value: Any) -> int | None:
    """Return the number of what several places share; None: it stands at one place."""
    if isinstance(value, dict):
        number = value.get(_ID) if _TAG in value else None
    else:
        first = value[0] if value else None
        number = first[_VALUE] if isinstance(first, dict) and first.get(_TAG) == _ID else None
    return number if isinstance(number, int) else None


def _numbered(data: Any) -> Iterator[tuple[int, Any]]:
    rest = [data]
    while rest:
        value = rest.pop()
        if isinstance(value, (list, dict)):
            if (number := _number_of(value)) is not None:
                yield number, value
            rest += value.values() if isinstance(value, dict) else value


def decoded(value: Any, arrays: Mapping[str, Any], *, trust: bool = False) -> Any:
    """Return the single value that `encoded` has written: see `Decoder`."""
    return Decoder(value, arrays, trust=trust)(value)


def _unpickled(text: str, trust: bool) -> Any:
    if not trust:
        raise ArgumentValueError(
            "it holds a pickle. Reading one executes what its writer put into it: if you know that "
            "writer, Checkpoint(..., trust=True)"
        )
    import dill

    return dill.loads(base64.b64decode(text))


def _is_of_ml_dtypes(dtype: Any) -> bool:
    """Check whether values are of a kind such as bfloat16, which files of NumPy do not name."""
    return bool(dtype.type.__module__.partition(".")[0] == "ml_dtypes")


def _of_ml_dtypes(name: str, is_array: bool, plain: Any) -> Any:
    dtype = np.dtype(getattr(importlib.import_module("ml_dtypes"), name))
    array = plain.view(dtype)
    return array if is_array else array[()]


def _record_names(value: Any) -> tuple[str, str] | None:
    """Return the names by which the class of a named tuple is found; None: it is no such thing."""
    kind = type(value)
    names = kind.__module__, kind.__qualname__
    return names if isinstance(value, tuple) and _record_class(*names) is kind else None


def _record_class(module: str, name: str) -> Any:
    """Return a class of named tuples by its names; None: there is none. Nothing is imported."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, "__dict__", {}).get(part)  # `getattr` of a module may import others
    is_record = isinstance(found, type) and issubclass(found, tuple) and hasattr(found, "_fields")
    return found if is_record else None


def _record(module: str, name: str, parts: list[Any]) -> Any:
    kind = _record_class(module, name)
    if kind is None or len(kind._fields) != len(parts):
        raise ArgumentValueError(
            f"a named tuple {module}.{name} of {len(parts)} parts was saved, and there is none "
            "here: import its module ahead of the run, or keep the class as it was"
        )
    return tuple.__new__(kind, parts)  # no code of the class is executed


def _tagged(kind: str, value: Any) -> dict[str, Any]:
    return {_TAG: kind, _VALUE: value}


def _stored(array: Any, arrays: Arrays) -> str:
    number = len(arrays)
    while f"a{number}" in arrays:  # some are gone: what shares memory has one
        number += 1
    arrays[name := f"a{number}"] = array
    return name


def _numbers(values: list[Any]) -> Any:
    """Return an array of a long list of numbers of one kind; None for any other."""
    if len(values) < _LONG:
        return None
    kinds = set(map(type, values))
    if kinds == {float}:
        return np.array(values)
    if kinds == {int} and min(values) in _INT64 and max(values) in _INT64:
        return np.array(values, dtype=np.int64)
    if len(kinds) == 1 and issubclass(kind := kinds.pop(), (np.inexact, np.integer, np.bool_)):
        return None if issubclass(kind, np.timedelta64) else np.array(values, dtype=kind)
    return None
