"""Splits by rules: labels in equal shares, groups as a whole, hashes of ids, given positions.

Guarantees:
    - With `stratify`, each part has the items of each label in its share, but for less than one
      item, and has as many items as without.
    - With `groups`, no group is in two parts, and each part that was asked for has a group.
    - With `by="hash"`, an item's part depends on its id (or its group) alone: it stays where it is
      when items are added.
    - All is a function of the ids, the rules and the seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.given import as_mask, checked_positions
from batchflow.index.grouping import part_of_groups
from batchflow.index.hashing import hashed
from batchflow.index.numbered import Numbered, numbered
from batchflow.index.order import drawn_seed, order_seed
from batchflow.index.permutation import permutation
from batchflow.index.rounding import rounded_counts
from batchflow.index.split import Selection, Split, fold_bounds, part_bounds, three_parts

if TYPE_CHECKING:
    import numpy.typing as npt

    Positions = npt.NDArray[np.int64]

_HASHES = 2**53  # so many different hashes go by shares


class Rules(NamedTuple):
    """The rules of a split, as a user gave them."""

    stratify: Any = None
    groups: Any = None
    by: Any = None


class Parting(NamedTuple):
    """The items of the parts.

    Attributes:
        positions: Those of each part, in the order of the items there.
        labels: The labels of the items, if they were to be in equal shares.
    """

    positions: list[Positions]
    labels: Numbered | None = None

    def label_shares(self) -> dict[Any, tuple[float, ...]] | None:
        """Return, for each label, the shares of its items that the parts have; None: no labels."""
        if self.labels is None:
            return None
        codes, values, counts = self.labels
        parts = [np.bincount(codes[where], minlength=len(counts)) for where in self.positions]
        shares = (np.stack(parts, axis=1) / counts[:, None]).tolist()
        return {v: tuple(s) for v, s in zip(values.tolist(), shares, strict=True)}


def split_parting(index: Any, parts: Any, shuffle: Any, rules: Rules) -> Parting:
    """Return the items of train, validation and test.

    Raises:
        ArgumentTypeError: The parts or the rules are of no type that is known.
        ArgumentValueError: They do not fit the items, or do not go together.
    """
    if any(isinstance(part, Selection) for part in parts):
        return Parting(_selected(index, parts, shuffle, rules))
    n_items = len(index)
    if rules.by is not None:
        hashes = _hashes(index, shuffle, rules, "split")
        for name, part in zip(Split._fields, three_parts(*parts), strict=True):
            if part is not None and hasattr(part, "__index__"):
                raise ArgumentTypeError(
                    f'split: with by="hash" parts are shares, as 0.8, got {name}={part!r}: a count '
                    "would move items when others are added"
                )
        borders = [stop for _, stop in part_bounds(_HASHES, *parts)[:2]]
        part_of = np.searchsorted(borders, hashes, side="right")
        found = [np.flatnonzero(part_of == part) for part in range(3)]
        if not len(found[0]):
            raise ArgumentValueError(
                f"split: no hash of the {n_items} ids falls into the share train={parts[0]}; give "
                "another key, shuffle=1, or split more items"
            )
        return Parting(found)
    sizes = [stop - start for start, stop in part_bounds(n_items, *parts)]
    order, part_of, labels = _parted(index, sizes, shuffle, rules, "split")
    return Parting([order[part_of == part] for part in range(3)], labels)


def folds(index: Any, n_splits: Any, shuffle: Any, rules: Rules) -> list[Any]:
    """Return the items of the train and the test part of each fold, and the shares of labels.

    Raises:
        ArgumentTypeError: The arguments are of no type that is known.
        ArgumentValueError: They do not fit the items.
    """
    sizes = [stop - start for start, stop in fold_bounds(len(index), n_splits)]
    if rules.by is None:
        order, part_of, labels = _parted(index, sizes, shuffle, rules, "kfold")
    else:
        order, labels = np.arange(len(index)), None
        part_of = (_hashes(index, shuffle, rules, "kfold") >> 21) * len(sizes) >> 32
        if np.bincount(part_of, minlength=len(sizes)).min() == 0:
            raise ArgumentValueError(
                f"kfold: the hashes of {len(index)} ids leave a fold of {len(sizes)} empty; ask "
                "for fewer folds, or leave by out"
            )
    found = []
    for fold in range(len(sizes)):
        train, test = order[part_of != fold], order[part_of == fold]
        shares = Parting([train, test[:0], test], labels).label_shares()
        found.append((train, test, shares))
    return found


def _parted(
    index: Any, sizes: list[int], shuffle: Any, rules: Rules, where: str
) -> tuple[Positions, Positions, Numbered | None]:
    """Return the order of the items, the part of each in that order, and their labels."""
    n_items = len(index)
    order = np.arange(n_items)
    seed = None
    if shuffle is not False and shuffle is not None:
        seed = drawn_seed() if shuffle is True else order_seed(shuffle, where=where)
        order = permutation(n_items, np.random.SeedSequence(seed)).part(0, n_items)
    labels = None
    if rules.stratify is not None:
        labels = numbered(rules.stratify, index, f"{where}: stratify")
    if rules.groups is not None:
        groups = numbered(rules.groups, index, f"{where}: groups")
        part_of = part_of_groups(groups, labels, sizes, seed, where)[groups.codes[order]]
    elif labels is None:
        raise ArgumentTypeError(f"{where}: no rule is given")  # callers ask for one
    else:
        part_of = _stratified(labels.codes[order], labels.counts, sizes, is_kfold=where == "kfold")
    return order, part_of, labels


def _stratified(
    codes: npt.NDArray[np.int64], counts: npt.NDArray[np.int64], sizes: list[int], *, is_kfold: bool
) -> npt.NDArray[np.int64]:
    """Return the part of each item, for the labels of items in their order."""
    # Numbers of 16 bits are sorted by their digits, in a tenth of the time.
    by_label = np.argsort(codes.astype(np.min_scalar_type(len(counts))), kind="stable")
    part_of = np.empty(len(codes), dtype=np.int64)
    if is_kfold:  # dealt out in turn: any row of items is in all folds equally, but for one
        part_of[by_label] = np.arange(len(codes)) % len(sizes)
        return part_of
    of_parts = rounded_counts(counts, sizes)
    part_of[by_label] = np.repeat(np.tile(np.arange(len(sizes)), len(counts)), of_parts.reshape(-1))
    return part_of


def _hashes(index: Any, shuffle: Any, rules: Rules, where: str) -> Positions:
    """Return the upper 53 bits of the hash of each item's id, or of its group."""
    if not (isinstance(rules.by, str) and rules.by == "hash"):
        raise ArgumentValueError(f'{where}: by is "hash" or left out, got {rules.by!r:.60}')
    if rules.stratify is not None:
        raise ArgumentTypeError(
            f'{where}: by="hash" sees one id at a time, so it keeps no shares of labels; leave '
            "stratify or by out"
        )
    if shuffle is True:
        raise ArgumentTypeError(
            f'{where}: by="hash" gives the same parts each time; for others give a key, shuffle=1'
        )
    key = (
        0 if shuffle is False or shuffle is None else (order_seed(shuffle, where=where) + 1) % 2**64
    )
    if rules.groups is None:
        words = hashed(index._ids, key)
    else:
        groups = numbered(rules.groups, index, f"{where}: groups")
        words = hashed(groups.values, key)[groups.codes]
    return (words >> np.uint64(11)).astype(np.int64)


def _selected(index: Any, parts: Any, shuffle: Any, rules: Rules) -> list[Positions]:
    """Return the items of parts that are given by positions or masks."""
    if any(rule is not None for rule in rules) or not (shuffle is False or shuffle is None):
        raise ArgumentTypeError(
            "split: where the items of a part are given, the parts are settled: leave shuffle, "
            "stratify, groups and by out"
        )
    owner = np.full(len(index), -1, dtype=np.int8)
    found: dict[str, Positions] = {}
    for number, (name, part) in enumerate(zip(Split._fields, parts, strict=True)):
        if part is None:
            continue
        if not isinstance(part, Selection):
            raise ArgumentTypeError(
                f"split: {name}={part!r:.60} beside a part that is given by its items; give the "
                "others so as well, or leave them out: the rest is theirs"
            )
        where = _positions(index, part.items, name)
        if (owner[where] >= 0).any():
            twice = where[owner[where] >= 0]
            other = Split._fields[owner[twice[0]]]
            shared = index._take(twice).indices[:5].tolist()
            raise ArgumentValueError(
                f"split: {other} and {name} have {len(twice)} items in common, such as {shared}"
            )
        owner[where] = number
        found[name] = where
    rest = np.flatnonzero(owner < 0)
    free = next((name for name in ("train", "test", "validation") if name not in found), None)
    if free is None and len(rest):
        raise ArgumentValueError(
            f"split: {len(rest)} of {len(index)} items are in no part; leave one part out to give "
            "it the rest, or take the others first: dataset.take(positions).split(...)"
        )
    if free is not None:
        found[free] = rest
    nothing = np.empty(0, dtype=np.int64)
    if not len(found["train"]):
        raise ArgumentValueError("split: these parts leave no items to train")
    return [found.get(name, nothing) for name in Split._fields]


def _positions(index: Any, items: Any, name: str) -> Positions:
    mask = None if isinstance(items, (slice, range)) else as_mask(items, index)
    where = checked_positions(items if mask is None else mask, len(index), f"split: {name}")
    if isinstance(where, slice):
        where = np.arange(where.start, where.stop)
    ordered = np.sort(where)
    if (ordered[1:] == ordered[:-1]).any():
        doubled = ordered[1:][ordered[1:] == ordered[:-1]]
        raise ArgumentValueError(f"split: {name} has positions twice: {doubled[:5].tolist()}")
    return where
