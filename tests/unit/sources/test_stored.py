"""Dataset.from_hdf5 and from_zarr: rows of arrays on disk, opened again in each process."""

import h5py
import numpy as np
import pytest
import zarr
from kit import Rows

from batchflow import ArgumentTypeError, ArgumentValueError, Dataset, UnknownNameError

VALUES = np.arange(60.0).reshape(20, 3)


def make_hdf5(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("deep/x", data=VALUES, chunks=(4, 3))
        file["y"] = np.arange(20)
        file["ids"] = [f"k{k}" for k in range(20)]
        file["short"], file["empty"] = np.arange(3), np.arange(0)
        file["scalar"] = 1
    return Dataset.from_hdf5


def make_zarr(path):
    group = zarr.open_group(path, mode="w")
    group.create_array("deep/x", data=VALUES, chunks=(4, 3))
    group.create_array("y", data=np.arange(20))
    group.create_array("short", data=np.arange(3))
    group.create_array("empty", data=np.arange(0))
    return Dataset.from_zarr


KINDS = {"hdf5": make_hdf5, "zarr": make_zarr}
kinds = pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
OPTIONS = [
    {},
    {"shuffle": 1, "prefetch": 3},
    {"shuffle": 1, "executor": "processes", "n_workers": 1},
]


@kinds
@pytest.mark.parametrize("options", OPTIONS, ids=["in order", "threads", "processes"])
def test_batches_have_their_rows(tmp_path, make, options):
    read = make(tmp_path / "data")
    for batch in read(tmp_path / "data", Rows, x="/deep/x", y="y").gen_batch(6, **options):
        assert batch.y.tolist() == batch.indices.tolist()
        assert batch.x.tolist() == VALUES[batch.indices].tolist()


@kinds
def test_parts_and_replayed_batches_have_their_rows(tmp_path, make):
    dataset = make(tmp_path / "data")(tmp_path / "data", Rows, x="deep/x", y="y")
    part = dataset.split(0.5, shuffle=3).test
    batches = list(part.gen_batch(4, shuffle=True, seed=2))
    assert all(batch.y.tolist() == batch.indices.tolist() for batch in batches)
    assert part.p.replay(1, 4, shuffle=True, seed=2).y.tolist() == batches[1].y.tolist()


@kinds
def test_the_path_leads_to_the_file_from_another_folder(tmp_path, make, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dataset = make("data")("data", Rows, x="deep/x")
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert dataset.create_batch([2]).x.tolist() == [VALUES[2].tolist()]


@kinds
def test_a_name_that_is_not_there_is_refused_with_a_near_one(tmp_path, make):
    read = make(tmp_path / "data")
    with pytest.raises(UnknownNameError, match=r"has no array 'dep/x'. Did you mean '/?deep/x'"):
        read(tmp_path / "data", Rows, x="dep/x")
    with pytest.raises((UnknownNameError, ArgumentTypeError), match=r"'deep'|has no array"):
        read(tmp_path / "data", Rows, x="deep")


@kinds
def test_arrays_without_rows_are_refused(tmp_path, make):
    read = make(tmp_path / "data")
    with pytest.raises(ArgumentValueError, match="data': the arrays have no rows: 'empty'"):
        read(tmp_path / "data", Rows, x="empty")


@kinds
def test_arrays_of_different_lengths_are_refused(tmp_path, make):
    read = make(tmp_path / "data")
    with pytest.raises(ArgumentValueError, match="'y' has 20, 'short' has 3"):
        read(tmp_path / "data", Rows, x="y", y="short")


@pytest.mark.parametrize("read", [Dataset.from_hdf5, Dataset.from_zarr], ids=KINDS)
def test_a_file_that_is_not_there_is_looked_for_in_vain(tmp_path, read, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError) as caught:
        read("nowhere", Rows, x="x")
    assert str(tmp_path / "nowhere") in str(caught.value)


def test_a_changed_hdf5_file_is_an_error(tmp_path):
    make_hdf5(tmp_path / "data")
    run = Dataset.from_hdf5(tmp_path / "data", Rows, x="y").gen_batch(4)
    next(run)
    (tmp_path / "data").unlink()
    make_hdf5(tmp_path / "data")
    with pytest.raises(ArgumentValueError, match="was changed after the dataset was made"):
        list(run)


def test_ids_are_texts_of_the_file(tmp_path):
    make_hdf5(tmp_path / "data")
    dataset = Dataset.from_hdf5(tmp_path / "data", Rows, index="ids", x="deep/x", y="ids")
    assert dataset.create_batch(["k7"]).x.tolist() == [VALUES[7].tolist()]
    assert dataset.create_batch(["k7"]).y.tolist() == ["k7"]


def test_a_scalar_is_no_component(tmp_path):
    make_hdf5(tmp_path / "data")
    with pytest.raises(ArgumentTypeError, match="one row for each"):
        Dataset.from_hdf5(tmp_path / "data", Rows, x="scalar")


def test_one_zarr_array_is_a_dataset(tmp_path):
    zarr.save_array(tmp_path / "one", VALUES)
    assert Dataset.from_zarr(tmp_path / "one", Rows, x="/").create_batch([1, 0]).x.tolist() == [
        VALUES[1].tolist(),
        VALUES[0].tolist(),
    ]


def test_chunks_are_the_blocks(tmp_path):
    make_hdf5(tmp_path / "data")
    source = Dataset.from_hdf5(tmp_path / "data", Rows, x="deep/x")._data._source
    assert source.blocks == 4
    assert str(tmp_path / "data") in source.fingerprint


def test_a_zip_file_is_a_dataset(tmp_path):
    store = zarr.storage.ZipStore(tmp_path / "data.zip", mode="w")
    zarr.open_group(store, mode="w").create_array("x", data=VALUES)
    store.close()
    dataset = Dataset.from_zarr(tmp_path / "data.zip", Rows, x="x")
    for options in ({}, {"executor": "processes", "n_workers": 1}):
        batches = list(dataset.gen_batch(8, shuffle=1, **options))
        assert all(batch.x.tolist() == VALUES[batch.indices].tolist() for batch in batches)


@kinds
def test_what_is_no_name_and_no_path_is_refused_at_once(tmp_path, make):
    read = make(tmp_path / "data")
    with pytest.raises(ArgumentTypeError, match="x: expected the name of an array"):
        read(tmp_path / "data", Rows, x=["y", "short"])
    with pytest.raises(ArgumentTypeError, match="Rows has no component 'z'"):
        read(tmp_path / "data", Rows, z="y")
    with pytest.raises(ArgumentTypeError, match=r"an open array goes into Dataset\.from_arrays"):
        read(np.zeros(3), Rows, x="y")


def make_virtual(folder, file_name="part.h5", name="d"):
    """Make an array whose rows are in another file, and return the path of both files."""
    with h5py.File(folder / "part.h5", "w") as part:
        part["d"] = np.arange(1, 5)
    layout = h5py.VirtualLayout((4,), "int64")
    layout[:] = h5py.VirtualSource(file_name, name, shape=(4,))
    with h5py.File(folder / "whole.h5", "w") as whole:
        whole.create_virtual_dataset("x", layout)
    return folder / "whole.h5", folder / "part.h5"


def make_link(folder):
    whole, part = make_virtual(folder)
    with h5py.File(whole, "w") as file:
        file["x"] = h5py.ExternalLink("part.h5", "/d")
    return whole, part


def make_external(folder):
    np.arange(1, 5).tofile(folder / "raw.bin")
    with h5py.File(folder / "whole.h5", "w") as file:
        parts = [(str(folder / "raw.bin"), 0, 32)]
        file.create_dataset("x", (4,), "int64", external=parts)
    return folder / "whole.h5", folder / "raw.bin"


@pytest.mark.parametrize("make", [make_virtual, make_link, make_external])
def test_another_file_that_rows_come_from_must_stay_as_it_is(tmp_path, make):
    whole, part = make(tmp_path)
    dataset = Dataset.from_hdf5(whole, Rows, x="x")
    assert dataset.create_batch([2, 0]).x.tolist() == [3, 1]
    part.touch()
    with pytest.raises(ArgumentValueError, match=rf"{part.name}' was changed"):
        dataset.create_batch([2])


def test_rows_of_a_virtual_array_that_are_nowhere_are_an_error(tmp_path):
    whole, part = make_virtual(tmp_path, name="other")
    with pytest.raises(UnknownNameError, match=r"part.h5' has no array 'other', which has rows of"):
        Dataset.from_hdf5(whole, Rows, x="x")
    part.unlink()
    with pytest.raises(FileNotFoundError, match=r"part.h5"):
        Dataset.from_hdf5(whole, Rows, x="x")


def test_a_virtual_array_may_have_rows_of_its_own_file(tmp_path):
    whole, _ = make_virtual(tmp_path, ".", "y")
    with h5py.File(whole, "a") as file:
        file["y"] = np.arange(4)
    assert Dataset.from_hdf5(whole, Rows, x="x").create_batch([3]).x.tolist() == [3]


@pytest.mark.parametrize("options", OPTIONS, ids=["in order", "threads", "processes"])
def test_an_open_array_of_a_file_that_was_changed_is_an_error(tmp_path, options):
    make_hdf5(tmp_path / "data")
    with h5py.File(tmp_path / "data") as file:
        dataset = Dataset.from_arrays(Rows, x=file["deep/x"])
        assert dataset.create_batch([1]).x.tolist() == VALUES[[1]].tolist()
        (tmp_path / "data").touch()
        with pytest.raises(ArgumentValueError, match="was changed after the dataset was made"):
            list(dataset.gen_batch(5, **options))


def test_an_open_virtual_array_whose_rows_are_nowhere_is_an_error(tmp_path):
    whole, part = make_virtual(tmp_path)
    part.unlink()
    with h5py.File(whole) as file, pytest.raises(FileNotFoundError, match=r"part.h5"):
        Dataset.from_arrays(Rows, x=file["x"])


def test_an_array_that_is_open_to_write_may_change(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["x"] = np.arange(4)
        dataset = Dataset.from_arrays(Rows, x=file["x"])
        file["x"][1] = 7
        file.flush()
        assert dataset.create_batch([1, 2]).x.tolist() == [7, 2]
