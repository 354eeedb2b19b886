"""Values of a snapshot that refuse to be changed: in a worker process a change would be lost.

Guarantees:
    - They are lists, dicts and sets as elsewhere, and read as fast.
    - A copy of one, and one that is sent back, is a plain list, dict or set.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from batchflow.errors import ArgumentTypeError

__all__ = ["FixedList", "fixed", "refuse_writing"]


def refuse_writing(what: object) -> NoReturn:
    """Refuse to write to the batch in a worker process.

    Raises:
        ArgumentTypeError: Always.
    """
    raise ArgumentTypeError(
        f"a worker process cannot write to the batch ({what!r}): it would be lost. Return the "
        'value and store it by post=, use apply_parallel, or write target="threads"'
    )


def _refused(value: Any, *args: Any, **_: Any) -> NoReturn:  # noqa: ARG001  as methods are called
    refuse_writing(*args[:1] or ("clear",))


class FixedList(list[Any]):
    """A list that cannot be changed."""

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refused
    append = clear = extend = insert = pop = remove = reverse = sort = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return list, ([*self],)


class _FixedDict(dict[Any, Any]):
    """A dict that cannot be changed."""

    __setitem__ = __delitem__ = __ior__ = _refused
    clear = pop = popitem = setdefault = update = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, ([*self.items()],)


class _FixedSet(set[Any]):
    """A set that cannot be changed."""

    __iand__ = __ior__ = __isub__ = __ixor__ = _refused
    add = clear = discard = pop = remove = update = _refused
    difference_update = intersection_update = symmetric_difference_update = _refused

    def __reduce__(self) -> tuple[Any, ...]:
        return set, ([*self],)


_FIXED: dict[type, Any] = {list: FixedList, dict: _FixedDict, set: _FixedSet}


def fixed(value: Any) -> Any:
    """Return a value that refuses to be changed, with the arrays of a list as well."""
    for part in value if type(value) is list else [value]:
        if isinstance(part, np.ndarray):
            part.flags.writeable = False
    kind = _FIXED.get(type(value))
    return value if kind is None else kind(value)
