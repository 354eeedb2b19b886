"""Sources mixed by weight: how many items of each come in an epoch, and where.

Guarantees:
    - Up to any place of an epoch, and in each block of places, a source has its share of the items
      but for rounding.
    - Which source a place reads, and which of its items, is a pure function of (weights, seed,
      epoch, place).
    - Memory does not grow with the number of items, beyond what the order of a source needs.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.order import derived_seed, epoch_rng, make_order
from batchflow.index.orders.blocks import Shuffle
from batchflow.index.orders.described import BlockedEpoch, Bound, Round

if TYPE_CHECKING:
    import numpy.typing as npt

    Positions = npt.NDArray[np.int64]

_BLOCK = 1024  # places in which sources come in a random order, each in its share
_MOST = 2**53  # places: up to here their numbers are exact in a float
_NEAR = 1e-6  # of a place: what rounding of weights may be
_SOURCE_KEY = 2  # the first word of the keys of sources; orders use 0, batches' generators 1


class Shares(NamedTuple):
    """How many of the first places of an epoch each source has.

    The first source has its share of the places, rounded; the second has its share of those that
    are left among the sources that are left, and so on. So each number grows with the places by one
    at most, and together they are the places.

    Attributes:
        weights: The weights, of which the sum is 1.
        of_rest: The weight of each source but the last, over its own and those behind it.
    """

    weights: tuple[float, ...]
    of_rest: tuple[float, ...]

    @classmethod
    def of(cls, weights: Sequence[float]) -> Shares:
        """Return the shares of sources with some weights above 0."""
        given = np.asarray(weights, np.float64) / max(weights)
        rests = np.cumsum(given[::-1])[::-1]
        return cls(tuple((given / rests[0]).tolist()), tuple((given[:-1] / rests[:-1]).tolist()))

    def counts(self, places: Any) -> Positions:
        """Return how many of the first `places` each source has: of shape `(n_sources, ...)`."""
        left = np.asarray(places, np.int64)
        counts = []
        for share in self.of_rest:
            counts.append(np.floor(left * share + 0.5).astype(np.int64))
            left = left - counts[-1]
        return np.array([*counts, left])

    def shortest(self, sizes: Sequence[int]) -> int:
        """Return how many places there are until a source has shown all that it has."""
        begin = _first(lambda n: bool((self.counts(n) >= sizes).any()), sum(sizes))
        end = _first(lambda n: bool((self.counts(n) > sizes).any()), sum(sizes) + 1) - 1
        exact = min(size / weight for size, weight in zip(sizes, self.weights, strict=True))
        return min(max(math.floor(exact + _NEAR), begin), end)

    def longest(self, sizes: Sequence[int]) -> int:
        """Return how many places there are until each source has shown all that it has.

        Raises:
            ArgumentValueError: The weights are too different for that.
        """
        exact = max(size / weight for size, weight in zip(sizes, self.weights, strict=True))
        if exact > _MOST:
            raise ArgumentValueError(
                'mix: with such weights an epoch of stop="longest" has no end; give the number '
                "of its items, n=..., or weights that are nearer to each other"
            )
        enough = math.ceil(exact - _NEAR)
        begin = _first(
            lambda n: bool((self.counts(n) >= sizes).all()), 2 * enough + len(sizes) ** 2
        )
        return max(enough, begin)


def _first(is_reached: Callable[[int], bool], last: int) -> int:
    """Return the first number from 1 to `last` from which on something is reached."""
    return bisect.bisect_left(range(1, last), True, key=is_reached) + 1


class Mixture(NamedTuple):
    """Datasets, and how they are mixed.

    Attributes:
        datasets: The datasets.
        shares: Their shares.
        n_places: How many items an epoch shows.
    """

    datasets: tuple[Any, ...]
    shares: Shares
    n_places: int

    @classmethod
    def of(
        cls,
        datasets: Sequence[Any],
        weights: Sequence[float],
        n: int | None,
        stop: Literal["shortest", "longest"],
    ) -> Mixture:
        """Return the mixture of datasets by weights above 0."""
        shares, sizes = Shares.of(weights), [len(dataset) for dataset in datasets]
        ended = shares.shortest if stop == "shortest" else shares.longest
        return cls(tuple(datasets), shares, ended(sizes) if n is None else n)

    @property
    def repeats(self) -> bool:
        """Whether an item may come more than once in an epoch."""
        sizes = [len(dataset) for dataset in self.datasets]
        return bool((self.shares.counts(self.n_places) > sizes).any())

    def bound(self, seed: int, shuffle: Any) -> Bound:
        """Return the order of the items of all datasets.

        Args:
            seed: The seed of the run.
            shuffle: None, a seed or a `Shuffle`.

        Raises:
            ArgumentTypeError: It is another order, which says itself how often items come.
        """
        is_seed = isinstance(shuffle, int)
        if not (shuffle is None or is_seed or isinstance(shuffle, Shuffle)):
            raise ArgumentTypeError(
                f"shuffle={shuffle!r:.60}: the weights of a mixture say which items come. Here "
                "shuffle is True, a seed or Shuffle(...), which goes for each of its datasets"
            )
        given = shuffle if is_seed else getattr(shuffle, "seed", None)
        key = seed if given is None else given
        counts, window, walks = self.shares.counts(self.n_places).tolist(), 0, []
        for number, (dataset, n_shown) in enumerate(zip(self.datasets, counts, strict=True)):
            n_items, own = len(dataset), derived_seed(key, _SOURCE_KEY, number)
            order: Any = make_order(n_items, None if shuffle is None else own)
            if isinstance(shuffle, Shuffle):
                order = Shuffle(shuffle.block, shuffle.window, seed=own).bound(dataset, 1, own)
                window = order.window
            walks.append(_walk(order, n_items, -(-n_shown // n_items)))
        taken = None if shuffle is None else key
        starts = np.cumsum([0, *map(len, self.datasets)])

        def epoch(number: int) -> BlockedEpoch:
            parts = [walk(number) for walk in walks]
            drawn = _Epoch(self.shares, self.n_places, starts, parts, taken, number)
            return BlockedEpoch.of_size(_BLOCK, drawn.block)

        return Bound(epoch, self.n_places, self.repeats, window)


class _Epoch(NamedTuple):
    """The places of one epoch.

    Attributes:
        starts: The position of the first item of each source among all.
        parts: What reads the items of each source, one after the other.
        seed: The seed of the order of sources; None: they take turns.
    """

    shares: Shares
    n_places: int
    starts: Positions
    parts: list[BlockedEpoch]
    seed: int | None
    epoch: int

    def block(self, number: int) -> Positions:
        """Return the positions at the places of a block."""
        first = number * _BLOCK
        counts = self.shares.counts(np.arange(first, min(first + _BLOCK, self.n_places) + 1))
        sources = np.argmax(np.diff(counts), axis=0)
        if self.seed is not None:
            sources = epoch_rng(self.seed, self.epoch, number).permutation(sources)
        positions = np.empty(len(sources), np.int64)
        for source, part in enumerate(self.parts):
            begin, end = counts[source, [0, -1]].tolist()
            if begin < end:
                positions[sources == source] = self.starts[source] + part.part(begin, end)
        return positions


def _walk(order: Any, n_items: int, n_rounds: int) -> Callable[[int], BlockedEpoch]:
    """Return what reads a source in an epoch: round after round, each in an order of its own."""

    def epoch(number: int) -> BlockedEpoch:
        first = number * n_rounds
        return BlockedEpoch.of_size(n_items, lambda n: Round(order.epoch(first + n), n_items))

    return epoch
