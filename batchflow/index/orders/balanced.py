"""Each class equally often, or so many of each in each batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.counts import checked_count
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.numbered import numbered
from batchflow.index.order import epoch_key, epoch_rng
from batchflow.index.orders.described import (
    BlockedEpoch,
    Bound,
    Description,
    Round,
    held_values,
    n_shown,
    shard_of,
)
from batchflow.index.permutation import DRAWN_UP_TO, permutation

if TYPE_CHECKING:
    import numpy.typing as npt

    Positions = npt.NDArray[np.int64]

_TOGETHER = 4096  # places that are computed at once, or 16 runs, if that is more
_LEAST = 16


class Balanced(Description):
    """Rare classes as often as frequent ones: `shuffle=Balanced(labels)`.

    An epoch shows each item of the largest class once; those of others are used up before they
    repeat. Each run of as many items as there are classes holds each class once.

    Args:
        labels: The class of each item: an array, a list, a column of pandas (by label, where the
            ids were given), or the name of a component.
        batch: How many items of each class a batch has, in the order of the sorted classes:
            `(8, 4)`. The batch size is their sum. An epoch ends when the class that needs the most
            batches was shown once.
        seed: The seed of the order; None: that of the run.

    Each batch has the indices `0 ... n - 1`, and `source_ids` tells its items.

    Example:
        >>> from batchflow import Balanced, Dataset
        >>> order = Balanced([0, 0, 0, 0, 0, 0, 1], batch=(3, 1))
        >>> run = Dataset(7).gen_batch(4, shuffle=order, seed=1)
        >>> [sorted(batch.source_ids.tolist()) for batch in run]
        [[1, 3, 5, 6], [0, 2, 4, 6]]
    """

    labels: Any
    batch: tuple[int, ...] | None

    def __init__(self, labels: Any, batch: Any = None, *, seed: Any = None) -> None:
        if batch is not None:
            if isinstance(batch, (str, bytes)) or not hasattr(batch, "__iter__"):
                raise ArgumentTypeError(
                    "Balanced: batch is how many items of each class a batch has, such as (8, 4), "
                    f"got {batch!r:.60}"
                )
            batch = tuple(checked_count("Balanced: a number in batch", number) for number in batch)
        labels = held_values(labels, "Balanced: labels")
        super().__init__(seed, labels=labels, batch=batch)

    def __repr__(self) -> str:
        return f"<Balanced of {n_shown(self.labels)}>"

    def bound(self, source: Any, batch_size: int, seed: int) -> Bound:
        """Return the order of the items of a dataset. A run calls it."""
        seed = seed if self.seed is None else self.seed
        classes = self._prepared(source, lambda: self._classes(source))
        numbers = self.batch or (1,) * len(classes)
        if len(numbers) != len(classes):
            raise ArgumentValueError(
                f"Balanced: batch={self.batch} is for {len(numbers)} classes, and the labels have "
                f"{len(classes)}"
            )
        run = sum(numbers)
        n_runs = max(-(-len(m) // k) for m, k in zip(classes, numbers, strict=True))
        if self.batch is not None:
            self._check_batches(source, batch_size, n_runs)
        return Bound(lambda epoch: _epoch(classes, numbers, seed, epoch), n_runs * run, True)

    def _check_batches(self, source: Any, batch_size: int, n_batches: int) -> None:
        size = sum(self.batch or ())
        if batch_size != size:
            raise ArgumentValueError(
                f"Balanced: batch={self.batch} is for batches of {size}: give batch_size={size}, "
                f"got {batch_size}"
            )
        shard = shard_of(source, n_batches * size)
        if shard is not None and (shard.first % size or shard.size % size):
            fitting = [n for n in range(2, n_batches + 1) if n_batches % n == 0][:3]
            raise ArgumentValueError(
                f"Balanced: shard {shard.number} of {shard.n_shards} cuts batches of "
                f"{self.batch}: an epoch has {n_batches} of them, which would make "
                f"{' or '.join(map(str, fitting)) or 'no'} equal shards. Or leave batch out"
            )

    def _classes(self, source: Any) -> list[Positions]:
        """Return the positions of the items of each class, the classes sorted."""
        found = numbered(source._values_of(self.labels), source.index, "Balanced: labels")
        if len(found.values) < 2:
            raise ArgumentValueError(
                f"Balanced: the labels have one class alone, {found.values[:1].tolist()}"
            )
        try:
            ranks = np.argsort(found.values, kind="stable")
        except TypeError as error:
            raise ArgumentTypeError(f"Balanced: the classes have no order ({error})") from None
        by_class = np.argsort(found.codes, kind="stable")
        members = np.split(by_class, np.cumsum(found.counts)[:-1])
        return [members[rank] for rank in ranks]


def _epoch(
    classes: list[Positions], numbers: tuple[int, ...], seed: int, epoch: int
) -> BlockedEpoch:
    """Return the order of an epoch: runs with so many of each class, each run mixed."""
    shown = [_rounds(members, seed, epoch, number) for number, members in enumerate(classes)]
    size = sum(numbers)
    n_together = max(_TOGETHER // size, _LEAST)

    def runs(block: int) -> Positions:
        rows = np.empty((n_together, size), np.int64)
        first, column = block * n_together, 0
        for part, number in zip(shown, numbers, strict=True):
            items = part.part(first * number, (first + n_together) * number)
            rows[:, column : column + number] = items.reshape(n_together, number)
            column += number
        mixed: Positions = epoch_rng(seed, epoch, len(classes), block).permuted(rows, axis=1)
        return mixed.ravel()

    return BlockedEpoch.of_size(n_together * size, runs)


def _rounds(members: Positions, *path: int) -> BlockedEpoch:
    """Return the items of one class in an epoch without end, in rounds, each in a random order.

    Small rounds are drawn several at once.
    """
    n_items, n_rounds = len(members), max(1024 // len(members), 1)

    def block(number: int) -> Positions | Round:
        if n_items > DRAWN_UP_TO:
            return Round(permutation(n_items, epoch_key(*path, number)), n_items, members)
        rounds = np.tile(members, (n_rounds, 1))
        mixed: Positions = epoch_rng(*path, number).permuted(rounds, axis=1)
        return mixed.ravel()

    return BlockedEpoch.of_size(n_items * n_rounds, block)
