"""check tells of page faults that come back with every batch, and of no others."""

import numpy as np
import pytest
from own_process import run_alone

from batchflow import ArrayBatch, Dataset, action, allocator
from batchflow.inspection import page_faults

needs_glibc = pytest.mark.skipif(allocator._glibc() is None, reason="the allocator is another")

CHECKED = """
import numpy as np
from batchflow import ArrayBatch, Dataset, action, keep_memory

class Cubes(ArrayBatch):
    components = "x"
    n_calls = 0
    @action
    def make(self):
        Cubes.n_calls += 1
        self.x = (np.ones((len(self), 3 << 14)) + 1) * 2
        return self

report = Dataset(64, Cubes).p.make().check(8)
keep_memory()
kept = Dataset(64, Cubes).p.make().check(8)
print(report)
print("kept:", kept.look_at)
"""


@needs_glibc
def test_steps_that_ask_for_the_same_memory_again_and_again_are_told_of():
    # As malloc is before it has learned anything; it learns here from what check itself frees.
    always = {"MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072"}
    told, _, kept = run_alone(CHECKED, env=always).stdout.rpartition("kept:")
    assert "? page faults take about" in told
    assert "batchflow.keep_memory()" in told
    assert "1 thing to look at" in told
    assert kept.strip() == "[]"


class Rows(ArrayBatch):
    components = "x"

    @action
    def count(self, calls):
        calls.append(len(self))
        self.x = np.ones((len(self), 10))
        return self


def test_small_steps_are_taken_once():
    calls = []
    assert Dataset(4, Rows).p.count(calls).check().look_at == []
    assert calls == [2]


def test_an_error_of_a_batch_that_is_made_again_says_nothing():
    watch = page_faults.FaultWatch()
    watch._faults, watch._seconds = 10**6, 1e-3
    assert watch.remark(lambda: 1 / 0) is None


def test_a_batch_without_faults_the_second_time_says_nothing():
    watch = page_faults.FaultWatch()
    watch._faults, watch._seconds = 10**6, 1e-3
    assert watch.remark(lambda: None) is None
