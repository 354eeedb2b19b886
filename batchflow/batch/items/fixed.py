"""Values of a snapshot that refuse to be changed: in a worker process a change would be lost.

Guarantees:
    - They are lists, dicts, sets and their like as elsewhere, to the depth, and read as fast.
    - A refusal says which part of the batch it is: `self.settings['a'][0]`.
    - A copy of one, and one that is sent back, is a plain list, dict or set.
    - Objects of other classes are what they are, with all that is in them.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from batchflow.errors import ArgumentTypeError


def refuse_writing(what: object) -> NoReturn:
    """Refuse to write to the batch in a worker process.

    Raises:
        ArgumentTypeError: Always.
    """
    raise ArgumentTypeError(
        f"a worker process cannot write to the batch ({what}): it would be lost. Return the "
        'value and store it by post=, use apply_parallel, or write target="threads"'
    )


def _refused(value: Any, *args: Any, **_: Any) -> NoReturn:
    place = _shown(getattr(value, "place", None) or "self")
    refuse_writing(f"{place}, {args[0]!r:.40}" if args else place)


def _plain(value: Any) -> Any:
    """Return a copy that can be changed."""
    make, args = value.__reduce__()
    return make(*args)


def _shown(place: Any) -> str:
    """Return the text of a place: a name, or a place and a key in it."""
    keys: list[str] = []
    while isinstance(place, tuple):
        place, key = place
        keys.append(f"[{key!r:.40}]" if key is not ... else "[...]")
    return f"{place}{''.join(reversed(keys))}"


# What changes a container: each class refuses those of these methods that it has.
_CHANGES = (
    *("__delitem__", "__iadd__", "__iand__", "__imul__", "__ior__", "__isub__", "__ixor__"),
    *("__setitem__", "add", "append", "appendleft", "clear", "difference_update", "discard"),
    *("extend", "extendleft", "insert", "intersection_update", "move_to_end", "pop", "popitem"),
    *("popleft", "remove", "reverse", "rotate", "setdefault", "sort", "subtract"),
    *("symmetric_difference_update", "update"),
)


def _refusing(base: type, parts: Callable[[Any], tuple[Any, ...]], **more: Any) -> Any:
    """Make a class of containers that cannot be changed; `parts` gives what a copy is made of."""
    members: dict[str, Any] = {name: _refused for name in _CHANGES if hasattr(base, name)}
    members |= {"copy": _plain, "__copy__": _plain, **more}
    members["__reduce__"] = lambda value: (base, parts(value))
    return type(base.__name__, (base,), {**members, "__slots__": ("place",)})


def _default(value: Any, key: Any) -> Any:
    """Return the default for a key, which is not kept."""
    if value.default_factory is None:
        raise KeyError(key)
    return fixed(value.default_factory(), (value.place, key))


_FIXED: dict[type, Any] = {
    list: _refusing(list, lambda value: ([*value],)),
    set: _refusing(set, lambda value: ([*value],)),
    deque: _refusing(deque, lambda value: ([*value], value.maxlen)),
    dict: _refusing(dict, lambda value: ([*value.items()],)),
    OrderedDict: _refusing(OrderedDict, lambda value: ([*value.items()],)),
    Counter: _refusing(Counter, lambda value: (dict(value),)),
    defaultdict: _refusing(
        defaultdict,
        lambda value: (value.default_factory, [*value.items()]),
        __missing__=_default,
    ),
}


def fixed_item(value: Any, place: str) -> list[Any]:
    """Return what a component is that has one item: it refuses changes of containers."""
    held: Any = _FIXED[list]()
    held.place = place
    list.append(held, fixed(value, place) if type(value) in _FIXED else value)
    return held  # type: ignore[no-any-return]


def fixed(value: Any, place: Any, made: dict[int, Any] | None = None) -> Any:
    """Return a value that refuses to be changed, with the containers and arrays in it.

    Args:
        value: The value.
        place: What it is called.
        made: What was made before, by the id of what it was made of: it stays one object.
    """
    made = {} if made is None else made
    kind = type(value)
    if kind in _FIXED:
        return made[id(value)] if id(value) in made else _container(value, place, made)
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            value = _objects(value, place, made)
        value.flags.writeable = False
    elif kind is tuple and value:
        parts = [fixed(part, (place, key), made) for key, part in enumerate(value)]
        is_same = all(new is old for new, old in zip(parts, value, strict=True))
        return value if is_same else tuple(parts)
    return value


def _container(value: Any, place: Any, made: dict[int, Any]) -> Any:
    base = type(value)
    kind = _FIXED[base]
    new = kind((), value.maxlen) if base is deque else kind.__new__(kind)
    new.place = place
    made[id(value)] = new
    if base is set:
        set.update(new, value)
    elif base in (list, deque):
        base.extend(new, [fixed(part, (place, key), made) for key, part in enumerate(value)])
    else:
        if base is defaultdict:
            new.default_factory = value.default_factory
        put = OrderedDict.__setitem__ if base is OrderedDict else dict.__setitem__
        for key, part in value.items():
            put(new, key, fixed(part, (place, key), made))
    return new


def _objects(array: Any, place: Any, made: dict[int, Any]) -> Any:
    parts = [fixed(part, (place, ...), made) for part in array.flat]
    if all(new is old for new, old in zip(parts, array.flat, strict=True)):
        return array
    array = array.copy()
    for key, part in enumerate(parts):
        array.flat[key] = part
    return array
