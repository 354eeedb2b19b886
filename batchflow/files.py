"""Files that are either as they were, or whole: written beside, and put in place.

Guarantees:
    - A reader sees the old file or the new one, at any time, also after a crash or a power failure:
      what was written is on the disk before it takes the name.
    - An error, or an interrupt, leaves the old file and nothing beside it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

__all__ = ["replacing"]


@contextlib.contextmanager
def replacing(file: str | os.PathLike[str], suffix: str = "") -> Iterator[str]:
    """Give a temporary path beside a file, and put what was written there in the file's place.

    Args:
        file: The path.
        suffix: How the temporary path ends, for what looks at that.
    """
    folder, name = os.path.split(os.path.abspath(file))
    temporary = os.path.join(folder, f".{name}.{os.urandom(4).hex()}.tmp{suffix}")
    try:
        yield temporary
        _flush(temporary, os.O_RDWR)
        os.replace(temporary, file)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _flush(folder, os.O_RDONLY)


def _flush(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
