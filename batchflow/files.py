"""Files and folders that are either as they were, or whole: written beside, and moved into place.

Guarantees:
    - A reader sees the old file or the new one, at any time, also after a crash or a power failure:
      the new content is on the disk before it takes the name.
    - An error, or an interrupt, leaves the old file and nothing beside it. A crash may leave
      the part that was written, which can be deleted.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from batchflow.errors import ArgumentValueError


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
    _flush_folder(folder)


@contextlib.contextmanager
def making_folder(folder: str, away: str | None = None) -> Iterator[str]:
    """Make a folder as a whole: yield the path of one beside it, and give that its name.

    Args:
        folder: The path. A crash may leave `temp-<name>` beside it.
        away: Where a folder that is there already is moved to, when the new one is on the disk.
            None: nothing is there yet.
    """
    parent, name = os.path.split(os.path.abspath(folder))
    temporary = os.path.join(parent, f"temp-{name}")
    try:
        yield temporary
        for inner, _, files in os.walk(temporary):
            for file in files:
                _flush(os.path.join(inner, file), os.O_RDWR)
            _flush_folder(inner)
        if away is not None and os.path.isdir(folder):
            os.rename(folder, away)
        try:
            os.rename(temporary, folder)
        except BaseException:
            if away is not None and os.path.isdir(away):
                os.rename(away, folder)
            raise
    except BaseException:
        import shutil  # on use: it brings all kinds of compression

        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _flush_folder(parent)


def _flush_folder(folder: str) -> None:
    if os.name == "posix":  # elsewhere a folder cannot be opened
        _flush(folder, os.O_RDONLY)


def _flush(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
