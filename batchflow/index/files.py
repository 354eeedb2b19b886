"""Files as items, with their names, or their paths below a folder, as ids."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from batchflow.errors import ArgumentValueError
from batchflow.index.ids import DatasetIndex
from batchflow.old_words import knows_old_options

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.index.scan import Pattern


class FilesIndex(DatasetIndex):
    """The files (or folders) that match a pattern. An id is the last part of a path.

    Args:
        path: A pattern of Python's `glob` (`**` goes through folders), a path, or several.
        dirs: Whether the items are folders instead of files.
        no_ext: Whether the ids leave out the last extension of a file: `"a.nii"` of `a.nii.gz`.
        sort: Whether the items are in the order of their paths, which is the same on every file
            system. Otherwise they are in the order in which the operating system lists them.
        root: A folder that all items lie below. The ids are then paths below it, with `/` on every
            system: `"cat/000.jpg"`.
        ext: True: the ids have the extensions of the files. False: they have none, and lose
            compound ones as a whole, such as `.nii.gz` and `.ome.tiff`. A text, such as `".gz"`:
            they lose this ending, where they have it.

    Raises:
        ArgumentTypeError: `path` is no pattern, or `ext` no extension.
        ArgumentValueError: No file matches, a path is not there, an item lies outside of `root`,
            or two paths would have the same id.

    Example:
        >>> index = FilesIndex("batchflow/index/*.py", no_ext=True)
        >>> "files" in index, index.get_fullpath("files").endswith("index/files.py")
        (True, True)
        >>> FilesIndex("batchflow/*/files.py", root="batchflow").indices
        array(['index/files.py'], dtype='<U14')
    """

    # One row per file of the whole index, which all subsets share.
    _whole: DatasetIndex
    _folders: npt.NDArray[np.str_]
    _folder_of: npt.NDArray[np.int32]
    _endings: npt.NDArray[np.str_]
    _ending_of: npt.NDArray[np.int32]

    @knows_old_options("files")
    def __init__(
        self,
        path: Pattern | Iterable[Pattern],
        dirs: bool = False,
        no_ext: bool = False,
        sort: bool = True,
        *,
        root: str | os.PathLike[str] | None = None,
        ext: bool | str = True,
    ) -> None:
        from batchflow.index import scan  # on use, for a light import

        cut = scan.cutter(no_ext, ext) if not dirs else None
        paths = scan.found_paths(path, dirs=dirs, sort=sort, root=root)
        folders, names = scan.split_paths(paths)
        endings = [""] * len(names)
        ids = names
        if cut is not None:
            ids, endings = map(list, zip(*map(cut, names), strict=True))
        self._folders, self._folder_of = _numbered(folders)
        self._endings, self._ending_of = _numbered(endings)
        if root is not None:
            below = scan.below_root(self._folders.tolist(), root)
            ids = [below[k] + i for k, i in zip(self._folder_of.tolist(), ids, strict=True)]
        if len(set(ids)) < len(ids):
            raise ArgumentValueError(scan.collision(ids, paths, root=root, no_ext=no_ext))
        super().__init__(ids)
        self._whole = DatasetIndex(self)

    def get_fullpath(self, item: str) -> str:
        """Return the path of the file with an id, in the form in which the pattern found it.

        Raises:
            UnknownNameError: (a `KeyError`) The id is not in this index.
        """
        if self._ids is not self._whole._ids:
            self.get_pos(item)
        row = self._whole.get_pos(item)
        name = f"{item.rpartition('/')[2]}{self._endings[self._ending_of[row]]}"
        return os.path.join(str(self._folders[self._folder_of[row]]), name)


def _numbered(texts: Iterable[str]) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int32]]:
    """Return the different ones of some texts, and the number of each of the texts among them."""
    numbers: dict[str, int] = {}
    each = [numbers.setdefault(text, len(numbers)) for text in texts]
    return np.array(list(numbers)), np.array(each, dtype=np.int32)
