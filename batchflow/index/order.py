"""The order of the items in an epoch: a pure function of (seed, epoch).

`epoch(e)` of an order returns an object whose `part(start, stop)` returns the positions of the
items at places `start ... stop - 1` of that epoch, as a slice or an int64 array. The object of an
epoch is for one reader; any number of readers may share the order.
"""

from __future__ import annotations

import inspect
import operator
import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.permutation import ArrayOrder, Permutation, permutation

if TYPE_CHECKING:
    import numpy.typing as npt

    Positions = slice | npt.NDArray[np.int64]

# The first word of the key of an order; batches' generators use 1 (engine/randomness.py).
_ORDER_KEY = 0
_BY_PLACE = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class EpochOrder(Protocol):
    """The order of one epoch."""

    def part(self, start: int, stop: int) -> Positions:
        """Return the positions at places `start ... stop - 1`."""


class Order(Protocol):
    """The orders of all epochs."""

    def epoch(self, epoch: int) -> EpochOrder:
        """Return the order of an epoch, counted from 0."""


class BoundOrder(Order, Protocol):
    """The orders of all epochs of one dataset, in which items may be left out or repeat."""

    @property
    def n_places(self) -> int:
        """How many items an epoch shows."""

    @property
    def repeats(self) -> bool:
        """Whether one may come more than once."""

    @property
    def window(self) -> int:
        """How many blocks of the source are read together; 0: it does not go by them."""


class DescribedOrder:
    """A description of an order: see `batchflow.index.orders`, which is imported on use.

    Attributes:
        seed: The seed of the order; None: that of the run.
        fits_any: Whether it says something of any dataset, and not of the items of one.
    """

    seed: int | None
    fits_any = False

    def bound(self, source: Any, batch_size: int, seed: int) -> BoundOrder:
        """Return the order of all items of a source; its shard is cut out of that.

        Args:
            source: The dataset.
            batch_size: Items in a batch.
            seed: The seed of the run.

        Raises:
            ArgumentTypeError: What it says of the items is of the wrong type.
            ArgumentValueError: It does not fit the dataset, its shard or the batch size.
        """
        raise NotImplementedError


if TYPE_CHECKING:
    PositionsFunction = Callable[..., npt.ArrayLike]
    ShuffleLike = (
        bool
        | int
        | np.random.Generator
        | np.random.RandomState
        | PositionsFunction
        | DescribedOrder
        | None
    )


def epoch_key(seed: int, epoch: int, *path: int) -> np.random.SeedSequence:
    """Return the key of the order of an epoch, or of a part of it."""
    return np.random.SeedSequence(seed, spawn_key=(_ORDER_KEY, epoch, *path))


def epoch_rng(seed: int, epoch: int, *path: int) -> np.random.Generator:
    """Return the generator of the order of an epoch, or of a part of it."""
    return keyed_rng(seed, _ORDER_KEY, epoch, *path)


def keyed_rng(seed: int | None, *key: int) -> np.random.Generator:
    """Return the generator of a seed and a key; None: the operating system seeds it."""
    sequence = np.random.SeedSequence(seed, spawn_key=key)
    return np.random.Generator(np.random.PCG64(sequence))


def derived_seed(seed: int, *key: int) -> int:
    """Return a seed that follows from another one and a key."""
    return int(np.random.SeedSequence(seed, spawn_key=key).generate_state(1, np.uint64)[0])


class SequentialOrder:
    """The items in the order of the index, as slices."""

    def epoch(self, epoch: int) -> SequentialOrder:  # noqa: ARG002  each epoch is the same
        """Return this order, which is the same in each epoch."""
        return self

    def part(self, start: int, stop: int) -> slice:
        """Return a slice."""
        return slice(start, stop)


class ShuffledOrder:
    """Another random order in each epoch.

    Args:
        n_items: The number of items.
        seed: The seed. With the number of an epoch it is the key of that epoch's order.
    """

    def __init__(self, n_items: int, seed: int) -> None:
        self._n_items = n_items
        self._seed = seed

    def epoch(self, epoch: int) -> Permutation:
        """Return the order of an epoch: drawn now, or for many items computed in parts later."""
        return permutation(self._n_items, epoch_key(self._seed, epoch))


class CustomOrder:
    """The orders that a user's function returns.

    The order of epoch k is the result of call k. If the first epoch to be read is a later one, the
    function is called for those before, too, as it may keep a state, such as a generator. Not so
    one that takes the generator of the epoch.

    Args:
        n_items: The number of items.
        function: Takes the positions `0 ... n_items - 1` as an int64 array, returns them in
            another order. Called once per epoch, in the thread that consumes the run. It may take
            a generator, too, and the number of the epoch.
        seed: The seed of the generators.
    """

    def __init__(self, n_items: int, function: PositionsFunction, seed: int) -> None:
        self._n_items = n_items
        self._seed = seed
        self._n_more = _n_more(function)
        self.function = function
        self.__name__ = getattr(function, "__name__", "")
        self._n_called = 0
        self._guard = threading.Lock()  # several threads may read one feed
        self._latest: tuple[int, ArrayOrder] | None = None
        self._hashes: dict[int, str] = {}  # of the orders that were made, by epoch
        self._expected: tuple[int, str] | None = None

    def __call__(self, positions: npt.NDArray[np.int64]) -> npt.ArrayLike:
        """Return the result of the function."""
        return self.function(positions)

    def epoch(self, epoch: int) -> ArrayOrder:
        """Return the result of the function for an epoch, checked. That of the last epoch is kept.

        Raises:
            ArgumentValueError: The result is no permutation of the positions.
        """
        with self._guard:
            if self._latest is None or self._latest[0] != epoch:
                while not self._n_more and self._n_called < epoch:
                    self._checked(self._n_called)
                    self._n_called += 1
                self._n_called += 1
                self._latest = epoch, self._checked(epoch)
            return self._latest[1]

    def hash_of(self, epoch: int) -> str | None:
        """Return a hash of the order of an epoch; None if it was not made yet.

        The function is not called: what it returns may depend on how often it was.
        """
        return self._hashes.get(epoch)

    def expect(self, epoch: int, order_hash: str) -> None:
        """Raise an error if the order of an epoch, now or when it is made, is another one.

        Raises:
            ArgumentValueError: It is, and the function keeps no state: so it can be called now.
        """
        self._expected = epoch, order_hash
        if self._n_more:
            self.epoch(epoch)

    def _checked(self, epoch: int) -> ArrayOrder:
        more = (epoch_rng(self._seed, epoch), epoch)[: self._n_more] if self._n_more else ()
        order = np.asarray(self.function(np.arange(self._n_items), *more))
        if order.shape != (self._n_items,) or order.dtype.kind not in "iu":
            raise ArgumentValueError(
                f"shuffle={_name(self.function)} must return the {self._n_items} positions in "
                f"another order (an int array); in epoch {epoch} it returned shape {order.shape} "
                f"of {order.dtype}"
            )
        seen = np.zeros(self._n_items, dtype=bool)
        inside = order[(order >= 0) & (order < self._n_items)]
        seen[inside] = True
        if not seen.all():
            missing = np.flatnonzero(~seen)
            raise ArgumentValueError(
                f"shuffle={_name(self.function)} must return each position once; in epoch {epoch} "
                f"{len(missing)} are missing: {missing[:5].tolist()}"
            )
        order = order.astype(np.int64)
        self._compare(epoch, order)
        return ArrayOrder(order)

    def _compare(self, epoch: int, order: npt.NDArray[np.int64]) -> None:
        import hashlib  # on use, for a light import

        found = self._hashes[epoch] = hashlib.sha256(order.tobytes()).hexdigest()[:16]
        if self._expected is not None and self._expected[0] == epoch and self._expected[1] != found:
            raise ArgumentValueError(
                f"this run is not the one that was saved: shuffle={_name(self.function)} returned "
                f"another order in epoch {epoch}. Begin anew, or go on all the same by "
                'changed="allow"'
            )


def make_order(n_items: int, shuffle: int | PositionsFunction | None, seed: int = 0) -> Order:
    """Return the order of a run: for None, a seed, or a function of the positions.

    `seed` is that of the run, for the function.
    """
    if shuffle is None:
        return SequentialOrder()
    if isinstance(shuffle, CustomOrder):
        return shuffle
    if callable(shuffle):
        return CustomOrder(n_items, shuffle, seed)
    return ShuffledOrder(n_items, shuffle)


def keeps_state(function: PositionsFunction) -> bool:
    """Check whether the orders of a function may depend on how often it was called."""
    return _n_more(function) == 0


def _n_more(function: PositionsFunction) -> int:
    """Return how many more arguments a function takes: 1 for `rng`, 2 for `rng` and `epoch`.

    They have no defaults, or these names.
    """
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # some builtins have no signature
        return 0
    n_more = 0
    for name, parameter in zip(("rng", "epoch"), [*parameters][1:], strict=False):
        is_needed = parameter.default is parameter.empty or parameter.name == name
        if parameter.kind not in _BY_PLACE or not is_needed:
            break
        n_more += 1
    return n_more


def drawn_seed() -> int:
    """Draw a new 63-bit seed from the operating system."""
    return int.from_bytes(os.urandom(8), "little") >> 1


def order_seed(shuffle: Any, *, where: str) -> int:
    """Return the seed that an int stands for, or a generator, from which one number is drawn.

    Raises:
        ArgumentTypeError: `shuffle` is none of these.
        ArgumentValueError: The seed is negative.
    """
    if isinstance(shuffle, np.random.Generator):
        return int(shuffle.integers(2**63))
    if isinstance(shuffle, np.random.RandomState):
        return int(shuffle.randint(2**63 - 1, dtype=np.int64))
    try:
        seed = operator.index(shuffle)
    except TypeError:
        raise ArgumentTypeError(
            f"{where}: expected True, False, a seed (int) or a numpy Generator, got "
            f"{type(shuffle).__name__} {shuffle!r:.60}"
        ) from None
    if seed < 0:
        raise ArgumentValueError(f"{where}: a seed must not be negative, got {seed}")
    return seed


def _name(function: Any) -> str:
    return getattr(function, "__qualname__", None) or repr(function)
