"""Values of a snapshot that refuse to be changed: in a worker process a change would be lost.

Guarantees:
    - They are lists, dicts, sets and their like as elsewhere, to the depth, and read as fast.
    - A refusal says which part of the batch it is: `self.settings['a'][0]`.
    - A copy of one, and one that is sent back, is a plain list, dict or set.
    - Objects of other classes are what they are, with all that is in them.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque
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


class FixedList(list[Any]):
    """A list that cannot be changed."""

    __slots__ = ("place",)
    place: Any
    copy = __copy__ = _plain
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refused
    append = clear = extend = insert = pop = remove = reverse = sort = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return list, ([*self],)


class _FixedDeque(deque[Any]):
    """A deque that cannot be changed."""

    __slots__ = ("place",)
    place: Any
    copy = __copy__ = _plain
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refused
    append = appendleft = clear = extend = extendleft = insert = _refused
    pop = popleft = remove = reverse = rotate = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return deque, ([*self], self.maxlen)


class _FixedDict(dict[Any, Any]):
    """A dict that cannot be changed."""

    __slots__ = ("place",)
    place: Any
    copy = __copy__ = _plain
    __setitem__ = __delitem__ = __ior__ = _refused
    clear = pop = popitem = setdefault = update = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, ([*self.items()],)


class _FixedOrderedDict(OrderedDict[Any, Any]):
    """An ordered dict that cannot be changed."""

    __slots__ = ("place",)
    place: Any
    copy = __copy__ = _plain
    __setitem__ = __delitem__ = __ior__ = _refused
    clear = move_to_end = pop = popitem = setdefault = update = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return OrderedDict, ([*self.items()],)


class _FixedCounter(Counter[Any]):
    """A counter that cannot be changed."""

    __slots__ = ("place",)
    place: Any
    copy = __copy__ = _plain
    __setitem__ = __delitem__ = __iadd__ = __isub__ = __ior__ = __iand__ = _refused
    clear = pop = popitem = setdefault = subtract = update = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return Counter, (dict(self),)


class _FixedDefaultDict(defaultdict[Any, Any]):
    """A dict with defaults that cannot be changed: a default is returned, and not kept."""

    __slots__ = ("place",)
    place: Any
    copy = __copy__ = _plain
    __setitem__ = __delitem__ = __ior__ = _refused
    clear = pop = popitem = setdefault = update = _refused

    def __missing__(self, key: Any) -> Any:
        if self.default_factory is None:
            raise KeyError(key)
        return fixed(self.default_factory(), (self.place, key))

    def __reduce__(self) -> tuple[Any, ...]:
        return defaultdict, (self.default_factory, [*self.items()])


class _FixedSet(set[Any]):
    """A set that cannot be changed."""

    __slots__ = ("place",)
    place: Any
    copy = __copy__ = _plain
    __iand__ = __ior__ = __isub__ = __ixor__ = _refused
    add = clear = discard = pop = remove = update = _refused
    difference_update = intersection_update = symmetric_difference_update = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return set, ([*self],)


_FIXED: dict[type, Any] = {
    list: FixedList,
    dict: _FixedDict,
    set: _FixedSet,
    deque: _FixedDeque,
    OrderedDict: _FixedOrderedDict,
    Counter: _FixedCounter,
    defaultdict: _FixedDefaultDict,
}


def fixed_item(value: Any, place: str) -> FixedList:
    """Return what a component is that has one item: it refuses changes of containers."""
    held = FixedList()
    held.place = place
    list.append(held, fixed(value, place) if type(value) in _FIXED else value)
    return held


def fixed(value: Any, place: Any) -> Any:
    """Return a value that refuses to be changed, with the containers and arrays in it.

    Args:
        value: The value.
        place: What it is called.
    """
    return _Fixing().of(value, place)


class _Fixing:
    """Makes fixed values; what is there twice stays one object."""

    def __init__(self) -> None:
        self._made: dict[int, Any] = {}

    def of(self, value: Any, place: Any) -> Any:
        """Return the fixed value."""
        kind = type(value)
        if kind in _FIXED:
            made = self._made.get(id(value))
            return self._container(value, place) if made is None else made
        if isinstance(value, np.ndarray):
            if value.dtype == object:
                value = self._objects(value, place)
            value.flags.writeable = False
        elif kind is tuple and value:
            parts = [self.of(part, (place, key)) for key, part in enumerate(value)]
            is_same = all(new is old for new, old in zip(parts, value, strict=True))
            return value if is_same else tuple(parts)
        return value

    def _container(self, value: Any, place: Any) -> Any:
        base = type(value)
        is_deque = base is deque
        kind: Any = _FIXED[base]
        new = kind((), value.maxlen) if is_deque else kind.__new__(kind)
        new.place = place
        self._made[id(value)] = new
        if base is set:
            set.update(new, value)
        elif base in (list, deque):
            base.extend(new, [self.of(part, (place, key)) for key, part in enumerate(value)])
        else:
            if base is defaultdict:
                new.default_factory = value.default_factory
            put = OrderedDict.__setitem__ if base is OrderedDict else dict.__setitem__
            for key, part in value.items():
                put(new, key, self.of(part, (place, key)))
        return new

    def _objects(self, array: Any, place: Any) -> Any:
        """Return an array of objects with fixed ones."""
        parts = [self.of(part, (place, ...)) for part in array.flat]
        if all(new is old for new, old in zip(parts, array.flat, strict=True)):
            return array
        array = array.copy()
        for key, part in enumerate(parts):
            array.flat[key] = part
        return array
