"""Waiting for a result that a thread or a process makes, so that a Ctrl-C is never missed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

WAKE_UP = 1.0  # seconds; a wait without end can miss a Ctrl-C


def result_of(
    future: Future[Any], end: float | None = None, look: Callable[[], None] | None = None
) -> Any:
    """Wait for a result. Wakes up now and then.

    Args:
        future: The future of the result.
        end: What `time.monotonic()` shows when the wait is over; None: it has no end.
        look: Called whenever the wait wakes up; what it raises ends the wait.

    Raises:
        TimeoutError: The wait is over.
        BaseException: The error of the future.
    """
    try:
        while True:
            start = time.monotonic()
            seconds = WAKE_UP if end is None else max(0.0, min(end - start, WAKE_UP))
            try:
                return future.result(seconds)
            except TimeoutError:
                now = time.monotonic()
                is_over = end is not None and now >= end
                # Not ready yet; or the task's own, raised below; or that of a signal handler.
                if not future.done() and (is_over or now - start < 0.9 * seconds):
                    raise
            if future.done():
                return future.result()
            if look is not None:
                look()
    finally:
        del future, look  # the error of the future holds this frame: no circle
