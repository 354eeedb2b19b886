"""Buffers of a function: memory that several of its arrays share travels once, and stays shared."""

import pickle

import numpy as np
import pytest

from batchflow import ArrayBatch, Dataset
from batchflow.executors.backends.call import SentFunction
from batchflow.executors.serialization.arrays import merged, spread_again
from batchflow.executors.serialization.pickling import pack, unpacked_call


class Rows(ArrayBatch):
    components = "x", "y"


def sent(*arrays):
    """What arrives of some arrays, and how many bytes travel."""
    rest = merged([pickle.PickleBuffer(array) for array in arrays])
    memory = [memoryview(bytes(buffer.raw())) for buffer in rest]
    return spread_again(memory), sum(part.nbytes for part in memory)


ROW = np.arange(1000, dtype="u1")
TABLE = 3 * 8  # bytes for each buffer, in the table of their places


@pytest.mark.parametrize(
    ("parts", "n_bytes"),
    [
        ([ROW[:600], ROW[400:]], 1000),
        ([ROW[400:], ROW[:600], ROW[200:300]], 1000),
        ([ROW[:100], ROW[100:300], ROW[900:]], 400),
        ([ROW, ROW], 1000),
        ([ROW, ROW.copy()], 2000),
    ],
    ids=["overlapping", "in another order", "side by side", "twice", "apart"],
)
def test_each_buffer_arrives_and_shared_memory_travels_once(parts, n_bytes):
    arrived, travelled = sent(*parts)
    assert [part.tobytes() for part in arrived] == [part.tobytes() for part in parts]
    assert travelled == n_bytes + TABLE * len(parts)


def test_no_buffers_need_no_table():
    assert sent() == ([], 0)


TABLES = {
    "the last column": lambda t: (t[:, :-1], t[:, -1]),
    "halves": lambda t: (t[:, :50], t[:, 50:]),
    "overlapping": lambda t: (t[:, :90], t[:, 10:]),
    "the same twice": lambda t: (t, t[:]),
}


@pytest.mark.parametrize("cut", TABLES.values(), ids=TABLES)
def test_columns_of_one_table_travel_to_workers_once(cut):
    table = np.arange(400_000, dtype="f4").reshape(-1, 100)
    x, y = cut(table)
    packed = pack(Dataset.from_arrays(Rows, x=x, y=y).create_batch)
    plan = SentFunction.of(packed)
    assert plan.n_bytes < 1.05 * table.nbytes
    buffers = [memoryview(buffer) for buffer in plan.buffers]
    assert sum(buffer.nbytes for buffer in buffers) < 1.05 * table.nbytes
    batch = unpacked_call(plan.payload, buffers)[0](np.array([7, 3]))
    assert batch.x.tolist() == x[[7, 3]].tolist()
    assert batch.y.tolist() == y[[7, 3]].tolist()


def test_mapped_arrays_travel_as_a_path_to_pools_of_others_too(tmp_path):
    np.save(tmp_path / "rows.npy", np.zeros((1000, 100)))
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    plan = SentFunction.of(
        pack(Dataset.from_arrays(Rows, x=rows[10:], y=rows[10:, 0]).create_batch)
    )
    assert plan.n_bytes < 10_000
