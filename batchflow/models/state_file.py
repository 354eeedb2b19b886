"""Arrays by name in a zip: the format of saved states.

A zip of `.npy` files, uncompressed and without dates, that `numpy.load` opens too; the same arrays
give the same bytes.

Guarantees:
    - *Safe*: nothing in a file is executed. An array is read only as far as the shape and dtype
      that are expected allow.
    - Any fault of a file is an `ArgumentValueError`.
"""

from __future__ import annotations

import contextlib
import json
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from batchflow.checkpoints.npz import write_npy
from batchflow.errors import ArgumentValueError, BatchflowError

Arrays = dict[str, NDArray[Any]]

FORMAT, _VERSION = "batchflow_state", 1
_SHAPES = "batchflow_input_shapes.json"  # that the model was built for
_MOST_SHAPES = 64 * 1024  # bytes


def write_arrays(
    archive: zipfile.ZipFile,
    arrays: Mapping[str, NDArray[Any]],
    shapes: Mapping[str, Any] | None = None,
) -> None:
    """Write arrays as `.npy` entries, and the shapes of a model's inputs."""
    for name, array in {FORMAT: np.array(_VERSION), **arrays}.items():
        plain = np.asarray(array, order="C")
        entry = zipfile.ZipInfo(f"{name}.npy")
        with archive.open(entry, "w", force_zip64=True) as stream:
            write_npy(stream, plain.view(_plain(plain.dtype)))
    if shapes is not None:
        archive.writestr(zipfile.ZipInfo(_SHAPES), json.dumps(shapes, sort_keys=True))


def names_in(archive: zipfile.ZipFile, file: str) -> set[str]:
    """Check the version of a state, and return the names of its arrays."""
    names = {name.removesuffix(".npy") for name in archive.namelist()}
    if FORMAT not in names:
        raise ArgumentValueError(f"{file} is not a state that batchflow has saved")
    version = _read_one(archive, FORMAT, np.array(_VERSION), file)
    if version != _VERSION:
        raise ArgumentValueError(
            f"{file} has the format {version}, and this batchflow reads {_VERSION}: update it"
        )
    return names - {FORMAT, _SHAPES}


def read_shapes(archive: zipfile.ZipFile, file: str) -> Any:
    """Return the shapes of a model's inputs; None if they are not there."""
    if _SHAPES not in archive.namelist():
        return None
    with archive.open(_SHAPES) as stream:
        text = stream.read(_MOST_SHAPES + 1)
    if len(text) > _MOST_SHAPES or not isinstance(shapes := json.loads(text), dict):
        raise ArgumentValueError(f"{file}: {_SHAPES} does not tell the shapes of inputs")
    return shapes


def read_arrays(archive: zipfile.ZipFile, like: Mapping[str, NDArray[Any]], file: str) -> Arrays:
    """Return the arrays of some names, each checked against an array of its shape and dtype."""
    return {name: _read_one(archive, name, array, file) for name, array in like.items()}


def _read_one(archive: zipfile.ZipFile, name: str, like: NDArray[Any], file: str) -> NDArray[Any]:
    """Return an array of a known shape and dtype. Of any other only the header is read."""
    where = f"{file}: {name}"
    with archive.open(f"{name}.npy") as stream:
        npy.read_magic(stream)
        shape, is_transposed, dtype = npy.read_array_header_1_0(stream)
        _check_array(shape, dtype, like, where)
        if is_transposed:
            raise ArgumentValueError(f"{where} is stored in Fortran order, as batchflow never does")
        n_bytes = like.size * dtype.itemsize
        data = stream.read(n_bytes + 1)  # up to the end, where the checksum is compared
    if len(data) != n_bytes:
        raise ArgumentValueError(f"{where} has {len(data)} bytes of data instead of {n_bytes}")
    return fit(np.frombuffer(data, dtype).reshape(shape), like, where)


def _check_array(shape: tuple[int, ...], dtype: Any, like: NDArray[Any], where: str) -> None:
    both_integers = dtype.kind in "iu" and like.dtype.kind in "iu"
    if shape != like.shape or not (both_integers or dtype == _plain(like.dtype)):
        raise ArgumentValueError(
            f"{where} is an array of shape {shape} and dtype {dtype}, and the model's has shape "
            f"{like.shape} and dtype {like.dtype}"
        )


def fit(array: NDArray[Any], like: NDArray[Any], where: str) -> NDArray[Any]:
    """Return an array in the dtype of another, all values unchanged.

    Backends hold steps and seeds in integers of different widths.
    """
    array = array.view(_plain(array.dtype))
    _check_array(array.shape, array.dtype, like, where)
    if array.dtype == _plain(like.dtype):
        return array.view(like.dtype)
    fitting = array.astype(like.dtype)
    if not np.array_equal(fitting, array):
        raise ArgumentValueError(f"{where} holds values beyond the model's {like.dtype}")
    return fitting


def _plain(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype that values are stored in: unsigned integers for bfloat16 and the like."""
    return np.dtype(f"u{dtype.itemsize}") if dtype.kind == "V" else dtype


@contextlib.contextmanager
def reading(file: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip, and raise one kind of error for all its faults."""
    with open(file, "rb") as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                yield archive
        except BatchflowError:
            raise
        except (
            zipfile.BadZipFile,
            zlib.error,
            tokenize.TokenError,  # numpy, about a header
            ArithmeticError,
            EOFError,
            LookupError,
            NotImplementedError,
            RuntimeError,
            SyntaxError,
            TypeError,
            ValueError,
        ) as error:
            raise ArgumentValueError(
                f"{file} is damaged or no state of a model: {error}"
            ) from error
