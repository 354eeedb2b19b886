"""Buffers of a function that is packed: memory that several of them share travels once.

    x = table[:, :-1]        |----------------- . ---|
    y = table[:, -1]                          |-|           both lie in what reaches over both

Guarantee: after `spread_again` buffers that overlap share their memory, as they did before. So it
is for memory that nobody writes to.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["memory_of", "merged", "spread_again"]


class _Memory:
    """A part of memory, as NumPy reads it.

    Args:
        address: Where it begins.
        size: Its bytes.
        owner: What keeps it alive.
    """

    def __init__(self, address: int, size: int, owner: Any) -> None:
        self._owner = owner
        self.__array_interface__ = {
            # As what can be written to: what arrives is. Nobody writes here.
            "data": (address, False),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }


def memory_of(address: int, size: int, owner: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a part of memory as an array of bytes, which keeps `owner` alive."""
    return np.asarray(_Memory(address, size, owner))


def merged(buffers: Sequence[pickle.PickleBuffer]) -> list[pickle.PickleBuffer]:
    """Put together buffers that overlap.

    Returns:
        What is left of them, and behind it a table which tells where each of `buffers` lies.
    """
    if not buffers:
        return []
    raw = [np.frombuffer(buffer.raw(), np.uint8) for buffer in buffers]
    starts = [part.__array_interface__["data"][0] for part in raw]
    places = np.zeros((len(raw), 3), np.int64)  # which of the rest; from where; to where
    groups: list[tuple[int, int, list[int]]] = []
    for k in sorted(range(len(raw)), key=lambda k: starts[k]):
        start, end = starts[k], starts[k] + raw[k].nbytes
        if groups and start < groups[-1][1]:
            first, last, members = groups.pop()
            groups.append((first, max(last, end), [*members, k]))
        else:
            groups.append((start, end, [k]))
        places[k] = len(groups) - 1, start - groups[-1][0], end - groups[-1][0]
    rest: list[Any] = [
        memory_of(start, end - start, [buffers[k] for k in members])
        for start, end, members in groups
    ]
    return [pickle.PickleBuffer(array) for array in (*rest, places)]


def spread_again(buffers: Sequence[memoryview]) -> list[memoryview]:
    """Return the buffers that `merged` has put together."""
    if not buffers:
        return []
    *rest, table = buffers
    places = np.frombuffer(table, np.int64).reshape(-1, 3).tolist()
    return [rest[place][start:end] for place, start, end in places]
