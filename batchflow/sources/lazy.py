"""Arrays that lie on disk and are read by rows: of h5py, Zarr and their like, and mapped files.

Guarantees:
    - Only the rows that are asked for are read, in one call, sorted, each once: that is what
      chunked files are quick at, and all that h5py can do.

How they reach worker processes: executors/serialization/mapped_files.py. h5py reads under one lock:
in threads reading takes turns, in processes it does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.arrays import is_column, is_sparse, is_table, is_tensor
from batchflow.errors import ArgumentValueError

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.index.order import Positions

__all__ = ["is_lazy", "read_rows"]


def is_lazy(value: Any) -> bool:
    """Tell whether a value is an array that need not be in memory: with rows by position."""
    shape = getattr(value, "shape", None)
    return (
        isinstance(shape, tuple)
        and len(shape) > 0
        and hasattr(value, "dtype")
        and hasattr(value, "__getitem__")
        and hasattr(value, "__len__")
        and not isinstance(value, np.ndarray)
        and not (is_tensor(value) or is_sparse(value) or is_column(value) or is_table(value))
    )


def read_rows(array: Any, positions: Positions, shown: str) -> npt.NDArray[Any]:
    """Read some rows of a lazy array.

    Args:
        array: What `is_lazy` is true of.
        positions: A slice with step 1, or an int64 array of shape `(n,)`.
        shown: What to call the array in a message.

    Returns:
        An array of shape `(n, ...)`, in the order of the positions.

    Raises:
        ArgumentValueError: It gave another number of rows.
        Exception: What reading raises, with a note that names the positions.
    """
    if isinstance(positions, slice):
        positions = np.arange(positions.start, positions.stop)
    wanted, places = np.unique(positions, return_inverse=True)
    first, last = (int(wanted[0]), int(wanted[-1])) if len(wanted) else (0, -1)
    in_a_row = last - first + 1 == len(wanted)
    try:
        rows: npt.NDArray[Any] = np.asanyarray(
            array[first : last + 1] if in_a_row else array[wanted]
        )
    except Exception as error:
        error.add_note(
            f"while {shown} was read, at the positions {positions[:10].tolist()}"
            f"{', ...' if len(positions) > 10 else ''}"
        )
        raise
    if rows.ndim == 0 or len(rows) != len(wanted):
        raise ArgumentValueError(
            f"{shown}: asked for {len(wanted)} rows, {type(array).__name__} gave an array of shape "
            f"{rows.shape}; the positions were {wanted[:10].tolist()}"
        )
    is_sorted = bool((positions[1:] > positions[:-1]).all())
    if is_sorted and rows.flags.owndata:
        return rows
    in_order: npt.NDArray[Any] = rows[places]
    return in_order
