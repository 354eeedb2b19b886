"""Bytes between two processes: frames through a socket, big ones through shared memory.

    Message.of(payload, buffers) ---> send(frame) ===socket===> Receiver ---> Frame.open(...)
                 |                                                               |
                 +-------- a file without a name, its descriptor sent -----------+

Guarantees:
    - Shared memory never has a name: there is nothing in `/dev/shm` that could be left there,
      whatever is killed. It is freed with the last map of it and the last descriptor.
    - A map holds no descriptor, so the number of arrays is not bounded by `ulimit -n`.
    - Arrays made of a map own it: it goes with the last of them.
    - Buffers begin at multiples of 64 bytes.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
import pickle
import socket
import struct
import tempfile
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from batchflow.errors import BatchflowError
from batchflow.executors.serialization.pickling import INLINE, Opened

ALIGNMENT = 64
CHUNK = 64 * 1024
MAX_FILES = 16
MAX_WRITE = 1 << 30  # one call of the system writes less than 2 GiB

# How shared memory is mapped.
OWN = "own"  # readable and writable: nobody else has it
COPY = "copy"  # writable, and what is written stays here
READ = "read"  # read-only
COPIED = "copied"  # not at all, but read into memory of this process

_HEADER = struct.Struct("<BBBxIQQd")
_MAP_FIXED = 0x10  # the same on Linux (x86, Arm, RISC-V), macOS and the BSDs


# ---- messages


class Message:
    """A pickled value on its way out. It holds a file until it is closed or collected.

    Args:
        body: What goes through the socket.
        fd: The shared memory with the rest, if it is big.
        place: If the memory was lent: its place, from 1 on; `fd` only the first time.
    """

    __slots__ = ("body", "fd", "place")

    def __init__(self, body: bytes, fd: int | None = None, place: int = 0) -> None:
        self.body = body
        self.fd = fd
        self.place = place

    @classmethod
    def of(cls, payload: bytes, buffers: Sequence[pickle.PickleBuffer] = ()) -> Message:
        """Put a pickle and its out-of-band buffers into a message: copied once, if they are big."""
        if not buffers and len(payload) <= INLINE:
            return cls(payload)
        return cls.of_pieces([memoryview(payload), *(buffer.raw() for buffer in buffers)])

    @classmethod
    def of_pieces(cls, pieces: Sequence[memoryview]) -> Message:
        """Put a pickle and its buffers into shared memory."""
        places, size = spread_out([piece.nbytes for piece in pieces])
        message = cls(sizes_of(pieces), memory_file(size))
        for piece, (start, _) in zip(pieces, places, strict=True):
            write_file(message.fd, piece, start)  # type: ignore[arg-type]
        return message

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        fd, self.fd = self.fd, None
        if fd is not None:
            os.close(fd)

    def __del__(self) -> None:
        with suppress(OSError):
            self.close()


def sizes_of(pieces: Sequence[memoryview]) -> bytes:
    """Make the body of a message whose pieces lie in shared memory."""
    return struct.pack(f"<{len(pieces)}Q", *(piece.nbytes for piece in pieces))


def spread_out(sizes: Sequence[int]) -> tuple[list[tuple[int, int]], int]:
    """Return start and end of each piece in shared memory, and the size of it all."""
    places, start = [], 0
    for size in sizes:
        places.append((start, start + size))
        start = -(-(start + size) // ALIGNMENT) * ALIGNMENT
    return places, start


# ---- shared memory


def memory_file(size: int) -> int:
    """Make a file that has no name; it lies in memory where the system has such files."""
    try:
        fd = os.memfd_create("batchflow", os.MFD_CLOEXEC)
    except AttributeError:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


def write_file(fd: int, data: memoryview, place: int) -> None:
    """Write to fresh shared memory."""
    # A map would first be filled with zeros, page by page, which takes more than twice as long.
    while data.nbytes:
        n_written = os.pwrite(fd, data[:MAX_WRITE], place)
        data, place = data[n_written:], place + n_written


def map_file(fd: int, size: int, how: str, *, whole: bool = False) -> memoryview:
    """Map a file. The map lives as long as the view or anything made of it.

    Args:
        fd: Its descriptor.
        size: How much of it.
        how: `OWN`, `COPY` or `READ`.
        whole: Whether all of it will be used: then the system maps all its pages now, in a third
            of the time that it takes to map each when it is first touched.
    """
    # `mmap.mmap(fd, ...)` keeps a copy of the descriptor, so a thousand arrays would be a thousand
    # open files. A map of nothing keeps none, and the file is put into its place.
    held = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    address = ctypes.addressof(ctypes.c_char.from_buffer(held))
    _maps.add(held)
    access = mmap.PROT_READ if how == READ else mmap.PROT_READ | mmap.PROT_WRITE
    kind = mmap.MAP_PRIVATE if how == COPY else mmap.MAP_SHARED
    kind |= getattr(mmap, "MAP_POPULATE", 0) if whole else 0  # Linux has it
    if _map_function()(address, size, access, kind | _MAP_FIXED, fd, 0) != address:
        raise OSError(ctypes.get_errno(), "shared memory cannot be mapped")
    view = memoryview(held)
    return view.toreadonly() if how == READ else view


_maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


def n_maps() -> int:
    """Return how many maps there are in this process."""
    return len(_maps)


def read_file(fd: int, size: int) -> memoryview:
    """Read a file into memory."""
    memory = memoryview(bytearray(size))
    place = 0
    while place < size:
        place += os.preadv(fd, [memory[place : place + MAX_WRITE]], place)
    return memory


@functools.cache
def _map_function() -> Any:
    # PyDLL keeps the GIL: it takes microseconds, to wait for the GIL can take 5 ms.
    function = ctypes.PyDLL(None, use_errno=True).mmap
    function.restype = ctypes.c_void_p
    size, number = ctypes.c_size_t, ctypes.c_int
    function.argtypes = [ctypes.c_void_p, size, number, number, number, ctypes.c_int64]
    return function


# ---- frames


@dataclass(eq=False)
class Frame:
    """What has arrived in one piece.

    Attributes:
        kind: What it says.
        number: Of the task.
        job: The job's number.
        seconds: A duration.
        place: That of lent memory, from 1 on; 0: none was lent.
        body: Its bytes.
        has_file: Whether shared memory came with it.
        fd: Its file, until it is closed.
    """

    kind: int
    number: int
    job: int
    seconds: float
    place: int
    body: bytes
    has_file: bool
    fd: int | None

    def open(self, how: str) -> Opened:
        """Map the shared memory, if there is any, and close its file.

        Raises:
            BatchflowError: The file did not arrive.
            OSError: The memory cannot be mapped.
        """
        return self.opened(self.memory(how)) if self.has_file else Opened(self.body)

    def memory(self, how: str) -> memoryview:
        """Map the shared memory, or read it, and close its file. Raises the errors of `open`."""
        if self.fd is None:
            raise BatchflowError(
                "shared memory did not arrive: too many files are open in this process (ulimit -n)"
            )
        try:
            size = os.fstat(self.fd).st_size
            return read_file(self.fd, size) if how == COPIED else map_file(self.fd, size, how)
        finally:
            self.close()

    def opened(self, memory: memoryview) -> Opened:
        """Return the pickle and its buffers, which lie in memory."""
        places, _ = spread_out(struct.unpack(f"<{len(self.body) // 8}Q", self.body))
        payload, *buffers = (memory[start:end] for start, end in places)
        return Opened(payload, buffers)

    def close(self) -> None:
        """Close the file. A second call does nothing."""
        fd, self.fd = self.fd, None
        if fd is not None:
            os.close(fd)


def frame(
    kind: int,
    number: int = 0,
    job: int = 0,
    *,
    seconds: float = 0.0,
    message: Message | None = None,
) -> tuple[memoryview, list[int]]:
    """Make the bytes of a frame, and the files that go with them."""
    body = b"" if message is None else message.body
    fds = [] if message is None or message.fd is None else [message.fd]
    place = 0 if message is None else message.place
    header = _HEADER.pack(kind, len(fds), place, len(body), number, job, seconds)
    return memoryview(header + body), fds


def send(connection: socket.socket, data: memoryview, fds: Sequence[int]) -> int:
    """Send the beginning of a frame, all of it if there is room, and the files with it.

    Returns:
        How many bytes were sent.
    """
    return socket.send_fds(connection, [data], fds) if fds else connection.send(data)


class Receiver:
    """Puts together the frames that come out of a socket.

    Args:
        connection: The socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._data = bytearray()
        self._fds: deque[int | None] = deque()

    def receive(self) -> list[Frame]:
        """Receive once, and give the frames that are complete.

        Raises:
            EOFError: The other side is closed.
            OSError: The connection is broken; `BlockingIOError`, if nothing is there.
        """
        flags = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
        data, fds, told, _ = socket.recv_fds(self._connection, CHUNK, MAX_FILES, flags)
        if not data:
            raise EOFError
        self._fds.extend(fds)
        if told & socket.MSG_CTRUNC:
            self._fds.append(None)
        self._data += data
        return self._complete()

    def close(self) -> None:
        """Close the files of frames that will never be complete."""
        while self._fds:
            fd = self._fds.popleft()
            if fd is not None:
                os.close(fd)

    def _complete(self) -> list[Frame]:
        frames, place = [], 0
        while len(self._data) - place >= _HEADER.size:
            kind, n_files, lent, size, number, job, seconds = _HEADER.unpack_from(self._data, place)
            end = place + _HEADER.size + size
            if len(self._data) < end:
                break
            body = bytes(self._data[place + _HEADER.size : end])
            fd = self._fds.popleft() if n_files else None
            frames.append(Frame(kind, number, job, seconds, lent, body, bool(n_files), fd))
            place = end
        del self._data[:place]
        return frames
