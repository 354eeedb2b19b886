"""Random orders of `n` positions: a drawn one for small `n`, a computed one for large `n`.

Guarantees:
    - `permutation(n, key)` depends on nothing but `n` and `key`.
    - It is a bijection of `0 ... n - 1`.
    - Up to `DRAWN_UP_TO` items it is NumPy's `Generator.permutation`: each order is equally likely.
    - Above that, any part of the order is computed alone, without memory for the rest.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Positions = npt.NDArray[np.int64]

DRAWN_UP_TO = 2**16
_ROUNDS = 6
_BLOCK = 4096


class _Words(NamedTuple):
    """The integers in which a keyed permutation is computed."""

    dtype: type[np.uint32 | np.uint64]  # words of twice the bits of a coordinate
    half: int  # the bits of a coordinate
    first: int  # an odd multiplier
    fold: int  # how far the upper bits are folded down between the multiplications
    second: int  # another odd multiplier


# The multipliers are those of the finalisers of MurmurHash3 (Appleby, 2011) and of SplitMix64
# (Steele, Lea and Flood, OOPSLA 2014), which are known to mix well.
_SMALL = _Words(np.uint32, 16, 0x85EBCA6B, 13, 0xC2B2AE35)  # up to 2**32 positions
_LARGE = _Words(np.uint64, 32, 0xBF58476D1CE4E5B9, 27, 0x94D049BB133111EB)


class ArrayOrder:
    """An order in memory."""

    def __init__(self, order: Positions) -> None:
        self._order = order

    def part(self, start: int, stop: int) -> Positions:
        """Return the positions that stand at places `start ... stop - 1` of the order."""
        return self._order[start:stop]


class KeyedPermutation:
    """An order of up to 2**62 positions, of which a part is computed when it is read.

    A generalised Feistel network after Black and Rogaway, "Ciphers with arbitrary finite domains"
    (CT-RSA 2002): a position is written as a pair `(left, right)` on a grid of `a * b >= n` cells
    with `a` and `b` near the root of `n`; each round shifts one coordinate by a keyed hash of the
    other. The grid is less than `2 * sqrt(n) + 1` cells larger than `n`; a cell beyond `n` is
    sent through again until it falls below `n` (cycle walking).

    Args:
        n: The number of positions.
        seed: The seed of the round keys.
    """

    def __init__(self, n: int, seed: np.random.SeedSequence) -> None:
        side = math.isqrt(n - 1) + 1
        self._words = words = _SMALL if side < 2**_SMALL.half else _LARGE
        self._n = n
        self._a = words.dtype(side)
        self._b = words.dtype(-(-n // side))
        self._keys = seed.generate_state(_ROUNDS, words.dtype)
        self._block_start = 0
        self._block: Positions = np.empty(0, np.int64)

    def part(self, start: int, stop: int) -> Positions:
        """Return the positions that stand at places `start ... stop - 1` of the order.

        Evaluated in blocks, the last of which is kept, so that reading in order costs some 20
        nanoseconds per position. Not for several threads at once.
        """
        offset = start - self._block_start
        if offset < 0 or stop > self._block_start + len(self._block):
            end = min(self._n, max(stop, start + _BLOCK))
            self._block = self._at(np.arange(start, end, dtype=self._words.dtype))
            self._block_start, offset = start, 0
        return self._block[offset : offset + stop - start]

    def _at(self, places: npt.NDArray[Any]) -> Positions:
        """Return the positions that stand at `places`, as int64."""
        cells = self._shuffled(places)
        outside = np.flatnonzero(cells >= self._n)
        while outside.size:
            cells[outside] = self._shuffled(cells[outside])
            outside = outside[cells[outside] >= self._n]
        return cells.astype(np.int64)

    def _shuffled(self, cells: npt.NDArray[Any]) -> npt.NDArray[Any]:
        left = cells // self._b
        right = cells - left * self._b
        for i in range(0, _ROUNDS, 2):
            left = self._shifted(left, right, self._a, self._keys[i])
            right = self._shifted(right, left, self._b, self._keys[i + 1])
        left *= self._b
        left += right
        return left

    def _shifted(
        self, moved: npt.NDArray[Any], by: npt.NDArray[Any], size: np.unsignedinteger, key: Any
    ) -> npt.NDArray[Any]:
        """Add a keyed hash of `by`, scaled to `0 ... size - 1`, to `moved`, modulo `size`.

        The upper half of the hash is scaled by a multiplication. The sum is below `2 * size`; of
        it and it less `size`, which wraps around where it is negative, the remainder is the lower.
        """
        dtype, half, first, fold, second = self._words
        h: npt.NDArray[Any] = by ^ key
        h *= dtype(first)
        h ^= h >> dtype(fold)
        h *= dtype(second)
        h >>= dtype(half)
        h *= size
        h >>= dtype(half)
        h += moved
        np.minimum(h, h - size, out=h)
        return h


Permutation = ArrayOrder | KeyedPermutation


def permutation(n: int, seed: np.random.SeedSequence) -> Permutation:
    """Return the random order of the positions `0 ... n - 1` of which `seed` is the key."""
    if n > DRAWN_UP_TO:
        return KeyedPermutation(n, seed)
    return ArrayOrder(np.random.Generator(np.random.PCG64(seed)).permutation(n))
