"""The random generator that the call for one item has for itself.

Guarantees:
    - The generator of an item is a function of the batch's generator and of the item's position in
      the call: the number of workers, their kind and their order do not matter.
    - The batch's generator makes one draw per call, and none if no item asks for randomness.
"""

from __future__ import annotations

import contextvars
import copy
import threading
from typing import Any

import numpy as np

from batchflow.index.order import keyed_rng

# Spawn key word of the generators of items; orders use 0, batches 1.
_ITEM_KEY = 2


class ItemStreams:
    """The random streams of the items of a call that is about to begin in this thread.

    Called for an item itself, it draws from that item's stream.

    Args:
        batch: The batch that the items see as `self`.
        seed: The seed of the streams; None: it is drawn when it is first needed.
    """

    def __init__(self, batch: Any, seed: int | None = None) -> None:
        self.batch = batch
        self._context = contextvars.copy_context()
        self._seed = seed
        self._guard = threading.Lock()

    def seed(self) -> int:
        """Return the seed of the streams, drawn when it is first needed. For any thread."""
        with self._guard:
            if self._seed is None:
                self._seed = self._context.run(lambda: int(self.batch.rng.integers(2**63)))
            return self._seed

    def peek(self) -> int:
        """Return the seed without drawing it from the batch's generator."""
        return self._context.run(lambda: int(copy.deepcopy(self.batch.rng).integers(2**63)))

    def enter(self, position: int) -> CurrentItem:
        """Let the code that follows in this context work on the item at `position`."""
        item = CurrentItem(self, position)
        _current_item.set(item)
        return item


class CurrentItem:
    """An item that code works on: its position, and its generator once that is needed."""

    __slots__ = ("position", "rng", "streams")

    def __init__(self, streams: ItemStreams, position: int) -> None:
        self.streams = streams
        self.position = position
        self.rng: np.random.Generator | None = None


_current_item: contextvars.ContextVar[CurrentItem | None]
_current_item = contextvars.ContextVar("current_item", default=None)


def current_rng(batch: object) -> np.random.Generator | None:
    """Return the generator of the item that the code works on; None outside of calls for items.

    Outside of calls it costs one look-up.

    Args:
        batch: The batch whose generator is asked for.
    """
    item = _current_item.get()
    if item is None or item.streams.batch is not batch:
        return None
    if item.rng is None:
        item.rng = keyed_rng(item.streams.seed(), _ITEM_KEY, item.position)
    return item.rng
