"""Rows of an HDF5 array, read from where they lie in the file, past the HDF5 library.

The library copies rows twice, by way of its cache of chunks; it reads a whole chunk for one row;
and all threads take turns in it. Where the bytes of a row lie in the file as they are in memory,
one read of the operating system does.

Guarantees:
    - The same rows, in arrays of the same dtype, as the library gives.
    - Whatever is not known to lie so is read by the library: filters, fill values, other types.
    - Any number of threads read at once.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.extras import imported
from batchflow.sources.stored import Rows

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.index.order import Positions


def direct(array: Any) -> Any:
    """Return an array with the same rows that reads them directly, or the array itself."""
    return DirectRows(array) if _lies_plain(array) else array


def _lies_plain(array: Any) -> bool:
    """Check whether rows lie in the file in one piece each, as they are in memory."""
    h5py, file, dtype = imported("h5py", "from_hdf5"), array.file, array.dtype
    # A file that is open to write, too, may have rows that are in the library's cache alone.
    if not hasattr(os, "preadv") or (file.driver, file.mode) != ("sec2", "r"):
        return False
    if file.userblock_size or dtype.kind not in "iuf" or 0 in array.shape:
        return False
    if not array.id.get_type().equal(h5py.h5t.py_create(dtype)):
        return False
    layout = array.id.get_create_plist()
    if layout.get_layout() == h5py.h5d.CONTIGUOUS:
        return layout.get_external_count() == 0 and array.id.get_offset() is not None
    return (
        layout.get_layout() == h5py.h5d.CHUNKED
        and layout.get_nfilters() == 0
        and array.chunks[1:] == array.shape[1:]
        and hasattr(array.id, "chunk_iter")
    )


class DirectRows(Rows):
    """An array of an HDF5 file, whose rows are read directly.

    Args:
        array: The array of h5py.
    """

    def __init__(self, array: Any) -> None:
        super().__init__(array)
        # A handle of its own: closing the file does not take it from a thread that reads.
        self._file = os.dup(array.file.id.get_vfd_handle())
        weakref.finalize(self, os.close, self._file)
        self._n_bytes = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        self._in_a_piece = self.chunks[0] if self.chunks else self.shape[0]
        self._pieces = self._found_pieces()

    def __getitem__(self, rows: Positions | tuple[Any, ...]) -> npt.NDArray[Any]:
        """Return rows: a slice with step 1, increasing positions; or what else h5py takes."""
        if isinstance(rows, tuple):  # a part of a row, such as a window of a signal
            return self._by_library(rows)
        if isinstance(rows, slice):
            first, last, _ = rows.indices(self.shape[0])
            number, parts = max(last - first, 0), self._parts_of_slice(first, last)
        elif len(rows) and not 0 <= rows[0] <= rows[-1] < self.shape[0]:
            return self._by_library(rows)  # which says what is wrong
        else:
            number, parts = len(rows), self._parts_of_rows(rows)
        made = np.empty((number, *self.shape[1:]), self.dtype)
        buffer, done = made.reshape(-1).view(np.uint8), 0
        for offset, n_bytes in parts:
            if offset < 0:
                return self._by_library(rows)  # which knows the fill value
            self._fill(buffer[done : done + n_bytes], offset)
            done += n_bytes
        return made

    def _fill(self, buffer: Any, offset: int) -> None:
        """Read what lies at an offset of the file. One call reads 2 GiB at most."""
        while n_read := os.preadv(self._file, [buffer], offset):
            if n_read == len(buffer):
                return
            buffer, offset = buffer[n_read:], offset + n_read
        raise OSError(f"the file of {self._array!r} was cut off while it was open")

    def _by_library(self, rows: Positions | tuple[Any, ...]) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = self._array[rows]
        return found

    def _found_pieces(self) -> npt.NDArray[np.int64]:
        """Return where each chunk begins in the file; -1: it is not there, all are fill values."""
        if not self.chunks:
            return np.array([self._array.id.get_offset()])
        pieces = np.full(-(-self.shape[0] // self._in_a_piece), -1, np.int64)

        def note(chunk: Any) -> None:
            if chunk.byte_offset is not None and chunk.filter_mask == 0:
                pieces[chunk.chunk_offset[0] // self._in_a_piece] = chunk.byte_offset

        self._array.id.chunk_iter(note)
        return pieces

    def _parts_of_slice(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """Return where the rows lie: offsets in the file, and numbers of bytes."""
        while first < last:
            piece, row = divmod(first, self._in_a_piece)
            number = min(last - first, self._in_a_piece - row)
            begin = int(self._pieces[piece])
            yield begin + row * self._n_bytes if begin >= 0 else -1, number * self._n_bytes
            first += number

    def _parts_of_rows(self, rows: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
        pieces, within = np.divmod(rows, self._in_a_piece)
        begin = self._pieces[pieces]
        offsets = np.where(begin >= 0, begin + within * self._n_bytes, -1)
        if not len(rows):
            return
        starts = [0, *(np.flatnonzero(np.diff(offsets) != self._n_bytes) + 1).tolist()]
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            yield int(offsets[start]), (end - start) * self._n_bytes
