"""Whole numbers near to shares: of the items of each label, for each part.

Guarantees:
    - Each number is its share, rounded down or up.
    - The numbers of a label sum to its items, and those of a part to the size of the part.

Such a table always is: see Cox, "A constructive procedure for unbiased controlled rounding",
J. Amer. Statist. Assoc. 1987. Two labels that are both undecided between the same two parts trade
their fractions until one is whole.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


def rounded_counts(counts: npt.NDArray[np.int64], sizes: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return how many items of each label each of three parts, or of two, gets.

    Args:
        counts: How many items there are of each label: an int64 array of shape `(n_labels,)`.
        sizes: How many items each part has. Both have the same sum.

    Returns:
        An int64 array of shape `(n_labels, n_parts)`.
    """
    n_items = int(counts.sum())
    shares = counts[:, None] * np.array(sizes, dtype=np.int64)  # in n_items-ths of an item
    whole = shares // n_items
    rest = shares - whole * n_items
    undecided = np.flatnonzero(rest.any(axis=1))
    rows = rest[undecided].tolist()
    _settle(rows, n_items)
    whole[undecided] += np.array(rows, dtype=np.int64).reshape(-1, len(sizes)) // n_items
    return whole


def _settle(rows: list[list[int]], unit: int) -> None:
    """Make each number of each row 0 or `unit`, without a change of the sums of rows and columns.

    The sums are multiples of `unit`, so a row or a column has no single number that is undecided.
    """
    waiting: list[list[int]] = []  # rows, no two of which are undecided in two common columns
    for row in rows:
        while len(_open(row, unit)) > 1:
            pair = _common(row, waiting, unit)
            if pair is None:
                waiting.append(row)
                break
            other, one, two = pair
            _trade(row, other, one, two, unit)
            if len(_open(other, unit)) < 2:
                waiting.remove(other)
    if (
        waiting
    ):  # three rows with two columns each, in a ring: each row lets the next column have it
        _settle_ring(waiting, unit)


def _open(row: list[int], unit: int) -> list[int]:
    return [column for column, number in enumerate(row) if 0 < number < unit]


def _common(
    row: list[int], waiting: list[list[int]], unit: int
) -> tuple[list[int], int, int] | None:
    columns = _open(row, unit)
    for other in waiting:
        for one, two in combinations(columns, 2):
            if 0 < other[one] < unit and 0 < other[two] < unit:
                return other, one, two
    return None


def _trade(row: list[int], other: list[int], one: int, two: int, unit: int) -> None:
    """Move as much between two columns of two rows as makes one number whole."""
    up = min(unit - row[one], row[two], other[one], unit - other[two])
    down = min(row[one], unit - row[two], unit - other[one], other[two])
    moved = up if up <= down else -down
    row[one] += moved
    row[two] -= moved
    other[one] -= moved
    other[two] += moved


def _settle_ring(rows: list[list[int]], unit: int) -> None:
    first = _open(rows[0], unit)[0]
    taken = first
    ring = list(rows)
    while ring:
        row = next(r for r in ring if 0 < r[taken] < unit)
        ring = [r for r in ring if r is not row]
        other = next(column for column in _open(row, unit) if column != taken)
        row[taken], row[other] = unit, 0
        taken = other
