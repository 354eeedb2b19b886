"""One writer at a time: a lock on a directory, which the death of its holder frees."""

from __future__ import annotations

import contextlib
import os
import weakref

from batchflow.errors import BatchflowError

try:
    import fcntl
except ImportError:  # Windows: writers are not kept apart there
    fcntl = None  # type: ignore[assignment]

_NAME = "lock"


class DirectoryLock:
    """Held from when it is made until it is closed, collected, or its process ends.

    Args:
        directory: The directory, which is there.

    Raises:
        BatchflowError: Another run holds it.
    """

    def __init__(self, directory: str) -> None:
        file = os.path.join(directory, _NAME)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            if fcntl is not None:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(OSError):  # a disk that is full: it is for messages only
                os.truncate(descriptor, 0)
                os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace").strip()
            os.close(descriptor)
            who = "this one" if holder == str(os.getpid()) else holder or "unknown"
            raise BatchflowError(
                f"another run writes its checkpoints to {directory} (process {who}). Let it end, "
                "or close it: run.close(); or give this one a directory of its own"
            ) from None
        except BaseException:
            os.close(descriptor)
            raise
        self._close = weakref.finalize(self, os.close, descriptor)

    def close(self) -> None:
        """Let others have the directory."""
        self._close()
