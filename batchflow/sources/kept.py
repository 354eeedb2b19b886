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

_TOGETHER = 3  # blocks that are read at once, by a source that can do that

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

    def within(self, positions: Positions, blocks: Positions) -> Positions:
        """Return the places of rows in their blocks."""
        return positions - blocks * self.size

    def bounds(self, block: int) -> slice:
        """Return the rows of a block."""
        return slice(block * self.size, min((block + 1) * self.size, self.n_rows))


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

    def within(self, positions: Positions, blocks: Positions) -> Positions:
        return positions - self.borders[blocks]

    def bounds(self, block: int) -> slice:
        return slice(int(self.borders[block]), int(self.borders[block + 1]))


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
        self._rows: dict[str, npt.NDArray[Any]] | None = None
        self._is_plain = True  # whether rows come in arrays of one kind
        self._forget()

    def _forget(self) -> None:
        """Keep no block any more."""
        self._rows = None
        self._numbers = np.full(self._n_kept, -1)  # of the blocks that are kept, by slot
        self._used = np.zeros(self._n_kept, np.int64)  # when: the number of the read
        self._n_reads = 0
        self._sort()

    def _sort(self) -> None:
        order = np.argsort(self._numbers)
        # At the end stands what no block is equal to, for those behind all that are kept.
        self._order, self._sorted = np.append(order, -1), np.append(self._numbers[order], -1)

    def __len__(self) -> int:
        return len(self._source)

    def read(self, positions: Positions) -> Mapping[str, Any]:
        """Return the rows at some positions."""
        with self._guard:
            found = self._found(positions) if len(positions) else None
            return self._source.read(positions) if found is None else found

    def __repr__(self) -> str:
        return repr(self._source)

    def _slots_of(self, blocks: Positions) -> Positions:
        """Return the slots that some blocks are kept in; -1: it is not kept."""
        places = self._sorted[:-1].searchsorted(blocks)
        slots: Positions = self._order[places]
        slots[self._sorted[places] != blocks] = -1
        return slots

    def _found(self, positions: Positions) -> dict[str, npt.NDArray[Any]] | None:
        """Return rows out of blocks that are kept, now or before; None where they cannot be."""
        if not self._is_plain:
            return None
        blocks = self._blocks.of(positions)
        slots = self._slots_of(blocks)
        self._n_reads += 1
        if slots.min() < 0:
            missing = np.unique(blocks[slots < 0])
            # What is wanted now is not given up.
            kept = np.unique(slots[slots >= 0])
            if len(missing) + len(kept) > self._n_kept:
                return self._found_in_two(positions, slots >= 0, len(missing))
            self._used[kept] = self._n_reads
            self._load(missing.tolist())
            slots = self._slots_of(blocks)
        if self._rows is None:
            return None
        self._used[slots] = self._n_reads
        places = slots * self._blocks.size + self._blocks.within(positions, blocks)
        return {name: rows.take(places, axis=0) for name, rows in self._rows.items()}

    def _found_in_two(
        self, positions: Positions, are_kept: npt.NDArray[np.bool_], n_missing: int
    ) -> dict[str, npt.NDArray[Any]] | None:
        """Return the rows of a batch at the end of a window, which has rows of the next, too.

        Those that are kept come first.
        """
        parts = [np.flatnonzero(are_kept), np.flatnonzero(~are_kept)]
        if not len(parts[0]) or n_missing > self._n_kept:
            return None  # not worth it
        kept = self._found(positions[parts[0]])
        others = self._found(positions[parts[1]])
        if kept is None or others is None:
            return None
        order = np.argsort(np.concatenate(parts))
        return {name: np.concatenate([kept[name], others[name]])[order] for name in kept}

    def _load(self, blocks: list[int]) -> None:
        """Read some blocks in the place of those that were used longest ago."""
        read_into = getattr(self._source, "read_into", None)
        try:
            while blocks and self._is_plain:
                number = _TOGETHER if read_into is not None and self._rows is not None else 1
                some, blocks = blocks[:number], blocks[number:]
                slots = np.argpartition(self._used, len(some) - 1)[: len(some)]
                self._numbers[slots], self._used[slots] = -1, self._n_reads
                runs = [self._blocks.bounds(block) for block in some]
                if number == 1 or not read_into(runs, self._places(slots, runs)):  # type: ignore[misc]
                    for slot, run in zip(slots.tolist(), runs, strict=True):
                        self._keep(slot, self._source.read(self._positions(run)))
                if self._is_plain:
                    self._numbers[slots] = some
        finally:  # what was given up is not found, also behind an error
            self._sort()

    def _positions(self, run: slice) -> Any:
        """Return the positions of a run of rows, as the source takes them."""
        takes_slices = getattr(self._source, "reads_slices", False)
        return run if takes_slices else np.arange(run.start, run.stop)

    def _places(self, slots: Positions, runs: list[slice]) -> list[dict[str, npt.NDArray[Any]]]:
        """Return where the rows of blocks go, by component."""
        firsts = (slots * self._blocks.size).tolist()
        kept = self._rows or {}
        return [
            {name: rows[first : first + run.stop - run.start] for name, rows in kept.items()}
            for first, run in zip(firsts, runs, strict=True)
        ]

    def _keep(self, slot: int, read: Mapping[str, Any]) -> None:
        """Keep the rows of a block, if all are arrays of the kind that the others had."""
        if self._rows is None and all(map(_are_values, read.values())):
            n_rows = self._n_kept * self._blocks.size
            self._rows = {
                name: np.empty((n_rows, *rows.shape[1:]), rows.dtype) for name, rows in read.items()
            }
        kept = self._rows
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
            self._forget()
            return
        first = slot * self._blocks.size
        for name, rows in read.items():
            kept[name][first : first + len(rows)] = rows


def _are_values(rows: Any) -> bool:
    """Check whether rows are an array that a batch can change without a change of what is kept."""
    if type(rows) is not np.ndarray or not rows.dtype.hasobject:
        return type(rows) is np.ndarray
    return rows.dtype.kind == "O" and set(map(type, rows.ravel().tolist())) <= _VALUES
