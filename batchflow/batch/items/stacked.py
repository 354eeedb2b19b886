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

LEAST = 2**12  # bytes of a result; below, putting them together costs no more than this


class Stacked:
    """An array with a place for the result of each call, made when the first one comes.

    The thread that has made this object makes the array as well: memory that several threads take
    and another one gives back is found again by none of them. Results of others that are there
    before wait for the end.

    Args:
        n_calls: The number of calls.
    """

    def __init__(self, n_calls: int) -> None:
        self._n_calls = n_calls
        self._array: npt.NDArray[Any] | None = None
        self._owner = threading.get_ident()
        self._is_refused = False

    def kept(self, position: int, result: Any) -> Any:
        """Copy a result to its place, if it fits there. For any thread.

        Returns:
            The part of the array that has it; or the result itself.
        """
        if self._is_refused or not _is_plain(result):
            return result
        if self._array is None and threading.get_ident() == self._owner:
            try:
                self._array = np.empty((self._n_calls, *result.shape), result.dtype)
            except MemoryError:  # the other results may be smaller
                self._is_refused = True
        array = self._array
        if array is None or result.dtype != array.dtype or result.shape != array.shape[1:]:
            return result
        row = array[position]
        row[...] = result
        return row

    def taken(self, results: list[Any]) -> Any:
        """Return the array, if all results are in it; else a list of them, each of its own."""
        array = self._array
        if array is None:
            return results
        rows = [
            result if _is_part(result, array) else self.kept(position, result)
            for position, result in enumerate(results)
        ]
        if all(_is_part(row, array) for row in rows):
            return array
        return [result.copy() if _is_part(result, array) else result for result in results]


def _is_part(result: Any, array: npt.NDArray[Any]) -> bool:
    return getattr(result, "base", None) is array


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
