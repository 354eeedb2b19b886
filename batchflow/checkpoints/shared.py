"""Arrays that share memory, such as views of one array: one block of bytes, and views of it."""

from __future__ import annotations

import bisect
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

_ALIGNED = 64  # bytes: where a block begins in its memory


class _Group(NamedTuple):
    """Arrays whose bytes lie between two places of one memory."""

    low: int
    high: int
    members: list[tuple[NDArray[Any], dict[str, Any]]]


class SharedMemory:
    """Finds arrays that share memory, of those that are written together.

    Args:
        arrays: The copies, by name.
    """

    def __init__(self, arrays: dict[str, Any]) -> None:
        self._arrays = arrays
        # By the id of the array that owns a memory: the groups in it, in order. None overlap.
        self._groups: dict[int, list[_Group]] = {}

    def add(self, array: NDArray[Any], data: dict[str, Any]) -> None:
        """Record an array; where it shares memory with earlier ones, let all be views of a block.

        Args:
            array: The array. It is kept, so that its memory stays its own.
            data: What is written of it, with the name of its copy. It is changed.
        """
        owner = _owner_of(array)
        if not (owner.flags.c_contiguous or owner.flags.f_contiguous) or array.size == 0:
            return
        start = _pointer(array) - _pointer(owner)
        spans = [(n - 1) * s for n, s in zip(array.shape, array.strides, strict=True)]
        low = start + sum(span for span in spans if span < 0)
        high = start + sum(span for span in spans if span > 0) + array.itemsize
        groups = self._groups.setdefault(id(owner), [])
        first = bisect.bisect_right(groups, low, key=lambda group: group.high)
        last = bisect.bisect_left(groups, high, key=lambda group: group.low)
        members = [one for group in groups[first:last] for one in group.members]
        members.append((array, data))
        low = min([low, *(group.low for group in groups[first:last])])
        high = max([high, *(group.high for group in groups[first:last])])
        groups[first:last] = [_Group(low, high, members)]
        if len(members) > 1:
            self._write(owner, groups[first])

    def _write(self, owner: NDArray[Any], group: _Group) -> None:
        low = group.low - group.low % _ALIGNED
        for name in {_name_of(data) for _, data in group.members}:
            del self._arrays[name]
        block = _name_of(group.members[0][1])
        raw = owner.reshape(-1, order="A").view(np.uint8)
        self._arrays[block] = raw[low : group.high].copy()
        for array, data in group.members:
            offset = _pointer(array) - _pointer(owner) - low
            facts = [offset, list(array.shape), list(array.strides), array.dtype.str]
            data.update({"~": "view", "v": [block, *facts]})


def view(block: Any, offset: int, shape: Any, strides: Any, dtype: str) -> NDArray[Any]:
    """Return an array in a block of bytes.

    Raises:
        ValueError: It is not inside of it, or would be of objects.
    """
    kind = np.dtype(dtype)
    if kind.hasobject:
        raise ValueError(f"{dtype} is no kind of numbers")
    return np.ndarray(tuple(shape), kind, block, offset, tuple(strides))


def _owner_of(array: NDArray[Any]) -> NDArray[Any]:
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _pointer(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])


def _name_of(data: dict[str, Any]) -> str:
    return str(data["v"][0] if data["~"] == "view" else data["v"])
