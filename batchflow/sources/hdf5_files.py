"""The other files that the rows of an HDF5 array come from: by links, virtual and external arrays.

Guarantees:
    - Each is known, so that a change of it is seen.
    - One that is not there is an error: the library gives fill values for its rows, silently.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

from batchflow.errors import UnknownNameError
from batchflow.extras import imported


def files_behind(array: Any) -> Iterator[str]:
    """Yield the files that an array of h5py lies in, some of them several times.

    Raises:
        FileNotFoundError: A file is not there.
        UnknownNameError: (a `KeyError`) There is no such array in it.
    """
    yield array.file.filename
    yield from (os.path.abspath(name) for name, _, _ in array.external or ())
    # Where else the library looks for files, and what it makes of a pattern, is not known here.
    if not array.is_virtual or "HDF5_VDS_PREFIX" in os.environ:
        return
    sources = {(one.file_name, one.dset_name) for one in array.virtual_sources()}
    for file_name, name in sorted(pair for pair in sources if "%" not in "".join(pair)):
        if file_name == ".":
            yield from files_behind(_found(array.file, name, array))
            continue
        with imported("h5py", "from_hdf5").File(_path_of(file_name, array), "r") as file:
            yield from files_behind(_found(file, name, array))


def _path_of(name: str, array: Any) -> str:
    """Return the path of a file of a virtual array."""
    beside = os.path.join(os.path.dirname(os.path.abspath(array.file.filename)), name)
    for path in (beside, name):
        if os.path.isfile(path):
            return path
    error = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), beside)
    error.add_note(f"it has rows of the virtual array {array.name!r} of {array.file.filename!r}")
    raise error


def _found(file: Any, name: str, array: Any) -> Any:
    try:
        return file[name]
    except KeyError:
        raise UnknownNameError(
            f"{file.filename!r} has no array {name!r}, which has rows of the virtual array "
            f"{array.name!r} of {array.file.filename!r}"
        ) from None
