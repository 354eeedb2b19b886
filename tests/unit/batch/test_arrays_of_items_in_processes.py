"""Arrays that per-item work in processes reads: of files, mapped; views, as they lie."""

import os

import numpy as np
import pytest

from batchflow import Batch, Dataset, action, inbatch_parallel
from batchflow.executors.serialization.pickling import packed_for_worker

N_ITEMS = 4
BIG = np.random.default_rng(1).normal(size=(100, 1000)).astype("f4")


@pytest.fixture
def mapped(tmp_path):
    path = tmp_path / "big.npy"
    np.save(path, BIG)
    return np.load(path, mmap_mode="r")


def made(function, target):
    """What a function of the batch and an item gives for each item."""

    class Rows(Batch):
        components = "x"

        @action
        def cut(self):
            self.x = np.resize(BIG, (N_ITEMS, 50, 1000))[:, ::3, 5::7]
            return self

        @action
        @inbatch_parallel(init="indices", post="collect", target=target)
        def work(self, item_id):
            return function(self, item_id)

        def collect(self, results):
            self.results = results
            return self

    return Dataset(N_ITEMS, Rows).p.cut().work().next_batch(N_ITEMS).results


def test_a_mapped_array_that_a_function_reads_is_mapped_by_the_worker(mapped):
    path = str(mapped.filename)

    def look(batch, item_id):
        with open("/proc/self/maps") as maps:
            return path in maps.read(), float(mapped[item_id].sum()), os.getpid()

    for item_id, (is_mapped, total, process) in enumerate(made(look, "processes")):
        assert is_mapped
        assert total == float(BIG[item_id].sum())
        assert process != os.getpid()


def test_a_mapped_array_is_not_in_what_is_packed(mapped):
    packed = packed_for_worker({"held": mapped[3:]}, "it")
    assert (len(bytes(packed.payload)) < 1000, packed.buffers) == (True, [])


def test_a_mapped_array_comes_back_with_its_values(mapped):
    path = str(mapped.filename)

    def gone(batch, item_id):
        copy = f"{path}-{item_id}.npy"
        np.save(copy, mapped)
        rows = np.load(copy, mmap_mode="r")
        os.unlink(copy)
        return rows[item_id:]

    for item_id, rows in enumerate(made(gone, "processes")):
        np.testing.assert_array_equal(rows, BIG[item_id:])


def test_sums_of_a_view_have_the_same_bits_as_in_threads():
    def total(batch, item_id):
        return batch.x.sum().tobytes(), np.einsum("ijk,ijk", batch.x, batch.x).tobytes()

    assert made(total, "processes") == made(total, "threads")
