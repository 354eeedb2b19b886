"""One of several shares of each epoch, for trainers that go through a dataset together.

Guarantees:
    - With the same seed, the shards of an epoch have no item in common, and together have all.
    - They are cut out of the order of the epoch: in each shuffled epoch a shard has other items.
    - Their sizes differ by one at most. Equal shards have one size: the few items left over at the
      end of the order are left out of that epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from batchflow.counts import checked_count
from batchflow.errors import ArgumentValueError

if TYPE_CHECKING:
    from batchflow.index.order import EpochOrder, Order, Positions


class Shard(NamedTuple):
    """A share of the items."""

    number: int  # from 0 on
    n_shards: int
    n_items: int  # of all shards
    is_equal: bool = False  # whether all shards have the same size

    @classmethod
    def checked(cls, number: Any, count: Any, n_items: int, is_equal: bool) -> Shard:
        """Return a shard for the arguments of a call, checked.

        Raises:
            ArgumentTypeError: The numbers are no whole numbers.
            ArgumentValueError: There is no such shard, or it has no items.
        """
        number = checked_count("shard: index", number, least=0)
        shard = cls(number, checked_count("shard: count", count), n_items, bool(is_equal))
        if number >= shard.n_shards:
            raise ArgumentValueError(
                f"shard({number}, {count}): there are shards 0 ... count - 1, and at least one"
            )
        if shard.size == 0:
            raise ArgumentValueError(
                f"shard({number}, {count}): {n_items} items make no {count} shards with items"
            )
        return shard

    def cutting(self, n_places: int) -> Shard:
        """Return the same shard of an epoch that shows so many items."""
        return self.checked(self.number, self.n_shards, n_places, self.is_equal)

    @property
    def first(self) -> int:
        """The place of the first item in the order of an epoch."""
        if self.is_equal:
            return self.number * (self.n_items // self.n_shards)
        return self.number * self.n_items // self.n_shards

    @property
    def sizes(self) -> list[int]:
        """The sizes of all shards."""
        return [self._replace(number=number).size for number in range(self.n_shards)]

    @property
    def size(self) -> int:
        """The number of items."""
        if self.is_equal:
            return self.n_items // self.n_shards
        return (self.number + 1) * self.n_items // self.n_shards - self.first


class ShardOrder:
    """The order of the items of a shard, out of that of all items."""

    def __init__(self, order: Order, shard: Shard) -> None:
        self.whole = order
        self._first = shard.first

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of an epoch."""
        return _ShardEpoch(self.whole.epoch(epoch), self._first)


class _ShardEpoch(NamedTuple):
    order: EpochOrder
    first: int

    def part(self, start: int, stop: int) -> Positions:
        return self.order.part(self.first + start, self.first + stop)
