"""Dataset.from_parquet: row groups are read when they are needed, and values keep their kinds."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from kit import Rows

from batchflow import ArgumentValueError, Dataset, UnknownNameError
from batchflow.sources.parquet import ParquetSource

N = 30


@pytest.fixture
def folder(tmp_path):
    for part in range(2):
        numbers = range(part * N, (part + 1) * N)
        table = pa.table(
            {
                "id": [f"r{k}" for k in numbers],
                "n": list(numbers),
                "f": [k / 2 for k in numbers],
                "gap": [None if k == 40 else k for k in numbers],
                "kind": pa.array([["u", "w"][k % 2] for k in numbers]).dictionary_encode(),
                "vector": pa.FixedSizeListArray.from_arrays(
                    pa.array([float(v) for k in numbers for v in (k, -k)]), 2
                ),
            }
        )
        pq.write_table(table, tmp_path / f"part{part}.parquet", row_group_size=7)
    return tmp_path


OPTIONS = [{}, {"prefetch": 3}, {"executor": "processes", "n_workers": 1}]


@pytest.mark.parametrize("options", OPTIONS, ids=["direct", "threads", "processes"])
def test_batches_have_the_rows_of_all_files(folder, options):
    dataset = Dataset.from_parquet(folder / "*.parquet", Rows, index="id", x="n", y="kind")
    assert len(dataset) == 2 * N
    for batch in dataset.gen_batch(8, shuffle=1, **options):
        assert [f"r{k}" for k in batch.x] == batch.indices.tolist()
        assert batch.y.tolist() == [["u", "w"][k % 2] for k in batch.x]


def test_lists_of_one_length_become_one_array(folder):
    batch = Dataset.from_parquet(folder / "*.parquet", Rows, x="vector").create_batch([41, 3])
    assert batch.x.tolist() == [[41.0, -41.0], [3.0, -3.0]]


def test_several_columns_and_functions_are_components(folder):
    dataset = Dataset.from_parquet(
        folder / "*.parquet", Rows, x=["n", "f"], y=lambda rows: np.asarray(rows["n"]) % 3
    )
    batch = dataset.create_batch([50, 4])
    assert batch.x.tolist() == [[50.0, 25.0], [4.0, 2.0]]
    assert batch.y.tolist() == [2, 1]


def test_a_missing_value_anywhere_makes_objects_of_all_rows(folder):
    dataset = Dataset.from_parquet(folder / "*.parquet", Rows, x="gap")
    assert dataset.create_batch([0, 1]).x.dtype == object
    assert dataset.create_batch([40, 41]).x.tolist() == [None, 41]


def test_no_more_row_groups_are_kept_than_two_or_64_mib(folder, monkeypatch):
    monkeypatch.setattr("batchflow.sources.parquet._KEPT_BYTES", 0)
    source = ParquetSource([str(folder / "part0.parquet")], {"x": "n"}, ())
    for position in range(N):
        assert source.read(np.array([position]))["x"].tolist() == [position]
    assert len(source._kept) == 2


def test_the_first_rows_of_row_groups_are_the_blocks(folder):
    source = ParquetSource([str(folder / f"part{k}.parquet") for k in (0, 1)], {"x": "n"}, ())
    assert source.blocks.tolist() == [0, 7, 14, 21, 28, 30, 37, 44, 51, 58]


def test_a_batch_can_be_made_again(folder):
    pipeline = Dataset.from_parquet(folder / "*.parquet", Rows, x="n").p
    batches = list(pipeline.gen_batch(8, shuffle=True, seed=4))
    again = pipeline.replay(3, 8, shuffle=True, seed=4)
    assert again.x.tolist() == batches[3].x.tolist()


def test_a_file_that_changes_during_a_run_is_an_error(folder):
    run = Dataset.from_parquet(folder / "*.parquet", Rows, x="n").gen_batch(7)
    next(run)
    pq.write_table(pa.table({"n": [1]}), folder / "part0.parquet")
    with pytest.raises(ArgumentValueError, match=r"part0.parquet' was changed"):
        list(run)


def test_no_file_no_column_and_other_columns_are_told_at_once(folder):
    with pytest.raises(ArgumentValueError, match=r"no file matches .*looked in"):
        Dataset.from_parquet(folder / "*.pq", Rows, x="n")
    with pytest.raises(UnknownNameError, match="no column 'm' for 'x'"):
        Dataset.from_parquet(folder / "*.parquet", Rows, x="m")
    pq.write_table(pa.table({"n": ["text"]}), folder / "z.parquet")
    with pytest.raises(ArgumentValueError, match="'n' is string, there int64"):
        Dataset.from_parquet(folder / "*.parquet", Rows, x="n")


def test_large_integers_beside_floats_make_objects_of_all_rows(tmp_path):
    table = pa.table({"n": [1, 2**60 + 1], "f": [0.5, 1.5]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    dataset = Dataset.from_parquet(tmp_path / "a.parquet", Rows, x=["n", "f"])
    rows = [dataset.create_batch([k]).x for k in (0, 1)]
    assert [row.tolist() for row in rows] == [[[1, 0.5]], [[2**60 + 1, 1.5]]]
    assert rows[0].dtype == rows[1].dtype == object


def test_ids_that_are_missing_are_told_at_once(folder):
    with pytest.raises(UnknownNameError, match="no column 'ids' for 'index'"):
        Dataset.from_parquet(folder / "*.parquet", Rows, "ids", x="n")
    with pytest.raises(ArgumentValueError, match="1 rows have no id: the column 'gap'"):
        Dataset.from_parquet(folder / "*.parquet", Rows, "gap", x="n")


def test_what_is_no_parquet_file_is_named(folder):
    (folder / "z.parquet").write_text("no")
    with pytest.raises(ValueError, match="Parquet") as caught:
        Dataset.from_parquet(folder / "*.parquet", Rows, x="n")
    assert "z.parquet" in caught.value.__notes__[0]


@pytest.mark.parametrize("width", [-1, 2], ids=["lists", "fixed lists"])
def test_a_missing_value_in_one_list_makes_objects_of_all_rows(tmp_path, width):
    values = [[1, 2], [3, None]]
    table = pa.table({"n": pa.array(values, pa.list_(pa.int64(), width))})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=1)
    dataset = Dataset.from_parquet(tmp_path / "a.parquet", Rows, x="n")
    rows = [dataset.create_batch([k]).x for k in (0, 1)]
    assert [row.tolist() for row in rows] == [[[1, 2]], [[3, None]]]
    assert rows[0].shape == rows[1].shape


NESTED = {
    "records": ([{"a": 2**60 + 1}, {"a": 2}, {"a": None}], pa.struct([("a", pa.int64())])),
    "lists": ([[{"a": 2**60 + 1}], [], [{"a": None}]], pa.list_(pa.struct([("a", pa.int64())]))),
    "maps": ([[("a", 2**60 + 1)], [], [("a", None)]], pa.map_(pa.string(), pa.int64())),
}


@pytest.mark.parametrize(("values", "kind"), NESTED.values(), ids=NESTED)
def test_whole_numbers_in_records_stay_whole_beside_missing_ones(tmp_path, values, kind):
    table = pa.table({"n": pa.array(values, kind)})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    for dataset in (
        Dataset.from_parquet(tmp_path / "a.parquet", Rows, x="n"),
        Dataset.from_dataframe(table, Rows, x="n"),
    ):
        for ids in ([0], [0, 2], [0, 1, 2]):
            found = dataset.create_batch(ids).x.tolist()
            assert repr(found) == repr([values[k] for k in ids])  # 2.0 is equal to 2


def test_a_path_may_have_brackets_and_one_that_is_not_there_is_an_error(folder):
    (folder / "part0.parquet").rename(folder / "part[0].parquet")
    assert len(Dataset.from_parquet(folder / "part[0].parquet", Rows, x="n")) == N
    paths = [folder / "part[0].parquet", folder / "part2.parquet"]
    with pytest.raises(ArgumentValueError, match=r"no file matches '.*part2.parquet'"):
        Dataset.from_parquet(paths, Rows, x="n")


def test_a_folder_is_no_parquet_file(folder):
    with pytest.raises(ArgumentValueError, match="is a folder: for the files in it write"):
        Dataset.from_parquet(folder, Rows, x="n")
