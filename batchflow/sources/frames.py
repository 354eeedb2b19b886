"""Tables in memory, of pandas, polars and Arrow: their ids, and their columns as components."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from batchflow.arrays import column_names, is_table, table_array
from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError, did_you_mean
from batchflow.index.labels import has_labels

# A component is a column, a list of columns, or a function of the table.
Spec = Any


def checked_table(table: Any) -> Any:
    """Return a table in memory.

    Raises:
        ArgumentTypeError: It is none.
    """
    if hasattr(table, "collect") or hasattr(table, "compute"):
        raise ArgumentTypeError(
            f"from_dataframe takes a table in memory, got {type(table).__name__}: call "
            f".{'collect' if hasattr(table, 'collect') else 'compute'}() on it"
        )
    if not is_table(table) or isinstance(table, Mapping):
        raise ArgumentTypeError(
            f"from_dataframe takes a table of pandas, polars or Arrow, got {type(table).__name__} "
            f"{table!r:.60}. Arrays by name: Dataset.from_arrays(MyBatch, images=..., labels=...);"
            " a data set of another library: Dataset.from_items"
        )
    return table


def specs_of(
    components: Mapping[str, Spec], known: Iterable[str], columns: list[Any], maker: str
) -> dict[str, Spec]:
    """Return what makes each component: what was given, or the columns of their names.

    Raises:
        ArgumentTypeError: Nothing was given, and no column has the name of a component.
    """
    given = {name: _as_list(spec) for name, spec in components.items()}
    specs = given or {name: name for name in known if name in columns}
    if not specs:
        raise ArgumentTypeError(
            f"{maker}: no column has the name of a component; say which column is which component: "
            f"{maker}(..., labels={columns[-1] if columns else 'column'!r}). The columns: "
            f"{', '.join(map(repr, columns[:20]))}"
        )
    check_columns(specs, columns, maker)
    return specs


def _as_list(spec: Spec) -> Spec:
    """Return several columns as a list: they may be given as `table.columns[1:]`."""
    return spec.tolist() if getattr(spec, "ndim", 0) == 1 and hasattr(spec, "tolist") else spec


def check_columns(specs: Mapping[str, Spec], columns: list[Any], maker: str) -> None:
    """Check that all columns that are asked for are there, once.

    Raises:
        UnknownNameError: (a `KeyError`) One is not there.
        ArgumentValueError: One is there twice, or a list of columns is empty.
    """
    for component, spec in specs.items():
        if callable(spec):
            continue
        wanted = spec if isinstance(spec, list) else [spec]
        if not wanted:
            raise ArgumentValueError(f"{maker}: {component}=[] names no column")
        for name in wanted:
            if columns.count(name) == 1:
                continue
            if name in columns:
                raise ArgumentValueError(f"{maker}: there are several columns {name!r}")
            raise UnknownNameError(
                f"{maker}: there is no column {name!r} for {component!r}."
                f"{did_you_mean(name, map(str, columns))}"
            )


def named_ids(table: Any, index: Any) -> tuple[Any, Any]:
    """Return a table whose labels, if it has any, are its ids; and the ids, or their number.

    Args:
        table: The table.
        index: The name of the column with the ids; None: the labels of the table.

    Raises:
        UnknownNameError: (a `KeyError`) There is no such column.
        ArgumentValueError: It has missing values.
    """
    has_labels = hasattr(table, "iloc")
    if index is None:
        if not has_labels or _only_count(table.index):
            return table, len(table)
    elif has_labels and index not in column_names(table) and index in table.index.names:
        table = table.set_axis(table.index.get_level_values(index))
    else:
        check_columns({"index": index}, column_names(table), "from_dataframe")
        table = table.set_index(index, drop=False) if has_labels else table
    ids = table.index if has_labels else table[index]
    if n_missing := _n_missing(ids):
        where = "among the labels of the table" if index is None else f"in the column {index!r}"
        raise ArgumentValueError(
            f"from_dataframe: {n_missing} of {len(table)} rows have no id: values {where} are "
            "missing"
        )
    return table, ids


def _n_missing(ids: Any) -> int:
    """Return how many ids are missing."""
    if hasattr(ids, "isna"):
        return 0 if hasattr(ids, "levels") else int(ids.isna().sum())
    nulls = ids.null_count
    return int(nulls() if callable(nulls) else nulls)


def _only_count(labels: Any) -> bool:
    """Check whether labels are those that pandas gives by itself: 0, 1, 2 ..."""
    return hasattr(labels, "step") and (labels.start, labels.step) == (0, 1)


def values_of(table: Any, spec: Spec) -> Any:
    """Return one component of a table; of a list of columns an array `(n_rows, n_columns)`."""
    if callable(spec):
        return _beside(table, spec(table))
    if isinstance(spec, list):
        return table_array(table.select(spec) if hasattr(table, "select") else table[spec])
    return table[spec]


def _beside(table: Any, given: Any) -> Any:
    """Return what a function made of a table, its rows in the order of those of the table.

    The labels tell which rows are which: a function may have sorted them.
    """
    if not (has_labels(table) and has_labels(given)) or given.index.equals(table.index):
        return given
    if len(given) != len(table) or not (given.index.is_unique and table.index.is_unique):
        return given
    places = given.index.get_indexer(table.index)
    return given.iloc[places] if (places >= 0).all() else given
