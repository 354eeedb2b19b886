"""Arrays in a file, or a folder, that are read by rows: what HDF5 and Zarr have in common.

Guarantees:
    - Only the rows of a batch are read, sorted, each once.
    - Each process opens the file for itself, when it first reads.
    - A file that was changed since the dataset was made is an error.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError, did_you_mean
from batchflow.sources.lazy import read_rows
from batchflow.sources.unchanged import FileState, absolute_path, fingerprint, state_of

if TYPE_CHECKING:
    from batchflow.index.order import Positions


class Rows:
    """An array in a file whose rows are read in another way than its package does."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self.shape, self.dtype, self.chunks = array.shape, array.dtype, array.chunks

    def __len__(self) -> int:
        return int(self.shape[0])


class StoredArrays(ABC):
    """A `Source` of arrays in one file or folder.

    Args:
        path: The file or the folder.
        names: The name of the array in it, by component.

    Attributes:
        reads_slices: Positions in a row may be given as a slice.
        blocks: The rows of a chunk of the array with the longest chunks; None: no array has chunks.
        fingerprint: A text that changes when the file does.

    Raises:
        FileNotFoundError: There is no such file.
        UnknownNameError: (a `KeyError`) There is no such array in it.
        ArgumentTypeError: What has that name is no array with rows.
        ArgumentValueError: The arrays have different numbers of rows, or none.
    """

    reads_slices = True

    def __init__(self, path: str | os.PathLike[str], names: Mapping[str, str]) -> None:
        if not isinstance(path, (str, os.PathLike)):
            raise ArgumentTypeError(
                f"expected a path, as each worker opens the file for itself, got "
                f"{type(path).__name__} {path!r:.60}; an open array goes into Dataset.from_arrays"
            )
        for component, name in names.items():
            if not isinstance(name, str):
                raise ArgumentTypeError(
                    f"{component}: expected the name of an array in the file, got {name!r:.60}"
                )
        self._path = absolute_path(path)
        self._names = dict(names)
        self._open_lock = threading.Lock()
        self._opened: Any = None
        self._arrays: dict[str, Any] = {}  # of the opened file: finding one takes as long as a read
        self._states = self._states_now()
        arrays = {component: self._array(name) for component, name in names.items()}
        lengths = {component: len(array) for component, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            found = ", ".join(f"{self._names[c]!r} has {n}" for c, n in lengths.items())
            raise ArgumentValueError(f"{self._path!r}: the arrays differ in rows: {found}")
        self._length = next(iter(lengths.values()))
        if not self._length:
            shown = ", ".join(map(repr, names.values()))
            raise ArgumentValueError(f"{self._path!r}: the arrays have no rows: {shown}")
        others = dict.fromkeys(map(absolute_path, self._other_files()))
        known = {state.path for state in self._states}
        self._states += [state_of(path) for path in others if path not in known]
        chunks = [array.chunks[0] for array in arrays.values() if array.chunks]
        self.blocks: int | None = max(chunks, default=None)
        self.fingerprint = fingerprint(self._states)

    def __len__(self) -> int:
        return self._length

    def read(self, positions: Positions) -> dict[str, Any]:
        """Return the rows at some positions, or of a slice with step 1, by component."""
        for state in self._states:
            state.check()
        return {
            component: read_rows(self._array(name), positions, f"{self._path}: {name}")
            for component, name in self._names.items()
        }

    def arrays(self) -> dict[str, Any]:
        """Return the arrays by component, to be read in this process."""
        for state in self._states:
            state.check()
        return {component: self._array(name) for component, name in self._names.items()}

    def all_rows(self, component: str) -> Any:
        """Return all rows of one array."""
        return self._array(self._names[component])[:]

    def close(self) -> None:
        """Close the file in this process. Reading opens it again."""
        with self._open_lock:
            if self._opened is not None:
                self._close(self._opened)
                self._opened = None
                self._arrays = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._path!r}, {', '.join(self._names.values())})"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None, "_arrays": {}, "_open_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _open_lock=threading.Lock())

    def _array(self, name: str) -> Any:
        """Return an array by its name."""
        if name not in self._arrays:
            self._arrays[name] = self._found(name)
        return self._arrays[name]

    def _found(self, name: str) -> Any:
        """Look an array up in the file, and check it."""
        opened = self._container()
        try:
            array = opened[name]
        except KeyError:
            known = self._known(opened)
            raise UnknownNameError(
                f"{self._path!r} has no array {name!r}.{did_you_mean(name, known)}"
            ) from None
        if not getattr(array, "shape", ()):
            raise ArgumentTypeError(
                f"{self._path!r}: {name!r} is {array!r:.60}, and an array with one row for each "
                "item is needed"
            )
        return array

    def _container(self) -> Any:
        if self._opened is None:
            with self._open_lock:
                if self._opened is None:
                    self._opened = self._open()
        return self._opened

    def _states_now(self) -> list[FileState]:
        return [state_of(self._path)]

    def _other_files(self) -> Iterable[str]:
        """Return the files, besides the one that is opened, which rows come from."""
        return ()

    @abstractmethod
    def _open(self) -> Any:
        """Open the file to read: a mapping from names to arrays."""

    @abstractmethod
    def _close(self, opened: Any) -> None:
        """Close what `_open` returned."""

    @abstractmethod
    def _known(self, opened: Any) -> list[str]:
        """Return the names of all arrays."""
