"""What the call for one item has for itself: its argument values, its random generator.

Guarantees:
    - The generator of an item is a function of the batch's generator and of the item's position in
      the call: the number of workers, their kind and their order do not matter.
    - The batch's generator makes one draw per call, and none if no item asks for randomness.
"""

from __future__ import annotations

import contextvars
import copy
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.batch.current_item import CurrentItem, current_item

if TYPE_CHECKING:
    from batchflow.batch.core import BaseBatch

__all__ = ["ItemStreams", "PerItem"]

# Spawn key word of the generators of items; orders use 0, batches 1.
_ITEM_KEY = 2


class PerItem(list[Any]):
    """Argument values of a per-item action, one for each item; `P` and `PP` resolve to one."""


class ItemStreams:
    """The random streams of the items of a call that is about to begin in this thread.

    Called for an item itself, it draws from that item's stream.

    Args:
        batch: The batch that the items see as `self`.
    """

    def __init__(self, batch: BaseBatch) -> None:
        self.batch = batch
        self._context = contextvars.copy_context()
        self._seed: int | None = None
        self._guard = threading.Lock()

    def seed(self) -> int:
        """Return the seed of the streams, drawn when it is first needed. For any thread."""
        with self._guard:
            if self._seed is None:
                self._seed = self._context.run(_drawn, self.batch)
            return self._seed

    def peek(self) -> int:
        """Return the seed without drawing it."""
        with self._guard:
            if self._seed is None:
                return self._context.run(_drawn, self.batch, copy.deepcopy)
            return self._seed

    def enter(self, position: int) -> None:
        """Let the code that follows in this context work on the item at `position`."""
        current_item.set(CurrentItem(self, position))

    def generator(self, position: int) -> np.random.Generator:
        """Make the generator of an item."""
        sequence = np.random.SeedSequence(self.seed(), spawn_key=(_ITEM_KEY, position))
        return np.random.Generator(np.random.PCG64(sequence))


def _drawn(batch: BaseBatch, changed: Callable[[Any], Any] = lambda rng: rng) -> int:
    return int(changed(batch.rng).integers(2**63))
