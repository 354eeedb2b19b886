"""Values of Python as JSON and arrays, and back: of the same kinds, and without executing code.

What JSON has is itself; everything else is a mapping `{"~": kind, "v": ...}`. Arrays, and long
lists of numbers, stand in a file of arrays, and have their names there.

Guarantees:
    - A value that comes back is equal to what was written, and of its kind, NaN and -0.0 included.
    - A value of any other kind is refused by its place, unless pickles are trusted.
"""

from __future__ import annotations

import base64
import collections
import datetime
import decimal
import fractions
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from batchflow.errors import ArgumentTypeError, ArgumentValueError

Arrays = dict[str, Any]
_TAG, _VALUE = "~", "v"
_LONG = 64  # numbers in a row that are written as an array
_LAZY = "batchflow.models.lazy"  # numbers that stay on their device until they are read
_INT64 = range(-(2**63), 2**63)
_PLAIN = (type(None), bool, int, str)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# By kind: the class, how a value is written as what `encoded` can write, and how it is read again.
_TAGGED: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "bytes": (bytes, _base64, base64.b64decode),
    "complex": (complex, lambda z: [z.real, z.imag], lambda parts: complex(*parts)),
    "tuple": (tuple, list, tuple),
    "set": (set, lambda s: sorted(s, key=repr), set),
    "frozenset": (frozenset, lambda s: sorted(s, key=repr), frozenset),
    "dict": (dict, lambda d: [list(pair) for pair in d.items()], dict),
    "ordered": (
        collections.OrderedDict,
        lambda d: [list(pair) for pair in d.items()],
        collections.OrderedDict,
    ),
    "counter": (
        collections.Counter,
        lambda d: [list(pair) for pair in d.items()],
        lambda pairs: collections.Counter(dict(pairs)),
    ),
    "deque": (
        collections.deque,
        lambda d: [list(d), d.maxlen],
        lambda parts: collections.deque(*parts),
    ),
    "range": (range, lambda r: [r.start, r.stop, r.step], lambda parts: range(*parts)),
    "slice": (slice, lambda s: [s.start, s.stop, s.step], lambda parts: slice(*parts)),
    "datetime": (
        datetime.datetime,
        lambda d: _without_zone(d).isoformat(),
        datetime.datetime.fromisoformat,
    ),
    "date": (datetime.date, datetime.date.isoformat, datetime.date.fromisoformat),
    "time": (datetime.time, lambda t: _without_zone(t).isoformat(), datetime.time.fromisoformat),
    "timedelta": (
        datetime.timedelta,
        lambda d: [d.days, d.seconds, d.microseconds],
        lambda parts: datetime.timedelta(*parts),
    ),
    "decimal": (decimal.Decimal, str, decimal.Decimal),
    "fraction": (fractions.Fraction, str, fractions.Fraction),
    "generator": (
        np.random.Generator,
        lambda g: g.bit_generator.state,
        lambda state: np.random.Generator(_bit_generator(state)),
    ),
    "random_state": (
        np.random.RandomState,
        lambda r: list(r.get_state()),
        lambda state: _random_state(state),
    ),
}
_BY_CLASS = {kind: (name, write) for name, (kind, write, _) in _TAGGED.items()}


def encoded(value: Any, arrays: Arrays, where: str, *, trust: bool = False) -> Any:
    """Return a value as what JSON can hold.

    Args:
        value: The value.
        arrays: Gets the arrays in it, by names that are not taken. They are copies.
        where: What the value is, for messages: `the variable 'loss'`.
        trust: Whether a value that has no other way is pickled.

    Raises:
        ArgumentTypeError: It has no other way, and pickles are not trusted.
    """
    try:
        return _encoded(value, arrays, where, trust)
    except RecursionError:
        raise ArgumentTypeError(
            f"{where} contains itself, or is too deep to be saved as data"
        ) from None


def _encoded(value: Any, arrays: Arrays, where: str, trust: bool) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is float:
        return value if math.isfinite(value) else _tagged("float", repr(value))
    if kind is list:
        if (numbers := _numbers(value)) is not None:
            return _tagged("numbers", _stored(numbers, arrays))
        return [_encoded(part, arrays, f"{where}[{i}]", trust) for i, part in enumerate(value)]
    if kind is np.ndarray and not value.dtype.hasobject:
        return _tagged("array", _stored(value.copy(), arrays))
    if kind is np.ndarray and value.dtype == object:
        parts = [
            _encoded(part, arrays, f"{where}[{i}]", trust) for i, part in enumerate(value.flat)
        ]
        return _tagged("objects", [list(value.shape), parts])
    if isinstance(value, np.generic) and not value.dtype.hasobject:
        return _tagged("scalar", _stored(np.asarray(value), arrays))
    if kind is dict:
        pairs = [
            [_encoded(key, arrays, f"a key of {where}", trust),
             _encoded(part, arrays, f"{where}[{key!r:.40}]", trust)]
            for key, part in value.items()
        ]  # fmt: skip
        return _tagged("dict", pairs)
    if kind in _BY_CLASS:
        name, write = _BY_CLASS[kind]
        return _tagged(name, _encoded(write(value), arrays, where, trust))
    if kind.__module__ == _LAZY:
        return float(value)  # it is one, wherever it is saved
    if not trust:
        raise ArgumentTypeError(
            f"{where} is a {kind.__name__}, {value!r:.60}, which is not saved as data: numbers, "
            "texts, dates, arrays, and lists, tuples, sets and mappings of these are. Let it hold "
            "these, or allow a pickle: Checkpoint(..., trust=True)"
        )
    import dill  # type: ignore[import-untyped]  # on use

    return _tagged("pickle", _base64(dill.dumps(value)))


def is_known(value: Any) -> bool:
    """Check whether a value, whatever it holds, is of a kind that is written as data."""
    kind = type(value)
    return (
        isinstance(value, (*_PLAIN, float, list, dict, np.ndarray, np.generic))
        or kind in _BY_CLASS
        or kind.__module__ == _LAZY
    )


def decoded(value: Any, arrays: Mapping[str, Any], *, trust: bool = False) -> Any:
    """Return the value that `encoded` has written.

    Raises:
        ArgumentValueError: It is no such value, or a pickle that is not trusted.
    """
    if isinstance(value, list):
        return [decoded(part, arrays, trust=trust) for part in value]
    if not isinstance(value, dict):
        return value
    try:
        kind, inner = value[_TAG], value[_VALUE]
        if kind == "float":
            return float(inner)
        if kind in ("numbers", "array", "scalar"):
            array = arrays[inner]
            return array.tolist() if kind == "numbers" else array[()] if kind == "scalar" else array
        if kind == "objects":
            shape, parts = inner
            array = np.empty(len(parts), dtype=object)
            for place, part in enumerate(parts):
                array[place] = decoded(part, arrays, trust=trust)
            return array.reshape(shape)
        if kind == "pickle":
            return _unpickled(inner, trust)
        return _TAGGED[kind][2](decoded(inner, arrays, trust=trust))
    except (LookupError, TypeError, ValueError) as error:
        if isinstance(error, (ArgumentValueError, ArgumentTypeError)):
            raise
        raise ArgumentValueError(f"this is no value that was saved: {value!r:.60}") from error


def _unpickled(text: str, trust: bool) -> Any:
    if not trust:
        raise ArgumentValueError(
            "it holds a pickle. Reading one executes what its writer put into it: if you know that "
            "writer, Checkpoint(..., trust=True)"
        )
    import dill

    return dill.loads(base64.b64decode(text))


def _tagged(kind: str, value: Any) -> dict[str, Any]:
    return {_TAG: kind, _VALUE: value}


def _stored(array: Any, arrays: Arrays) -> str:
    name = f"a{len(arrays)}"
    arrays[name] = array
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
    return None


def _without_zone(moment: Any) -> Any:
    zone = moment.tzinfo
    if zone is not None and not isinstance(zone, datetime.timezone):
        raise ArgumentTypeError(
            f"{moment!r} is of a time zone with rules, which is not saved as data: convert it to "
            "UTC, .astimezone(datetime.timezone.utc)"
        )
    return moment


def _bit_generator(state: dict[str, Any]) -> Any:
    kind = getattr(np.random, state["bit_generator"])
    if not (isinstance(kind, type) and issubclass(kind, np.random.BitGenerator)):
        raise ArgumentValueError(f"{kind!r} is no bit generator")
    made = kind()
    made.state = state
    return made


def _random_state(state: list[Any]) -> Any:
    made = np.random.RandomState()
    made.set_state(tuple(state))
    return made
