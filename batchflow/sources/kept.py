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
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.sources.protocol import Source

    Positions = npt.NDArray[np.int64]

# Such objects can be handed out again; others, such as lists, a batch may change in place.
_VALUES = {str, bytes, bool, int, float, complex, type(None)}


class _Equal(NamedTuple):
    """Blocks of one size; the last may be shorter."""

    size: int  # of the largest
    n_rows: int

    @property
    def number(self) -> int:
        return -(-self.n_rows // self.size)

    def of(self, positions: Positions) -> Positions:
        """Return the numbers of the blocks that some rows are in."""
        return positions // self.size

    def bounds(self, block: Any) -> tuple[Any, Any]:
        """Return the first row of a block, and the one behind its last; or those of several."""
        first = block * self.size
        return first, np.minimum(first + self.size, self.n_rows)


class _Listed(NamedTuple):
    """Blocks of any sizes, by their first rows and the number of rows."""

    size: int
    borders: Positions

    @classmethod
    def of_firsts(cls, firsts: Any, n_rows: int) -> _Listed:
        array = np.asarray(firsts, np.int64)
        borders = np.append(array[array < n_rows], n_rows)
        return cls(int(np.diff(borders).max()), borders)

    @property
    def number(self) -> int:
        return len(self.borders) - 1

    def of(self, positions: Positions) -> Positions:
        return np.searchsorted(self.borders, positions, side="right") - 1

    def bounds(self, block: Any) -> tuple[Any, Any]:
        return self.borders[block], self.borders[block + 1]


def with_kept_blocks(source: Source, n_kept: int) -> Source:
    """Return a source that keeps blocks, if it has some and does not keep them itself."""
    blocks = getattr(source, "blocks", None)
    if blocks is None or getattr(source, "keeps_blocks", False):
        return source
    n_rows = len(source)
    listed = np.ndim(blocks) > 0
    cut = _Listed.of_firsts(blocks, n_rows) if listed else _Equal(int(blocks), n_rows)
    return KeptBlocks(source, cut, n_kept)


class KeptBlocks:
    """A source that reads by whole blocks, and keeps the latest.

    Args:
        source: The source.
        blocks: Its blocks.
        n_kept: How many blocks are kept.
    """

    def __init__(self, source: Source, blocks: _Equal | _Listed, n_kept: int) -> None:
        self._source = source
        self._blocks = blocks
        self._n_kept = min(n_kept, blocks.number)
        self._guard = threading.Lock()
        self._slots: dict[int, int] = {}  # by block, those that were used last at the end
        self._kept: dict[str, npt.NDArray[Any]] | None = None
        self._is_plain = True  # whether rows come in arrays of one kind

    def __len__(self) -> int:
        return len(self._source)

    def read(self, positions: Positions) -> Mapping[str, Any]:
        """Return the rows at some positions."""
        with self._guard:
            found = self._found(positions) if len(positions) else None
            return self._source.read(positions) if found is None else found

    def __repr__(self) -> str:
        return repr(self._source)

    def _found(self, positions: Positions) -> dict[str, npt.NDArray[Any]] | None:
        """Return rows out of blocks that are kept, now or before; None where they cannot be."""
        if not self._is_plain:
            return None
        blocks = self._blocks.of(positions)
        wanted, of_block = np.unique(blocks, return_inverse=True)
        if len(wanted) > self._n_kept:
            return self._found_in_two(positions, blocks)
        self._load(wanted.tolist())
        if self._kept is None:
            return None
        slots = np.array([self._slots[block] for block in wanted.tolist()])
        places = slots[of_block] * self._blocks.size + positions - self._blocks.bounds(blocks)[0]
        return {name: rows.take(places, axis=0) for name, rows in self._kept.items()}

    def _found_in_two(
        self, positions: Positions, blocks: Positions
    ) -> dict[str, npt.NDArray[Any]] | None:
        """Return the rows of a batch at the end of a window, which has rows of the next, too.

        Those that are kept come first.
        """
        are_kept = np.isin(blocks, list(self._slots))
        parts = [np.flatnonzero(are_kept), np.flatnonzero(~are_kept)]
        if not len(parts[0]) or len(np.unique(blocks[parts[1]])) > self._n_kept:
            return None  # not worth it
        kept = self._found(positions[parts[0]])
        others = self._found(positions[parts[1]])
        if kept is None or others is None:
            return None
        order = np.argsort(np.concatenate(parts))
        return {name: np.concatenate([kept[name], others[name]])[order] for name in kept}

    def _load(self, blocks: list[int]) -> None:
        """Read those that are not kept, in the place of those that were used longest ago."""
        for block in blocks:  # what is wanted now is not given up
            if block in self._slots:
                self._slots[block] = self._slots.pop(block)
        for block in blocks:
            if block in self._slots:
                continue
            read = self._source.read(np.arange(*self._blocks.bounds(block)))
            slot = len(self._slots)
            if slot == self._n_kept:
                slot = self._slots.pop(next(iter(self._slots)))
            if not self._keep(slot, read):
                return
            self._slots[block] = slot

    def _keep(self, slot: int, read: Mapping[str, Any]) -> bool:
        """Keep the rows of a block, if all are arrays of the kind that the others had."""
        if self._kept is None and all(map(_are_values, read.values())):
            n_rows = self._n_kept * self._blocks.size
            self._kept = {
                name: np.empty((n_rows, *rows.shape[1:]), rows.dtype) for name, rows in read.items()
            }
        kept = self._kept
        self._is_plain = (
            kept is not None
            and kept.keys() == read.keys()
            and all(
                _are_values(rows)
                and rows.dtype == kept[name].dtype
                and rows.shape[1:] == kept[name].shape[1:]
                for name, rows in read.items()
            )
        )
        if kept is None or not self._is_plain:
            self._kept, self._slots = None, {}
            return False
        first = slot * self._blocks.size
        for name, rows in read.items():
            kept[name][first : first + len(rows)] = rows
        return True


def _are_values(rows: Any) -> bool:
    """Check whether rows are an array that a batch can change without a change of what is kept."""
    if type(rows) is not np.ndarray or not rows.dtype.hasobject:
        return type(rows) is np.ndarray
    return rows.dtype.kind == "O" and set(map(type, rows.ravel().tolist())) <= _VALUES
