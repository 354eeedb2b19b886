"""When the next checkpoint of a run is due: asked behind each batch, so it answers quickly."""

from __future__ import annotations

import time

from batchflow.checkpoints.options import Checkpoint
from batchflow.checkpoints.store import Store

_GLANCE = 0.02  # seconds between two looks at what the last checkpoint has cost


class Timer:
    """Counts the batches and the time since the last checkpoint of this process.

    Args:
        checkpoint: When to save.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._every, self._overhead = checkpoint.every_n_batches, checkpoint.overhead
        self._seconds = checkpoint.seconds
        self._cost, self._n_saved = 0.0, 0
        self._last = self._look_at = time.monotonic()
        self._plan(self._last)

    def is_due(self, n_batches: int) -> bool:
        """Check whether so many batches are enough."""
        return self._every is not None and n_batches >= self._every

    def is_time(self, store: Store) -> bool:
        """Check whether enough time has passed.

        With `overhead`, the first checkpoint is taken at once, to see what it costs. The next one
        waits for three times of that: for the first one, itself, and the one at the end.
        """
        now = time.monotonic()
        if now < self._look_at:
            return False
        passed = now - self._last
        if self._overhead is not None:
            share = passed * self._overhead / (3 if self._n_saved == 1 else 1)
            if share >= self._cost + store.cost:
                return True
        if passed >= self._seconds:
            return True
        self._plan(now)
        return False

    def saved(self, held: float) -> None:
        """Record that a checkpoint was taken just now, and for how many seconds that held it up."""
        self._last, self._cost = time.monotonic(), held
        self._n_saved += 1
        self._plan(self._last)

    def _plan(self, now: float) -> None:
        self._look_at = self._last + self._seconds
        if self._overhead is not None:
            self._look_at = min(self._look_at, now + _GLANCE if self._n_saved else now)
