"""Arrays of files: they travel as a path where the path still leads to what is mapped."""

import os
import pickle

import numpy as np
import pytest

from batchflow.executors.serialization.pickling import pack, packed_for_worker


class Holder:
    def __init__(self, array):
        self.array = array

    def __call__(self, item):
        return self.array[item]


@pytest.fixture
def mapped(tmp_path):
    np.save(tmp_path / "rows.npy", np.arange(100_000.0))
    return np.load(tmp_path / "rows.npy", mmap_mode="r")


def test_an_array_of_a_file_travels_as_the_path_of_the_file(mapped):
    opened = packed_for_worker(mapped[10:], "the rows")
    assert not opened.buffers
    assert np.array_equal(opened.load(), mapped[10:])


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="nobody tells of lost files")
def test_an_array_whose_file_was_replaced_travels_as_it_is(mapped, tmp_path):
    expected = np.array(mapped)
    np.save(tmp_path / "others.npy", np.zeros(100_000))
    os.replace(tmp_path / "others.npy", tmp_path / "rows.npy")
    assert np.array_equal(packed_for_worker(mapped, "the rows").load(), expected)
    packed = pack(Holder(mapped[::2]))
    function, _ = pickle.loads(packed.payload, buffers=packed.buffers)
    assert function(7) == expected[14]


@pytest.mark.skipif(not os.path.exists("/proc/self/maps"), reason="nobody tells of lost files")
def test_an_array_whose_file_was_removed_travels_as_it_is(mapped, tmp_path):
    os.remove(tmp_path / "rows.npy")
    assert packed_for_worker(mapped, "the rows").load()[-1] == 99_999
