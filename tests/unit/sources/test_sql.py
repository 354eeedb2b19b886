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
