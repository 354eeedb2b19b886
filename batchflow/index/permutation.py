"""Random orders of `n` positions: a drawn one for small `n`, a computed one for large `n`.

Guarantees:
    - `permutation(n, key)` depends on nothing but `n` and `key`.
    - It is a bijection of `0 ... n - 1`.
    - Up to `DRAWN_UP_TO` items it is NumPy's `Generator.permutation`: each order is equally likely.
    - Above, any part of the order is computed on its own, without memory for the rest.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["DRAWN_UP_TO", "KeyedPermutation", "Permutation", "permutation"]

Positions = npt.NDArray[np.int64]

DRAWN_UP_TO = 2**16
_ROUNDS = 8
_BLOCK = 4096
_HALF = np.uint64(32)


class Permutation(Protocol):
    """The part of an order that a run needs: `order[start:stop]` as an array of positions."""

    def part(self, start: int, stop: int) -> Positions:
        """Give the positions that stand at places `start ... stop - 1` of the order."""


class _DrawnPermutation:
    """An order that is held in memory."""

    def __init__(self, n: int, seed: np.random.SeedSequence) -> None:
        self._order: Positions = np.random.Generator(np.random.PCG64(seed)).permutation(n)

    def part(self, start: int, stop: int) -> Positions:
        return self._order[start:stop]


class KeyedPermutation:
    """An order of up to 2**62 positions that is computed where it is asked for.

    A generalised Feistel network after Black and Rogaway, "Ciphers with arbitrary finite domains"
    (CT-RSA 2002): a position is written as a pair `(left, right)` on a grid of `a * b >= n` cells
    with `a` and `b` near the root of `n`; each round shifts one coordinate by a keyed hash of the
    other. The grid is less than `2 * sqrt(n) + 1` cells larger than `n`; a cell beyond `n` is
    sent through again until it falls below `n` (cycle walking).

    Args:
        n: The number of positions.
        seed: What the round keys are drawn from.
    """

    def __init__(self, n: int, seed: np.random.SeedSequence) -> None:
        self._n = n
        side = int(np.ceil(np.sqrt(n)))
        self._a = np.uint64(side)
        self._b = np.uint64(-(-n // side))
        self._keys = seed.generate_state(_ROUNDS, np.uint64)
        self._block_start = 0
        self._block: Positions = np.empty(0, np.int64)

    def part(self, start: int, stop: int) -> Positions:
        """Give the positions that stand at places `start ... stop - 1` of the order.

        Evaluated in blocks, the last of which is kept: reading in order costs about 0.1
        microseconds per position. Not for several threads at once.
        """
        offset = start - self._block_start
        if offset < 0 or stop > self._block_start + len(self._block):
            end = min(self._n, max(stop, start + _BLOCK))
            self._block = self.at(np.arange(start, end, dtype=np.uint64))
            self._block_start, offset = start, 0
        return self._block[offset : offset + stop - start]

    def at(self, places: npt.NDArray[np.uint64]) -> Positions:
        """Give the positions that stand at `places`, an array of any length, as int64."""
        cells = self._round_trip(places)
        outside = np.flatnonzero(cells >= self._n)
        while outside.size:
            cells[outside] = self._round_trip(cells[outside])
            outside = outside[cells[outside] >= self._n]
        return cells.astype(np.int64)

    def _round_trip(self, cells: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        left, right = np.divmod(cells, self._b)
        for i in range(0, _ROUNDS, 2):
            left = _shift(left, right, self._a, self._keys[i])
            right = _shift(right, left, self._b, self._keys[i + 1])
        return left * self._b + right


def _shift(
    moved: npt.NDArray[np.uint64], by: npt.NDArray[np.uint64], size: np.uint64, key: np.uint64
) -> npt.NDArray[np.uint64]:
    """Add a keyed hash of `by`, scaled to `0 ... size - 1`, to `moved`, modulo `size`.

    The hash is the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014); its upper 32 bits
    are scaled by a multiplication, which takes the place of a slow remainder.
    """
    h = by ^ key
    h *= np.uint64(0xBF58476D1CE4E5B9)
    h ^= h >> np.uint64(27)
    h *= np.uint64(0x94D049BB133111EB)
    h >>= _HALF
    h *= size
    h >>= _HALF
    h += moved
    return np.where(h >= size, h - size, h)


def permutation(n: int, seed: np.random.SeedSequence) -> Permutation:
    """Give a random order of the positions `0 ... n - 1`.

    Args:
        n: The number of positions.
        seed: The key of the order.

    Returns:
        The order, in memory up to `DRAWN_UP_TO` positions and computed above.
    """
    return _DrawnPermutation(n, seed) if n <= DRAWN_UP_TO else KeyedPermutation(n, seed)
