"""Dataset.from_dataframe: tables of pandas, polars and Arrow, their ids and their columns."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from kit import Loose, Rows

from batchflow import (
    ArgumentTypeError,
    ArgumentValueError,
    Dataset,
    UnknownNameError,
)

COLUMNS = {
    "id": ["a", "b", "c", "d"],
    "age": [30, 41, 52, 63],
    "kg": [70.5, 81.0, 62.25, 55.0],
    "sex": ["f", "m", "f", "m"],
}
TABLES = {
    "pandas": pd.DataFrame(COLUMNS),
    "polars": pl.DataFrame(COLUMNS),
    "arrow": pa.table(COLUMNS),
}
tables = pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)


@tables
def test_ids_and_components_are_columns(table):
    dataset = Dataset.from_dataframe(table, Rows, index="id", x="age", y="sex")
    batch = dataset.create_batch(["c", "a"])
    assert batch.x.tolist() == [52, 30]
    assert batch.x.dtype == np.int64
    assert batch.y.tolist() == ["f", "f"]


@tables
def test_several_columns_become_an_array_with_one_row_for_each_item(table):
    dataset = Dataset.from_dataframe(table, Rows, x=["age", "kg"], y="age")
    assert dataset.indices.tolist() == [0, 1, 2, 3]
    assert dataset.create_batch([1]).x.tolist() == [[41.0, 81.0]]


@tables
def test_a_function_takes_the_whole_table(table):
    dataset = Dataset.from_dataframe(
        table, Rows, x=lambda t: np.asarray(t["age"]) - np.mean(np.asarray(t["age"])), y="sex"
    )
    assert dataset.create_batch([3]).x.tolist() == [16.5]


@tables
def test_without_components_the_columns_of_their_names_are_taken(table):
    names = {"age": "x", "kg": "y"}
    table = table.rename(columns=names) if hasattr(table, "iloc") else table
    table = table.rename(names) if isinstance(table, pl.DataFrame) else table
    if isinstance(table, pa.Table):
        table = table.rename_columns([names.get(n, n) for n in table.column_names])
    assert Dataset.from_dataframe(table, Rows).create_batch([0]).y.tolist() == [70.5]


@tables
def test_a_column_that_is_missing_is_named(table):
    with pytest.raises(UnknownNameError, match="no column 'wieght' for 'x'"):
        Dataset.from_dataframe(table, Rows, x="wieght")
    with pytest.raises(UnknownNameError, match="no column 'nr'"):
        Dataset.from_dataframe(table, Rows, index="nr", x="age")


@tables
def test_a_table_without_columns_of_the_components_says_how_to_choose(table):
    with pytest.raises(ArgumentTypeError, match="say which column is which component"):
        Dataset.from_dataframe(table, Rows)


def test_labels_of_a_table_are_its_ids():
    table = TABLES["pandas"].set_index("id")
    dataset = Dataset.from_dataframe(table.sample(frac=1, random_state=3), Rows, x="age")
    assert dataset.create_batch(["b"]).x.tolist() == [41]
    assert sorted(dataset.indices) == ["a", "b", "c", "d"]


def test_a_selection_of_rows_keeps_its_labels_as_ids():
    table = TABLES["pandas"]
    dataset = Dataset.from_dataframe(table[table.age > 40], Rows, x="age")
    assert dataset.indices.tolist() == [1, 2, 3]
    assert dataset.create_batch([3]).x.tolist() == [63]


def test_doubled_ids_are_named():
    table = pd.DataFrame({"id": ["a", "b", "a"], "x": [1, 2, 3]})
    with pytest.raises(ArgumentValueError, match="more than once: \\['a'\\]"):
        Dataset.from_dataframe(table, Rows, index="id", x="x")


def test_a_column_that_is_there_twice_is_refused():
    table = pd.DataFrame([[1, 2]], columns=["x", "x"])
    with pytest.raises(ArgumentValueError, match="several columns 'x'"):
        Dataset.from_dataframe(table, Rows, x="x")


def test_a_level_of_the_labels_may_be_the_ids():
    table = TABLES["pandas"].set_index("id")
    assert Dataset.from_dataframe(table, Rows, index="id", x="age").create_batch(["d"]).x == [63]


def test_missing_values_stay_missing():
    table = pl.DataFrame({"x": [1, None, 3], "y": ["u", None, "w"]})
    batch = Dataset.from_dataframe(table, Rows).create_batch([0, 1])
    assert batch.x.tolist() == [1, None]
    assert batch.y.tolist() == ["u", None]


def test_large_integers_beside_floats_stay_exact():
    table = pd.DataFrame({"a": [2**60 + 1], "b": [0.5]})
    assert Dataset.from_dataframe(table, Rows, x=["a", "b"]).create_batch([0]).x.tolist() == [
        [2**60 + 1, 0.5]
    ]


@pytest.mark.parametrize(
    "value", [np.zeros(3), {"x": [1]}, [1, 2], "table.csv", TABLES["polars"].lazy()], ids=type
)
def test_what_is_no_table_in_memory_is_refused(value):
    with pytest.raises(ArgumentTypeError, match="from_dataframe takes a table"):
        Dataset.from_dataframe(value, Rows, x="x")


def test_a_batch_class_of_any_kind_gets_the_columns():
    assert Dataset.from_dataframe(TABLES["arrow"], Loose, x="kg").next_batch(2).x.tolist() == [
        70.5,
        81.0,
    ]


@pytest.mark.parametrize("index", [None, "id"])
def test_a_function_that_sorts_the_rows_gives_each_its_own_value(index):
    dataset = Dataset.from_dataframe(
        TABLES["pandas"], Rows, index, x="kg", y=lambda t: t.kg.sort_values()
    )
    batch = dataset.next_batch(4)
    assert batch.y.tolist() == batch.x.tolist()


@pytest.mark.parametrize("as_given", [pd.Index, np.array])
def test_several_columns_may_be_an_index_of_names(as_given):
    dataset = Dataset.from_dataframe(TABLES["pandas"], Rows, x=as_given(["age", "kg"]))
    assert dataset.create_batch([1]).x.tolist() == [[41.0, 81.0]]


def test_columns_of_nested_and_fine_values_lose_nothing():
    pairs = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0, 3.0, 4.0]), 2)
    table = pa.table({"x": pairs, "y": pa.array([1, None], pa.timestamp("ns"))})
    records = pl.DataFrame({"x": [{"a": 1}, {"a": 2}]})
    for given in (table, pl.from_arrow(table)):
        batch = Dataset.from_dataframe(given, Rows).next_batch(2)
        assert batch.x.tolist() == [[1.0, 2.0], [3.0, 4.0]]
        assert (batch.y[0].nanosecond, batch.y[1]) == (1, None)
    assert Dataset.from_dataframe(records, Rows).next_batch(2).x.tolist() == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame, pa.table])
def test_a_row_without_an_id_is_an_error(make):
    table = make({"id": ["a", None, "c"], "x": [1, 2, 3]})
    with pytest.raises(ArgumentValueError, match=r"1 of 3 rows have no id: .*column 'id'"):
        Dataset.from_dataframe(table, Rows, index="id")


def test_a_table_with_a_label_that_is_missing_is_refused():
    table = pd.DataFrame({"x": [1, 2]}, index=pd.Index(["a", None], dtype=object))
    with pytest.raises(ArgumentValueError, match="1 of 2 rows have no id: values among the labels"):
        Dataset.from_dataframe(table, Rows)


def test_the_ids_may_be_one_of_several_levels_of_labels():
    labels = pd.MultiIndex.from_product([["a"], [7, 8]], names=["site", "visit"])
    dataset = Dataset.from_dataframe(pd.DataFrame({"x": [1, 2]}, index=labels), Rows, "visit")
    assert dataset.create_batch([8, 7]).x.tolist() == [2, 1]


def test_a_data_set_with_columns_and_items_is_no_table():
    class Records(list):
        column_names = ("x", "y")

    records = Records([{"x": 1, "y": 2}])
    with pytest.raises(ArgumentTypeError, match=r"a data set of another library: .*from_items"):
        Dataset.from_dataframe(records, Rows)
    assert Dataset.from_items(records, Rows).next_batch(1).x.tolist() == [1]
