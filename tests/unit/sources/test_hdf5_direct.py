"""Rows of HDF5 files that are read past the library are those of the library, or it reads them."""

import threading

import h5py
import numpy as np
import pytest
from kit import Rows

from batchflow import Dataset
from batchflow.sources.hdf5 import Hdf5Source
from batchflow.sources.hdf5_direct import DirectRows

N = 23
VALUES = np.arange(N * 6).reshape(N, 2, 3)
POSITIONS = [
    slice(0, 5),
    slice(3, 19),
    slice(0, N),
    slice(7, 7),
    np.array([], np.int64),
    np.array([22]),
    np.array([0, 1, 2, 9, 10, 22]),
    np.array([12, 3, 3, 4, 22, 0]),
]
DIRECT = {
    "in one piece": {},
    "chunks": {"chunks": (5, 2, 3)},
    "chunks of a row": {"chunks": (1, 2, 3)},
    "one chunk, longer than the array": {"chunks": (40, 2, 3), "maxshape": (None, 2, 3)},
    "floats": {"dtype": "f4", "chunks": (5, 2, 3)},
    "halves": {"dtype": "f2"},
    "big endian": {"dtype": ">i4", "chunks": (5, 2, 3)},
}
BY_LIBRARY = {
    "parts of rows": {"chunks": (5, 1, 3)},
    "compressed": {"chunks": (5, 2, 3), "compression": "gzip"},
    "shuffled bytes": {"chunks": (5, 2, 3), "shuffle": True},
    "bools": {"dtype": bool},
    "complex": {"dtype": complex},
}


def make(path, options, **of_file):
    options = dict(options)
    values = VALUES.astype(options.pop("dtype", int))
    with h5py.File(path, "w", **of_file) as file:
        file.create_dataset("x", data=values, **options)
    return values


def read_and_compared(path, values):
    source = Hdf5Source(path, {"x": "x"})
    for positions in POSITIONS:
        read = source.read(positions)["x"]
        assert read.dtype == values.dtype
        assert read.tolist() == values[positions].tolist()
        assert read.flags.owndata
        assert read.flags.writeable
    return source._array("x")


@pytest.mark.parametrize("options", DIRECT.values(), ids=DIRECT)
def test_plain_rows_are_read_directly(tmp_path, options):
    assert isinstance(read_and_compared(tmp_path / "a", make(tmp_path / "a", options)), DirectRows)


@pytest.mark.parametrize("options", BY_LIBRARY.values(), ids=BY_LIBRARY)
def test_other_rows_are_read_by_the_library(tmp_path, options):
    values = make(tmp_path / "a", options)
    assert not isinstance(read_and_compared(tmp_path / "a", values), DirectRows)


def test_a_file_with_a_block_of_the_users_is_read_by_the_library(tmp_path):
    values = make(tmp_path / "a", {"chunks": (5, 2, 3)}, userblock_size=512)
    assert not isinstance(read_and_compared(tmp_path / "a", values), DirectRows)


def test_files_beside_it_are_read_by_the_library(tmp_path):
    parts = [(str(tmp_path / "raw"), 0, VALUES.nbytes)]
    values = make(tmp_path / "a", {"external": parts})
    assert not isinstance(read_and_compared(tmp_path / "a", values), DirectRows)


def test_chunks_that_were_never_written_have_the_fill_value(tmp_path):
    values = np.full((N, 3), 7)
    values[6:12] = 1
    with h5py.File(tmp_path / "a", "w") as file:
        made = file.create_dataset("x", shape=values.shape, dtype=int, chunks=(5, 3), fillvalue=7)
        made[6:12] = 1
    assert isinstance(read_and_compared(tmp_path / "a", values), DirectRows)


def test_the_last_format_of_files_is_the_same(tmp_path):
    options = {"chunks": (5, 2, 3), "maxshape": (None, 2, 3)}
    values = make(tmp_path / "a", options, libver="latest")
    assert isinstance(read_and_compared(tmp_path / "a", values), DirectRows)


def test_rows_that_a_writer_of_this_process_has_not_flushed_are_read(tmp_path):
    with h5py.File(tmp_path / "a", "w") as file:
        array = file.create_dataset("x", data=VALUES, chunks=(5, 2, 3))
        try:
            opened = h5py.File(tmp_path / "a", "r")
        except OSError:
            return  # the library refuses it
        array[3] = 0
        assert not isinstance(Hdf5Source(tmp_path / "a", {"x": "x"})._array("x"), DirectRows)
        opened.close()


@pytest.mark.parametrize("options", [DIRECT["in one piece"], DIRECT["chunks"]])
@pytest.mark.parametrize("positions", [[3, N], [-1, 3], [N, N + 40]])
def test_positions_that_are_not_there_are_an_error(tmp_path, options, positions):
    make(tmp_path / "a", options)
    source = Hdf5Source(tmp_path / "a", {"x": "x"})
    with pytest.raises((IndexError, ValueError, TypeError, OSError), match=r"[Ii]ndex|select"):
        source.read(np.array(positions))


def test_a_file_that_has_lost_its_end_is_an_error(tmp_path):
    make(tmp_path / "a", {})
    source = Hdf5Source(tmp_path / "a", {"x": "x"})
    source._states = []  # as if it were lost between the look at the file and the read
    with open(tmp_path / "a", "r+b") as file:
        file.truncate(source._array("x")._array.id.get_offset() + 100)
    with pytest.raises(OSError, match="was cut off"):
        source.read(np.arange(N))


def test_threads_read_at_once_and_closing_takes_no_file_from_them(tmp_path):
    make(tmp_path / "a", {"chunks": (5, 2, 3)})
    source, wrong, closed = Hdf5Source(tmp_path / "a", {"x": "x"}), [], threading.Event()

    def read(seed):
        rng = np.random.default_rng(seed)
        array = source._array("x")
        while not closed.is_set() or rng.random() < 0.9:
            rows = np.sort(rng.choice(N, 9, replace=False))
            if array[rows].tolist() != VALUES[rows].tolist():
                wrong.append(rows)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    source.close()
    closed.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert source.read(np.array([3]))["x"].tolist() == VALUES[[3]].tolist()


def test_shuffled_batches_have_their_rows(tmp_path):
    make(tmp_path / "a", {"chunks": (5, 2, 3)})
    dataset = Dataset.from_hdf5(tmp_path / "a", Rows, x="x")
    for options in ({"prefetch": 3}, {"executor": "processes", "n_workers": 1}):
        for batch in dataset.gen_batch(4, shuffle=3, **options):
            assert batch.x.tolist() == VALUES[batch.indices].tolist()
