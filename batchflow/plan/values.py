"""Arguments as values: compared and shown."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchflow.plan.expressions import Expression

__all__ = ["same_value", "shown"]


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
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_value(one[k], other[k]) for k in one)
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  a comparison in a user's type; unequal is the safe answer
        return False


def shown(value: Any) -> str:
    """Show an argument on one line, in at most 60 characters."""
    if isinstance(value, np.ndarray):
        return f"<array {value.shape} {value.dtype}>"
    if not isinstance(value, Expression) and callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
