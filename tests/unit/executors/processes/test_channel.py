"""What goes between processes: every value arrives as it was, in memory that nobody else has."""

import mmap
import os
import pickle
import resource
import socket
import threading

import numpy as np
import pytest

from batchflow.errors import BatchflowError
from batchflow.executors.processes import channel
from batchflow.executors.processes.channel import (
    COPY,
    OWN,
    READ,
    Message,
    Receiver,
    frame,
    map_file,
    memory_file,
    send,
)
from batchflow.executors.serialization.pickling import INLINE, Classes, packed_apart

WAYS = [OWN, COPY, READ]


@pytest.fixture
def line():
    """Two ends of a connection."""
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def sent_all(connection, data, fds=()):
    while data:
        data, fds = data[send(connection, data, fds) :], ()


def sent_over(line, value, how=OWN):
    """Send a value from one end to the other."""
    here, there = line
    message = Message.of(*packed_apart(value, Classes(), "it"))
    data, fds = frame(1, 2, 3, seconds=0.5, message=message)
    sender = threading.Thread(target=sent_all, args=(here, data, fds))
    sender.start()
    receiver, frames = Receiver(there), []
    while not frames:
        frames = receiver.receive()
    sender.join()
    message.close()
    (arrived,) = frames
    assert (arrived.kind, arrived.number, arrived.job, arrived.seconds) == (1, 2, 3, 0.5)
    return arrived.open(how).load()


def maps():
    with open("/proc/self/maps") as lines:
        return sum("memfd:batchflow" in line for line in lines)


def numbers(n_bytes):
    return np.arange(n_bytes, dtype="u1")


# ---- values


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    "n_bytes", [0, 1, INLINE - 200, INLINE - 1, INLINE, INLINE + 1, 4096 * 16, 3 << 20]
)
def test_arrays_of_every_size_arrive(line, how, n_bytes):
    array = sent_over(line, numbers(n_bytes), how)
    assert array.dtype == "u1"
    assert np.array_equal(array, numbers(n_bytes))


BIG = INLINE * 3
VALUES = {
    "fortran": np.asfortranarray(np.arange(BIG).reshape(-1, 4)),
    "strided": np.arange(BIG)[::3],
    "reversed": np.arange(BIG)[::-1],
    "broadcast": np.broadcast_to(np.arange(4.0), (BIG, 4)),
    "zero_d": np.array(5.5),
    "empty": np.empty((0, 7)),
    "structured": np.zeros(BIG, [("a", "i4"), ("b", "f8", 3)]),
    "objects": np.array([{"a": 1}, None, "x"] * BIG, dtype=object),
    "strings": np.array(["ab", "ä"] * BIG),
    "dates": np.arange(BIG).astype("M8[s]"),
    "swapped": np.arange(BIG, dtype=">i4"),
    "bytes": b"x" * BIG,
    "bytearray": bytearray(b"x" * BIG),
    "text": "ü" * BIG,
    "list": list(range(BIG)),
    "nested": {"a": [numbers(BIG), numbers(5)], "b": (numbers(BIG), b"x" * BIG), "c": None},
}


@pytest.mark.parametrize("name", VALUES)
def test_values_of_every_kind_arrive(line, name):
    value = VALUES[name]
    arrived = sent_over(line, value)
    np.testing.assert_equal(arrived, value)
    assert type(arrived) is type(value)
    if isinstance(value, np.ndarray):
        assert arrived.dtype == value.dtype
        assert arrived.shape == value.shape


def test_one_array_twice_stays_one(line):
    array = numbers(BIG)
    first, second = sent_over(line, [array, array])
    assert first is second


def test_big_arrays_are_aligned_and_writable(line):
    for array in sent_over(line, [numbers(INLINE + n) for n in range(5)]):
        assert array.ctypes.data % 64 == 0
        assert array.flags.writeable
        assert array.flags.aligned


# ---- memory


def test_what_is_mapped_to_be_read_cannot_be_written_to(line):
    array = sent_over(line, numbers(BIG), READ)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 1


@pytest.mark.parametrize(("how", "is_seen"), [(OWN, True), (COPY, False)])
def test_who_sees_what_is_written(how, is_seen):
    fd = memory_file(100)
    os.pwrite(fd, b"a" * 100, 0)
    map_file(fd, 100, how)[5:6] = b"!"
    assert (os.pread(fd, 1, 5) == b"!") is is_seen
    os.close(fd)


def test_memory_goes_with_the_last_array(line):
    before = maps()
    first, second = sent_over(line, [numbers(BIG), numbers(BIG)])
    part = second[10:20]
    assert maps() == before + 1
    del first, second
    assert maps() == before + 1
    del part
    assert maps() == before


def test_a_map_holds_no_file(line):
    files = len(os.listdir("/proc/self/fd"))
    arrays = [sent_over(line, numbers(BIG)) for _ in range(50)]
    assert len(os.listdir("/proc/self/fd")) == files
    assert all(np.array_equal(array, arrays[0]) for array in arrays)


def test_shared_memory_has_no_name(line):
    kept = sent_over(line, numbers(BIG))
    with open("/proc/self/maps") as lines:
        mine = {line.split(maxsplit=5)[-1] for line in lines if "memfd:batchflow" in line}
    assert mine == {"/memfd:batchflow (deleted)\n"}
    assert kept.size == BIG


def test_a_file_on_disk_stands_in_where_there_is_no_memory_file(line, monkeypatch):
    monkeypatch.delattr(channel.os, "memfd_create")
    files = len(os.listdir("/proc/self/fd"))
    assert np.array_equal(sent_over(line, numbers(BIG)), numbers(BIG))
    assert len(os.listdir("/proc/self/fd")) == files


def test_big_writes_are_cut_into_pieces(line, monkeypatch):
    monkeypatch.setattr(channel, "MAX_WRITE", 1000)
    assert np.array_equal(sent_over(line, numbers(BIG)), numbers(BIG))


def test_a_parcel_closes_its_file_when_it_is_collected():
    files = len(os.listdir("/proc/self/fd"))
    message = Message.of(b"x" * BIG)
    assert len(os.listdir("/proc/self/fd")) == files + 1
    del message
    assert len(os.listdir("/proc/self/fd")) == files


# ---- frames


def test_frames_that_come_in_pieces_are_put_together(line):
    here, there = line
    receiver, frames = Receiver(there), []
    data, _ = frame(7, 8, message=Message(b"hello"))
    for place in range(len(data)):
        assert not frames
        here.send(data[place : place + 1])
        frames = receiver.receive()
    assert (frames[0].kind, frames[0].number, frames[0].body) == (7, 8, b"hello")


def test_many_frames_that_come_at_once_keep_their_order_and_files(line):
    here, there = line
    messages = [Message.of(bytes([i]) * (BIG if i % 2 else 10)) for i in range(20)]
    for number, message in enumerate(messages):
        sent_all(here, *frame(1, number, message=message))
    here.close()
    receiver, frames = Receiver(there), []
    with pytest.raises(EOFError):
        while True:
            frames += receiver.receive()
    assert [f.number for f in frames] == list(range(20))
    assert [bytes(f.open(OWN).payload)[-1] for f in frames] == list(range(20))


def test_a_connection_that_ends_inside_a_frame_leaves_no_file(line):
    here, there = line
    files = len(os.listdir("/proc/self/fd"))
    message = Message.of(b"x" * BIG)
    data, fds = frame(1, message=message)
    send(here, data[:10], fds)
    message.close()
    receiver = Receiver(there)
    assert receiver.receive() == []
    receiver.close()
    assert len(os.listdir("/proc/self/fd")) == files


def test_too_many_open_files_are_an_error_of_one_frame(line):
    here, there = line
    message = Message.of(pickle.dumps(bytes(BIG)))
    receiver = Receiver(there)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    for number in range(2):
        sent_all(here, *frame(1, number, message=message))
    highest = max(map(int, os.listdir("/proc/self/fd")))
    spare = [os.dup(0) for _ in range(highest)]  # no hole is left below
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(spare) + 1, limits[1]))
    try:
        (first,) = receiver.receive()
        with pytest.raises(BatchflowError, match="ulimit -n"):
            first.open(OWN)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in spare:
            os.close(fd)
    (second,) = receiver.receive()
    assert second.open(OWN).load() == bytes(BIG)


@pytest.mark.skipif(not hasattr(mmap, "MAP_POPULATE"), reason="the system maps pages on touch")
def test_a_file_that_is_mapped_as_a_whole_costs_no_faults_afterwards():
    size = 1 << 20
    fd = memory_file(size)
    os.pwrite(fd, bytes(size), 0)
    memory = map_file(fd, size, OWN, whole=True)
    os.close(fd)
    given = memoryview(bytes(size))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    memory[:] = given
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < 100  # of 256
