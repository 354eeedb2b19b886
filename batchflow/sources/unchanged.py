"""Files that must stay as they are while a dataset reads them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

from batchflow.errors import ArgumentValueError


class FileState(NamedTuple):
    """What tells whether a file was changed: its size, and when it was written.

    Example:
        >>> state = state_of("README.md")
        >>> state.check()  # fine
    """

    path: str
    size: int
    time: int  # ns

    def check(self) -> None:
        """Check that the file is still the same.

        Raises:
            ArgumentValueError: It was changed or replaced since.
            FileNotFoundError: It is gone.
        """
        found = _stat(self.path)
        if (found.st_size, found.st_mtime_ns) != (self.size, self.time):
            raise ArgumentValueError(
                f"{self.path!r} was changed after the dataset was made of it, so its rows need not "
                "be those of the items any more: make the dataset again"
            )


def state_of(path: str) -> FileState:
    """Return the state of a file.

    Raises:
        FileNotFoundError: It is not there. The message says where it was looked for.
    """
    found = _stat(path)
    return FileState(path, found.st_size, found.st_mtime_ns)


def _stat(path: str) -> os.stat_result:
    try:
        return os.stat(path)
    except FileNotFoundError as error:
        error.add_note(f"it was looked for at {absolute_path(path)!r}")
        raise


def fingerprint(states: Iterable[FileState]) -> str:
    """Return a text that changes when one of the files does."""
    return "; ".join(f"{state.path} {state.size} {state.time}" for state in states)


def absolute_path(path: str | os.PathLike[str]) -> str:
    """Return the path from the root, which also leads to the file from another folder."""
    return os.path.abspath(os.fspath(path))
