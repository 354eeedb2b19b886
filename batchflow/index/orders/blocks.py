"""Blocks of rows shuffled, then the items of a few blocks: for data that are read by blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from batchflow.counts import checked_count
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.order import epoch_key, epoch_rng
from batchflow.index.orders.described import BlockedEpoch, Bound, Description
from batchflow.index.permutation import permutation

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    Positions = npt.NDArray[np.int64]


class Shuffle(Description):
    """A random order that reads block by block: `shuffle=Shuffle()`.

    The blocks are shuffled, then the items of each `window` of blocks in a row. Items of one block
    stay near each other, so that chunks of files are read in a few pieces.

    Args:
        block: `"source"`: the blocks of the data (chunks of HDF5 and Zarr, row groups of Parquet);
            or how many rows in a row make one. In a part of a dataset a block has those of its rows
            that belong to the part.
        window: How many blocks are mixed with each other.
        seed: The seed of the order; None: that of the run.

    Example:
        >>> from batchflow import Dataset, Shuffle
        >>> run = Dataset(8).gen_batch(4, shuffle=Shuffle(block=2, window=2), seed=1)
        >>> [sorted(batch.indices.tolist()) for batch in run]
        [[2, 3, 6, 7], [0, 1, 4, 5]]
    """

    block: int | Literal["source"]
    window: int
    fits_any = True

    def __init__(
        self, block: int | Literal["source"] = "source", window: int = 32, *, seed: Any = None
    ) -> None:
        if isinstance(block, str) and block != "source":
            raise ArgumentValueError(f'Shuffle: block is "source" or a number, got {block!r:.60}')
        block = block if isinstance(block, str) else checked_count("Shuffle: block", block)
        super().__init__(seed, block=block, window=checked_count("Shuffle: window", window))

    def __repr__(self) -> str:
        seed = "" if self.seed is None else f", seed={self.seed}"
        return f"Shuffle(block={self.block!r}, window={self.window}{seed})"

    def bound(self, source: Any, batch_size: int, seed: int) -> Bound:  # noqa: ARG002  of others
        """Return the order of the items of a dataset. A run calls it."""
        seed = seed if self.seed is None else self.seed
        blocks = self._prepared(source, lambda: _blocks(source, self.block))
        window = self.window if isinstance(self.block, str) else 0

        return Bound(
            lambda epoch: blocks.drawn(seed, epoch, self.window), len(source.index), False, window
        )


class _Equal(NamedTuple):
    """Blocks of one size; the last may be shorter."""

    n_items: int
    size: int

    def drawn(self, seed: int, epoch: int, window: int) -> BlockedEpoch:
        """Draw the order of the blocks, in memory that does not grow with their number."""
        n_whole, n_rest = divmod(self.n_items, self.size)
        n_blocks = n_whole + (n_rest > 0)
        order = permutation(n_whole, epoch_key(seed, epoch)) if n_whole else None
        # The short block is not among those that are permuted: it stands at a place of its own.
        short = int(epoch_rng(seed, epoch, 0).integers(n_blocks)) if n_rest else n_blocks
        lacking, group = -self.n_items % self.size, short // window

        def first_place(number: int) -> int:
            return min(number * window, n_blocks) * self.size - lacking * (number > group)

        def group_at(place: int) -> int:
            return (place + lacking * (place >= first_place(group + 1))) // (window * self.size)

        def items(number: int) -> Positions:
            places = np.arange(number * window, min((number + 1) * window, n_blocks))
            whole = places[places != short]
            found = np.empty(0, np.int64)
            if order is not None and len(whole):
                first, last = int(whole[0]), int(whole[-1])
                start, stop = first - (first > short), last - (last > short) + 1
                starts = order.part(start, stop)[:, None] * self.size
                found = (starts + np.arange(self.size)).ravel()
            if len(whole) < len(places):
                rest = np.arange(n_whole * self.size, self.n_items)
                found = np.concatenate([found, rest])
            return found

        return BlockedEpoch(_mixed(items, seed, epoch), group_at, first_place)


class _Listed(NamedTuple):
    """Blocks of any sizes: where they begin and end, in an order of the items by block."""

    bounds: Positions
    items: Positions | None  # None: the items lie in that order

    def drawn(self, seed: int, epoch: int, window: int) -> BlockedEpoch:
        """Draw the order of the blocks."""
        n_blocks = len(self.bounds) - 1
        order = permutation(n_blocks, epoch_key(seed, epoch)).part(0, n_blocks)
        sizes = np.diff(self.bounds)[order]
        ends = np.concatenate(([0], np.cumsum(sizes)))
        firsts = np.append(ends[:-1:window], ends[-1])

        def items(number: int) -> Positions:
            chosen = order[number * window : (number + 1) * window].tolist()
            rows = [np.arange(self.bounds[block], self.bounds[block + 1]) for block in chosen]
            found = np.concatenate(rows)
            return found if self.items is None else self.items[found]

        return BlockedEpoch(
            _mixed(items, seed, epoch),
            lambda place: int(np.searchsorted(firsts, place, side="right")) - 1,
            lambda number: int(firsts[number]),
        )


def _mixed(items: Callable[[int], Positions], seed: int, epoch: int) -> Callable[[int], Positions]:
    """Return what gives the items of a group of blocks in a random order."""
    return lambda number: epoch_rng(seed, epoch, 1, number).permutation(items(number))


def _blocks(source: Any, block: int | str) -> _Equal | _Listed:
    """Return the blocks of the items of a source."""
    found = source._blocks() if isinstance(block, str) else block
    if found is None:
        raise ArgumentValueError(
            f'Shuffle: the data of {source!r} have no blocks, which block="source" takes; give '
            "the number of rows that make one: Shuffle(block=1024)"
        )
    rows, n_items = source._rows, len(source.index)
    is_array = np.ndim(found) > 0
    size = 0 if is_array else checked_count("Shuffle: the blocks of the source", found)
    if rows is None and not is_array:
        return _Equal(n_items, size)
    firsts = _checked(found) if is_array else np.empty(0, np.int64)
    if rows is None:
        return _Listed(np.append(firsts[firsts < n_items], n_items), None)
    places = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
    numbers = np.searchsorted(firsts, places, side="right") if is_array else places // size
    items = np.argsort(numbers, kind="stable")
    starts = np.flatnonzero(np.diff(numbers[items], prepend=-1))
    return _Listed(np.append(starts, n_items), items)


def _checked(firsts: Any) -> Positions:
    array = np.asarray(firsts)
    is_fine = array.ndim == 1 and array.size and array.dtype.kind in "iu"
    if not is_fine or array[0] != 0 or (np.diff(array.astype(np.int64)) <= 0).any():
        raise ArgumentTypeError(
            "Shuffle: the blocks of the source are a number of rows, or the first row of each in "
            f"ascending order, from 0 on; got {firsts!r:.80}"
        )
    return array.astype(np.int64)
