"""Shared memory for results, which is used again when the last array in it has gone.

    worker: SegmentPool.message ---> place ---> main process: SegmentReader.open(frame) ---> arrays
       ^                                                                                  |
       +------- a flag in memory that both see: the place is free <--- the last array ----+

Fresh memory costs more than the copy into it: pages are found, mapped, filled, unmapped and freed.
Lent memory is mapped once on both sides, and written to again and again.

Guarantees:
    - Nothing is written to memory while an array of it lives in the main process, or may live in a
      process that was forked from it.
    - At most `PLACES` pieces are kept by a worker, `MAX_KEPT` bytes altogether, and none after the
      end of a job. Who keeps more results gets fresh memory for each; beyond `MOST_MAPS` pieces it
      is memory of the main process, as the system maps 65,530 pieces for a process and no more.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import weakref
from collections.abc import Sequence
from typing import Any

from batchflow.errors import BatchflowError
from batchflow.executors.processes.channel import (
    COPIED,
    OWN,
    Frame,
    Message,
    map_file,
    memory_file,
    n_maps,
    sizes_of,
    spread_out,
    write_file,
)
from batchflow.executors.serialization.pickling import INLINE, Opened

PLACES = 8
MAX_KEPT = 256 << 20
MAX_WASTE = 4  # times the size that is needed
MOST_MAPS = 16_384

# What a flag says.
FREE, LENT, QUARANTINED = 0, 1, 2  # quarantined: free, but a forked process may still see it


class SegmentPool:
    """The worker's side.

    Args:
        flags: One byte for each place, which both sides see.
    """

    def __init__(self, flags: memoryview) -> None:
        self._flags = flags
        self._kept: dict[int, memoryview] = {}

    def message(self, payload: bytes, buffers: Sequence[pickle.PickleBuffer]) -> Message:
        """Make a message of a pickle and buffers: a big one in lent memory, if there is a place.

        It takes what `Message.of` takes.
        """
        if not buffers and len(payload) <= INLINE:
            return Message(payload)
        return self._lent([memoryview(payload), *(buffer.raw() for buffer in buffers)])

    def _lent(self, pieces: Sequence[memoryview]) -> Message:
        places, size = spread_out([piece.nbytes for piece in pieces])
        number = self._place(size)
        if number is None:
            return Message.of_pieces(pieces)
        memory, fd = self._kept.get(number), None
        if memory is None:
            fd = memory_file(size)
            for piece, (start, _) in zip(pieces, places, strict=True):
                write_file(fd, piece, start)
            self._kept[number] = map_file(fd, size, OWN, whole=True)  # pages that there are now
        else:
            for piece, (start, end) in zip(pieces, places, strict=True):
                memory[start:end] = piece
        self._flags[number] = LENT
        return Message(sizes_of(pieces), fd, number + 1)

    def forget(self) -> None:
        """Keep nothing."""
        self._kept.clear()

    def _place(self, size: int) -> int | None:
        """Choose a free place: with fitting memory, with none, or with other memory."""
        free = []
        for number in range(PLACES):
            if self._flags[number] == QUARANTINED:
                self._kept.pop(number, None)
                self._flags[number] = FREE
            if self._flags[number] == FREE:
                free.append(number)
        for number in free:
            if number in self._kept and size <= len(self._kept[number]) <= size * MAX_WASTE:
                return number
        for number in sorted(free, key=self._kept.__contains__):
            self._kept.pop(number, None)
            if sum(map(len, self._kept.values())) + size <= MAX_KEPT:
                return number
        return None


class SegmentReader:
    """The main process's side, for one worker.

    Args:
        flags: One byte for each place, which both sides see.
    """

    def __init__(self, flags: memoryview) -> None:
        self._flags = flags
        self._pid = os.getpid()
        self._known: dict[int, tuple[memoryview, Any]] = {}
        self._lent: dict[int, weakref.ref[Any]] = {}
        self._quarantined: set[int] = set()
        _all.add(self)

    def open(self, received: Frame) -> Opened:
        """Open a frame that has arrived.

        Raises:
            BatchflowError: Its file did not arrive.
            OSError: Its memory cannot be mapped.
        """
        if not received.place:
            return received.open(OWN if n_maps() < MOST_MAPS else COPIED)
        number = received.place - 1
        try:
            if received.has_file:
                self._known.pop(number, None)
                memory = received.memory(OWN)
                # A ctypes array can tell when the last view of it has gone; a map cannot.
                self._known[number] = memory, ctypes.c_char * len(memory)
            elif number not in self._known:
                raise BatchflowError("shared memory did not arrive with an earlier result")
        except BaseException:
            self._flags[number] = QUARANTINED  # the worker shall send other memory
            raise
        memory, kind = self._known[number]
        lent = kind.from_buffer(memory)
        self._lent[number] = weakref.ref(lent, self._returns(number))
        return received.opened(memoryview(lent))

    def forget(self) -> None:
        """Keep nothing: the worker will send new memory."""
        self._known.clear()

    def quarantine(self) -> None:
        """Mark memory that is lent now: a process is forked, which will see it."""
        for number, lent in list(self._lent.items()):
            if lent() is not None:
                self._quarantined.add(number)

    def _returns(self, number: int) -> Any:
        flags, quarantined, pid = self._flags, self._quarantined, self._pid

        def give_back(_: Any) -> None:
            if os.getpid() == pid:  # a forked process has nothing to give back
                flags[number] = QUARANTINED if number in quarantined else FREE
                quarantined.discard(number)

        return give_back


_all: weakref.WeakSet[SegmentReader] = weakref.WeakSet()


def _before_fork() -> None:
    for reader in list(_all):
        reader.quarantine()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork)
