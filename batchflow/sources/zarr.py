"""Arrays of a Zarr group."""

from __future__ import annotations

import os
from typing import Any
from zipfile import is_zipfile

from batchflow.errors import UnknownNameError
from batchflow.extras import imported
from batchflow.sources.stored import Rows, StoredArrays
from batchflow.sources.unchanged import FileState, state_of

_METADATA = ("zarr.json", ".zarray", ".zgroup")


class ZarrSource(StoredArrays):
    """A `Source` of arrays of a Zarr group in a folder or a zip file.

    A group in a folder counts as changed when the metadata of the group or of an array does: the
    many files of its chunks are not looked at.
    """

    def _open(self) -> Any:
        zarr = imported("zarr", "from_zarr")
        is_zip = os.path.isfile(self._path) and is_zipfile(self._path)
        store = zarr.storage.ZipStore(self._path, mode="r") if is_zip else self._path
        return zarr.open(store, mode="r")

    def _found(self, name: str) -> Any:
        if not hasattr(self._container(), "members"):  # an array by itself
            if name.strip("/"):
                raise UnknownNameError(
                    f'{self._path!r} is one array and has no {name!r} in it: write "/"'
                )
            return _Rows(self._container())
        array = super()._found(name.strip("/"))
        return _Rows(array)

    def _states_now(self) -> list[FileState]:
        if not os.path.isdir(self._path):
            return super()._states_now()
        folders = [os.path.join(self._path, n.strip("/")) for n in ("", *self._names.values())]
        files = [os.path.join(folder, name) for folder in folders for name in _METADATA]
        return [state_of(file) for file in dict.fromkeys(files) if os.path.isfile(file)]

    def _close(self, opened: Any) -> None:
        opened.store.close()

    def _known(self, opened: Any) -> list[str]:
        return [name for name, found in opened.members(max_depth=None) if hasattr(found, "shape")]


class _Rows(Rows):
    """An array whose rows are selected along the first axis alone."""

    def __getitem__(self, rows: Any) -> Any:
        return self._array.oindex[rows] if not isinstance(rows, slice) else self._array[rows]
