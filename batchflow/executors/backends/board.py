"""What workers of this machine are at: a note of each, which outlives the worker.

    a worker: with noted(address, number): ...          the scheduler: board.at_work(processes)
                     +----> a file in memory, a place for each process <----+

An executor that has lost a worker does not tell what it was at. Its note does.

Guarantees:
    - A note stands while its task is at work, and stays if the process dies of it.
    - Nothing is left anywhere: the file has no name, and ends with its job.
    - No note is never an error: where there are no such files, or none that a worker can reach,
      nobody is known to have been at work.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

__all__ = ["Address", "Board", "noted"]

_NOTE = struct.Struct("<Q")
_HOW = os.O_WRONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)


class Address(NamedTuple):
    """Where a board is.

    Attributes:
        path: Of its file, as other processes see it.
        device: That of the file, by which it is known to be the right one.
        inode: The file's number there.
    """

    path: str
    device: int
    inode: int


class Board:
    """The notes of the workers of one job.

    Attributes:
        address: For workers; None: there is no board.
    """

    def __init__(self) -> None:
        self.address: Address | None = None
        self._file = -1
        if hasattr(os, "memfd_create"):  # Linux
            with suppress(OSError):
                self._file = os.memfd_create("batchflow-board")
                facts = os.fstat(self._file)
                path = f"/proc/{os.getpid()}/fd/{self._file}"
                self.address = Address(path, facts.st_dev, facts.st_ino)

    def at_work(self, processes: Iterable[int]) -> frozenset[int]:
        """Give the numbers of the tasks that some processes are at, or have died of."""
        numbers: set[int] = set()
        with suppress(OSError, struct.error):  # beyond the last note there is nothing
            for process in processes:
                numbers.update(_NOTE.unpack(os.pread(self._file, _NOTE.size, _place(process))))
        return frozenset(numbers - {0})

    def close(self) -> None:
        """Give the memory back. A second call does nothing."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


@contextmanager
def noted(address: Address | None, number: int) -> Iterator[None]:
    """Let a note say what this process is at."""
    file = _opened(address)
    place = _place(os.getpid())
    try:
        _write(file, number, place)
        yield
    finally:
        _write(file, 0, place)
        if file >= 0:
            os.close(file)


def _place(process: int) -> int:
    """Give the place of a process in the file, which takes memory only where there are notes."""
    return process * _NOTE.size


def _opened(address: Address | None) -> int:
    if address is None:
        return -1
    right = (address.device, address.inode)
    try:
        if _facts(os.stat(address.path)) != right:  # the job is over; this is another file
            return -1
        file = os.open(address.path, _HOW)
    except OSError:
        return -1
    if _facts(os.fstat(file)) != right:
        os.close(file)
        return -1
    return file


def _facts(told: os.stat_result) -> tuple[int, int]:
    return told.st_dev, told.st_ino


def _write(file: int, number: int, place: int) -> None:
    if file >= 0:
        with suppress(OSError):
            os.pwrite(file, _NOTE.pack(number), place)
