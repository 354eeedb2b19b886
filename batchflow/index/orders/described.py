"""What the described orders have in common."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, TypeVar

import numpy as np

from batchflow.arrays import column_array, is_column
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.labels import by_label, has_labels
from batchflow.index.order import DescribedOrder, order_seed

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.index.order import EpochOrder
    from batchflow.index.shard import Shard

    Positions = npt.NDArray[np.int64]

Made = TypeVar("Made")


class Latest:
    """Keeps what was made last. For several threads."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._kept: tuple[Any, Any] | None = None

    def get(self, key: Any, make: Callable[[], Made]) -> Made:
        """Return what was made under a key; make it, if it was not the last."""
        with self._guard:
            if self._kept is None or self._kept[0] != key:
                self._kept = None  # two are not held at once
                self._kept = key, make()
            made: Made = self._kept[1]
            return made


class Bound(NamedTuple):
    """A described order of the items of a dataset.

    Attributes:
        epoch: Returns the order of an epoch.
        n_places: How many items an epoch shows.
        repeats: Whether one may come more than once.
        window: How many blocks of the source are read together; 0: it does not go by them.
    """

    epoch: Callable[[int], Any]
    n_places: int
    repeats: bool
    window: int = 0


class Description(DescribedOrder):
    """A frozen description of an order. Compares by content.

    Args:
        seed: The seed of the order; None: that of the run.
        fields: What else it says.
    """

    def __init__(self, seed: Any, **fields: Any) -> None:
        where = f"{type(self).__name__}: seed"
        if isinstance(seed, bool):
            raise ArgumentTypeError(f"{where} must be a whole number, got {seed!r}")
        self.__dict__.update(fields)
        self.__dict__["seed"] = None if seed is None else order_seed(seed, where=where)
        self.__dict__["_latest"] = Latest()

    def _prepared(self, source: Any, make: Callable[[], Made]) -> Made:
        """Return what `make` makes for a source. That of the latest source is kept."""
        latest: Latest = self.__dict__["_latest"]
        return latest.get(weakref.ref(source), make)

    def _fields(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_latest"}

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if type(other) is not type(self):
            return NotImplemented
        mine, others = self._fields(), other._fields()
        return all(_equal(value, others[name]) for name, value in mine.items())

    def __hash__(self) -> int:
        return hash((type(self), repr(self), self.seed))

    def __getstate__(self) -> dict[str, Any]:
        return self._fields()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _latest=Latest())

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is frozen: {name!r} cannot be assigned")


class BlockedEpoch:
    """The order of an epoch that is computed in blocks of places, the last of which is kept.

    Args:
        make: Returns the positions in a block, by its number.
        block_at: Returns the number of the block that a place is in.
        first_of: Returns the first place of a block; of the one behind the last, too.
    """

    def __init__(
        self,
        make: Callable[[int], Positions | Round],
        block_at: Callable[[int], int],
        first_of: Callable[[int], int],
    ) -> None:
        self._make, self._block_at, self._first_of = make, block_at, first_of
        self._number = -1
        self._block: Any = np.empty(0, np.int64)

    @classmethod
    def of_size(cls, size: int, make: Callable[[int], Positions | Round]) -> BlockedEpoch:
        """Return such an order with blocks of one size."""
        return cls(make, lambda place: place // size, lambda number: number * size)

    def part(self, start: int, stop: int) -> Positions:
        """Return the positions at places `start ... stop - 1`. Not for several threads at once."""
        parts: list[Positions] = []
        while start < stop:
            number = self._block_at(start)
            if number != self._number:
                self._block, self._number = self._make(number), number
            first = self._first_of(number)
            parts.append(self._block[start - first : stop - first])
            start = self._first_of(number + 1)
        return parts[0] if len(parts) == 1 else np.concatenate(parts)


class Round(NamedTuple):
    """Items in an order of which a part is computed when it is sliced.

    Attributes:
        order: Their order.
        n_items: How many there are.
        items: The positions that the numbers in the order stand for; None: these are positions.
    """

    order: EpochOrder
    n_items: int
    items: Positions | None = None

    def __getitem__(self, places: Any) -> Any:
        start, stop, _ = places.indices(self.n_items)
        part = self.order.part(start, stop)
        if self.items is not None:
            return self.items[part]
        return np.arange(start, stop) if isinstance(part, slice) else part


def held_values(values: Any, shown: str) -> Any:
    """Return values of items as a description holds them: a name, a labelled column, an array.

    Raises:
        ArgumentTypeError: They are no values of items.
    """
    if isinstance(values, str):
        return values
    if isinstance(values, (bytes, dict, set, frozenset)) or not hasattr(values, "__len__"):
        raise ArgumentTypeError(
            f"{shown} are an array, a list or a column with one value for each item, or the name "
            f"of a component, got {values!r:.60}"
        )
    if has_labels(values):
        return values.copy()
    if isinstance(values, (list, tuple)):
        return list(values)
    array = np.array(column_array(values) if is_column(values) else values)
    array.flags.writeable = False
    return array


def n_shown(values: Any) -> str:
    """Return how many values there are, or their name, for a `repr`."""
    return repr(values) if isinstance(values, str) else str(len(values))


def number_values(source: Any, values: Any, shown: str) -> npt.NDArray[np.float64]:
    """Return the numbers of all items of a source, checked: finite, none below 0.

    Raises:
        ArgumentTypeError: They are no numbers.
        ArgumentValueError: Their number is another, or one is negative or not finite.
    """
    found = np.asarray(by_label(source._values_of(values), source.index, shown))
    try:
        if found.dtype.kind not in "biufO":  # texts of digits are no numbers
            raise TypeError(f"they are of {found.dtype}")
        numbers = found.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ArgumentTypeError(f"{shown} must be numbers: {error}") from None
    n_items = len(source.index)
    if numbers.shape != (n_items,):
        raise ArgumentValueError(
            f"{shown}: expected one number for each of the {n_items} items of the dataset, got the "
            f"shape {numbers.shape}"
        )
    wrong = np.flatnonzero(~((numbers >= 0) & (numbers < np.inf)))
    if wrong.size:
        raise ArgumentValueError(
            f"{shown} must be finite and not negative; {len(wrong)} are not: "
            f"{numbers[wrong[:3]].tolist()} at the positions {wrong[:3].tolist()}"
        )
    return numbers


def shard_of(source: Any, n_places: int) -> Shard | None:
    """Return the shard of the places of an epoch that a source reads."""
    shard: Shard | None = source.shard_spec
    return None if shard is None else shard._replace(n_items=n_places)


def _equal(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        same: bool = one.dtype == other.dtype and np.array_equal(one, other)
        return same
    return bool(one.equals(other)) if has_labels(one) else bool(one == other)
