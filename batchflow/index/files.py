"""Files as items, with their names as ids."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.ids import DatasetIndex
from batchflow.old_words import knows_old_options

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["FilesIndex"]

Pattern = str | os.PathLike[str]


class FilesIndex(DatasetIndex):
    """The files (or folders) that match a pattern. An id is the last part of a path.

    Args:
        path: A pattern of Python's `glob` (`**` goes through folders), or several.
        dirs: Whether the items are folders instead of files.
        no_ext: Whether the ids leave out the extension of a file.
        sort: Whether the items are in the order of their paths. Otherwise they are in the order in
            which the operating system lists them.

    Raises:
        ArgumentTypeError: `path` is no pattern.
        ArgumentValueError: No file matches, or two paths would have the same id.

    Example:
        >>> index = FilesIndex("batchflow/index/*.py", no_ext=True)
        >>> "files" in index, index.get_fullpath("files").endswith("index/files.py")
        (True, True)
    """

    # One row per file of the whole index, which all subsets share.
    _whole: DatasetIndex
    _folders: npt.NDArray[Any]
    _folder_of: npt.NDArray[np.int32]
    _endings: npt.NDArray[Any]
    _ending_of: npt.NDArray[np.int32]

    @knows_old_options("files")
    def __init__(
        self,
        path: Pattern | Iterable[Pattern],
        dirs: bool = False,
        no_ext: bool = False,
        sort: bool = True,
    ) -> None:
        patterns = _patterns(path)
        paths = [found for pattern in patterns for found in _matches(pattern, dirs)]
        paths = list(dict.fromkeys(paths))  # one file may match several patterns
        if not paths:
            raise ArgumentValueError(_nothing_found(patterns, dirs))
        if sort:
            paths.sort()
        names = [os.path.basename(found) for found in paths]
        cut = [os.path.splitext(n) if no_ext and not dirs else (n, "") for n in names]
        ids = [stem for stem, _ in cut]
        _refuse_collisions(ids, paths, is_cut=no_ext and not dirs)
        super().__init__(ids)
        self._whole = DatasetIndex(self)
        folders = [os.path.dirname(found) for found in paths]
        self._folders, folder_of = np.unique(folders, return_inverse=True)
        self._endings, ending_of = np.unique([ending for _, ending in cut], return_inverse=True)
        self._folder_of = folder_of.astype(np.int32)
        self._ending_of = ending_of.astype(np.int32)

    def get_fullpath(self, item: str) -> str:
        """Return the path of the file with an id, in the form in which the pattern found it.

        Raises:
            UnknownNameError: (a `KeyError`) The id is not in this index.
        """
        self.get_pos(item)
        row = self._whole.get_pos(item)
        name = f"{item}{self._endings[self._ending_of[row]]}"
        return os.path.join(str(self._folders[self._folder_of[row]]), name)


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
    return patterns


def _matches(pattern: str, dirs: bool) -> Iterable[str]:
    import glob  # on use, for a light import

    is_item = os.path.isdir if dirs else os.path.isfile
    # A folder may be found with a slash at its end, which would leave it without a name.
    return (found.rstrip(os.sep) for found in glob.iglob(pattern, recursive=True) if is_item(found))


def _nothing_found(patterns: list[str], dirs: bool) -> str:
    kind = "folder" if dirs else "file"
    message = f"no {kind} matches {', '.join(map(repr, patterns))} (looked in {os.getcwd()})"
    others = [found for pattern in patterns for found in _matches(pattern, not dirs)]
    if others and dirs:
        message += f"; {others[0]!r} is a file, and files are looked for without dirs=True"
    elif others:
        message += (
            f"; {others[0]!r} is a folder: for the files in it write "
            f"{os.path.join(patterns[0], '*')!r}, for folders as items dirs=True"
        )
    return message


def _refuse_collisions(ids: list[str], paths: list[str], *, is_cut: bool) -> None:
    first: dict[str, str] = {}
    for item, path in zip(ids, paths, strict=True):
        other = first.setdefault(item, path)
        if other is path:
            continue
        twice = f"two paths would have the id {item!r}: {other} and {path}"
        if is_cut and os.path.basename(other) != os.path.basename(path):
            raise ArgumentValueError(f"{twice}; keep the extensions: no_ext=False")
        try:
            root = os.path.commonpath([os.path.dirname(found) for found in paths]) or "."
        except ValueError:  # some begin at the root, others do not
            root = "..."
        endings = {os.path.splitext(found)[1] for found in paths}
        ending = endings.pop() if len(endings) == 1 else ""
        raise ArgumentValueError(
            f"{twice}. Where folders hold files of the same names, let paths be the ids, with the "
            f"folders in them: root = Path({root!r}); ids = [str(path.relative_to(root)) for path "
            f'in sorted(root.glob("*/*{ending}"))]; Dataset(ids, MyBatch).p.load(src=root, '
            "fmt=read)"
        )
