"""The one conversion: what people have, as rows of a component.

Everything that becomes a component passes here; `docs/reference/data.md` has the rules as a table.

    value --as_rows--> a container with one row per item --take_rows--> another

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
    column_array,
    column_items,
    exact_array,
    is_array_like,
    is_column,
    is_sparse,
    is_table,
    is_tensor,
    keeps_objects,
    object_array,
    package_of,
    plain_array,
    ragged_shapes,
    table_array,
)
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.lookup import plain
from batchflow.sources.lazy import is_lazy, read_rows

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.index.order import Positions

# ---- what a value is


def n_rows(value: Any) -> int | None:
    """Return how many rows a container has; None for what is none."""
    if value is None or isinstance(value, (str, bytes)):
        return None
    shape = getattr(value, "shape", None)
    if isinstance(shape, (tuple, Sequence)):
        return int(shape[0]) if len(shape) else None
    return len(value) if hasattr(value, "__len__") else None


# ---- values to containers


def as_rows(value: Any, shown: str, *, reads_tensors: bool = False) -> Any:
    """Make a container of rows of a value, for a component of any batch class.

    A list of tensors, or of images, becomes an array only where `reads_tensors` says so.

    Returns:
        An array for arrays, lists and columns of tables; tensors, sparse matrices, tables and lazy
        arrays as they are.

    Raises:
        ArgumentTypeError: It has no rows, or nobody knows how to read them.
    """
    if isinstance(value, (list, tuple, range, deque)):
        items = value if type(value) in (list, tuple, range) else list(value)
        return exact_array(items, reads_tensors=reads_tensors)
    if isinstance(value, np.ndarray):
        rows = plain_array(value)
    elif is_table(value) or is_tensor(value) or is_sparse(value):
        rows = _sparse_rows(value, shown) if is_sparse(value) else value
    elif is_column(value):
        rows = column_array(value)
    elif is_lazy(value):
        return value
    elif isinstance(value, (str, bytes)) or not (is_array_like(value) or _is_buffer(value)):
        raise ArgumentTypeError(_refusal(value, shown))
    else:
        rows = plain_array(value)
    if n_rows(rows) is None:
        raise ArgumentTypeError(_refusal(value, shown))
    return rows


def _sparse_rows(value: Any, shown: str) -> Any:
    if len(value.shape) != 2:
        raise ArgumentTypeError(
            f"{shown}: of a sparse array the rows are items, and this one has the shape "
            f"{value.shape}: give it one column, .reshape(-1, 1), or .toarray()"
        )
    return value.tocsr()


def array_rows(
    value: Any, n_items: int, shown: str, ids: npt.NDArray[Any] | None = None
) -> npt.NDArray[Any]:
    """Make an array with one row for each of `n_items` items, as an `ArrayBatch` holds them.

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
            if is_table(rows):
                rows = table_array(rows)
            else:
                whole = slice(0, len(rows))
                rows = read_rows(rows, whole, shown) if is_lazy(rows) else plain_array(rows)
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


def column_rows(column: Any, positions: Positions) -> npt.NDArray[Any]:
    """Copy rows out of a column, in a dtype that does not depend on which rows these are."""
    rows = take_rows(column, positions, "")
    return (
        object_array(column_items(rows)) if keeps_objects(column) else np.array(column_array(rows))
    )


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
    kinds = (is_tensor, is_sparse, is_table, is_column, is_lazy)
    is_rows = isinstance(value, np.ndarray) or any(is_kind(value) for is_kind in kinds)
    if not isinstance(value, (list, tuple)) and (n_rows(value) is None or not is_rows):
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
    """Copy the rows at some positions, a slice with step 1 or an int64 array, of a container.

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
    rows = value.tocsr()[positions] if is_sparse(value) else value[positions]
    return rows.copy() if is_slice and package_of(value) == "pandas" else rows


def row_at(value: Any, position: int) -> Any:
    """Return one row of a container: of a sparse matrix, a matrix of one row."""
    if is_sparse(value):
        return value.tocsr()[[position]]
    return value.iloc[position] if hasattr(value, "iloc") else value[position]


def own(rows: Any) -> Any:
    """Make the elements of a fresh container the batch's own, too."""
    if isinstance(rows, np.ndarray):
        if not rows.dtype.hasobject or set(map(type, rows.flat)) <= IMMUTABLE:
            return rows
    elif not isinstance(rows, (list, tuple)) or set(map(type, rows)) <= IMMUTABLE:
        return rows
    return copy.deepcopy(rows)
