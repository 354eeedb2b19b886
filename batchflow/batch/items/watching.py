"""Where somebody who measures a step says that the calls for its items are to be timed; a timer."""

from __future__ import annotations

import itertools
import time
from collections import deque
from collections.abc import Callable
from contextvars import ContextVar
from time import perf_counter
from typing import Any

_EACH = 8  # one of so many calls is timed

# Given the function of the calls for items, returns what is called instead.
watched_calls: ContextVar[Callable[[Any], Any] | None] = ContextVar("watched_calls", default=None)


class ItemTimer:
    """Times some of the calls for the items of a batch."""

    def __init__(self) -> None:
        self.count = itertools.count()
        self.times: deque[tuple[float, float]] = deque()

    def watched(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, with every eighth call timed."""
        count, times = self.count, self.times

        def timed(*args: Any, **kwargs: Any) -> Any:
            if next(count) % _EACH:
                return function(*args, **kwargs)
            start, cpu = perf_counter(), time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                times.append((perf_counter() - start, time.thread_time() - cpu))

        return timed

    def summed(self, own: tuple[float, float]) -> tuple[int, float, float]:
        """Return the number of calls, and the wall and CPU seconds of one.

        Args:
            own: What measuring itself costs, which is left out.
        """
        n_items, middle = next(self.count), len(self.times) // 2
        wall, cpu = (sorted(part)[middle] for part in zip(*self.times, strict=True))
        return (n_items, max(wall - own[0], 0.0), max(cpu - own[1], 0.0))


def cost_of_timing() -> tuple[float, float]:
    """Return what the timing of a call for an item adds to it: wall and CPU seconds."""
    timer = ItemTimer()
    call = timer.watched(int)
    for _ in range(8 * _EACH):
        call()
    walls, cpus = zip(*timer.times, strict=True)
    return min(walls), min(cpus)
