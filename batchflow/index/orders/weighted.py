"""Items drawn by weight, with and without replacement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batchflow.counts import checked_count
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.order import epoch_key, epoch_rng
from batchflow.index.orders.described import (
    BlockedEpoch,
    Bound,
    Description,
    Latest,
    held_values,
    n_shown,
    number_values,
)
from batchflow.index.permutation import ArrayOrder, permutation

if TYPE_CHECKING:
    import numpy.typing as npt

    Positions = npt.NDArray[np.int64]
    Numbers = npt.NDArray[np.float64]

_BLOCK = 4096  # draws of one generator


class Weighted(Description):
    """Items drawn by weight: `shuffle=Weighted(weights)`.

    Args:
        weights: A number for each item, from 0 on: an array, a list, a column of pandas (by label,
            where the ids were given), or the name of a component. An item of weight 0 never comes.
        n: How many items an epoch shows; None: as many as there are.
        replacement: Whether an item may come more than once in an epoch. Without, the items are
            drawn one after the other, each by its weight among those that are left; which ones
            come goes by weight, their order does not.
        seed: The seed of the order; None: that of the run.

    With replacement, each batch has the indices `0 ... n - 1`, and `source_ids` tells its items.

    Example:
        >>> from batchflow import Dataset, Weighted
        >>> batch = Dataset(["a", "b", "c"]).next_batch(6, shuffle=Weighted([0, 1, 0], n=3), seed=1)
        >>> batch.indices.tolist(), batch.source_ids.tolist()
        ([0, 1, 2], ['b', 'b', 'b'])
    """

    weights: Any
    n: int | None
    replacement: bool

    def __init__(
        self, weights: Any, n: int | None = None, replacement: bool = True, *, seed: Any = None
    ) -> None:
        if not isinstance(replacement, (bool, np.bool_)):
            raise ArgumentTypeError(
                f"Weighted: replacement must be True or False, got {replacement!r:.60}"
            )
        super().__init__(
            seed,
            weights=held_values(weights, "Weighted: weights"),
            n=None if n is None else checked_count("Weighted: n", n),
            replacement=bool(replacement),
        )

    def __repr__(self) -> str:
        return f"<Weighted of {n_shown(self.weights)}>"

    def bound(self, source: Any, batch_size: int, seed: int) -> Bound:  # noqa: ARG002  of others
        """Return the order of the items of a dataset. A run calls it."""
        seed = seed if self.seed is None else self.seed
        n_places = len(source.index) if self.n is None else self.n
        if self.replacement:
            table = self._prepared(source, lambda: _AliasTable.of(self._numbers(source)))
            return Bound(lambda epoch: table.drawn(seed, epoch), n_places, True)
        chosen = self._prepared(source, lambda: _Chosen(self._numbers(source)))
        chosen.refuse_more(n_places)
        return Bound(lambda epoch: chosen.drawn(seed, epoch, n_places), n_places, False)

    def _numbers(self, source: Any) -> Numbers:
        weights = number_values(source, self.weights, "Weighted: the weights")
        if not weights.any():
            raise ArgumentValueError("Weighted: all weights are 0, so there is nothing to draw")
        return weights


# A cell, in one piece, as a draw reads both: in a large table each read is a miss of the cache.
_CELL = np.dtype([("share", np.float64), ("alias", np.int64)])


class _AliasTable(NamedTuple):
    """Draws a position by weight with two random numbers (Walker, 1977).

    A cell is drawn, then the position of its own number with its share, or else its alias.
    """

    cells: npt.NDArray[Any]

    @classmethod
    def of(cls, weights: Numbers) -> _AliasTable:
        """Make the table of some weights.

        In the sweep of Vose (1991) each light cell is filled up by the current heavy one, which is
        light itself when its surplus is gone, and is filled up by the next. So the partners follow
        from where running sums of what the light lack and of what the heavy have too much meet.
        """
        scaled = weights / weights.max()
        scaled *= len(weights) / scaled.sum()
        aliases = np.arange(len(weights))
        light, heavy = np.flatnonzero(scaled <= 1), np.flatnonzero(scaled > 1)
        if not heavy.size:  # all are equal, but for rounding
            return cls._with(np.ones(len(weights)), aliases)
        lacks, surpluses = np.cumsum(1 - scaled[light]), np.cumsum(scaled[heavy] - 1)
        before = np.concatenate(([0.0], lacks[:-1])) if light.size else lacks
        partners = np.searchsorted(surpluses, before)
        aliases[light] = heavy[np.minimum(partners, len(heavy) - 1)]
        ends = np.searchsorted(lacks, surpluses, side="right")  # which light cell is a step too far
        short = np.flatnonzero(ends < len(light))
        short = short[short < len(heavy) - 1]
        scaled[heavy] = 1.0
        scaled[heavy[short]] -= lacks[ends[short]] - surpluses[short]
        aliases[heavy[short]] = heavy[short + 1]
        return cls._with(scaled, aliases)

    @classmethod
    def _with(cls, shares: Numbers, aliases: Positions) -> _AliasTable:
        cells = np.empty(len(shares), _CELL)
        cells["share"], cells["alias"] = shares, aliases
        return cls(cells)

    def drawn(self, seed: int, epoch: int) -> BlockedEpoch:
        """Return the draws of an epoch."""

        def block(number: int) -> Positions:
            rng = epoch_rng(seed, epoch, number)
            numbers = rng.integers(len(self.cells), size=_BLOCK)
            cells = self.cells.take(numbers)
            drawn = np.where(rng.random(_BLOCK) < cells["share"], numbers, cells["alias"])
            drawn.flags.writeable = False  # so that the ids of batches are no views of views
            return drawn

        return BlockedEpoch.of_size(_BLOCK, block)


class _Chosen:
    """Chooses different items by weight (Efraimidis and Spirakis, 2006)."""

    def __init__(self, weights: Numbers) -> None:
        self._positions = np.flatnonzero(weights)
        self._weights = weights[self._positions]
        self._latest = Latest()

    def refuse_more(self, n_places: int) -> None:
        if n_places > len(self._positions):
            raise ArgumentValueError(
                f"Weighted: an epoch of {n_places} items without replacement, and "
                f"{len(self._positions)} have a weight above 0: give n={len(self._positions)}, or "
                "replacement=True"
            )

    def drawn(self, seed: int, epoch: int, n_places: int) -> ArrayOrder:
        """Return the items of an epoch, in a random order."""
        return self._latest.get(
            (seed, epoch, n_places), lambda: ArrayOrder(self._draw(seed, epoch, n_places))
        )

    def _draw(self, seed: int, epoch: int, n_places: int) -> Positions:
        rng = epoch_rng(seed, epoch)
        # The log of an exponential number over the weight: no weight is too small for it.
        keys = np.log(rng.standard_exponential(len(self._weights))) - np.log(self._weights)
        first = self._positions
        if n_places < len(keys):
            first = first[np.sort(np.argpartition(keys, n_places - 1)[:n_places])]
        places = permutation(n_places, epoch_key(seed, epoch, 0)).part(0, n_places)
        return first[places]
