"""Files of arrays: NumPy reads them, and writes the same."""

import io

import numpy as np
import pytest
from numpy.lib import format as npy

from batchflow.checkpoints.npz import write_npy, write_npz

ARRAYS = {
    "large": np.arange(20_000.0).reshape(100, 200),
    "swapped": np.arange(20_000, dtype=">i4"),
    "dates": np.arange(20_000).astype("datetime64[s]"),
    "texts": np.array(["é" * n for n in range(300)]),
    "fields": np.zeros(9_000, [("a", "f8"), ("b", "i2", (3,))]),
    "halves": np.arange(40_000, dtype="f2"),
    "scalar": np.array(3),
    "empty": np.zeros((0, 7)),
    "no text": np.zeros(3, "U0"),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_the_bytes_are_those_of_numpy(name):
    ours, theirs = io.BytesIO(), io.BytesIO()
    write_npy(ours, ARRAYS[name])
    npy.write_array(theirs, ARRAYS[name])
    assert ours.getvalue() == theirs.getvalue()


def test_numpy_reads_the_file(tmp_path):
    arrays = {**ARRAYS, "transposed": ARRAYS["large"].T}
    write_npz(str(tmp_path / "a.npz"), arrays)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        assert read.files == [*arrays]
        for name, array in arrays.items():
            assert read[name].dtype == array.dtype
            assert np.array_equal(read[name], array)
