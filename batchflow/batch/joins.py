"""The rows of several containers in a row, without a change of any value: for `merge`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.arrays import (
    column_array,
    common_dtype,
    is_column,
    is_sparse,
    is_table,
    is_tensor,
    joined_arrays,
    package_of,
)
from batchflow.batch.rows import column_names
from batchflow.errors import ArgumentValueError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["join_rows"]


def join_rows(values: Sequence[Any], shown: str) -> Any:
    """Put the rows of several containers in a row.

    Returns:
        An array for arrays, of a dtype that holds all values; tensors, sparse matrices and tables
        for several of their kind; a list for anything else.

    Raises:
        ArgumentValueError: They cannot be put together without a change.
    """
    if all(isinstance(value, np.ndarray) for value in values):
        return _concatenated(values, shown)
    if all(map(is_column, values)) and not all(hasattr(value, "iloc") for value in values):
        return _concatenated([column_array(value) for value in values], shown)
    try:
        joined = _joined_of_one_kind(values)
    except Exception as error:
        raise ArgumentValueError(f"{shown}: the rows cannot be merged: {error}") from error
    if joined is not None:
        return joined
    if all(isinstance(value, (list, tuple, np.ndarray)) for value in values):
        return [item for value in values for item in value]
    kinds = ", ".join(dict.fromkeys(type(value).__name__ for value in values))
    raise ArgumentValueError(f"{shown}: {kinds} cannot be merged; convert them to one type first")


def _joined_of_one_kind(values: Sequence[Any]) -> Any:
    """Return the rows of tensors, sparse matrices or tables of one package; None for others."""
    packages = {package_of(value) for value in values}
    same = packages.pop() if len(packages) == 1 else ""
    if same and all(map(is_tensor, values)):
        _check_dtypes([str(value.dtype) for value in values])
        if same == "torch":
            return sys.modules["torch"].cat(list(values))
        if same == "tensorflow":
            return sys.modules["tensorflow"].concat(list(values), 0)
        return sys.modules["jax"].numpy.concatenate(list(values))
    if all(map(is_sparse, values)):
        dtype = common_dtype([value.data for value in values])
        if dtype is None:
            _check_dtypes([str(value.dtype) for value in values])
        stacked = [value.astype(dtype) for value in values]
        return sys.modules["scipy.sparse"].vstack(stacked, format="csr")
    if same == "pandas":
        _check_tables(values)
        return sys.modules["pandas"].concat(list(values))
    if same == "polars" and all(map(is_table, values)):
        return sys.modules["polars"].concat(list(values))
    if same == "pyarrow" and all(map(is_table, values)):
        return sys.modules["pyarrow"].concat_tables(values)
    return None


def _check_dtypes(dtypes: Sequence[str]) -> None:
    several = list(dict.fromkeys(dtypes))
    if len(several) > 1:
        raise TypeError(f"they are of {', '.join(several)}; convert them to one dtype first")


def _check_tables(tables: Sequence[Any]) -> None:
    """Refuse tables of pandas whose values would change where they are put together."""
    if len({is_table(table) for table in tables}) > 1:
        raise TypeError("tables and columns cannot be put together")
    if not is_table(tables[0]):
        _check_columns(tables)
        return
    names = [column_names(table) for table in tables]
    if any(other != names[0] for other in names):
        raise ValueError(f"they have different columns: {names[0]} and {names[1]}")
    for place in range(len(names[0])):
        _check_columns([table.iloc[:, place] for table in tables])


def _check_columns(columns: Sequence[Any]) -> None:
    plain = [np.asarray(c) for c in columns if isinstance(c.dtype, np.dtype)]
    if plain and common_dtype(plain) is None:
        _check_dtypes([str(column.dtype) for column in columns])


def _concatenated(arrays: Sequence[npt.NDArray[Any]], shown: str) -> npt.NDArray[Any]:
    shapes = [array.shape for array in arrays]
    if len({shape[1:] for shape in shapes}) > 1:
        raise ArgumentValueError(
            f"{shown}: items of different shapes cannot be merged: the arrays have the shapes "
            f"{', '.join(map(str, dict.fromkeys(shapes)))}. Resize the items first, or use lists"
        )
    try:
        return joined_arrays(arrays)
    except TypeError as error:
        raise ArgumentValueError(f"{shown}: the arrays cannot be merged: {error}") from None
