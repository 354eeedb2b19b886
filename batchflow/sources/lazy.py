"""Arrays on disk that are read by rows: of h5py, Zarr and the like, and mapped files.

Guarantees:
    - Only the rows that are needed are read, in one call, sorted, each once. That is fast in
      chunked files, and h5py takes no other positions.
    - An HDF5 file that is open to read, and was changed since the dataset was made, is an error.

executors/serialization/reductions.py says how they reach worker processes. h5py reads under one
lock: threads take turns, processes do not.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.arrays import is_column, is_sparse, is_table, is_tensor
from batchflow.errors import ArgumentValueError
from batchflow.sources.unchanged import FileState, absolute_path, state_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.index.order import Positions


def is_lazy(value: Any) -> bool:
    """Check whether a value is an array that need not be in memory, with rows by position."""
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
        array: An array for which `is_lazy` is true.
        positions: A slice with step 1, or an int64 array of shape `(n,)`.
        shown: The name of the array in messages.

    Returns:
        An array of shape `(n, ...)`, in the order of the positions.

    Raises:
        ArgumentValueError: The array returned another number of rows.
        Exception: Any error of reading, with a note that names the positions.
    """
    wanted, places = positions, None
    if not isinstance(positions, slice):
        if not (positions[1:] > positions[:-1]).all():
            positions, places = np.unique(positions, return_inverse=True)
        first, last = (int(positions[0]), int(positions[-1])) if len(positions) else (0, -1)
        wanted = slice(first, last + 1) if last - first + 1 == len(positions) else positions
    try:
        rows: npt.NDArray[Any] = np.asanyarray(array[wanted])
    except Exception as error:
        error.add_note(f"while {shown} was read, at the positions {listed(positions)}")
        raise
    number = wanted.stop - wanted.start if isinstance(wanted, slice) else len(wanted)
    if rows.ndim == 0 or len(rows) != number:
        raise ArgumentValueError(
            f"{shown}: asked for {number} rows, {type(array).__name__} gave an array of shape "
            f"{rows.shape}; the positions were {listed(wanted)}"
        )
    if places is None:
        return rows if rows.flags.owndata else rows.copy()
    in_order: npt.NDArray[Any] = rows[places]
    return in_order


def files_of(arrays: Iterable[Any]) -> list[FileState]:
    """Return the states of the files that arrays of h5py, open to read, have their rows in.

    Raises:
        FileNotFoundError: A file that has rows of a virtual array is not there.
    """
    paths: dict[str, None] = {}
    for array in arrays:
        if type(array).__module__ == "h5py._hl.dataset" and is_lazy(array):
            from batchflow.sources.hdf5_files import files_behind  # on use, for a light import

            file = array.file
            if file.mode == "r" and os.path.isfile(file.filename):  # not in memory alone
                paths |= dict.fromkeys(map(absolute_path, files_behind(array)))
    return list(map(state_of, paths))


def listed(positions: Positions) -> str:
    """Return positions as a message shows them."""
    if isinstance(positions, slice):
        positions = np.arange(positions.start, positions.stop)
    return f"{positions[:10].tolist()}{', ...' if len(positions) > 10 else ''}"
