"""The item that the code works on, in a call for one item of a batch."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol

import numpy as np

__all__ = ["CurrentItem", "current_item", "current_rng"]


class Streams(Protocol):
    """The random streams of the items of a call."""

    @property
    def batch(self) -> object:
        """The batch that the items see as `self`."""

    def generator(self, position: int) -> np.random.Generator:
        """Make the generator of an item."""


class CurrentItem:
    """An item that code works on.

    Args:
        streams: The random streams of the call.
        position: The position of the item.
    """

    __slots__ = ("position", "rng", "streams")

    def __init__(self, streams: Streams, position: int) -> None:
        self.streams = streams
        self.position = position
        self.rng: np.random.Generator | None = None


current_item: ContextVar[CurrentItem | None] = ContextVar("current_item", default=None)


def current_rng(batch: object) -> np.random.Generator | None:
    """Return the generator of the item that the code works on; None outside of calls for items.

    Outside of calls it costs one look-up.

    Args:
        batch: The batch whose generator is asked for.
    """
    item = current_item.get()
    if item is None or item.streams.batch is not batch:
        return None
    if item.rng is None:
        item.rng = item.streams.generator(item.position)
    return item.rng
