"""Batches out of batches: the data of several in one, and some items of one.

Guarantees:
    - Items keep their order and their data; what is made shares no array and no list with what it
      was made of. (Elements of lists and of object arrays are handed over as they are.)
    - Nothing is lost in silence: an attribute that would not come along is an error that names it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from batchflow.arrays import (
    column_array,
    column_names,
    common_dtype,
    is_column,
    is_sparse,
    is_table,
    is_tensor,
    joined_arrays,
    package_of,
)
from batchflow.batch.core import PLACE, BaseBatch
from batchflow.batch.rows import check_rows, take_rows
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index import DatasetIndex
from batchflow.index.lookup import find_duplicates, plain

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.index.order import Positions

B = TypeVar("B", bound=BaseBatch)

# A part of a batch has the same, but for being the last of its epoch.
_KEPT = (*PLACE[:-1], "_mixed", "components")
# Attributes that the framework itself keeps in a batch, beside the components.
_FACTS = frozenset(
    [*PLACE, "_mixed", "_data", "_source_ids", "_labels", "_writes", "components", "index"]
)
_PLAIN = (bool, int, float, complex, str, bytes, set, frozenset)


def part(batch: B, positions: Positions) -> B:
    """Make the batch of some items of a batch.

    It has the batch's class and place in a run (number, epoch, generator, source numbers), but for
    being the last of its epoch.

    The positions are a slice with step 1, or an int64 array that the caller leaves alone from now
    on.

    Raises:
        ArgumentValueError: A component has no items to choose from, or the batch has an attribute
            that the part would not have.
    """
    refuse_lost(batch, "a sub-batch")
    held, n_items = batch.__dict__, len(batch.index)
    facts = {name: held[name] for name in _KEPT if name in held}
    if batch._source_ids is not None:
        facts["_source_ids"] = batch._source_ids[positions]
    chosen = {
        name: rows_of(value, positions, n_items, _shown(batch, name))
        for name, value in data_of(batch).items()
    }
    return type(batch)._make(batch.index._take(positions), chosen, facts)


def rows_of(value: Any, positions: Positions, n_items: int, shown: str) -> Any:
    """Copy some rows as `take_rows` does, out of what has one for each of `n_items` items.

    Raises:
        ArgumentValueError: It has not.
    """
    if value is None:
        return None
    check_rows(value, n_items, shown)
    return take_rows(value, positions, shown)


def merge_batches(cls: type[B], batches: Sequence[BaseBatch]) -> B:
    """Make one batch of the data of one or more: see `Batch.merge`.

    Raises:
        ArgumentTypeError: A batch has other components.
        ArgumentValueError: The data does not fit together, or a batch has an attribute that the
            merged batch would not have.
    """
    first = batches[0]
    own: tuple[str, ...] | None = first.__dict__.get("components")  # with some that were added
    if own is not None and not set(cls.components) <= set(own):
        own = None
    names = own or tuple(cls.components)
    for batch in batches:
        if set(batch.components) != set(names):
            raise ArgumentTypeError(
                f"{cls.__name__}.merge: expected batches with {_listed(names)}, got a "
                f"{type(batch).__name__} with {_listed(tuple(batch.components))}"
                f"{_cure(cls, batches)}"
            )
        refuse_lost(batch, "a merged batch")
    index, source_ids = _merged_ids(batches)
    held = first.__dict__
    facts: dict[str, Any] = {name: held[name] for name in ("dataset", "pipeline") if name in held}
    if source_ids is not None:
        facts["_source_ids"] = source_ids
    if own is not None:
        facts["components"] = own
    if any(batch._mixed or batch.dataset is not first.dataset for batch in batches):
        facts["_mixed"] = True
    merged = cls._make(index, None, facts)
    for name in names or ("data",):
        pieces = [(getattr(batch, name), len(batch.index)) for batch in batches]
        setattr(merged, name, joined(pieces, f"{cls.__name__}.{name}"))
    return merged


def _cure(cls: type[BaseBatch], batches: Sequence[BaseBatch]) -> str:
    """Say what helps if an action has made batches of another class and does not tell."""
    made = {type(batch) for batch in batches}
    if len(made) > 1 or issubclass(other := made.pop(), cls):
        return ""
    return (
        f". An action that makes batches of another class says so: @action(gives={other.__name__})"
    )


def data_of(batch: BaseBatch) -> dict[str, Any]:
    """Return the values of the components by name; of a batch without any, that of `_data`."""
    if not batch.components:
        return {"_data": batch._data}
    return {name: getattr(batch, name) for name in batch.components}


def joined(pieces: list[tuple[Any, int]], shown: str) -> Any:
    """Put the values of one component, given with the sizes of their batches, in a row.

    Returns:
        An array for arrays, of a dtype that holds all values; tensors, sparse matrices and tables
        for several of their kind; a list for anything else; None if there are none.

    Raises:
        ArgumentValueError: They cannot be put together without a change.
    """
    values = [value for value, _ in pieces]
    empty = [place for place, value in enumerate(values) if value is None]
    if len(empty) == len(values):
        return None
    if empty:
        raise ArgumentValueError(
            f"{shown}: batch {empty[0]} of the {len(values)} to merge has no data (None), others "
            "have; fill it, or set it to None in all of them"
        )
    for value, n_items in pieces:
        check_rows(value, n_items, shown)
    if all(isinstance(value, np.ndarray) for value in values):
        return _concatenated(values, shown)
    if all(map(is_column, values)) and not all(hasattr(value, "iloc") for value in values):
        return _concatenated([column_array(value) for value in values], shown)
    try:
        found = _joined_of_one_kind(values)
    except Exception as error:
        raise ArgumentValueError(f"{shown}: the rows cannot be merged: {error}") from error
    if found is not None:
        return found
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


def _merged_ids(batches: Sequence[BaseBatch]) -> tuple[DatasetIndex, npt.NDArray[Any] | None]:
    """Return the index of a merged batch, and the source ids where they are not its ids."""
    ids = _ids_in_a_row(batch.indices for batch in batches)
    collide = len(batches) > 1 and bool(find_duplicates(ids, most=1))
    source_ids = None
    if collide or any(batch._source_ids is not None for batch in batches):
        source_ids = _ids_in_a_row(batch.source_ids for batch in batches)
        source_ids.flags.writeable = False
    if collide:
        return DatasetIndex(len(ids)), source_ids
    return DatasetIndex._of_parts([batch.index for batch in batches], ids), source_ids


def _ids_in_a_row(parts: Iterable[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    arrays = list(parts)
    if len({array.dtype.kind for array in arrays}) == 1:
        return np.concatenate(arrays)
    ids = [item for array in arrays for item in plain(array)]
    row = np.empty(len(ids), dtype=object)  # so that 1 and "1" stay what they are
    for place, item in enumerate(ids):
        row[place] = item
    return row


def refuse_lost(batch: BaseBatch, what: str) -> None:
    """Refuse a batch with an attribute that no constructor would make again."""
    held = batch.__dict__
    extra = held.keys() - _FACTS - set(batch.components)
    if not extra:
        return
    known = {name: held[name] for name in _KEPT if name in held and name != "_rng"}
    fresh = type(batch)._make(batch.index, None, known).__dict__
    for name in held:
        if name in extra and not (name in fresh and _same(held[name], fresh[name])):
            raise ArgumentValueError(
                f"the attribute {name!r} of {batch!r} is no component, so {what} would lose it. "
                f"Declare it in {type(batch).__name__}.components (one row for each item), drop "
                f"it before (del batch.{name}), or keep it in a pipeline variable"
            )


def _same(one: Any, other: Any) -> bool:
    """Check whether two values are one object, or plain values that are equal."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and not one.dtype.hasobject and np.array_equal(one, other)
    return type(one) in _PLAIN and bool(one == other)


def _shown(batch: BaseBatch, name: str) -> str:
    return f"{type(batch).__name__}.{name.lstrip('_')}"


def _listed(names: tuple[str, ...]) -> str:
    return f"the components {', '.join(names)}" if names else "no components"
