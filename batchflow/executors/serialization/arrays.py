"""Arrays in memory: they lie so again where they arrive, as sums and products depend on it.

    lies here:     a b c . . . d e f . . . g h i        a cut out of wider rows
    arrives as:    a b c . d e f . g h i                narrowed: of each gap one element is left

Guarantees:
    - A view arrives with the same shape, order of axes and directions, and with gaps where it has
      them: axes that can be walked as one still can, others still cannot, and elements that lie
      side by side still do. That is all that NumPy and BLAS choose their loops by, so sums and
      products have the same bits.
    - What travels is at most `MAX_WASTE` times the narrowed size, which is what the view shows for
      long rows, and twice that where single elements have gaps between them. Views that overlap
      themselves, such as windows, travel as the memory that they reach over.

Memory that several buffers of a function share travels once:

    x = table[:, :-1]        |----------------- . ---|
    y = table[:, -1]                          |-|           both lie in what reaches over both

    - After `spread_again` buffers that overlap share their memory, as they did before. So it is for
      memory that nobody writes to.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_WASTE = 1.5  # times the narrowed size: below, all is copied as it lies, which is faster


def has_gaps(array: NDArray[Any]) -> bool:
    """Check whether an array lies in memory with gaps, or backwards."""
    flags = array.flags
    return not (flags.c_contiguous or flags.f_contiguous or array.dtype.hasobject)


def reduced_view(view: NDArray[Any]) -> Any:
    """Reduce such an array for a pickler."""
    before, size = _reach(view, view.strides)
    strides = view.strides
    narrow = _narrowed(view)
    if narrow is not None and size > MAX_WASTE * _reach(view, narrow)[1]:
        strides = narrow
        before, size = _reach(view, strides)
        span = np.zeros(size, np.uint8)  # not empty: what lies in the gaps travels
        once = tuple(slice(1) if stride == 0 else slice(None) for stride in strides)
        np.ndarray(view.shape, view.dtype, span, before, strides)[once] = view[once]
    else:
        span = _memory_of(view.__array_interface__["data"][0] - before, size, view)
    return _view_of, (span, before, view.shape, strides, view.dtype, view.flags.writeable)


def _reach(view: NDArray[Any], strides: tuple[int, ...]) -> tuple[int, int]:
    """Return how many bytes lie before the first element, and how many there are in all."""
    steps = [(n - 1) * stride for n, stride in zip(view.shape, strides, strict=True)]
    before = -sum(step for step in steps if step < 0)
    return before, before + sum(step for step in steps if step > 0) + view.itemsize


def _narrowed(view: NDArray[Any]) -> tuple[int, ...] | None:
    """Return strides with gaps of one element where there are gaps; None if it overlaps itself."""
    item = view.itemsize
    strides = list(view.strides)
    moved = [k for k, stride in enumerate(strides) if stride]  # others repeat an element
    last, new_last = 0, 0
    end, new_end = item, item  # of what the axes until now reach over
    whole, new_whole = item, item  # the stride of an axis that goes on without a gap
    for k in sorted(moved, key=lambda k: (abs(strides[k]), view.shape[k])):
        stride, n = abs(strides[k]), view.shape[k]
        if stride == last:
            new = new_last
        elif stride == whole:
            new = new_whole
        else:
            new = max(new_end, new_last) + item
            new += (stride - new) % item  # as well aligned as it was
            new += item * (new == new_whole)
        if stride < end or (new <= new_last and stride > last):
            return None
        end, new_end = end + (n - 1) * stride, new_end + (n - 1) * new
        if n > 1:
            whole, new_whole = n * stride, n * new
        last, new_last = stride, new
        strides[k] = new if strides[k] > 0 else -new
    return tuple(strides)


def _view_of(
    span: NDArray[Any],
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: Any,
    is_writeable: bool,
) -> NDArray[Any]:
    view: NDArray[Any] = np.ndarray(shape, dtype, span, offset, strides)
    if not is_writeable and view.flags.writeable:
        view.flags.writeable = False
    return view


# ---- buffers that share memory


class _Memory:
    """A part of memory, as NumPy reads it; `owner` keeps it alive."""

    def __init__(self, address: int, size: int, owner: Any) -> None:
        self._owner = owner
        self.__array_interface__ = {
            # As what can be written to: what arrives is. Nobody writes here.
            "data": (address, False),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }


def _memory_of(address: int, size: int, owner: Any) -> NDArray[np.uint8]:
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
        _memory_of(start, end - start, [buffers[k] for k in members])
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
