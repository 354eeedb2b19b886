"""Faults of an older batchflow, D and E: loading, copies, merging, files, splits, memory."""

import copy
import sys

import numpy as np
import pytest

from batchflow import ArgumentValueError, ArrayBatch, Batch, Dataset, DatasetIndex, FilesIndex
from batchflow.index import scan

from .conftest import each_prefetch, run_program

SOURCE = np.array([100, 101, 102, 103])


class Pair(ArrayBatch):
    components = "first", "second"


def arrays(ids, rows):
    batch = ArrayBatch(ids)
    batch.data = rows
    return batch


# ---- D1: load finds rows by item


def test_d1_loaded_rows_are_those_of_the_items():
    b = Dataset(4, ArrayBatch).create_batch([2, 0, 1]).load(src=SOURCE)
    assert ([b[2], b[0], b[1]], list(b)) == ([102, 100, 101], [102, 100, 101])


@each_prefetch
@pytest.mark.parametrize("shuffle", [False, 7])
def test_d1_every_batch_of_a_run_loads_the_rows_of_its_items(prefetch, shuffle):
    run = Dataset(4, ArrayBatch).p.load(src=SOURCE).gen_batch(2, shuffle=shuffle, prefetch=prefetch)
    assert [b.data.tolist() for b in run] == [
        [100 + i for i in ids.indices.tolist()]
        for ids in Dataset(4).gen_batch(2, shuffle=shuffle, prefetch=prefetch)
    ]


def test_d1_ids_beyond_the_number_of_rows_are_found():
    b = Dataset([1000, 7], ArrayBatch).create_batch([7]).load(src=[10, 20])
    assert b[7] == 20


# ---- D2: numpy only


def test_d2_data_is_loaded_merged_and_split_where_pandas_is_not_installed():
    done = run_program("""
        import numpy as np
        sys.modules["pandas"] = None  # importing it fails
        class Parts(Batch):
            components = "a", "b"
        dataset = Dataset(4, Parts)
        for fold in dataset.kfold(2):
            batches = list(fold.train.gen_batch(1))
            merged = Parts.merge([b.load((np.arange(2), np.arange(2))) for b in batches])
            assert merged.a.tolist() == merged.b.tolist() == [0, 1]
            assert len(Dataset.from_batch(merged[fold.train.indices[:1]].deepcopy())) == 1
        print("done")
        """)
    assert (done.stdout, done.stderr) == ("done\n", "")


# ---- D3: ids round-trip


@pytest.mark.parametrize("fmt", ["npy", "npz"])
@pytest.mark.parametrize("ids", [[1, 3], ["a", "b"]], ids=["ints", "strings"])
def test_d3_files_come_back_by_id_in_any_order(tmp_path, fmt, ids):
    save = {"npy": np.save, "npz": np.savez}[fmt]
    for row, item in enumerate(ids):
        save(tmp_path / f"{item}.{fmt}", np.array([row]))
    b = ArrayBatch(ids[::-1]).load(src=tmp_path, fmt=fmt)
    assert {item: int(b[item][0]) for item in ids} == dict(zip(ids, [0, 1], strict=True))


def test_d3_an_id_without_a_file_is_refused(tmp_path):
    np.save(tmp_path / "1.npy", np.zeros(1))
    with pytest.raises(FileNotFoundError, match=r"0\.npy"):
        ArrayBatch([1, 0]).load(src=tmp_path, fmt="npy")


# ---- D4: a format works or is not offered


@pytest.mark.parametrize("fmt", ["csv", "blosc", "feather", "hdf5"])
def test_d4_a_format_that_is_not_offered_is_refused_with_what_is(fmt):
    with pytest.raises(ArgumentValueError, match=f'reads "npy" and "npz" by itself, not {fmt!r}'):
        Batch(2).load(src="folder", fmt=fmt)


def test_d4_any_other_format_is_read_by_a_function(tmp_path):
    (tmp_path / "7").write_text("1,2\n3,4")
    b = ArrayBatch([7]).load(tmp_path, fmt=lambda path: np.loadtxt(path, delimiter=","))
    assert b[7].tolist() == [[1, 2], [3, 4]]


# ---- D9: copies


@pytest.mark.parametrize("deepcopy", [Batch.deepcopy, copy.deepcopy])
@pytest.mark.parametrize("name", ["pipeline", "dataset", "rng", "number", "epoch", "indices"])
def test_d9_a_copy_has_the_facts_of_its_batch(deepcopy, name):
    b = Dataset(4).p.next_batch(2)
    assert getattr(deepcopy(b), name) is not None


def test_d9_a_batch_is_copied_in_a_program_that_imports_everything():
    done = run_program("""
        from batchflow import *
        b = p.next_batch(3)
        b.data = [[1], [2], [3]]
        twin = b.deepcopy()
        twin.data[0].append(9)
        print(b.data)
        """)
    assert (done.stdout, done.stderr) == ("[[1], [2], [3]]\n", "")


# ---- D11: merging


def test_d11_ids_are_kept_by_merging():
    merged = ArrayBatch.merge([arrays([4], [40]), arrays([2], [20])])
    assert (merged.indices.tolist(), merged[2]) == ([4, 2], 20)


def test_d11_a_component_without_data_leaves_the_others_theirs():
    one, other = Pair([4]), Pair([2])
    one.second, other.second = [40], [20]
    merged = Pair.merge([one, other])
    assert (merged.first, merged.second.tolist()) == (None, [40, 20])


def test_d11_batches_without_components_are_merged():
    one, other = Batch([4]), Batch([2])
    one.data, other.data = ["x"], [[1, 2]]
    assert Batch.merge([one, other]).data == ["x", [1, 2]]


# ---- D12: items without look-ups


@pytest.mark.parametrize("cls", [ArrayBatch, Pair])
def test_d12_iteration_looks_no_id_up(cls, monkeypatch):
    b = cls(100).load([np.arange(100)] * len(cls.components) or np.arange(100))
    for name in ("_table", "_positions", "_position"):
        monkeypatch.setattr(DatasetIndex, name, None)  # a look-up fails
    assert len(list(b)) == 100


# ---- E4: no part of an earlier split


def test_e4_the_parts_of_a_dataset_are_those_of_its_last_split():
    dataset = Dataset(10)
    dataset.cv_split([0.6, 0.2, 0.2])
    dataset.cv_split(0.5)
    assert (dataset.validation, len(dataset.train), len(dataset.test)) == (None, 5, 5)


# ---- E8: files


@pytest.fixture
def folder(tmp_path):
    for name in ("2.x", "10.x", "1.x"):
        (tmp_path / name).touch()
    return tmp_path


def test_e8_a_path_object_is_a_pattern(folder):
    assert len(FilesIndex(path=folder / "*.x")) == 3


def test_e8_files_are_sorted_whatever_the_system_lists_first(folder, monkeypatch):
    found = [str(folder / name) for name in ("2.x", "10.x", "1.x")]
    monkeypatch.setattr(scan, "_listed", lambda *args: iter(found))
    assert FilesIndex(folder / "*").indices.tolist() == ["1.x", "10.x", "2.x"]


def test_e8_a_pattern_without_files_is_refused(folder):
    with pytest.raises(ValueError, match=r"no file matches '.*\.y'"):
        FilesIndex(folder / "*.y")


# ---- E10: memory, in bytes per id

N = 100_000


def held(index):
    """Give the bytes of all arrays that an index holds, each buffer once."""
    arrays = [index._ids]
    for value in vars(index).values():
        arrays.append(value._ids if isinstance(value, DatasetIndex) else value)
    buffers = {id(a if a.base is None else a.base): a for a in arrays}
    return sum((a if a.base is None else a.base).nbytes for a in buffers.values())


def test_e10_a_range_of_ids_takes_no_memory_per_id():
    small, large = DatasetIndex(10)._ids, DatasetIndex(10**9)._ids
    assert sys.getsizeof(large) == sys.getsizeof(small)


def test_e10_ints_take_at_most_10_bytes_each():
    assert held(DatasetIndex(np.arange(N)[::-1])) <= 10 * N


def test_e10_strings_take_at_most_a_third_more_than_their_array():
    ids = np.arange(N).astype("U32")
    assert held(DatasetIndex(ids)) <= 1.3 * ids.nbytes


@pytest.mark.parametrize("shuffle", [False, 3])
@pytest.mark.parametrize("make", [DatasetIndex, lambda n: DatasetIndex(np.arange(n)[::-1])])
def test_e10_a_split_of_ints_takes_at_most_9_bytes_each(make, shuffle):
    whole = make(N)
    parts = whole.split(0.6, 0.2, 0.2, shuffle=shuffle)
    new = {}
    for ids in (part._ids for part in parts):
        if isinstance(ids, np.ndarray):
            buffer = ids if ids.base is None else ids.base
            new[id(buffer)] = 0 if np.shares_memory(buffer, whole.indices) else buffer.nbytes
    assert sum(new.values()) <= 9 * N


def test_e10_files_take_at_most_120_bytes_each(monkeypatch):
    paths = [f"/data/of/the/hospital/by/year/{i % 50:04}/scan_{i:012}.dcm" for i in range(N)]
    monkeypatch.setattr(scan, "_matches", lambda pattern, dirs: iter(paths))
    index = FilesIndex("any")
    assert index.get_fullpath("scan_000000000057.dcm") == paths[57]
    assert held(index) <= 120 * N
