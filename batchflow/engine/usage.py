"""What a thread has used so far, and how much memory things take: for who measures."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Any

from batchflow.batch import Batch

try:
    from resource import RUSAGE_THREAD, getrusage
except ImportError:  # not Linux: no page faults are counted

    def usage() -> tuple[float, int]:
        """Return the CPU seconds and page faults of this thread so far."""
        return time.thread_time(), 0
else:

    def usage() -> tuple[float, int]:
        """Return the CPU seconds and page faults of this thread so far."""
        # The CPU time in `getrusage` goes on by clock ticks of some milliseconds.
        return time.thread_time(), getrusage(RUSAGE_THREAD).ru_minflt


_SMALL = frozenset([int, bool, str, type(None)])


def bytes_of(batch: Batch) -> int:
    """Return the size of the arrays of a batch, also of those in its lists, in bytes."""
    return sum(_size(v) for v in batch.__dict__.values() if v.__class__ not in _SMALL)


def _size(value: Any) -> int:
    if isinstance(value, (list, tuple)) and value:
        return int(sum(map(_own_size, value[:16])) / min(len(value), 16) * len(value))
    return _own_size(value)


def _own_size(value: Any) -> int:
    if not hasattr(type(value), "nbytes"):  # asked for on a pipeline it would be an action
        return 0
    return value.nbytes if isinstance(value.nbytes, int) else 0


def peak_memory() -> int:
    """Return the most memory that this process has had, in bytes; 0: it is not known."""
    try:
        from resource import RUSAGE_SELF, getrusage
    except ImportError:  # Windows
        return 0
    return getrusage(RUSAGE_SELF).ru_maxrss * (1 if os.uname().sysname == "Darwin" else 1024)


class _Delay:
    """How long its thread has waited for a CPU."""

    def __init__(self) -> None:
        self._file: int | None = None
        with suppress(OSError):  # not Linux
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)

    def seconds(self) -> float:
        if self._file is None:
            return 0.0
        return int(os.pread(self._file, 80, 0).split()[1]) / 1e9

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)


class _OfThread(threading.local):
    """Goes with its thread, and so does the open file."""

    def __init__(self) -> None:
        self.delay = _Delay()


_of_thread = _OfThread()


def run_delay() -> float:
    """Return how long this thread has waited for a CPU so far, in seconds; 0 if nobody tells."""
    try:
        return _of_thread.delay.seconds()
    except (OSError, ValueError, IndexError):
        return 0.0
