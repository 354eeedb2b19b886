"""Where somebody who measures a step says that the calls for its items are to be timed."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

# Given the function of the calls for items, returns what is called instead.
watched_calls: ContextVar[Callable[[Any], Any] | None] = ContextVar("watched_calls", default=None)
