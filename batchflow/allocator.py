"""Memory that stays with the process: glibc's malloc gives that of big arrays back at once.

    self.x = self.x + 1        3 MiB: 768 pages, which the system finds, clears and maps one by one
    self.x = self.x * 2        768 others; the first ones go back to the system, one by one

With other thresholds malloc keeps what was given back to it, and the next array lies there. It is
the same memory, so results are the same.

Guarantees:
    - Blocks of more than `MAX_BLOCK` go back to the system when they are freed, as always.
    - Of what is free at the end of the main heap at most the given number of bytes stays. Threads
      that allocate at the same time have heaps of their own, up to 8 for each CPU: of each at most
      two pieces of 64 MiB stay. Free memory between blocks in use stays, as always.
    - No process gets more memory by this than it had in use at once and what lies between.
    - Where the allocator is another (musl, macOS, Windows), nothing is changed.
"""

from __future__ import annotations

import ctypes
import os
import warnings
from typing import Any

from batchflow.counts import checked_count
from batchflow.errors import ArgumentValueError

KEPT = 256 << 20
MAX_BLOCK = 64 << 20  # more than a heap of a thread holds
OLDER_MAX_BLOCK = 32 << 20  # the most that releases of glibc take which have a limit
SETTING = "BATCHFLOW_KEEP_MEMORY"

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
_USUAL = 128 << 10  # all three of them, before anybody sets them
_MOST = (1 << 31) - 1  # mallopt takes an int
_VARIABLES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_")


def keep_memory(n_bytes: int | None = None) -> bool:
    """Let this process, with all its threads, keep the memory of arrays that it has freed.

    Arrays of more than 128 KiB then cost no page faults when they are made again and again, as
    actions do. Worker processes do the same by themselves: see `docs/explanation/memory.md`, also
    for what stays with the process at most.

    Args:
        n_bytes: The most free bytes that stay at the end of the heap; None: 256 MiB. 0: none any
            more, and what is free now is given back.

    Returns:
        Whether it is so now. False, with a `RuntimeWarning`, where the allocator is not glibc's.

    Raises:
        ArgumentTypeError: `n_bytes` is not a whole number.
        ArgumentValueError: It is negative.
    """
    n_bytes = checked_count("keep_memory: n_bytes", KEPT if n_bytes is None else n_bytes, least=0)
    malloc = _glibc()
    if malloc is None:
        warnings.warn(
            "keep_memory changes nothing here: it needs the allocator of glibc, which Linux "
            "has and macOS, Windows and musl have not",
            RuntimeWarning,
            stacklevel=2,
        )
        return False
    return _set(malloc, n_bytes)


def keep_memory_in_worker() -> None:
    """Do the same in a worker process, unless its environment says otherwise.

    Raises:
        ArgumentValueError: `BATCHFLOW_KEEP_MEMORY` is not a number of bytes.
    """
    given = os.environ.get(SETTING, str(KEPT))
    if not given.strip().isdecimal():
        raise ArgumentValueError(f"{SETTING}={given!r} must be a number of bytes; 0: nothing stays")
    n_bytes, malloc = int(given), _glibc()
    if malloc is not None and n_bytes and not is_set_by_user():
        _set(malloc, n_bytes)


def give_back() -> None:
    """Give all free memory back to the system."""
    malloc = _glibc()
    if malloc is not None:
        malloc.malloc_trim(0)


def glibc_version() -> str | None:
    """Return the name and version of the C library; None if it is not glibc."""
    try:
        name = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (AttributeError, ValueError, OSError):
        return None
    return name if name.startswith("glibc") else None


def _glibc() -> Any:
    """Return the C library; None if it is not glibc."""
    return ctypes.CDLL(None) if glibc_version() else None


def is_set_by_user() -> bool:
    """Check whether the environment has set what malloc keeps."""
    tunables = os.environ.get("GLIBC_TUNABLES", "")
    return "glibc.malloc." in tunables or any(name in os.environ for name in _VARIABLES)


def _set(malloc: Any, n_bytes: int) -> bool:
    # A piece of a thread's heap goes back as a whole, unless the pad is more than what is free in
    # the one before it. Beyond that the pad is room in the addresses alone.
    block = max(min(n_bytes, MAX_BLOCK), _USUAL)
    is_set = malloc.mallopt(_M_MMAP_THRESHOLD, block) or malloc.mallopt(
        _M_MMAP_THRESHOLD, OLDER_MAX_BLOCK
    )
    is_set &= malloc.mallopt(_M_TRIM_THRESHOLD, min(max(n_bytes, _USUAL), _MOST))
    is_set &= malloc.mallopt(_M_TOP_PAD, block)
    if not n_bytes:
        malloc.malloc_trim(0)
    return bool(is_set)


_N_PAGES = 256


def seconds_of_a_fault() -> float:
    """Measure what it costs here to ask for a page and to give it back."""
    return min(_seconds_of_pages() for _ in range(3)) / _N_PAGES


def _seconds_of_pages() -> float:
    import mmap  # on use, for a light import
    import time

    start = time.perf_counter()
    with mmap.mmap(-1, _N_PAGES * mmap.PAGESIZE) as memory:
        for place in range(0, len(memory), mmap.PAGESIZE):
            memory[place] = 1
    return time.perf_counter() - start
