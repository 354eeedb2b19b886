"""One writer at a time: a lock on a directory, which the death of its holder frees.

A process that the holder forks has no part in it: a child that lives on does not keep the lock.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from collections.abc import Callable, Iterator

from batchflow.errors import BatchflowError

try:
    import fcntl
except ImportError:  # Windows: writers are not kept apart there
    fcntl = None  # type: ignore[assignment]

_NAME = "lock"
_held: dict[object, int] = {}  # descriptors, by what closes them


def _leave_to_parent() -> None:
    while _held:
        os.close(_held.popitem()[1])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


class DirectoryLock:
    """Held from when it is made until it is closed, collected, or its process ends.

    Args:
        directory: The directory, which is there.

    Raises:
        BatchflowError: Another run holds it.
    """

    def __init__(self, directory: str) -> None:
        descriptor, close = _opened(directory, _NAME)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(OSError):  # a disk that is full: it is for messages only
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            close()
            who = "this one" if holder == str(os.getpid()) else holder or "unknown"
            raise BatchflowError(
                f"another run writes its checkpoints to {directory} (process {who}). Let it end, "
                "or close it: run.close(); or give this one a directory of its own"
            ) from None
        except BaseException:
            close()
            raise
        self._close = weakref.finalize(self, close)

    def close(self) -> None:
        """Let others have the directory."""
        self._close()


def is_held(directory: str) -> bool:
    """Check whether a run holds the lock of a directory."""
    if fcntl is None or not os.path.exists(os.path.join(directory, _NAME)):
        return False
    descriptor, close = _opened(directory, _NAME)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        close()
    return False


@contextlib.contextmanager
def one_at_a_time(directory: str, name: str) -> Iterator[None]:
    """Wait until no other process, and no other thread, is in such a block of this directory."""
    descriptor, close = _opened(directory, name)
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        close()


def _opened(directory: str, name: str) -> tuple[int, Callable[[], None]]:
    """Return the descriptor of a file, and what closes it in the process that has opened it."""
    file = os.path.join(directory, name)
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    key = object()
    _held[key] = descriptor

    def close() -> None:
        if (held := _held.pop(key, None)) is not None:
            os.close(held)

    return descriptor, close
