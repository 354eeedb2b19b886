"""Items of like length in one batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.counts import checked_count
from batchflow.index.order import epoch_key, epoch_rng
from batchflow.index.orders.described import (
    Bound,
    Description,
    Latest,
    held_values,
    n_shown,
    number_values,
    shard_of,
)
from batchflow.index.permutation import ArrayOrder, permutation

if TYPE_CHECKING:
    import numpy.typing as npt

    Positions = npt.NDArray[np.int64]


class Bucketed(Description):
    """Items of like length in one batch, so that little is padded: `shuffle=Bucketed(lengths)`.

    All items are shuffled, those of each window sorted by length and cut into batches, and the
    batches dealt in a random order. Each item comes once. The short batch of an epoch, or of a
    shard, is its last; it is of items of any length.

    Args:
        lengths: The length of each item: an array, a list, a column of pandas (by label, where
            the ids were given), or the name of a component.
        window: The items that are sorted at once. More of them: less padding, and batches that
            are more alike from epoch to epoch. Take that of several batches.
        seed: The seed of the order; None: that of the run.

    Example:
        >>> from batchflow import Bucketed, Dataset
        >>> order = Bucketed([3, 90, 5, 88, 4, 91])
        >>> run = Dataset(6).gen_batch(3, shuffle=order, seed=1)
        >>> [sorted(batch.indices.tolist()) for batch in run]
        [[0, 2, 4], [1, 3, 5]]
    """

    lengths: Any
    window: int

    def __init__(self, lengths: Any, window: int = 100, *, seed: Any = None) -> None:
        lengths = held_values(lengths, "Bucketed: lengths")
        super().__init__(seed, lengths=lengths, window=checked_count("Bucketed: window", window))

    def __repr__(self) -> str:
        return f"<Bucketed of {n_shown(self.lengths)}>"

    def bound(self, source: Any, batch_size: int, seed: int) -> Bound:
        """Return the order of the items of a dataset. A run calls it."""
        seed = seed if self.seed is None else self.seed
        items = self._prepared(source, lambda: _Lengths(source, self.lengths))
        shard = shard_of(source, len(items.lengths))
        sizes = [len(items.lengths)] if shard is None else shard.sizes

        def epoch(number: int) -> ArrayOrder:
            key = seed, number, batch_size, self.window, sizes
            return items.latest.get(key, lambda: ArrayOrder(items.dealt(*key)))

        return Bound(epoch, len(items.lengths), False)


class _Lengths:
    """The lengths of all items."""

    def __init__(self, source: Any, lengths: Any) -> None:
        self.lengths = number_values(source, lengths, "Bucketed: the lengths")
        self.latest = Latest()

    def dealt(
        self, seed: int, epoch: int, batch_size: int, window: int, sizes: list[int]
    ) -> Positions:
        """Return the order of an epoch, in which each share of some sizes has whole batches."""
        n_items, numbers = len(self.lengths), [size // batch_size for size in sizes]
        drawn = permutation(n_items, epoch_key(seed, epoch)).part(0, n_items)
        n_whole = sum(numbers) * batch_size
        batches = self._sorted(drawn[:n_whole], window).reshape(-1, batch_size)
        batches = batches[epoch_rng(seed, epoch, 0).permutation(len(batches))]
        parts, first, rest = [], 0, n_whole
        for size, number in zip(sizes, numbers, strict=True):
            n_short = size - number * batch_size
            parts += [batches[first : first + number].ravel(), drawn[rest : rest + n_short]]
            first, rest = first + number, rest + n_short
        return np.concatenate(parts)

    def _sorted(self, items: Positions, window: int) -> Positions:
        """Sort the items of each window: every other one downwards, so that ends meet alike."""
        lengths, windows = self.lengths[items], np.arange(len(items)) // window
        return items[np.lexsort((np.where(windows % 2, -lengths, lengths), windows))]
