"""Shared memory that comes back: never written to too early, never kept without bound."""

import os
import pickle
import socket

import numpy as np
import pytest

from batchflow.errors import BatchflowError
from batchflow.executors.processes import channel, shared_memory
from batchflow.executors.processes.channel import Receiver, frame, send
from batchflow.executors.processes.shared_memory import (
    FREE,
    LENT,
    PLACES,
    QUARANTINED,
    SegmentPool,
    SegmentReader,
)

SIZE = 100_000


class Line:
    """A lender and a borrower in one process."""

    def __init__(self):
        self.flags = memoryview(bytearray(PLACES))
        self.lender, self.borrower = SegmentPool(self.flags), SegmentReader(self.flags)
        self.here, self.there = socket.socketpair()
        self.receiver = Receiver(self.there)

    def frame(self, value, size=SIZE):
        array = np.full(size, value, "u1")
        buffers = []
        payload = pickle.dumps(array, protocol=5, buffer_callback=buffers.append)
        message = self.lender.message(payload, buffers)
        send(self.here, *frame(1, message=message))
        (arrived,) = self.receiver.receive()
        return arrived

    def carry(self, value, size=SIZE):
        return self.borrower.open(self.frame(value, size)).load()


@pytest.fixture
def line():
    line = Line()
    yield line
    line.here.close()
    line.there.close()


def maps():
    with open("/proc/self/maps") as lines:
        return sum("memfd:batchflow" in line for line in lines)


def test_memory_that_came_back_is_used_again_without_a_file(line):
    first = line.frame(1)
    assert first.has_file
    assert line.borrower.open(first).load()[0] == 1
    second = line.frame(2)
    assert not second.has_file
    assert second.place == first.place
    assert (line.borrower.open(second).load() == 2).all()


def test_memory_in_use_is_not_touched(line):
    arrays = [line.carry(value) for value in range(3 * PLACES)]
    assert [array[0] for array in arrays] == list(range(3 * PLACES))
    assert [array[-1] for array in arrays] == list(range(3 * PLACES))


def test_a_view_holds_the_memory(line):
    part = line.carry(1)[10:20]
    assert line.flags[0] == LENT
    line.carry(2)
    assert (part == 1).all()
    del part
    assert line.flags[0] == FREE


def test_what_is_never_unpacked_comes_back(line):
    opened = line.borrower.open(line.frame(1))
    assert line.flags[0] == LENT
    del opened
    assert line.flags[0] == FREE


@pytest.mark.parametrize(("size", "is_reused"), [(SIZE // 2, True), (SIZE // 8, False)])
def test_memory_that_fits_well_enough_is_used_again(line, size, is_reused):
    line.carry(1)
    smaller = line.frame(2, size)
    assert smaller.has_file is not is_reused
    assert (line.borrower.open(smaller).load() == 2).all()


def test_bigger_results_get_bigger_memory(line):
    for size in range(SIZE, 20 * SIZE, SIZE):
        array = line.carry(size % 251, size)
        assert array.size == size
        assert (array == size % 251).all()


def test_the_bytes_that_are_kept_are_bounded(line, monkeypatch):
    monkeypatch.setattr(shared_memory, "MAX_KEPT", 3 * SIZE)
    arrays = [line.carry(value) for value in range(PLACES)]
    assert [array[0] for array in arrays] == list(range(PLACES))
    assert sum(map(len, line.lender._kept.values())) <= 3 * SIZE
    assert bytes(line.flags).count(LENT) == len(line.lender._kept)


def test_beyond_many_maps_results_are_read_into_ordinary_memory(line, monkeypatch):
    monkeypatch.setattr(shared_memory, "MOST_MAPS", channel.n_maps() + 2 * PLACES + 3)
    before = maps()
    arrays = [line.carry(value) for value in range(50)]
    assert maps() == before + 2 * PLACES + 3  # each lent piece is mapped twice: both sides are here
    assert all((array == value).all() for value, array in enumerate(arrays))
    assert all(array.flags.writeable for array in arrays)
    del arrays
    assert maps() == before + 2 * PLACES
    again = [line.carry(value) for value in range(PLACES + 1)]
    assert maps() == before + 2 * PLACES + 1
    assert again[-1][0] == PLACES


def test_nothing_is_kept_when_both_sides_forget(line):
    before = maps()
    array = line.carry(1)
    line.carry(2)
    line.lender.forget()
    line.borrower.forget()
    assert maps() == before + 1
    again = line.frame(3)
    assert again.has_file
    assert (line.borrower.open(again).load() == 3).all()
    assert (array == 1).all()


def test_memory_that_a_forked_process_may_see_is_not_used_again(line):
    array = line.carry(1)
    line.borrower.quarantine()
    del array
    assert line.flags[0] == QUARANTINED
    again = line.frame(2)
    assert again.has_file
    line.borrower.open(again)
    assert line.flags[0] == FREE


def test_a_forked_process_gives_nothing_back(line, monkeypatch):
    array = line.carry(1)
    monkeypatch.setattr(shared_memory.os, "getpid", lambda: 0)
    del array
    assert line.flags[0] == LENT


def test_after_a_file_that_did_not_arrive_there_is_other_memory(line):
    lost = line.frame(1)
    os.close(lost.fd)
    lost.fd = None
    with pytest.raises(BatchflowError, match="ulimit -n"):
        line.borrower.open(lost)
    assert (line.carry(2) == 2).all()
