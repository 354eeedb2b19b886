"""The kinds of values that are written by what they are made of, and made again of that."""

from __future__ import annotations

import base64
import collections
import datetime
import decimal
import fractions
import random
from collections.abc import Callable
from typing import Any

import numpy as np

from batchflow.errors import ArgumentTypeError, ArgumentValueError


def as_text(data: bytes) -> str:
    """Return bytes as Base64."""
    return base64.b64encode(data).decode()


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


def _random(state: Any) -> random.Random:
    made = random.Random()
    made.setstate(state)
    return made


def _random_state(state: list[Any]) -> Any:
    made = np.random.RandomState()
    made.set_state(tuple(state))
    return made


_DEFAULTS: dict[str | None, Any] = {
    None: None,
    **{kind.__name__: kind for kind in (bool, dict, float, int, list, set, str, tuple)},
    **{kind.__name__: kind for kind in (collections.deque, collections.Counter)},
}


def _name_of_default(value: collections.defaultdict[Any, Any]) -> str | None:
    for name, kind in _DEFAULTS.items():
        if kind is value.default_factory:
            return name
    raise ArgumentTypeError(
        f"a defaultdict of {value.default_factory!r:.60} is not saved as data: its factory is a "
        f"class such as {', '.join(name for name in _DEFAULTS if name)}"
    )


# By kind: the class, how a value is written as what `Encoder` can write, and how it is read again.
TAGGED: dict[str, tuple[type, Callable[[Any], Any], Callable[[Any], Any]]] = {
    "bytes": (bytes, as_text, base64.b64decode),
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
    "defaultdict": (
        collections.defaultdict,
        lambda d: [_name_of_default(d), [list(pair) for pair in d.items()]],
        lambda parts: collections.defaultdict(_DEFAULTS[parts[0]], parts[1]),
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
    "random": (random.Random, random.Random.getstate, lambda state: _random(state)),
    "random_state": (
        np.random.RandomState,
        lambda r: list(r.get_state()),
        lambda state: _random_state(state),
    ),
}
