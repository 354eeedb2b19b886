"""The one conversion: what people have, as rows of a component.

Everything that becomes a component passes here; `docs/reference/data.md` has the rules as a table.

    value --as_rows--> a container with one row per item --take_rows, join_rows--> another

Containers are arrays, lists, tensors, sparse matrices, tables, and lazy arrays, which are read by
rows and never as a whole.

Guarantees:
    - Values and their kinds stay what they are (see `batchflow.arrays`).
    - What `take_rows` returns shares no memory with what it was taken from. (Elements of lists and
      of object arrays are handed over as they are; `own` copies them, too.)
    - An object that is none of these is refused. Nothing is iterated that may have no end.
"""

from __future__ import annotations

import copy
import sys
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.arrays import (
    IMMUTABLE,
    common_dtype,
    exact_array,
    is_array_like,
    is_sparse,
    is_tensor,
    joined_arrays,
    package_of,
    plain_array,
    ragged_shapes,
    widened,
)
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.lookup import plain
from batchflow.sources.lazy import is_lazy, read_rows

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.index.order import Positions

__all__ = [
    "array_rows",
    "as_rows",
    "check_rows",
    "column_names",
    "column_rows",
    "is_column",
    "is_table",
    "join_rows",
    "n_rows",
    "own",
    "row_at",
    "take_rows",
]

# ---- what a value is


def is_table(value: Any) -> bool:
    """Tell whether a value is a table with columns by name: of pandas, polars or Arrow."""
    return (hasattr(value, "columns") or hasattr(value, "column_names")) and hasattr(
        value, "__getitem__"
    )


def is_column(value: Any) -> bool:
    """Tell whether a value is a column of a table: of pandas, polars or Arrow."""
    return hasattr(value, "to_numpy") and not is_table(value)


def column_names(table: Any) -> list[Any]:
    """Return the names of the columns of a table."""
    return list(getattr(table, "column_names", None) or table.columns)


def n_rows(value: Any) -> int | None:
    """Return how many rows a container has; None for what is none."""
    if value is None or isinstance(value, (str, bytes)):
        return None
    shape = getattr(value, "shape", None)
    if isinstance(shape, Sequence):
        return int(shape[0]) if len(shape) else None
    return len(value) if hasattr(value, "__len__") else None


# ---- values to containers


def as_rows(value: Any, shown: str) -> Any:
    """Make a container of rows of a value, for a component of any batch class.

    Args:
        value: Anything.
        shown: What to call it in a message.

    Returns:
        An array for arrays, lists and columns of tables; tensors, sparse matrices, tables and lazy
        arrays as they are.

    Raises:
        ArgumentTypeError: It has no rows, or nobody knows how to read them.
    """
    if isinstance(value, (list, tuple, range, deque)):
        return exact_array(value if type(value) in (list, tuple, range) else list(value))
    if isinstance(value, np.ndarray):
        rows = plain_array(value)
    elif is_table(value) or is_tensor(value) or is_sparse(value):
        rows = value.tocsr() if is_sparse(value) else value
    elif is_column(value):
        rows = _column(value)
    elif is_lazy(value):
        return value
    elif isinstance(value, (str, bytes)) or not (is_array_like(value) or _is_buffer(value)):
        raise ArgumentTypeError(_refusal(value, shown))
    else:
        rows = plain_array(value)
    if n_rows(rows) is None:
        raise ArgumentTypeError(_refusal(value, shown))
    return rows


def array_rows(
    value: Any, n_items: int, shown: str, ids: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any]:
    """Make an array with one row for each of `n_items` items, as an `ArrayBatch` holds them.

    Args:
        value: An array, something that NumPy converts, a list of items.
        n_items: The length that the first axis must have.
        shown: What to call it in a message.
        ids: The ids of the items, for messages.

    Returns:
        An array of shape `(n_items, ...)`: `value` itself where it is one.

    Raises:
        ArgumentTypeError: `value` is no array and no list of items.
        ArgumentValueError: The items have different shapes, or there are not `n_items` of them.
    """
    if isinstance(value, (list, tuple, deque)):
        items = list(value)
        array = exact_array(items, reads_tensors=True)
        if array.dtype.hasobject:
            _refuse_ragged(items, shown, ids)
    elif is_sparse(value):
        raise ArgumentTypeError(
            f"{shown}: an ArrayBatch holds arrays, got a sparse {type(value).__name__}; use Batch, "
            "or .toarray()"
        )
    else:
        rows = as_rows(value, shown)
        if n_rows(rows) == n_items and not isinstance(rows, np.ndarray):  # not read to be refused
            rows = _table_array(rows) if is_table(rows) else plain_array(rows)
        array = rows
    if len(array) != n_items:
        raise ArgumentValueError(
            f"{shown}: expected {n_items} items, got {len(array)} (shape {tuple(array.shape)})"
        )
    return array


def _refusal(value: Any, shown: str) -> str:
    message = (
        f"{shown}: expected an array or a list with one row for each item, got "
        f"{type(value).__name__} {value!r:.60}"
    )
    if hasattr(value, "__getitem__") and hasattr(value, "__len__") and not hasattr(value, "keys"):
        if isinstance(value, (str, bytes)) or is_array_like(value):
            return message
        message += (
            ". Nobody knows how to read its rows: give an array or a list (list(value), if it has "
            "an end), or a source with `len(source)` and `source.read(positions)`: "
            "Dataset(index, BatchClass, source=...)"
        )
    return message


def _refuse_ragged(items: list[Any], shown: str, ids: npt.NDArray[Any] | None) -> None:
    """Refuse arrays and nested lists of different shapes, which cannot be stacked."""
    shapes = ragged_shapes(items)
    if not shapes:
        return
    first = {shape: place for place, shape in reversed([*enumerate(shapes)])}
    names = range(len(items)) if ids is None or len(ids) != len(items) else plain(ids)
    found = ", ".join(
        f"{names[place]!r} {'ragged by itself' if shape is None else shape}"
        for shape, place in sorted(first.items(), key=lambda pair: pair[1])[:4]
    )
    raise ArgumentValueError(
        f"{shown}: the items have different shapes: {found}; an ArrayBatch stacks items of one "
        "shape. Resize them first, or use Batch"
    )


def _column(value: Any) -> npt.NDArray[Any]:
    """Make an array of a column of a table; what is missing stays missing."""
    nulls = getattr(value, "null_count", 0)  # of polars and Arrow, whose arrays have NaN for it
    if nulls() if callable(nulls) else nulls:
        return exact_array(value.to_list() if hasattr(value, "to_list") else value.to_pylist())
    if _has_missing(value):
        return plain_array(value.to_numpy(dtype=object))
    return plain_array(value)


def _has_missing(column: Any) -> bool:
    """Tell whether a column of an extension type of pandas lacks values, where arrays have NaN."""
    is_extension = hasattr(column, "isna") and not isinstance(column.dtype, np.dtype)
    return is_extension and bool(column.isna().any())


def column_rows(column: Any, positions: Positions) -> npt.NDArray[Any]:
    """Copy rows out of a column, in a dtype that does not depend on which rows these are."""
    if isinstance(getattr(column, "dtype", None), np.dtype) or not hasattr(column, "iloc"):
        whole = _column(column)
        return whole[positions].copy() if isinstance(positions, slice) else whole[positions]
    rows = column.iloc[positions]
    return np.array(rows.to_numpy(dtype=object) if _has_missing(column) else rows)


def _table_array(table: Any) -> npt.NDArray[Any]:
    """Make an array of shape `(n_rows, n_columns)` of a table."""
    # Two columns may have one name.
    columns = [
        _column(table.iloc[:, k] if hasattr(table, "iloc") else table[name])
        for k, name in enumerate(column_names(table))
    ]
    if not columns:
        return np.empty((len(table), 0))
    dtype = common_dtype(columns)
    return np.stack([widened(column, dtype) for column in columns], axis=1)


def _is_buffer(value: Any) -> bool:
    try:
        memoryview(value)
    except TypeError:
        return False
    return True


# ---- containers to other containers


def check_rows(value: Any, n_items: int, shown: str) -> None:
    """Check that a value is made of one row for each item.

    Raises:
        ArgumentValueError: It is not.
    """
    is_rows = isinstance(value, (list, tuple)) or (
        n_rows(value) is not None
        and (
            isinstance(value, np.ndarray)
            or is_tensor(value)
            or is_sparse(value)
            or is_table(value)
            or is_column(value)
            or is_lazy(value)
        )
    )
    if not is_rows:
        raise ArgumentValueError(
            f"{shown}: expected an array or a list with one row for each of {n_items} items, got "
            f"{type(value).__name__} {value!r:.60}, which cannot be divided among items. Keep "
            "what belongs to the whole batch in a pipeline variable"
        )
    if n_rows(value) != n_items:
        raise ArgumentValueError(
            f"{shown}: the batch has {n_items} items, but this has {n_rows(value)} rows"
        )


def take_rows(value: Any, positions: Positions, shown: str) -> Any:
    """Copy some rows out of a container.

    Args:
        value: An array of shape `(n_items, ...)`, a list, another container, or None.
        positions: Which rows: a slice with step 1 or an int64 array.
        shown: What to call `value` in a message.

    Returns:
        The same kind of container (an array of a lazy one); None for None.
    """
    if value is None:
        return None
    is_slice = isinstance(positions, slice)
    if isinstance(value, np.ndarray):
        return value[positions].copy() if is_slice else value[positions]
    if isinstance(value, (list, tuple)):
        if is_slice:
            return value[positions]
        return type(value)([value[position] for position in positions.tolist()])  # type: ignore[union-attr]
    if hasattr(value, "iloc"):
        return value.iloc[positions].copy()
    if package_of(value) == "tensorflow" and not is_slice:
        return sys.modules["tensorflow"].gather(value, positions)
    if package_of(value) == "torch":
        return value[positions].clone() if is_slice else value[positions]
    if package_of(value) == "pyarrow":
        return value.take(np.arange(len(value))[positions])
    if is_lazy(value):
        return read_rows(value, positions, shown)
    return value.tocsr()[positions] if is_sparse(value) else value[positions]


def row_at(value: Any, position: int) -> Any:
    """Return one row of a container."""
    return value.iloc[position] if hasattr(value, "iloc") else value[position]


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
    packages = {package_of(value) for value in values}
    same = packages.pop() if len(packages) == 1 else ""
    if all(map(is_tensor, values)) and same:
        return _joined_tensors(values, same, shown)
    if all(map(is_sparse, values)):
        return sys.modules["scipy.sparse"].vstack(values, format="csr")
    if same in ("pandas", "polars") and not any(isinstance(v, (list, tuple)) for v in values):
        return sys.modules[same].concat(list(values))
    if same == "pyarrow" and all(map(is_table, values)):
        return sys.modules["pyarrow"].concat_tables(values)
    if all(isinstance(value, (list, tuple, np.ndarray)) for value in values):
        return [item for value in values for item in value]
    kinds = ", ".join(dict.fromkeys(type(value).__name__ for value in values))
    raise ArgumentValueError(f"{shown}: {kinds} cannot be merged; convert them to one type first")


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


def _joined_tensors(values: Sequence[Any], package: str, shown: str) -> Any:
    dtypes = dict.fromkeys(str(value.dtype) for value in values)
    if len(dtypes) > 1:
        raise ArgumentValueError(
            f"{shown}: tensors of {', '.join(dtypes)} cannot be merged; convert them to one dtype "
            "first"
        )
    if package == "torch":
        return sys.modules["torch"].cat(list(values))
    if package == "tensorflow":
        return sys.modules["tensorflow"].concat(list(values), 0)
    return sys.modules["jax"].numpy.concatenate(list(values))


def own(rows: Any) -> Any:
    """Make the elements of a fresh container the batch's own, too."""
    if isinstance(rows, np.ndarray):
        if not rows.dtype.hasobject or set(map(type, rows.flat)) <= IMMUTABLE:
            return rows
    elif not isinstance(rows, (list, tuple)) or set(map(type, rows)) <= IMMUTABLE:
        return rows
    return copy.deepcopy(rows)
