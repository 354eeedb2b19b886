"""The rows that an SQL query gives, read by their ids.

Guarantees:
    - Ids and parameters are bound, never put into the text of a query.
    - Each thread, and each worker process, has a connection of its own.
    - The dtype of a component does not depend on which rows are read: the whole result is looked
      through once, row by row, when the source is made.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.arrays import object_array, package_of
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.given import as_ids
from batchflow.index.lookup import plain
from batchflow.sources.frames import Spec, check_columns, specs_of

if TYPE_CHECKING:
    import numpy.typing as npt

_MOST_BOUND = 500  # ids in one query: older SQLite takes 999 parameters
_AT_ONCE = 10_000  # rows, while all are looked through
_EXACT = 2**53  # up to here a float holds every integer


class SqlSource:
    """A `Source` of the rows of a query.

    Args:
        connect: A function without arguments that opens a connection (PEP 249). It is called in
            each thread that reads.
        query: A SELECT statement.
        params: Its parameters.
        index: The column with the ids; None: the first one.
        components: By component, a column, a list of columns, or a function that takes the rows of
            a batch as a mapping from columns to arrays.
        known: The components of the batch class: without `components`, the columns of their names.

    Attributes:
        ids: The ids, as the query gives them.

    Raises:
        ArgumentTypeError: `connect` is no function, or gives no connection.
        ArgumentValueError: The query gives no rows, or an id twice or none at all.
        UnknownNameError: (a `KeyError`) There is no such column.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        query: str,
        params: Any,
        index: str | None,
        components: Mapping[str, Spec],
        known: Iterable[str],
    ) -> None:
        # Connections of sqlite3 can be called, too.
        if not callable(connect) or hasattr(connect, "cursor"):
            raise ArgumentTypeError(
                "from_sql takes a function that opens a connection, as each thread needs its own: "
                f'lambda: sqlite3.connect("data.db"); got {type(connect).__name__}'
            )
        if not isinstance(query, str):
            raise ArgumentTypeError(f"from_sql: the query is a text, got {query!r:.60}")
        if isinstance(params, (str, bytes)) or not isinstance(params, (Sequence, Mapping)):
            raise ArgumentTypeError(
                f"from_sql: params are a list, or a mapping from names, got {params!r:.60}"
            )
        self._connect = connect
        self._query = query.strip().rstrip(";")
        self._params = params
        self._local = threading.local()
        cursor = self._executed(self._query, params)
        names = _names_of(cursor)
        if not names:
            raise ArgumentTypeError(f"from_sql: this query gives no rows: {query!r:.80}")
        self._index = names[0] if index is None else index
        check_columns({"index": self._index}, names, "from_sql")
        self._columns = names
        self._specs = specs_of(components, known, names, "from_sql")
        self._kinds = {name: _Kind() for name in names}
        self.ids, _ = as_ids(self._looked_through(cursor))

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, positions: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Return the rows at some positions, by component."""
        wanted = plain(np.asarray(self.ids)[positions])
        place = self._columns.index(self._index)
        found: dict[Any, Sequence[Any]] = {}
        for start in range(0, len(wanted), _MOST_BOUND):
            ids = wanted[start : start + _MOST_BOUND]
            cursor = self._executed(*self._query_of(ids))
            self._check_columns(_names_of(cursor))
            asked = set(ids)  # a database may find others equal: in capitals, with an accent
            for row in (row for rows in _in_parts(cursor) for row in rows if row[place] in asked):
                if found.setdefault(row[place], row) is not row:
                    raise ArgumentValueError(
                        f"the query gives several rows with the id {row[place]!r} by now: make the "
                        "dataset again"
                    )
            cursor.close()
        if missing := [item for item in wanted if item not in found]:
            raise ArgumentValueError(
                f"the query gives no rows with these ids any more: {missing[:5]}"
                f"{f' and {len(missing) - 5} more' if len(missing) > 5 else ''}"
            )
        in_order = zip(*(found[item] for item in wanted), strict=True)
        columns = dict(zip(self._columns, in_order, strict=True))
        if changed := [name for name, kind in self._kinds.items() if not kind.holds(columns[name])]:
            raise ArgumentValueError(
                f"the column {changed[0]!r} has values of another kind than when the dataset was "
                "made of the query: make the dataset again"
            )
        return {
            component: self._component(columns, spec) for component, spec in self._specs.items()
        }

    def close(self) -> None:
        """Close the connection of this thread. Reading opens it again."""
        self._local.__dict__.clear()

    def __repr__(self) -> str:
        return f"SqlSource of {len(self)} rows of {self._query!r:.60}"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_local": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _local=threading.local())

    def _looked_through(self, cursor: Any) -> list[Any]:
        """Look through all rows: note the kinds of the columns, return the ids."""
        ids: list[Any] = []
        place = self._columns.index(self._index)
        for rows in _in_parts(cursor):
            columns = list(zip(*rows, strict=True))
            ids += columns[place]
            for name, column in zip(self._columns, columns, strict=True):
                self._kinds[name].see(column)
        cursor.close()
        if not ids:
            raise ArgumentValueError(f"from_sql: the query gives no rows: {self._query!r:.80}")
        if None in ids:
            raise ArgumentValueError(
                f"from_sql: row {ids.index(None)} has no id: its {self._index!r} is NULL"
            )
        return ids

    def _check_columns(self, names: list[str]) -> None:
        """Check that the query gives the columns that it gave at first."""
        # A name that two columns have may be another here, where the query is part of a query.
        pairs = zip(names, self._columns, strict=False)
        are_same = all(one == name for one, name in pairs if self._columns.count(name) == 1)
        if len(names) != len(self._columns) or not are_same:
            raise ArgumentValueError(
                f"the query gives the columns {names}, and when the dataset was made of it "
                f"{self._columns}: make the dataset again"
            )

    def _component(self, columns: Mapping[str, Sequence[Any]], spec: Spec) -> Any:
        if callable(spec):
            once = (name for name in columns if self._columns.count(name) == 1)
            return spec({name: self._array(columns, name) for name in once})
        if not isinstance(spec, list):
            return self._array(columns, spec)
        dtype = _Kind.of_all([self._kinds[name] for name in spec]).dtype
        rows = list(zip(*(columns[name] for name in spec), strict=True))
        if dtype.hasobject:
            array = np.empty((len(rows), len(spec)), dtype=object)
            for place, row in enumerate(rows):
                array[place] = row
            return array
        return np.array(rows, dtype=dtype)

    def _array(self, columns: Mapping[str, Sequence[Any]], name: str) -> npt.NDArray[Any]:
        dtype, values = self._kinds[name].dtype, columns[name]
        return object_array(values) if dtype.hasobject else np.array(values, dtype=dtype)

    def _query_of(self, ids: list[Any]) -> tuple[str, Any]:
        """Return the query for the rows with some ids, and its parameters."""
        given, n_ids = self._params, len(ids)
        style, quote = self._dialect()
        params: Any
        if isinstance(given, Mapping):
            free = (name for n in count() if (name := f"batch_id_{n}") not in given)
            names = list(islice(free, n_ids))
            # SQLite and DuckDB, which count (?), also take names: both with $, one with a colon.
            mark = {"pyformat": "%({})s", "qmark": "${}"}.get(style, ":{}")
            marks = [mark.format(name) for name in names]
            params = {**given, **dict(zip(names, ids, strict=True))}
        else:
            params = [*given, *ids]
            marks = ["?" if style == "qmark" else "%s"] * n_ids
            if style in ("numeric", "named"):
                marks = [f":{len(given) + n + 1}" for n in range(n_ids)]
        name = quote + self._index.replace(quote, 2 * quote) + quote
        # The query may end with a comment, which goes to the end of its line.
        source = f"({self._query}\n) AS batch_rows"
        text = f"SELECT * FROM {source} WHERE {name} IN ({', '.join(marks)})"
        return text, params

    def _dialect(self) -> tuple[str, str]:
        """Return how parameters are marked (see PEP 249), and the quote around names."""
        package = package_of(self._connection()).lstrip("_")
        style = str(getattr(sys.modules.get(package), "paramstyle", "qmark"))
        return style, "`" if "mysql" in package.lower() or "mariadb" in package.lower() else '"'

    def _connection(self) -> Any:
        held = self._local.__dict__
        if "connection" not in held:
            connection = self._connect()
            if not hasattr(connection, "cursor"):
                raise ArgumentTypeError(
                    f"from_sql: connect() gave {type(connection).__name__} {connection!r:.60}, and "
                    "a connection with cursor() is needed"
                )
            held["connection"] = _Open(connection)
        return held["connection"].connection

    def _executed(self, query: str, params: Any) -> Any:
        cursor = self._connection().cursor()
        try:
            cursor.execute(query, params) if params else cursor.execute(query)
        except Exception as error:
            error.add_note(f"while from_sql executed {query!r:.200}")
            raise
        return cursor


class _Open:
    """A connection that is closed when its thread ends, or its source is gone."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    def __del__(self) -> None:
        with suppress(Exception):  # a connection may refuse to be closed by another thread
            self.connection.close()


class _Kind:
    """What kinds of values a column has."""

    def __init__(self) -> None:
        self._types: set[type] = set()
        self._largest = 0

    def see(self, values: Sequence[Any]) -> None:
        """Take some values into account."""
        self._types |= set(map(type, values))
        if int in self._types:
            integers = (value for value in values if type(value) is int)
            self._largest = max(self._largest, max(map(abs, integers), default=0))

    def holds(self, values: Sequence[Any]) -> bool:
        """Check whether the dtype holds some values exactly, which were read later."""
        if self.dtype.hasobject:
            return True
        later = _Kind()
        later.see(values)
        return later._types <= self._types and later._largest <= max(self._largest, _EXACT)

    @classmethod
    def of_all(cls, kinds: Iterable[_Kind]) -> _Kind:
        """Return the kind of the values of several columns together."""
        whole = cls()
        for kind in kinds:
            whole._types |= kind._types
            whole._largest = max(whole._largest, kind._largest)
        return whole

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype that holds all values exactly: that of objects where no other does."""
        if self._types == {int} and self._largest < 2**63:
            return np.dtype(np.int64)
        if self._types == {float} or (self._types == {int, float} and self._largest <= _EXACT):
            return np.dtype(np.float64)
        return np.dtype(bool if self._types == {bool} else object)


def _names_of(cursor: Any) -> list[str]:
    """Return the names of the columns that a query gives."""
    return [column[0] for column in cursor.description or ()]


def _in_parts(cursor: Any) -> Iterator[list[Any]]:
    while rows := cursor.fetchmany(_AT_ONCE):
        if isinstance(rows[0], Mapping):
            raise ArgumentTypeError(
                f"from_sql reads rows as tuples, and the connection gives a "
                f"{type(rows[0]).__name__}: leave its row factory out"
            )
        yield rows
