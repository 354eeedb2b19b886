"""The paths that patterns match, and the names that they give to items.

Guarantees:
    - A folder is listed once, and its files are told apart from its folders by that: there is no
      call of the operating system for each file.
    - What is not found is an error that says where it was looked for.
"""

from __future__ import annotations

import errno
import fnmatch
import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from batchflow.errors import ArgumentTypeError, ArgumentValueError

Pattern = str | os.PathLike[str]
# Endings of packed files: the one before says what is inside.
_PACKED = frozenset({".gz", ".bz2", ".xz", ".zst", ".lz4", ".z"})
_INNER = re.compile(r"\.[A-Za-z][A-Za-z0-9]{0,5}")
_BY_SLASH = None if os.sep == "/" else lambda path: path.replace(os.sep, "/")


def found_paths(path: Any, *, dirs: bool, sort: bool, root: Any) -> list[str]:
    """Return the paths of the files, or of the folders, that match a pattern or several.

    Raises:
        ArgumentTypeError: There is something else than a pattern.
        ArgumentValueError: Nothing matches, or a path is not there.
    """
    patterns = _patterns(path)
    paths: dict[str, None] = {}  # one file may match several patterns
    for pattern in patterns:
        found = dict.fromkeys(_matches(pattern, dirs))
        if not found and len(patterns) > 1 and not glob.has_magic(pattern):
            raise ArgumentValueError(_nothing_found([pattern], dirs, root))
        paths |= found
    if not paths:
        raise ArgumentValueError(_nothing_found(patterns, dirs, root))
    return sorted(paths, key=_BY_SLASH) if sort else list(paths)


def split_paths(paths: list[str]) -> tuple[list[str], list[str]]:
    """Return the folder and the name of each path."""
    if os.sep != "/" or any("//" in path for path in paths):
        folders, names = zip(*map(os.path.split, paths), strict=True)
        return list(folders), list(names)
    cut = [path.rpartition("/") for path in paths]  # the same, and much quicker
    return [folder or between for folder, between, _ in cut], [name for _, _, name in cut]


def below_root(folders: Iterable[str], root: Any) -> list[str]:
    """Return the paths of folders below another, with `/` between and after the parts.

    Raises:
        ArgumentTypeError: `root` is no path.
        ArgumentValueError: It is not there, or a folder is not below it.
    """
    if not isinstance(root, (str, os.PathLike)):
        raise ArgumentTypeError(f"FilesIndex: root is a folder, got {root!r:.60}")
    root = os.fspath(root)
    whole = os.path.abspath(root)
    if not os.path.isdir(whole):
        raise ArgumentValueError(f"FilesIndex: root={root!r} is no folder (looked for {whole})")
    below = []
    for folder in folders:
        try:
            parts = os.path.relpath(folder or os.curdir, whole).split(os.sep)
        except ValueError:  # on another drive
            parts = [os.pardir]
        if parts[0] == os.pardir:
            raise ArgumentValueError(
                f"FilesIndex: the items in {os.path.abspath(folder)} do not lie below "
                f"root={root!r} ({whole}); give a folder above all: root={_above([folder, root])!r}"
            )
        below.append("" if parts == [os.curdir] else "/".join(parts) + "/")
    return below


def cutter(no_ext: bool, ext: Any) -> Callable[[str], tuple[str, str]] | None:
    """Return the function that cuts a name into id and extension; None: the id is the name.

    Raises:
        ArgumentTypeError: `ext` is no extension, or there is no_ext as well.
    """
    if no_ext and ext is not True:
        raise ArgumentTypeError(f"FilesIndex: give no_ext or ext, not both: ext={ext!r}")
    if no_ext:
        return os.path.splitext
    if ext is True:
        return None
    if ext is False:
        return without_endings
    if not isinstance(ext, str) or len(ext) < 2 or ext[0] != ".":
        raise ArgumentTypeError(
            f'FilesIndex: ext is True, False or an ending with its dot (".gz"), got {ext!r:.60}'
        )
    ending: str = ext.lower()

    def cut(name: str) -> tuple[str, str]:
        start = len(name) - len(ending)
        is_there = start > 0 and name[start:].lower() == ending
        return (name[:start], name[start:]) if is_there else (name, "")

    return cut


def collision(ids: list[str], paths: list[str], *, root: Any, no_ext: bool) -> str:
    """Return the message for two paths that would have the same id, with the way out."""
    first: dict[str, str] = {}
    item, other, path = next(
        (item, first[item], path)
        for item, path in zip(ids, paths, strict=True)
        if first.setdefault(item, path) is not path
    )
    twice = f"two paths would have the id {item!r}: {other} and {path}"
    if os.path.basename(other) != os.path.basename(path):
        return f"{twice}; keep the extensions: {'no_ext=False' if no_ext else 'ext=True'}"
    if root is not None:
        return f"{twice}. These are two spellings of one path: give patterns with one beginning"
    return (
        f"{twice}. Where folders hold files of the same names, let the ids be paths below a "
        f"folder: FilesIndex(..., root={_above(map(os.path.dirname, paths))!r})"
    )


def _above(folders: Iterable[str]) -> str:
    """Return the folder that all of several lie in, as it is given where that can be."""
    different = set(folders)
    try:
        return os.path.commonpath(different) or os.curdir
    except ValueError:  # some begin at the root of the file system, others do not
        pass
    try:
        return os.path.commonpath([os.path.abspath(folder) for folder in different])
    except ValueError:
        return "..."


def without_endings(name: str) -> tuple[str, str]:
    """Cut a name into the id and its extension, which may be of two parts."""
    stem, last = os.path.splitext(name)
    inner, second = os.path.splitext(stem)
    is_compound = last.lower() in _PACKED and _INNER.fullmatch(second)
    if is_compound or (second.lower() == ".ome" and last):
        return inner, second + last
    return stem, last


def _patterns(path: Any) -> list[str]:
    if isinstance(path, (str, os.PathLike)):
        path = [path]
    if not isinstance(path, Iterable):
        raise ArgumentTypeError(f"FilesIndex takes a pattern or several, got {path!r:.60}")
    patterns = []
    for pattern in path:
        if not isinstance(pattern, (str, os.PathLike)):
            raise ArgumentTypeError(f"a pattern is a string or a Path, got {pattern!r:.60}")
        patterns.append(os.fspath(pattern))
    if not patterns:
        raise ArgumentValueError("FilesIndex: expected patterns or paths, got an empty list")
    return patterns


def _matches(pattern: str, dirs: bool) -> Iterator[str]:
    """Yield what a pattern matches, spelt as `glob` does it."""
    # A folder may be given with a slash at its end, which would leave it without a name.
    plain = pattern.rstrip("/" if os.altsep is None else os.sep + os.altsep) if dirs else pattern
    if not glob.has_magic(pattern) or os.path.lexists(pattern):  # a name may have brackets
        if (os.path.isdir if dirs else _is_file)(pattern):
            yield plain
        return
    folder, name = os.path.split(plain)
    if not glob.has_magic(name) or name == "**":
        is_item = os.path.isdir if dirs else _is_file
        for found in glob.iglob(pattern, recursive=True):
            if is_item(found):
                yield found.rstrip(os.sep)
        return
    folders: Iterable[str] = [folder]
    if glob.has_magic(folder):
        folders = glob.iglob(os.path.join(folder, ""), recursive=True)
    for each in folders:
        yield from _listed(each, name, dirs)


def _listed(folder: str, pattern: str, dirs: bool) -> Iterator[str]:
    """Yield the files or the folders in a folder whose names match."""
    is_match = re.compile(fnmatch.translate(os.path.normcase(pattern))).match
    shows_hidden = pattern.startswith(".")
    begins = os.path.join(folder, "")
    normed = str if os.path.normcase("A") == "A" else os.path.normcase
    try:
        with os.scandir(folder or os.curdir) as entries:
            for entry in entries:
                name = entry.name
                is_shown = shows_hidden or name[0] != "."
                if is_shown and is_match(normed(name)) and _is_item(entry, dirs):
                    yield begins + name
    except OSError as error:  # one that cannot be read is no empty one
        if error.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise


def _is_item(entry: os.DirEntry[str], dirs: bool) -> bool:
    if dirs:
        return entry.is_dir()
    return entry.is_file() or (entry.is_symlink() and _is_file(entry.path))


def _is_file(path: str) -> bool:
    """Check whether a path is a file. A link to nothing is an error: an item would be left out."""
    if os.path.islink(path) and not os.path.exists(path):
        raise ArgumentValueError(
            f"FilesIndex: {path!r} is a link to {os.readlink(path)!r}, which is not there"
        )
    return os.path.isfile(path)


def _nothing_found(patterns: list[str], dirs: bool, root: Any) -> str:
    kind = "folder" if dirs else "file"
    message = f"no {kind} matches {', '.join(map(repr, patterns[:5]))} (looked in {os.getcwd()})"
    others = [found for pattern in patterns for found in _matches(pattern, not dirs)]
    if others and dirs:
        return f"{message}; {others[0]!r} is a file, and files are looked for without dirs=True"
    if others:
        return (
            f"{message}; {others[0]!r} is a folder: for the files in it write "
            f"{os.path.join(patterns[0], '*')!r}, for folders as items dirs=True"
        )
    if isinstance(root, (str, os.PathLike)):
        below = [os.path.join(root, pattern) for pattern in patterns]
        if any(next(_matches(pattern, dirs), None) for pattern in below):
            return f"{message}; a pattern does not begin at root: write {below[0]!r}"
    folder = os.path.dirname(patterns[0])
    while glob.has_magic(folder):
        folder = os.path.dirname(folder)
    if folder and not os.path.isdir(folder):
        message += f"; there is no folder {os.path.abspath(folder)}"
    return message
