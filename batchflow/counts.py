"""Checks of whole numbers that users give: of batches, epochs, items."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from batchflow.errors import ArgumentTypeError, ArgumentValueError


def checked_count(name: str, value: Any, *, least: int = 1) -> int:
    """Return a whole number of at least `least`.

    Raises:
        ArgumentTypeError: It is another value; a bool is one, too.
        ArgumentValueError: It is less.
    """
    if isinstance(value, (bool, np.bool_)):
        raise ArgumentTypeError(f"{name} must be a whole number, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise ArgumentTypeError(
            f"{name} must be a whole number, got {type(value).__name__} {value!r:.60}"
        ) from None
    if number < least:
        raise ArgumentValueError(f"{name} must be at least {least}, got {number}")
    return number
