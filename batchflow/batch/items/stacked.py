"""Results of calls that become one array: each is written to its place as soon as it is there.

A thread copies what it has just made while that is in the caches of its CPU, and uses the memory
again for its next item; nothing is left to be put together when the last item is done.

Guarantees:
    - What comes of it is what `exact_array` makes of the results: the same values, dtype and order
      in memory. A result of another shape or dtype than the others leads to that.
    - Nobody else has the array, or a part of it.
"""

from __future__ import annotations

import threading
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["LEAST", "Stacked"]

LEAST = 2**12  # bytes of a result; below, putting them together costs no more than this


class Stacked:
    """An array with a place for the result of each call, made when the first one comes.

    Args:
        n_calls: The number of calls.
    """

    def __init__(self, n_calls: int) -> None:
        self._n_calls = n_calls
        self._array: npt.NDArray[Any] | None = None
        self._guard = threading.Lock()
        self._is_refused = False

    def kept(self, position: int, result: Any) -> Any:
        """Copy a result to its place, if it fits there. For any thread.

        Returns:
            The part of the array that has it; or the result itself.
        """
        if self._is_refused or not _is_plain(result):
            return result
        array = self._array
        if array is None:
            array = self._made_like(result)
        if array is None or result.dtype != array.dtype or result.shape != array.shape[1:]:
            return result
        row = array[position]
        row[...] = result
        return row

    def _made_like(self, result: npt.NDArray[Any]) -> npt.NDArray[Any] | None:
        with self._guard:
            if self._array is None and not self._is_refused:
                try:
                    self._array = np.empty((self._n_calls, *result.shape), result.dtype)
                except MemoryError:  # the other results may be smaller
                    self._is_refused = True
            return self._array

    def taken(self, results: list[Any]) -> Any:
        """Return the array, if all results are in it; else a list of them, each of its own."""
        array = self._array
        if array is None:
            return results
        are_rows = [getattr(result, "base", None) is array for result in results]
        if all(are_rows):
            return array
        return [
            result.copy() if is_row else result
            for result, is_row in zip(results, are_rows, strict=True)
        ]


def _is_plain(result: Any) -> bool:
    """Check whether a result is an array of numbers that lies in memory as a row of another would.

    NumPy stacks arrays whose axes lie in another order so that this order is kept.
    """
    if type(result) is not np.ndarray or result.nbytes < LEAST or result.dtype.kind not in "biufc":
        return False
    if result.flags.c_contiguous:
        return True
    steps = [abs(step) for step in result.strides]
    return 0 not in steps and all(outer >= inner for outer, inner in pairwise(steps))
