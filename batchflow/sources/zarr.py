"""Arrays of a Zarr group."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any
from zipfile import is_zipfile

from batchflow.errors import UnknownNameError
from batchflow.extras import imported
from batchflow.sources.stored import Rows, StoredArrays
from batchflow.sources.unchanged import FileState, state_of

if TYPE_CHECKING:
    import numpy.typing as npt

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

    def read_into(
        self, runs: Sequence[slice], into: Sequence[Mapping[str, npt.NDArray[Any]]]
    ) -> bool:
        """Read the rows of several slices side by side, into arrays by component.

        Returns:
            Whether they are there: if not, reads one after the other say what is wrong.
        """
        arrays = self.arrays()

        async def together() -> None:
            reads = [
                arrays[component].awaited(run, rows)
                for run, places in zip(runs, into, strict=True)
                for component, rows in places.items()
            ]
            await asyncio.gather(*reads)

        try:
            import_module("zarr.core.sync").sync(together())  # no public name has it
        except Exception:  # noqa: BLE001  another version of Zarr, or chunks that cannot be read
            return False
        return True

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

    async def awaited(self, run: slice, into: npt.NDArray[Any]) -> None:
        """Read the rows of a slice into an array, in the loop of Zarr."""
        out = import_module("zarr.buffer").cpu.NDBuffer.from_ndarray_like(into)
        await self._array.async_array.get_orthogonal_selection((run,), out=out)
