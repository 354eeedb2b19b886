"""Arrays of an HDF5 file."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

from batchflow.extras import imported
from batchflow.sources.hdf5_direct import direct
from batchflow.sources.hdf5_files import files_behind
from batchflow.sources.stored import Rows, StoredArrays


class Hdf5Source(StoredArrays):
    """A `Source` of arrays of an HDF5 file, read by h5py. Text arrays give texts.

    Rows that lie in the file as they are in memory are read past h5py (see `hdf5_direct`), which
    reads under one lock: there threads take turns, worker processes do not.
    """

    def _open(self) -> Any:
        h5py = imported("h5py", "from_hdf5")
        try:
            return h5py.File(self._path, "r")
        except OSError as error:
            error.add_note(
                f"while {self._path!r} was opened: it must be an HDF5 file that nobody has open "
                "to write"
            )
            raise

    def _found(self, name: str) -> Any:
        array = super()._found(name)
        is_text = array.dtype.kind in "OS" and imported("h5py", "from_hdf5").check_string_dtype(
            array.dtype
        )
        return _Texts(array) if is_text else direct(array)

    def _other_files(self) -> Iterable[str]:
        return chain.from_iterable(files_behind(self._container()[n]) for n in self._names.values())

    def _close(self, opened: Any) -> None:
        opened.close()

    def _known(self, opened: Any) -> list[str]:
        names: list[str] = []
        opened.visititems(
            lambda name, found: names.append(f"/{name}") if hasattr(found, "shape") else None
        )
        return names


class _Texts(Rows):
    """An array of texts, which h5py gives as bytes."""

    def __getitem__(self, rows: Any) -> Any:
        return self._array.asstr()[rows]
