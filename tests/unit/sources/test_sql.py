"""Dataset.from_sql: rows by bound ids, a connection for each thread, kinds of whole columns."""

import sqlite3

import numpy as np
import pytest
from kit import Rows

from batchflow import ArgumentTypeError, ArgumentValueError, Dataset, UnknownNameError

HOSTILE = ["o'neil", 'a"b', "x); DROP TABLE people; --", "?", ":1", "%s", ""]


class Connect:
    """Open the data base: an object that travels."""

    def __init__(self, path):
        self.path = path

    def __call__(self):
        return sqlite3.connect(self.path)


@pytest.fixture
def connect(tmp_path):
    connect = Connect(str(tmp_path / "people.db"))
    opened = connect()
    opened.execute('CREATE TABLE people (name TEXT, age INT, kg REAL, note TEXT, "group" INT)')
    rows = [
        (name, 30 + k, 60 + k / 4, None if k == 2 else "n", k) for k, name in enumerate(HOSTILE)
    ]
    opened.executemany("INSERT INTO people VALUES (?, ?, ?, ?, ?)", rows)
    opened.commit()
    opened.close()
    return connect


OPTIONS = [{}, {"prefetch": 3}, {"executor": "processes", "n_workers": 1}]


@pytest.mark.parametrize("options", OPTIONS, ids=["direct", "threads", "processes"])
def test_hostile_ids_find_their_rows(connect, options):
    dataset = Dataset.from_sql(connect, "SELECT * FROM people;", Rows, x="age", y="note")
    assert dataset.indices.tolist() == HOSTILE
    for batch in dataset.gen_batch(3, shuffle=2, **options):
        assert batch.x.tolist() == [30 + HOSTILE.index(name) for name in batch.indices]


def test_parameters_are_bound_by_place_and_by_name(connect):
    for query, params in (("age > ?", [33]), ("age > :least", {"least": 33})):
        dataset = Dataset.from_sql(
            connect, f"SELECT * FROM people WHERE {query}", Rows, params=params, x="age"
        )
        assert dataset.next_batch(2).x.tolist() == [34, 35]


def test_any_column_may_be_the_index(connect):
    dataset = Dataset.from_sql(connect, "SELECT * FROM people", Rows, index="group", x="kg")
    assert dataset.create_batch([4, 0]).x.tolist() == [61.0, 60.0]


def test_more_ids_than_a_query_takes_parameters_are_read(tmp_path):
    connect = Connect(str(tmp_path / "many.db"))
    opened = connect()
    opened.execute("CREATE TABLE many (id INT, x INT)")
    opened.executemany("INSERT INTO many VALUES (?, ?)", [(k, k * k) for k in range(1300)])
    opened.commit()
    opened.close()
    batch = Dataset.from_sql(connect, "SELECT * FROM many", Rows).next_batch(1300, shuffle=1)
    assert (batch.x == batch.indices**2).all()


def test_the_kind_of_a_component_is_that_of_its_whole_column(connect):
    dataset = Dataset.from_sql(
        connect, "SELECT * FROM people", Rows, x=["age", "kg"], y="note", index="group"
    )
    batch = dataset.create_batch([0, 1])
    assert batch.x.dtype == np.float64
    assert batch.y.dtype == object
    assert dataset.create_batch([2]).y.tolist() == [None]


def test_integers_that_no_float_holds_stay_integers_beside_floats(tmp_path):
    connect = Connect(str(tmp_path / "large.db"))
    query = f"SELECT 1 AS id, {2**60 + 1} AS a, 0.5 AS b"
    batch = Dataset.from_sql(connect, query, Rows, x=["a", "b"], y="a").create_batch([1])
    assert batch.x.tolist() == [[2**60 + 1, 0.5]]
    assert batch.y.dtype == np.int64


def test_a_function_takes_the_columns_by_name(connect):
    dataset = Dataset.from_sql(connect, "SELECT * FROM people", Rows, x=lambda t: t["age"] * 2)
    assert dataset.next_batch(1).x.tolist() == [60]


def test_rows_that_went_away_are_named(connect):
    dataset = Dataset.from_sql(connect, "SELECT * FROM people", Rows, x="age")
    opened = connect()
    opened.execute("DELETE FROM people WHERE name = '?'")
    opened.commit()
    opened.close()
    with pytest.raises(ArgumentValueError, match="no rows with these ids any more: \\['\\?'\\]"):
        dataset.next_batch(7)


@pytest.mark.parametrize(
    ("query", "error", "words"),
    [
        ("SELECT * FROM people WHERE age > 99", ArgumentValueError, "gives no rows"),
        ("SELECT note, age FROM people", ArgumentValueError, "has no id: its 'note' is NULL"),
        ("SELECT 1 AS id, age FROM people", ArgumentValueError, "more than once: \\[1\\]"),
        ("CREATE TABLE t (x)", ArgumentTypeError, "gives no rows"),
        (7, ArgumentTypeError, "the query is a text"),
    ],
)
def test_a_query_that_gives_no_items_is_refused(connect, query, error, words):
    with pytest.raises(error, match=words):
        Dataset.from_sql(connect, query, Rows, x="age")


def test_an_error_of_the_data_base_shows_the_query(connect):
    with pytest.raises(sqlite3.OperationalError) as caught:
        Dataset.from_sql(connect, "SELECT * FROM peeple", Rows, x="age")
    assert "SELECT * FROM peeple" in caught.value.__notes__[0]


def test_a_column_that_is_missing_is_named(connect):
    with pytest.raises(UnknownNameError, match=r"no column 'aeg' for 'x'. Did you mean 'age'"):
        Dataset.from_sql(connect, "SELECT * FROM people", Rows, x="aeg")


def test_a_connection_in_place_of_a_function_is_refused(connect):
    opened = connect()
    with pytest.raises(ArgumentTypeError, match="a function that opens a connection"):
        Dataset.from_sql(opened, "SELECT * FROM people", Rows, x="age")
    opened.close()


def test_a_value_of_another_kind_than_before_is_an_error_and_not_rounded(connect):
    dataset = Dataset.from_sql(connect, "SELECT * FROM people", Rows, index="group", x="age")
    opened = connect()
    opened.execute('UPDATE people SET age = 2.5 WHERE "group" = 1')
    opened.commit()
    opened.close()
    assert dataset.create_batch([0]).x.tolist() == [30]
    with pytest.raises(ArgumentValueError, match="'age' has values of another kind"):
        dataset.create_batch([1])


def test_a_query_may_end_with_a_comment(connect):
    dataset = Dataset.from_sql(connect, "SELECT * FROM people -- all", Rows, index="group", x="age")
    assert dataset.create_batch([4]).x.tolist() == [34]


CHANGES = {
    "doubled": (
        "INSERT INTO people SELECT * FROM people WHERE age = 31",
        "several rows with the id 31",
    ),
    "renamed": ("ALTER TABLE people RENAME COLUMN kg TO note2", "gives the columns .*'note2'"),
    "added": ("ALTER TABLE people ADD COLUMN cm INT", "gives the columns .*'cm'"),
}


@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES)
def test_a_table_of_other_rows_or_columns_is_an_error(connect, change, words):
    dataset = Dataset.from_sql(connect, "SELECT * FROM people", Rows, index="age", x="kg")
    opened = connect()
    opened.execute(change)
    opened.commit()
    opened.close()
    with pytest.raises(ArgumentValueError, match=f"{words}.*make the dataset again"):
        dataset.create_batch([30, 31])


def test_columns_that_changed_places_are_an_error(connect):
    dataset = Dataset.from_sql(connect, "SELECT * FROM people", Rows, index="name", x="age")
    opened = connect()
    opened.execute('CREATE TABLE other AS SELECT name, kg, age, note, "group" FROM people')
    opened.execute("DROP TABLE people")
    opened.execute("ALTER TABLE other RENAME TO people")
    opened.commit()
    opened.close()
    with pytest.raises(ArgumentValueError, match="gives the columns"):
        dataset.next_batch(2)


def test_columns_of_one_name_that_nobody_asks_for_may_be_there(connect):
    query = "SELECT name, note, note, age FROM people"
    assert Dataset.from_sql(connect, query, Rows, x="age").next_batch(2).x.tolist() == [30, 31]
    by_function = Dataset.from_sql(connect, query, Rows, x=lambda rows: rows["note"])
    with pytest.raises(KeyError, match="note"):  # which one?
        by_function.next_batch(2)


@pytest.mark.parametrize("params", ["33", 33, iter([33])], ids=["text", "number", "iterator"])
def test_parameters_that_are_no_list_are_refused(connect, params):
    with pytest.raises(ArgumentTypeError, match="params are a list, or a mapping from names"):
        Dataset.from_sql(connect, "SELECT * FROM people", Rows, params=params, x="age")


def test_a_parameter_may_have_any_name(connect):
    query = "SELECT * FROM people WHERE age > :batch_id_0"
    dataset = Dataset.from_sql(connect, query, Rows, params={"batch_id_0": 33}, x="age")
    assert dataset.next_batch(2).x.tolist() == [34, 35]


def test_rows_that_are_mappings_are_refused(connect):
    def with_factory():
        opened = connect()
        opened.row_factory = lambda cursor, row: dict(zip("abcde", row, strict=True))
        return opened

    with pytest.raises(ArgumentTypeError, match=r"reads rows as tuples.*gives a dict"):
        Dataset.from_sql(with_factory, "SELECT * FROM people", Rows, x="age")
