"""Memory that stays with the process, in processes of their own: the allocator is the process's."""

import pytest
from own_process import run_alone

import batchflow
from batchflow import allocator
from batchflow.errors import ArgumentTypeError, ArgumentValueError

needs_glibc = pytest.mark.skipif(allocator._glibc() is None, reason="the allocator is another")

# Faults of a round: eight arrays of 3 MiB, 6,144 pages, made and freed, in a thread where asked.
COUNT = """
import resource, threading
import numpy as np
import batchflow

def make():
    arrays = [np.ones(3 << 20, "u1") for _ in range(8)]

def faults(in_thread=False):
    found = []
    def rounds():
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            make()
            found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    if in_thread:
        thread = threading.Thread(target=rounds)
        thread.start()
        thread.join()
    else:
        rounds()
    return found[-1]

def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096
"""


def told(code):
    return run_alone(COUNT + code).stdout.split()


@pytest.fixture
def elsewhere(monkeypatch):
    monkeypatch.setattr(allocator, "_glibc", lambda: None)


@needs_glibc
def test_arrays_that_are_made_again_cost_no_faults():
    before, is_kept, after = told(
        "before = faults(); print(before, batchflow.keep_memory(), faults())"
    )
    assert is_kept == "True"
    assert int(before) > 1000
    assert int(after) < 100


@needs_glibc
def test_nor_do_those_of_threads():
    (faults,) = told("batchflow.keep_memory(); print(faults(in_thread=True))")
    assert int(faults) < 100


@needs_glibc
def test_no_more_stays_than_was_asked_for():
    (grown,) = told("""
batchflow.keep_memory(4 << 20)
before = resident()
make()
print(resident() - before)
""")
    assert int(grown) < 8 << 20  # of 24 MiB


@needs_glibc
def test_blocks_above_the_bound_are_given_back():
    (grown,) = told("""
batchflow.keep_memory()
before = resident()
np.ones(80 << 20, "u1")
print(resident() - before)
""")
    assert int(grown) < 8 << 20


@needs_glibc
def test_none_gives_back_what_was_kept():
    kept, left = told("""
batchflow.keep_memory()
before = resident()
make()
kept = resident() - before
batchflow.keep_memory(0)
print(kept, resident() - before)
""")
    assert int(kept) > 20 << 20
    assert int(left) < 8 << 20


def test_another_allocator_is_told_of(elsewhere):
    with pytest.warns(RuntimeWarning, match=r"needs the allocator of glibc"):
        assert batchflow.keep_memory() is False


def test_in_a_worker_nothing_is_told_of_another_allocator(elsewhere):
    allocator.keep_memory_in_worker()
    allocator.give_back()


@pytest.mark.parametrize("wrong", [1.5, "64", True])
def test_only_a_whole_number_is_taken(wrong):
    with pytest.raises(ArgumentTypeError, match="whole number"):
        batchflow.keep_memory(wrong)


def test_a_negative_number_is_refused():
    with pytest.raises(ArgumentValueError, match="at least 0, got -1"):
        batchflow.keep_memory(-1)


def test_a_setting_that_is_no_number_is_refused(monkeypatch):
    monkeypatch.setenv(allocator.SETTING, "much")
    with pytest.raises(ArgumentValueError, match="BATCHFLOW_KEEP_MEMORY='much'"):
        allocator.keep_memory_in_worker()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BATCHFLOW_KEEP_MEMORY", "0"),
        ("MALLOC_TRIM_THRESHOLD_", "131072"),
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=131072"),
    ],
)
def test_what_the_environment_says_of_malloc_stands(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    monkeypatch.setattr(allocator, "_set", lambda *_: pytest.fail("it was set"))
    allocator.keep_memory_in_worker()


def test_import_does_not_bring_it():
    code = "import batchflow, sys; print('batchflow.allocator' in sys.modules)"
    assert run_alone(code).stdout.split() == ["False"]


WORKERS = """
import os, resource
import numpy as np
from batchflow import ArrayBatch, Dataset, action

BASE = np.ones((8, 3 << 17), "u1")

class Faults(ArrayBatch):
    components = "x", "faults"
    @action
    def make(self):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        self.x = (BASE + 1) * 2
        faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
        self.faults = np.full(len(self), faults)
        return self

run = Dataset(160, Faults).p.make().gen_batch(8, executor="processes", n_workers=1)
print(max([int(batch.faults[0]) for batch in run][-8:]))
"""


@needs_glibc
def test_a_worker_process_keeps_its_memory():
    assert int(run_alone(WORKERS).stdout) < 100


@needs_glibc
def test_a_worker_process_keeps_none_where_that_is_switched_off():
    done = run_alone(WORKERS, env={allocator.SETTING: "0"})
    assert int(done.stdout) > 700
