"""Groups of items, such as the pictures of one patient, that go into one part as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from batchflow.errors import ArgumentValueError
from batchflow.index.hashing import mixed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from batchflow.index.numbered import Numbered

_FEW = 1024  # groups that choose one by one
_AT_ONCE = 64  # the part of the groups that are left which is dealt out at once


def part_of_groups(
    groups: Numbered, labels: Numbered | None, sizes: Sequence[int], seed: int | None, where: str
) -> npt.NDArray[np.int64]:
    """Return the part of each group, so that parts are near to their sizes.

    Of groups that are alike each part gets its share, rounded down. Of the others the largest comes
    first. Each goes where it brings the parts nearest to what they should
    have of all items and of those with each label: the sum of squared differences, each divided by
    what it should be, grows least. Of more than 2,048 such groups, most are dealt out many at once.

    Args:
        groups: The groups of the items.
        labels: The labels of the items, to be in equal shares; None: there are none.
        sizes: The numbers of items that the parts should have.
        seed: The seed of the order of groups of one size; None: that of their first items.
        where: The name of the method in messages.

    Raises:
        ArgumentValueError: There are fewer groups than parts.
    """
    n_groups = len(groups.counts)
    asked = [part for part, size in enumerate(sizes) if size > 0]
    if n_groups < len(asked):
        raise ArgumentValueError(
            f"{where}: a group is in one part as a whole, and {n_groups} "
            f"group{'s' if n_groups > 1 else ''} cannot be in {len(asked)} parts"
        )
    part_of = np.full(n_groups, -1, dtype=np.int64)
    counts = _label_counts(groups, labels)
    order = _largest_first(groups.counts, seed)
    _deal_out_alike(part_of, order, counts, sizes)
    _deal_out_rest(part_of, order, counts, sizes, asked)
    _fill_empty(part_of, groups.counts, asked)
    return part_of


class _Counts(NamedTuple):
    """How many items of each label a group has, as a sparse table in the order of the groups.

    All items count as of one more label, the last.
    """

    group: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    number: npt.NDArray[np.int64]
    totals: npt.NDArray[np.int64]  # of each label


def _label_counts(groups: Numbered, labels: Numbered | None) -> _Counts:
    n_groups, totals = len(groups.counts), np.array([len(groups.codes)])
    group, label, count = np.arange(n_groups), np.zeros(n_groups, dtype=np.int64), groups.counts
    if labels is not None:
        n_labels = len(labels.counts)
        pairs, each = np.unique(groups.codes * n_labels + labels.codes, return_counts=True)
        owners, labels_of = np.divmod(pairs, n_labels)
        ends = np.searchsorted(owners, group, side="right")
        group, label = np.insert(owners, ends, group), np.insert(labels_of, ends, n_labels)
        count, totals = np.insert(each, ends, count), np.append(labels.counts, totals)
    return _Counts(group, label, count, totals)


def _deal_out_alike(
    part_of: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    counts: _Counts,
    sizes: Sequence[int],
) -> None:
    """Give each part its share, rounded down, of the groups with the same numbers of each label.

    So millions of groups take no loop. That these are alike is told by a hash: where two hashes are
    the same by chance, the shares are less near, and nothing else.
    """
    words = counts.label.astype(np.uint64) * np.uint64(2**32) + counts.number.astype(np.uint64)
    starts = np.searchsorted(counts.group, np.arange(len(part_of)))
    kinds = np.add.reduceat(mixed(words), starts)[order]
    _, kind, n_alike = np.unique(kinds, return_inverse=True, return_counts=True)
    shares = n_alike[:, None] * np.array(sizes) // sum(sizes)
    in_a_row = order[np.argsort(kind, kind="stable")]
    parts = np.column_stack(
        [np.tile(np.arange(len(sizes)), (len(shares), 1)), np.full(len(shares), -1)]
    )
    numbers = np.column_stack([shares, n_alike - shares.sum(axis=1)])
    part_of[in_a_row] = np.repeat(parts.reshape(-1), numbers.reshape(-1))


def _deal_out_rest(
    part_of: npt.NDArray[np.int64],
    order: npt.NDArray[np.int64],
    counts: _Counts,
    sizes: Sequence[int],
    asked: Sequence[int],
) -> None:
    """Give each other group, the largest first, to the part that it fits best.

    The first ones, which weigh most, and the last ones, which settle what is left, choose one after
    the other. Those between are dealt out many at once: each time a part of those that are left, so
    that these can make up for what it brings out of balance.
    """
    rest = order[part_of[order] < 0]
    dealing = _Dealing(part_of, counts, sizes, asked)
    first, last = _FEW, max(len(rest) - _FEW, _FEW)
    dealing.one_by_one(rest[:first])
    while first < last:
        number = max((len(rest) - first) // _AT_ONCE, 1)
        dealing.many(rest[first : min(first + number, last)])
        first += number
    dealing.one_by_one(rest[last:])


class _Dealing:
    """Groups are dealt out to parts, which have a number of items of each label in mind.

    Args:
        part_of: The part of each group; -1: none yet.
        counts: The labels of the groups.
        sizes: The numbers of items that the parts should have.
        asked: The parts that get some.
    """

    def __init__(
        self,
        part_of: npt.NDArray[np.int64],
        counts: _Counts,
        sizes: Sequence[int],
        asked: Sequence[int],
    ) -> None:
        self._part_of, self._counts, self._asked = part_of, counts, asked
        self._borders = np.searchsorted(counts.group, np.arange(len(part_of) + 1))
        self._wanted = np.outer(np.array(sizes) / sum(sizes), counts.totals)
        self._missing = self._wanted.copy()
        parts = part_of[counts.group]
        self._deal(parts[parts >= 0], np.flatnonzero(parts >= 0))

    def _deal(self, parts: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> None:
        """Note that parts have got what some rows of the counts say."""
        places = parts, self._counts.label[rows]
        np.subtract.at(self._missing, places, self._counts.number[rows])

    def one_by_one(self, groups: npt.NDArray[np.int64]) -> None:
        """Give each group to the part that it fits best, before the next one is looked at."""
        wanted, missing = self._wanted.tolist(), self._missing.tolist()
        for group in groups.tolist():
            rows = slice(self._borders[group], self._borders[group + 1])
            labels, numbers = self._counts.label[rows].tolist(), self._counts.number[rows].tolist()
            own = list(zip(labels, numbers, strict=True))
            part = min(self._asked, key=lambda p: _growth(own, wanted[p], missing[p]))
            self._part_of[group] = part
            for label, count in own:
                missing[part][label] -= count
        self._missing = np.array(missing)

    def many(self, groups: npt.NDArray[np.int64]) -> None:
        """Give each part so many of some groups as it lacks items, of those that fit it best."""
        n_rows = self._borders[groups + 1] - self._borders[groups]
        ends = np.cumsum(n_rows)
        rows = np.arange(ends[-1]) + np.repeat(self._borders[groups] - ends + n_rows, n_rows)
        labels, numbers = self._counts.label[rows], self._counts.number[rows]
        left = np.maximum(self._missing[self._asked, -1], 0) + 1e-9  # no part may lack any
        borders = np.rint(np.cumsum(left) / left.sum() * len(groups)).astype(np.int64)
        shares = dict(zip(self._asked, np.diff(borders, prepend=0).tolist(), strict=True))
        parts = sorted(self._asked, key=shares.__getitem__, reverse=True)
        growth = []
        for part in parts:
            lacking, wanted = self._missing[part, labels], self._wanted[part, labels]
            each = numbers * (numbers - 2 * lacking) / wanted
            growth.append(np.add.reduceat(each, ends - n_rows))
        least = np.minimum.accumulate(growth)
        chosen, free = np.full(len(groups), parts[0]), np.arange(len(groups))
        for place in range(len(parts) - 1, 0, -1):  # the smallest share first; the rest is left
            gain = growth[place][free] - least[place - 1][free]
            taken = free[np.argsort(gain, kind="stable")[: shares[parts[place]]]]
            chosen[taken] = parts[place]
            free = np.setdiff1d(free, taken, assume_unique=True)
        self._part_of[groups] = chosen
        self._deal(np.repeat(chosen, n_rows), rows)


def _growth(held: list[tuple[int, int]], wanted: list[float], missing: list[float]) -> float:
    return sum(count * (count - 2 * missing[label]) / wanted[label] for label, count in held)


def _largest_first(sizes: npt.NDArray[np.int64], seed: int | None) -> npt.NDArray[np.int64]:
    order = np.arange(len(sizes))
    if seed is not None:
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(sizes))
    return order[np.argsort(-sizes[order], kind="stable")]


def _fill_empty(
    part_of: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], asked: Sequence[int]
) -> None:
    """Give each part without a group the smallest of a part that has several."""
    n_groups = np.bincount(part_of, minlength=max(asked) + 1)
    for part in asked:
        if n_groups[part] == 0:
            movable = np.flatnonzero(n_groups[part_of] > 1)
            moved = movable[np.argmin(sizes[movable])]
            n_groups[part_of[moved]] -= 1
            n_groups[part] += 1
            part_of[moved] = part
