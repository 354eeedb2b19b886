"""Files of arrays as `numpy.savez` writes them, without holding up other threads.

NumPy writes an array into a zip by copies of 16 MiB, and all threads of Python wait for each. Here
the array itself is written: its checksum is found, and its bytes go to the disk, beside them.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

_LARGE = 2**16  # bytes


def write_npz(file: str, arrays: Mapping[str, Any]) -> None:
    """Write arrays into a file, which `numpy.load` reads. None is of objects."""
    with zipfile.ZipFile(file, "x") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as stream:
                write_npy(stream, np.asarray(array, order="C"))


def write_npy(stream: IO[bytes], array: NDArray[Any]) -> None:
    """Write an array that lies in C's order, in the format `.npy`."""
    if array.nbytes < _LARGE or array.dtype.fields is not None:  # whose header may be too long
        npy.write_array(stream, array, allow_pickle=False)
        return
    npy.write_array_header_1_0(stream, npy.header_data_from_array_1_0(array))
    stream.write(array.reshape(-1).view(np.uint8).data)
