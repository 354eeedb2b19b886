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

from batchflow.errors import ArgumentValueError

__all__ = ["checked_path", "replacing"]


def checked_path(path: str | os.PathLike[str]) -> str:
    """Return the file behind a path, links followed, if it can be written.

    Raises:
        ArgumentValueError: (a `ValueError`) The path is a folder, or its folder does not exist.
    """
    file = os.path.realpath(path)
    if os.path.isdir(file):
        raise ArgumentValueError(f"{file} is a folder: give the path of a file")
    if not os.path.isdir(os.path.dirname(file)):
        raise ArgumentValueError(
            f"the folder {os.path.dirname(file)} does not exist: make it first"
        )
    return file


@contextlib.contextmanager
def replacing(file: str | os.PathLike[str], suffix: str = "") -> Iterator[str]:
    """Write a file as a whole: yield a temporary path beside it, and move that into its place.

    Args:
        file: The path.
        suffix: The end of the temporary path, for writers that choose a format by it.
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
