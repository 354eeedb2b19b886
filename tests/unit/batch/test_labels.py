"""Tables of pandas: rows go by label where ids were given, by position where nobody gave any."""

import numpy as np
import pandas as pd
import pytest
from kit import Rows

from batchflow import ArgumentTypeError, ArgumentValueError, ArrayBatch, Batch, Dataset, FilesIndex

TABLE = pd.DataFrame({"y": [1, 2, 3], "x": [0.5, 1.5, 2.5]}, index=["a", "b", "c"])
UPSIDE_DOWN = TABLE.iloc[::-1]


class One(Batch):
    components = "table"


def assigned(batch):
    batch.y = UPSIDE_DOWN.y.loc[UPSIDE_DOWN.index.isin(batch.indices)]
    return batch


BY_LABEL = {
    "from_arrays": lambda ids: Dataset.from_arrays(Rows, index=ids, y=UPSIDE_DOWN.y).p,
    "beside an array": lambda ids: (
        Dataset.from_arrays(Rows, index=ids, x=np.arange(3), y=UPSIDE_DOWN.y).p
    ),
    "preloaded table": lambda ids: Dataset(ids, Rows, preloaded=UPSIDE_DOWN).p,
    "preloaded columns": lambda ids: Dataset(ids, Rows, preloaded=(TABLE.x, UPSIDE_DOWN.y)).p,
    "load table": lambda ids: Dataset(ids, Rows).p.load(src=UPSIDE_DOWN),
    "load column": lambda ids: Dataset(ids, Rows).p.load(src=UPSIDE_DOWN.y, components="y"),
    "load mapping": lambda ids: Dataset(ids, Rows).p.load(src={"y": UPSIDE_DOWN.y}),
    "assignment": lambda ids: Dataset(ids, Rows).p.map(assigned, over="batches"),
}


@pytest.mark.parametrize("way", BY_LABEL.values(), ids=BY_LABEL)
@pytest.mark.parametrize("ids", [["a", "b", "c"], ["c", "a", "b"]], ids=str)
def test_rows_go_to_the_items_whose_ids_are_their_labels(way, ids):
    for batch in way(ids).gen_batch(2, shuffle=1):
        assert batch.y.tolist() == TABLE.y.loc[batch.indices].tolist()


@pytest.mark.parametrize("way", BY_LABEL.values(), ids=BY_LABEL)
def test_a_missing_label_is_named(way):
    with pytest.raises(ArgumentValueError, match=r"\['z'\]"):
        way(["a", "z", "c"]).next_batch(3)


def test_a_doubled_label_is_named():
    series = pd.Series([1, 2, 3], index=["a", "a", "b"])
    with pytest.raises(ArgumentValueError, match=r"more than once: \['a'\]"):
        Dataset.from_arrays(Rows, index=["a", "b"], y=series)


def test_the_refusal_says_how_rows_are_taken_by_position():
    with pytest.raises(ArgumentValueError, match=r"\.to_numpy\(\)"):
        Dataset.from_arrays(Rows, index=["a", "b"], y=pd.Series([1, 2]))


def test_rows_may_be_more_than_the_ids():
    batch = Dataset(["c", "a"], Rows).p.load(src=TABLE).next_batch(2)
    assert batch.y.tolist() == [3, 1]


def test_labels_are_found_for_parts_and_shuffled_batches():
    dataset = Dataset.from_arrays(Rows, index=TABLE.index, y=UPSIDE_DOWN.y)
    part = dataset.create_subset(["c", "a"])
    assert part.next_batch(2).y.tolist() == [3, 1]
    assert part.p.load(src=UPSIDE_DOWN).next_batch(2).y.tolist() == [3, 1]


def test_a_batch_without_a_dataset_goes_by_its_own_ids():
    assert Rows(["c", "a"]).load(src=TABLE).y.tolist() == [3, 1]


def test_files_are_ids(tmp_path):
    for name in "abc":
        (tmp_path / f"{name}.txt").touch()
    index = FilesIndex(tmp_path / "*.txt", no_ext=True)
    assert Dataset(index, Rows, preloaded=UPSIDE_DOWN).next_batch(3).y.tolist() == [1, 2, 3]


def test_tuples_and_dates_are_labels():
    labels = pd.MultiIndex.from_tuples([("a", 1), ("b", 2)])
    series = pd.Series([1, 2], index=labels)
    dataset = Dataset.from_arrays(Rows, index=[("b", 2), ("a", 1)], y=series)
    assert dataset.next_batch(2).y.tolist() == [2, 1]
    days = pd.date_range("2020-01-01", periods=3)
    dataset = Dataset.from_arrays(Rows, index=days[::-1], y=pd.Series([1, 2, 3], index=days))
    assert dataset.next_batch(3).y.tolist() == [3, 2, 1]


# ---- where nobody gave ids

BY_POSITION = {
    "from_arrays": lambda y: Dataset.from_arrays(Rows, y=y).p,
    "preloaded": lambda y: Dataset(3, Rows, preloaded={"y": y}).p,
    "load": lambda y: Dataset(3, Rows).p.load(src={"y": y}),
}


@pytest.mark.parametrize("way", BY_POSITION.values(), ids=BY_POSITION)
def test_rows_go_by_position_where_nobody_gave_ids(way):
    assert way(UPSIDE_DOWN.y).next_batch(3).y.tolist() == [3, 2, 1]
    shuffled = TABLE.reset_index().y.iloc[[2, 0, 1]]
    assert way(shuffled).next_batch(3).y.tolist() == [3, 1, 2]


@pytest.mark.parametrize(
    "make",
    [
        lambda x, y: Dataset.from_arrays(Rows, x=x, y=y),
        lambda x, y: Dataset(3, Rows, preloaded=(x, y)),
        lambda x, y: Dataset(3, Rows).p.load(src=(x, y)).next_batch(3),
    ],
    ids=["from_arrays", "preloaded", "load"],
)
def test_rows_with_other_labels_do_not_lie_beside_each_other(make):
    with pytest.raises(ArgumentValueError, match=r"different labels.*index=.*\.to_numpy\(\)"):
        make(TABLE.x, UPSIDE_DOWN.y)
    make(UPSIDE_DOWN.x, UPSIDE_DOWN.y)
    make(TABLE.x, UPSIDE_DOWN.y.to_numpy())


# ---- what columns become


def test_a_column_keeps_its_missing_values_in_every_batch():
    table = pd.DataFrame(
        {
            "x": pd.array([1, None, 2**60 + 1], "Int64"),
            "y": pd.array([True, None, False], "boolean"),
        }
    )
    ways = Dataset(3, Rows, preloaded=table).p, Dataset(3, Rows).p.load(src=table)
    for pipeline in ways:
        batches = list(pipeline.gen_batch(1))
        assert [batch.x[0] for batch in batches] == [1, pd.NA, 2**60 + 1] or (
            batches[1].x[0] is pd.NA and batches[2].x[0] == 2**60 + 1
        )
        assert {batch.x.dtype for batch in batches} == {np.dtype(object)}
        assert batches[0].y[0] is True


def test_a_column_without_missing_values_is_an_array_of_numbers():
    column = pd.Series([1, 2, 3], dtype="Int64")
    assert Dataset.from_arrays(Rows, y=column).next_batch(2).y.dtype == np.int64


def test_columns_of_polars_keep_their_missing_values():
    import polars as pl

    table = pl.DataFrame({"x": [1, None, 2**60 + 1], "y": ["a", "b", None]})
    for pipeline in (Dataset(3, Rows, preloaded=table).p, Dataset(3, Rows).p.load(src=table)):
        batch = pipeline.next_batch(3)
        assert batch.x.tolist() == [1, None, 2**60 + 1]
        assert batch.y.tolist() == ["a", "b", None]


def test_a_whole_table_is_one_component_where_no_column_is_called_so():
    dataset = Dataset(["c", "a", "b"], One, preloaded=TABLE)
    batch = dataset.next_batch(2)
    assert batch.table.index.tolist() == ["c", "a"]
    assert batch.table.y.tolist() == [3, 1]


def test_what_a_batch_does_to_its_table_does_not_reach_the_data():
    dataset = Dataset(TABLE.index, One, preloaded=TABLE)
    for options in ({}, {"shuffle": 1}):
        batch = next(dataset.gen_batch(2, **options))
        batch.table.loc[:, "y"] = 99
    assert TABLE.y.tolist() == [1, 2, 3]


def test_a_table_is_an_array_in_an_array_batch():
    class Table(ArrayBatch):
        components = "rows"

    whole = pd.DataFrame({"a": [1, 2], "b": [2**53 + 1, 5], "c": [0.5, 1.5]})
    rows = Dataset(2, Table, preloaded=whole[["a", "c"]]).next_batch(2).rows
    assert rows.dtype == float
    assert rows.tolist() == [[1, 0.5], [2, 1.5]]
    rows = Dataset(2, Table, preloaded=whole).next_batch(2).rows
    assert rows.tolist() == [[1, 2**53 + 1, 0.5], [2, 5, 1.5]]


def test_a_table_without_the_components_is_refused_with_its_columns():
    with pytest.raises(ArgumentTypeError, match="with the columns q"):
        Dataset(3, Rows, preloaded=TABLE[["y"]].rename(columns={"y": "q"}))
