"""Folders with the copies that a run takes of its state, until they are written.

They are in memory (`/dev/shm`), where that has room, and otherwise beside the checkpoints.

Guarantees:
    - What a killed run has left is thrown away by the next writer of its directory.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from typing import TypeVar

MEMORY = "/dev/shm"
BESIDE = "copy-"  # how the names beside the checkpoints begin

_T = TypeVar("_T")


def taken(directory: str, take: Callable[[str], _T]) -> tuple[str, _T]:
    """Let copies be written into a new folder.

    Args:
        directory: That of the checkpoints.
        take: Writes them into a folder. It is called again, with another one, if that has no room.

    Returns:
        The folder, and what `take` has returned.

    Raises:
        Exception: That of `take`; then the folder is gone.
    """
    if os.path.isdir(MEMORY):
        try:
            return _in_new(MEMORY, _prefix(directory), take)
        except OSError:  # containers have as little as 64 MB of it
            pass
    return _in_new(directory, BESIDE, take)


def clear(directory: str) -> None:
    """Throw away what earlier writers have left. To be called by the only writer."""
    for parent, prefix in ((MEMORY, _prefix(directory)), (directory, BESIDE)):
        for name in os.listdir(parent) if os.path.isdir(parent) else ():
            if name.startswith(prefix):
                shutil.rmtree(os.path.join(parent, name), ignore_errors=True)


def _in_new(parent: str, prefix: str, take: Callable[[str], _T]) -> tuple[str, _T]:
    folder = tempfile.mkdtemp(prefix=prefix, dir=parent)
    try:
        return folder, take(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _prefix(directory: str) -> str:
    """Return how the names of the folders of a directory begin: its place on its disk."""
    status = os.stat(directory)
    return f"batchflow-{status.st_dev:x}-{status.st_ino:x}-"
