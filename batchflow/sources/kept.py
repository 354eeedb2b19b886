"""The blocks of a source that a run reads in a window, kept while they are read.

An order that mixes the rows of a few blocks comes back to each of them in every batch.

Guarantees:
    - What is read is what the source gives, in arrays of its own.
    - At most `n_kept` blocks are held; each is read once while the batches of its window come.
    - For any thread: they take turns.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.sources.protocol import Source

    Positions = npt.NDArray[np.int64]


def with_kept_blocks(source: Source, n_kept: int) -> Source:
    """Return a source that keeps blocks, if all of them have one length."""
    size = getattr(source, "blocks", None)
    return source if size is None or np.ndim(size) else KeptBlocks(source, int(size), n_kept)


class KeptBlocks:
    """A source that reads by whole blocks, and keeps the latest.

    Args:
        source: The source.
        size: The rows of a block.
        n_kept: How many blocks are kept.
    """

    def __init__(self, source: Source, size: int, n_kept: int) -> None:
        self._source = source
        self._size = size
        self._n_kept = min(n_kept, -(-len(source) // size))
        self._guard = threading.Lock()
        self._slots: dict[int, int] = {}  # by block, those that were used last at the end
        self._kept: dict[str, npt.NDArray[Any]] | None = None
        self._is_plain = True  # whether rows come in arrays of one kind

    def __len__(self) -> int:
        return len(self._source)

    def read(self, positions: Positions) -> Mapping[str, Any]:
        """Return the rows at some positions."""
        blocks = positions // self._size
        with self._guard:
            parts = self._parts(blocks) if self._is_plain and len(positions) else []
            found = [self._rows(positions[part], blocks[part]) for part in parts]
            if not parts or not self._is_plain:
                return self._source.read(positions)
        if len(parts) == 1:
            return found[0]
        order = np.argsort(np.concatenate(parts))
        return {name: np.concatenate([rows[name] for rows in found])[order] for name in found[0]}

    def __repr__(self) -> str:
        return repr(self._source)

    def _parts(self, blocks: Positions) -> list[Positions]:
        """Return the places of rows that can be read at once; none where that is not worth it.

        A batch at the end of a window has rows of the next, too: those that are kept come first.
        """
        wanted = np.unique(blocks)
        if len(wanted) <= self._n_kept:
            return [np.arange(len(blocks))]
        are_kept = np.isin(blocks, list(self._slots))
        parts = [np.flatnonzero(are_kept), np.flatnonzero(~are_kept)]
        fit = len(parts[0]) and len(np.unique(blocks[parts[1]])) <= self._n_kept
        return parts if fit else []

    def _rows(self, positions: Positions, blocks: Positions) -> dict[str, npt.NDArray[Any]]:
        wanted, of_block = np.unique(blocks, return_inverse=True)
        self._load(wanted.tolist())
        if self._kept is None:
            return {}
        slots = np.array([self._slots[block] for block in wanted.tolist()])
        places = slots[of_block] * self._size + positions % self._size
        return {name: rows.take(places, axis=0) for name, rows in self._kept.items()}

    def _load(self, blocks: list[int]) -> None:
        """Read those that are not kept, in the place of those that were used longest ago."""
        for block in blocks:  # what is wanted now is not given up
            if block in self._slots:
                self._slots[block] = self._slots.pop(block)
        for block in blocks:
            if block in self._slots:
                continue
            first = block * self._size
            read = self._source.read(np.arange(first, min(first + self._size, len(self._source))))
            slot = len(self._slots)
            if slot == self._n_kept:
                slot = self._slots.pop(next(iter(self._slots)))
            if not self._keep(slot, read):
                return
            self._slots[block] = slot

    def _keep(self, slot: int, read: Mapping[str, Any]) -> bool:
        """Keep the rows of a block, if all are arrays of the kind that the others had."""
        if self._kept is None and all(type(rows) is np.ndarray for rows in read.values()):
            n_rows = self._n_kept * self._size
            self._kept = {
                name: np.empty((n_rows, *rows.shape[1:]), rows.dtype) for name, rows in read.items()
            }
        kept = self._kept
        self._is_plain = (
            kept is not None
            and kept.keys() == read.keys()
            and all(
                type(rows) is np.ndarray
                and rows.dtype == kept[name].dtype
                and rows.shape[1:] == kept[name].shape[1:]
                for name, rows in read.items()
            )
        )
        if kept is None or not self._is_plain:
            self._kept, self._slots = None, {}
            return False
        first = slot * self._size
        for name, rows in read.items():
            kept[name][first : first + len(rows)] = rows
        return True
