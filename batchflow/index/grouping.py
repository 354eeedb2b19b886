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


def part_of_groups(
    groups: Numbered, labels: Numbered | None, sizes: Sequence[int], seed: int | None, where: str
) -> npt.NDArray[np.int64]:
    """Return the part of each group, so that parts are near to their sizes.

    Of groups that are alike each part gets its share, rounded down. Of the others the largest comes
    first. Each goes where it brings the parts nearest to what they should
    have of all items and of those with each label: the sum of squared differences, each divided by
    what it should be, grows least.

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
        group = np.concatenate([pairs // n_labels, group])
        label = np.concatenate([pairs % n_labels, label + n_labels])
        count, totals = np.concatenate([each, count]), np.append(labels.counts, totals)
        order = np.argsort(group, kind="stable")
        group, label, count = group[order], label[order], count[order]
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
    """Give each other group, the largest first, to the part that it fits best."""
    wanted = np.outer(np.array(sizes) / sum(sizes), counts.totals)
    is_dealt = part_of[counts.group] >= 0
    missing = wanted.copy()
    dealt = part_of[counts.group[is_dealt]], counts.label[is_dealt]
    np.subtract.at(missing, dealt, counts.number[is_dealt])
    wanted_of, missing_of = wanted.tolist(), missing.tolist()
    borders = np.searchsorted(counts.group, np.arange(len(part_of) + 1)).tolist()
    held = list(zip(counts.label.tolist(), counts.number.tolist(), strict=True))
    for group in order[part_of[order] < 0].tolist():
        own = held[borders[group] : borders[group + 1]]
        part = min(asked, key=lambda p: _growth(own, wanted_of[p], missing_of[p]))
        part_of[group] = part
        for label, count in own:
            missing_of[part][label] -= count


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
