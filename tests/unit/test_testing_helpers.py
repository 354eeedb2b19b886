"""batchflow.testing: what users check their own pipelines with must itself be right."""

import threading

import numpy as np
import pytest

from batchflow import ArrayBatch, Dataset, action
from batchflow.engine import pace
from batchflow.testing import digest, hand_over_every_batch, nothing_left


def object_array(*items):
    array = np.empty(len(items), dtype=object)
    for i, item in enumerate(items):
        array[i] = item
    return array


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.arange(4.0),
        lambda: np.array([np.nan]),
        lambda: np.arange(8)[::2],
        lambda: [1, "x", None],
        lambda: object_array([float("1.5")], "text"),
    ],
    ids=["array", "nan", "strided", "list", "objects"],
)
def test_equal_values_have_equal_digests(make):
    assert digest(make()) == digest(make())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (np.arange(4), np.arange(4.0)),
        (np.arange(4), np.arange(4).reshape(2, 2)),
        (np.array([0.0]), np.array([-0.0])),
        (np.arange(4), np.arange(4).astype(">i8")),
        (1, 1.0),
        ([1], (1,)),
    ],
    ids=repr,
)
def test_other_values_have_other_digests(one, other):
    assert digest(one) != digest(other)


def test_the_digest_tells_the_order_of_its_values():
    assert digest(np.arange(2), np.arange(3)) != digest(np.arange(3), np.arange(2))


def test_the_digest_looks_into_arrays_of_objects():
    array = object_array([1])
    before = digest(array)
    array[0].append(2)
    assert digest(array) != before


class Noting(ArrayBatch):
    @action
    def note(self, threads):
        threads.append(threading.current_thread())
        return self


def test_every_batch_is_handed_over():
    threads = []
    with hand_over_every_batch():
        Dataset(100, Noting).p.note(threads).run(1, prefetch=2)
    assert (len(threads), threading.current_thread() in threads) == (100, False)


def test_the_switch_goes_back_even_after_an_error():
    with pytest.raises(KeyError), hand_over_every_batch():
        raise KeyError
    assert not pace.always_hand_over


def test_nothing_left_passes_a_run_that_ends():
    with nothing_left():
        Dataset(10).p.run(1, prefetch=3)


def test_nothing_left_notices_a_thread():
    go = threading.Event()
    thread = threading.Thread(target=go.wait, args=(20,), name="left-over")
    try:
        with pytest.raises(AssertionError, match="left-over"), nothing_left(timeout=0):
            thread.start()
    finally:
        go.set()
        thread.join()


def test_nothing_left_notices_a_file(tmp_path):
    files = []
    try:
        with pytest.raises(AssertionError, match="1 files"), nothing_left():
            files.append(open(tmp_path / "x", "w"))  # noqa: SIM115  left open on purpose
    finally:
        for file in files:
            file.close()


def test_nothing_left_passes_the_error_of_the_code_inside():
    with pytest.raises(KeyError), nothing_left():
        raise KeyError
