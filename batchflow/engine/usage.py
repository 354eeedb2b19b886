"""What a thread has used so far, and how much memory things take: for who measures.

Guarantees:
    - To ask does not let the interpreter go: a thread that is measured waits no more than others.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from contextlib import suppress
from typing import Any

from batchflow.batch import Batch

# The clock, and of a thread: CPU seconds, page faults, and the seconds that it waited for a CPU.
Reading = tuple[float, float, int, float]

try:
    from resource import RUSAGE_THREAD, getrusage
except ImportError:  # not Linux: no page faults are counted, nor what is waited for a CPU

    def reading() -> Reading:
        """Return what this thread has used so far."""
        return time.perf_counter(), time.thread_time(), 0, 0.0
else:

    def reading() -> Reading:
        """Return what this thread has used so far.

        A thread that has not been taken from its CPU since the last time has worked all the while,
        and waited for nothing: then neither needs to be asked for.
        """
        own, now, used = _of_thread, time.perf_counter(), getrusage(RUSAGE_THREAD)
        n_switches = used.ru_nvcsw + used.ru_nivcsw
        if n_switches != own.n_switches:
            own.n_switches, own.at, own.cpu = n_switches, now, time.thread_time()
            own.delay = run_delay()
        return now, own.cpu + (now - own.at), used.ru_minflt, own.delay


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


_LONGEST = 96  # bytes of the file, at most


class _Delay:
    """How long its thread has waited for a CPU, from a file of the system."""

    def __init__(self) -> None:
        self._file: int | None = None
        self._text = ctypes.create_string_buffer(_LONGEST)
        with suppress(OSError, AttributeError):  # not Linux
            self._read = ctypes.PyDLL(None).pread  # unlike that of `os` it keeps the interpreter
            self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)

    def seconds(self) -> float:
        if self._file is None or self._read(self._file, self._text, _LONGEST - 1, 0) <= 0:
            return 0.0
        return int(self._text.value.split()[1]) / 1e9

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)


class _OfThread(threading.local):
    """What is known of a thread. It goes with the thread, and so does the open file."""

    def __init__(self) -> None:
        self.n_switches = -1
        self.cpu = self.at = self.delay = 0.0
        self.file = _Delay()


_of_thread = _OfThread()


def run_delay() -> float:
    """Return how long this thread has waited for a CPU so far, in seconds; 0 if nobody tells."""
    try:
        return _of_thread.file.seconds()
    except (ValueError, IndexError):
        return 0.0
