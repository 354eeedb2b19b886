"""Parquet files, which are read by row groups.

Guarantees:
    - In memory are the row groups that were read last, of at most 64 MiB or two, whatever the size
      of the files.
    - The dtype of a component does not depend on which rows are read: missing values anywhere in a
      column make its rows objects everywhere, and so do integers beside floats that hold them not.
    - A file that was changed since the dataset was made is an error.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batchflow.arrays import column_array, common_dtype, has_nulls, is_table, object_array, widened
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.extras import imported
from batchflow.index.scan import found_paths
from batchflow.sources.frames import Spec, check_columns, specs_of
from batchflow.sources.unchanged import FileState, absolute_path, fingerprint, state_of

if TYPE_CHECKING:
    import numpy.typing as npt

_KEPT_BYTES = 64 * 2**20
_EXACT = 2**53  # up to here a float holds every integer


class _Group(NamedTuple):
    """A row group: its file, its number there, its first row among all rows."""

    file: FileState
    number: int
    start: int


def parquet_files(pattern: Any) -> list[str]:
    """Return the files that a pattern, or several, match, sorted.

    Raises:
        ArgumentValueError: There are none, or a path is not there.
    """
    paths = found_paths(pattern, dirs=False, sort=True, root=None)
    return sorted(set(map(absolute_path, paths)))


class ParquetSource:
    """A `Source` of the rows of Parquet files.

    Args:
        paths: The files, of one schema.
        components: By component, a column, a list of columns, or a function that takes the rows of
            a batch as an Arrow table.
        known: The components of the batch class: without `components`, the columns of their names.

    Attributes:
        blocks: The first row of each row group: an int64 array.
        fingerprint: A text that changes when a file does.

    Raises:
        FileNotFoundError: A file is not there.
        ArgumentValueError: The files have different columns, or no rows.
        UnknownNameError: (a `KeyError`) There is no such column.
    """

    def __init__(
        self, paths: Iterable[str], components: Mapping[str, Spec], known: Iterable[str]
    ) -> None:
        parquet = imported("pyarrow.parquet", "from_parquet")
        groups: list[_Group] = []
        self._length = 0
        schema: Any = None
        metadata = []
        for path in paths:
            file = state_of(path)
            try:
                with parquet.ParquetFile(path) as opened:
                    found, facts = opened.schema_arrow, opened.metadata
            except (OSError, ValueError) as error:
                error.add_note(f"while {path!r} was opened as a Parquet file")
                raise
            if schema is None:
                schema, first = found, path
            elif not found.equals(schema):
                raise ArgumentValueError(
                    f"from_parquet: {path!r} has other columns than {first!r}: "
                    f"{_differing(found, schema)}"
                )
            metadata.append(facts)
            for number in range(facts.num_row_groups):
                if n_rows := facts.row_group(number).num_rows:
                    groups.append(_Group(file, number, self._length))
                    self._length += n_rows
        if not groups:
            raise ArgumentValueError("from_parquet: there are no rows in the files")
        self._groups = groups
        self.blocks = np.array([group.start for group in groups])
        self.fingerprint = fingerprint(dict.fromkeys(group.file for group in groups))
        self._specs = specs_of(components, known, schema.names, "from_parquet")
        self._names = schema.names
        self._columns = self._needed(schema.names)
        self._with_nulls = {c for c in self._columns if self._has_nulls(c, metadata)}
        lists = {name: spec for name, spec in self._specs.items() if isinstance(spec, list)}
        self._as_objects = {n for n, spec in lists.items() if _are_mixed(spec, schema, metadata)}
        self._forget()

    def __len__(self) -> int:
        return self._length

    def read(self, positions: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Return the rows at some positions, by component."""
        table = self._rows(positions)
        return {component: self._component(table, component) for component in self._specs}

    @property
    def keeps_blocks(self) -> bool:
        """Whether nobody else is to read row groups whole: a function gets the rows of a batch."""
        return any(callable(spec) for spec in self._specs.values())

    def column(self, name: str) -> npt.NDArray[Any]:
        """Return a whole column.

        Raises:
            UnknownNameError: (a `KeyError`) There is no such column.
            ArgumentValueError: It has missing values.
        """
        check_columns({"index": name}, self._names, "from_parquet")
        parquet = imported("pyarrow.parquet", "from_parquet")
        files = dict.fromkeys(group.file.path for group in self._groups)
        tables = [parquet.read_table(path, columns=[name]) for path in files]
        joined = imported("pyarrow", "from_parquet").concat_tables(tables)
        if joined[name].null_count:
            raise ArgumentValueError(
                f"from_parquet: {joined[name].null_count} rows have no id: the column {name!r} has "
                "missing values"
            )
        return column_array(_decoded(joined)[name])

    def __repr__(self) -> str:
        return f"ParquetSource of {self._length} rows in {len(self._groups)} row groups"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_kept": None, "_lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, Any] = OrderedDict()

    def _needed(self, columns: list[str]) -> list[str]:
        specs = self._specs.values()
        if self.keeps_blocks:
            return columns
        wanted = (name for spec in specs for name in (spec if isinstance(spec, list) else [spec]))
        return list(dict.fromkeys(wanted))

    def _has_nulls(self, column: str, metadata: list[Any]) -> bool:
        """Check whether a column has missing values anywhere, by the statistics of its groups."""
        found = list(_statistics(column, metadata))
        if any(one is None or not one.has_null_count for one in found):
            parquet = imported("pyarrow.parquet", "from_parquet")
            files = dict.fromkeys(group.file.path for group in self._groups)
            return any(has_nulls(parquet.read_table(f, columns=[column])[column]) for f in files)
        return any(one.null_count for one in found)

    def _rows(self, positions: npt.NDArray[np.int64]) -> Any:
        """Return the rows at some positions as an Arrow table."""
        numbers = np.searchsorted(self.blocks, positions, side="right") - 1
        needed, part_of = np.unique(numbers, return_inverse=True)
        parts = [self._group(int(number)) for number in needed]
        starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
        joined = imported("pyarrow", "from_parquet").concat_tables(parts)
        if (np.diff(positions) == 1).all():  # in a row: nothing is copied
            return joined.slice(positions[0] - self.blocks[needed[0]], len(positions))
        return joined.take(starts[part_of] + positions - self.blocks[numbers])

    def _group(self, number: int) -> Any:
        with self._lock:  # one thread reads, others want the same group
            kept = self._kept
            if number not in kept:
                group = self._groups[number]
                group.file.check()
                parquet = imported("pyarrow.parquet", "from_parquet")
                with parquet.ParquetFile(group.file.path) as file:
                    kept[number] = _decoded(file.read_row_group(group.number, self._columns))
                while len(kept) > 2 and sum(one.nbytes for one in kept.values()) > _KEPT_BYTES:
                    kept.popitem(last=False)
            kept.move_to_end(number)
            return kept[number]

    def _component(self, table: Any, component: str) -> Any:
        spec = self._specs[component]
        if callable(spec):
            given = spec(table)
            if is_table(given):
                raise ArgumentTypeError(
                    "from_parquet: the function of a component returned a table; return a column "
                    "or an array"
                )
            return column_array(given) if hasattr(given, "null_count") else given
        if not isinstance(spec, list):
            return self._array(table, spec)
        columns = [self._array(table, name) for name in spec]
        is_object = any(column.dtype.hasobject for column in columns)
        dtype = None if is_object or component in self._as_objects else common_dtype(columns)
        return np.stack([widened(column, dtype) for column in columns], axis=1)

    def _array(self, table: Any, name: str) -> npt.NDArray[Any]:
        column = table[name]
        if name in self._with_nulls:
            return object_array(column.to_pylist())
        array = column_array(column)
        return array if array.flags.writeable else array.copy()


def _are_mixed(columns: list[str], schema: Any, metadata: list[Any]) -> bool:
    """Check whether columns of several types have integers that no float holds."""
    types = {schema.field(column).type for column in columns}
    return len(types) > 1 and any(_has_large(column, schema, metadata) for column in columns)


def _has_large(column: str, schema: Any, metadata: list[Any]) -> bool:
    """Check whether a column has integers that no float holds, by the statistics; or may have."""
    kind = schema.field(column).type
    types = imported("pyarrow", "from_parquet").types
    if not types.is_integer(kind) or kind.bit_width < 64:
        return False
    found = list(_statistics(column, metadata))
    if any(one is None or not one.has_min_max for one in found):
        return True
    return any(abs(value) > _EXACT for one in found for value in (one.min, one.max))


def _statistics(column: str, metadata: list[Any]) -> Iterator[Any]:
    """Yield the statistics of a column in each row group that has rows; None: there are none."""
    for facts in metadata:
        paths = [facts.schema.column(k).path for k in range(len(facts.schema))]
        for number in range(facts.num_row_groups):
            group = facts.row_group(number)
            if column not in paths:  # nested: lists, records
                yield None
            elif group.num_rows:
                yield group.column(paths.index(column)).statistics


def _decoded(table: Any) -> Any:
    """Return a table without dictionaries, which NumPy cannot read."""
    types = imported("pyarrow", "from_parquet").types
    for place, field in enumerate(table.schema):
        if types.is_dictionary(field.type):
            table = table.set_column(
                place, field.name, table[field.name].cast(field.type.value_type)
            )
    return table


def _differing(one: Any, other: Any) -> str:
    names = list(dict.fromkeys([*one.names, *other.names]))
    types = {n: [s.field(n).type if n in s.names else None for s in (one, other)] for n in names}
    return (
        ", ".join(
            f"{name!r} is {'missing' if a is None else a}, there {'missing' if b is None else b}"
            for name, (a, b) in types.items()
            if a != b
        )
        or "in another order"
    )
