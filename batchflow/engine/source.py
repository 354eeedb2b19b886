"""Source batches: which items, in which epoch, under which number.

A `Schedule` is a pure function of a run's options; a `Ticket` names one source batch. From its
ticket a batch can be made at any time, in any thread, as often as needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import ceil
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from batchflow.batch import Batch
from batchflow.batch.typevars import BatchT_co
from batchflow.counts import checked_count
from batchflow.errors import ActionResultError, ArgumentValueError
from batchflow.index.order import Order

if TYPE_CHECKING:
    from batchflow.index.order import BoundOrder, Positions
    from batchflow.index.shard import Shard

    # The name of a source batch: its number in the run, from 0 on through the epochs; the number
    # of its epoch; the positions of its items in the index of the dataset.
    Ticket = tuple[int, int, Positions]

# Of how many items the order is read at once, if batches are smaller.
_TOGETHER = 1024


class EpochEnd:
    """Stands in a stream for the last batch of an epoch, where that was skipped.

    Only where something regroups batches, which never crosses the border of an epoch, and where
    epochs are asked for: otherwise nobody needs to know.
    """

    __slots__ = ()


Item = TypeVar("Item", bound="Batch | EpochEnd")


def without_epochs(
    stream: Iterator[Item], n_epochs: int, ended: Exception | None = None
) -> Iterator[Item]:
    """Return a stream that marks the ends of epochs, without its first epochs.

    Args:
        stream: The stream.
        n_epochs: How many epochs are left out.
        ended: What is raised if nothing is left; None: that is an empty stream.
    """
    while n_epochs and (item := next(stream, None)) is not None:
        n_epochs -= isinstance(item, EpochEnd) or item._closes
        del item
    for item in stream:
        ended = None
        passed = [item]
        del item
        yield passed.pop()
    if ended is not None:
        raise ended


def behind(made: Iterator[Item], epoch: int, number: int) -> Iterator[Item]:
    """Leave out the batches of an epoch up to one: they have been delivered before."""
    is_behind = False

    def is_new(item: Batch | EpochEnd) -> bool:
        nonlocal is_behind
        if isinstance(item, EpochEnd) or item.epoch != epoch or (item.number or 0) > number:
            is_behind = True
        return is_behind

    return filter(is_new, made)  # which, other than a generator, keeps no batch


# A run without end that gives nothing for so many batches, and a whole epoch, gives nothing at all.
_MOST_EMPTY = 1000


def refuse_nothing(stream: Iterator[Item], schedule: Schedule) -> Iterator[Item]:
    """Return a stream without end that marks the ends of epochs; an error if nothing else comes.

    It depends on what comes alone, so the error is the same at every parallelism.

    Raises:
        ActionResultError: No batch has come for an epoch or more.
    """
    n_empty, most = 0, max(ceil(_MOST_EMPTY / schedule.batches_per_epoch), 1)

    def checked(item: Item) -> Item:
        nonlocal n_empty
        n_empty = n_empty + 1 if isinstance(item, EpochEnd) else -(not item._closes)
        if n_empty > most - 1:
            raise ActionResultError(
                f"no batch has come out of {n_empty} whole epochs in a row: the steps skip each of "
                "them, so a run without end would look for the first one for ever. A filter may "
                "keep nothing, or a rebatch that drops what is left may ask for more items than "
                "an epoch has"
            )
        return item

    return map(checked, stream)


class Source(Protocol[BatchT_co]):
    """A source of batches. `Dataset` is one."""

    shard_spec: Shard | None  # which share of the items it reads

    @property
    def batch_class(self) -> type[BatchT_co]:
        """The class of its batches."""

    def __len__(self) -> int:
        """Return the number of items in an epoch."""

    # Not part of what users see of a dataset:

    def _ids_at(self, positions: Positions) -> Any:
        """Return the ids of the items at `positions`, as an array."""

    def _positions_of(self, ids: Any) -> Positions:
        """Return the positions of the items with these ids.

        Raises:
            UnknownNameError: (a `KeyError`) There is no item with one of them.
            ArgumentValueError: An id is given twice, or none.
        """

    def _maker(
        self, *, repeats: bool = False, window: int = 0
    ) -> Callable[[Positions, dict[str, Any]], BatchT_co]:
        """Return what makes the batch of items at some positions; facts become its attributes.

        Where an item may come more than once, the batch has the indices `0 ... n - 1`. Where
        batches come out of a window of blocks, these are kept while they do.
        """

    def _values_of(self, given: Any) -> Any:
        """Return the values of all items for the name of a component; others as they are."""

    def _own_order(self, seed: int, shuffle: Any) -> BoundOrder | None:
        """Return the order of the items where the source has one of its own: a mixture."""

    def _blocks(self) -> Any:
        """Return the blocks that its data are read by: see `Source`. None: there are none."""


def is_source(value: Any) -> bool:
    """Check whether a pipeline can be made over a value."""
    return not isinstance(value, type) and isinstance(getattr(value, "batch_class", None), type)


class Schedule(NamedTuple):
    """The source batches of a run.

    Attributes:
        n_items: The number of items in an epoch.
        batch_size: Items in a batch; the last one of an epoch may be shorter.
        order: The order of the items in each epoch.
        drop_last: Whether a shorter last batch is left out.
        first: The number of the first batch.
        end: The number behind that of the last batch; None if there is no end.
        repeats: Whether an item may come more than once in an epoch.
        window: How many blocks of the data are read together; 0: no matter.
    """

    n_items: int
    batch_size: int
    order: Order
    drop_last: bool
    first: int = 0
    end: int | None = None
    repeats: bool = False
    window: int = 0

    @property
    def first_epoch(self) -> int:
        """The epoch of the first batch."""
        return self.first // self.batches_per_epoch

    @property
    def batches_per_epoch(self) -> int:
        """How many batches an epoch has."""
        whole, rest = divmod(self.n_items, self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    @property
    def n_batches(self) -> int | None:
        """How many batches there are; None if there is no end."""
        return None if self.end is None else max(self.end - self.first, 0)

    def size_of(self, number: int) -> int:
        """Return the number of items in a batch."""
        start = number % self.batches_per_epoch * self.batch_size
        return min(self.batch_size, self.n_items - start)

    def tickets(self, numbers: range | None = None) -> Iterator[Ticket]:
        """Name the batches one after the other.

        Args:
            numbers: The numbers of some batches in a row, in the run or not; None: all.
        """
        n_items, size, per_epoch = self.n_items, self.batch_size, self.batches_per_epoch
        together = max(_TOGETHER // size, 1) * size
        end, number = (self.end, self.first) if numbers is None else (numbers.stop, numbers.start)
        while end is None or number < end:
            epoch, first = divmod(number, per_epoch)
            part = self.order.epoch(epoch).part
            last = per_epoch if end is None else min(per_epoch, first + end - number)
            for start in range(first * size, last * size, together):
                stop = min(start + together, last * size, n_items)
                for positions in _cut(part(start, stop), size):
                    yield number, epoch, positions
                    number += 1

    def ends_epoch(self, number: int) -> bool:
        """Check whether a batch is the last of its epoch."""
        return (number + 1) % self.batches_per_epoch == 0

    def ticket(self, number: int) -> Ticket:
        """Name one batch, also one before the first.

        Raises:
            ArgumentTypeError: `number` is no whole number.
            ArgumentValueError: The run has no batch of this number.
        """
        number, end = checked_count("the number of a batch", number, least=0), self.end
        if end is not None and number >= end:
            has = f"its last one is {end - 1}" if self.first else f"it has {end} batches"
            raise ArgumentValueError(f"the run has no batch {number}: {has}")
        epoch, place = divmod(number, self.batches_per_epoch)
        start = place * self.batch_size
        return number, epoch, self.order.epoch(epoch).part(start, start + self.size_of(number))


def _cut(positions: Positions, size: int) -> list[Positions]:
    """Cut the positions of batches in a row into those of each; only the last may be shorter."""
    if isinstance(positions, slice):
        start, stop = positions.start, positions.stop
        return [slice(first, min(first + size, stop)) for first in range(start, stop, size)]
    whole = len(positions) // size * size
    rest = [positions[whole:]] if whole < len(positions) else []
    return [*positions[:whole].reshape(-1, size), *rest]
