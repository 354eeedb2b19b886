"""Arguments as values, which can be compared."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from batchflow.plan.expressions import Expression
from batchflow.records import Record


class Value(Record):
    """A record whose fields, but for `where`, are compared by `same_value`."""

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        mine, others = self._asdict(), other._asdict()
        return all(same_value(mine[name], others[name]) for name in mine if name != "where")

    def __hash__(self) -> int:
        return hash((type(self), self._asdict().get("name")))


def same_value(one: Any, other: Any) -> bool:
    """Compare two arguments as values, arrays by their elements, without ever raising."""
    if one is other:
        return True
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        if type(one) is not type(other) or one.dtype != other.dtype or one.shape != other.shape:
            return False
        if one.dtype.hasobject:
            return same_value(one.tolist(), other.tolist())
        return bool(one.tobytes() == other.tobytes())
    if type(one) is not type(other):
        return False
    if isinstance(one, Expression):
        return same_value(one._parts(), other._parts())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_value, one, other))
    if isinstance(one, partial):
        mine, others = ((p.func, p.args, p.keywords) for p in (one, other))
        return same_value(mine, others)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_value(one[k], other[k]) for k in one)
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  a comparison in a user's type; unequal is the safe answer
        return False
