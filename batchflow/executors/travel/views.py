"""Views: sums and products of an array depend on how it lies in memory, so it lies there so again.

Guarantee: a view travels with the memory that it reaches over, and no other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["has_gaps", "reduced_view"]


def has_gaps(array: NDArray[Any]) -> bool:
    """Tell whether an array lies in memory with gaps, or backwards."""
    flags = array.flags
    return not (flags.c_contiguous or flags.f_contiguous or array.dtype.hasobject)


class _Span:
    """The memory that a view reaches over, as NumPy reads it."""

    def __init__(self, view: NDArray[Any]) -> None:
        steps = zip(view.shape, view.strides, strict=True)
        reach = [(n - 1) * stride for n, stride in steps]
        self.before = -sum(step for step in reach if step < 0)
        size = self.before + sum(step for step in reach if step > 0) + view.itemsize
        self._view = view  # keeps the memory alive
        self.__array_interface__ = {
            # As what can be written to: what arrives is. Nobody writes here.
            "data": (view.__array_interface__["data"][0] - self.before, False),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }


def reduced_view(view: NDArray[Any]) -> Any:
    """Reduce such an array for a pickler."""
    span = _Span(view)
    told = span.before, view.shape, view.strides, view.dtype, view.flags.writeable
    return _view_of, (np.asarray(span), *told)


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
