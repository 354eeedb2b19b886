"""The ids of the items, immutable."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from batchflow.errors import ArgumentValueError, UnknownAttributeError, UnknownNameError
from batchflow.index.given import BOOLS, as_ids, as_mask, checked_positions, refuse_duplicates
from batchflow.index.lookup import TEXTS, Lookup, make_lookup, plain
from batchflow.index.order import drawn_seed, order_seed
from batchflow.index.permutation import permutation
from batchflow.index.ranges import Ranges
from batchflow.index.split import Selection, Split, fold_bounds, part_bounds, takes_positions
from batchflow.old_words import ClassWord, Word, knows_old_options, old_word

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.index.order import Positions, ShuffleLike
    from batchflow.index.permutation import Permutation

    LabelShares = dict[Any, tuple[float, ...]] | None


class DatasetIndex:
    """The unique ids of items, in a fixed order.

    An index never changes, and has no position of a reader: orders belong to runs.

    Args:
        index: A number of items (their ids are then `0 ... index - 1`, and take no memory), a
            sequence or one-dimensional array of ids, or another index. Ids are ints, strings, or
            any hashable values, such as tuples.

    Raises:
        ArgumentTypeError: `index` is none of these.
        ArgumentValueError: There are no ids, or some occur twice.

    Example:
        >>> index = DatasetIndex(["a", "b", "c"])
        >>> len(index), index.get_pos("c")
        (3, 2)
    """

    __slots__ = ("__dict__", "__weakref__", "_ids", "_is_given", "_lookup")
    _ids: range | Ranges | npt.NDArray[Any]
    _is_given: bool
    _lookup: Lookup | None

    size = Word[int](len, "The number of items, `len(index)`.")
    build_index, concat, from_index = (ClassWord("index") for _ in range(3))
    index = Word[Any](lambda index: index.indices, "The ids: `indices`.")

    def __init__(self, index: int | Sequence[Any] | npt.NDArray[Any] | DatasetIndex) -> None:
        if isinstance(index, DatasetIndex):
            self._ids, self._is_given = index._ids, index._is_given
            self._lookup = index._lookup
        else:
            self._ids, self._lookup = as_ids(index)
            self._is_given = not isinstance(self._ids, range) or isinstance(index, range)

    @property
    def is_given(self) -> bool:
        """Whether the user gave the ids. Otherwise they are positions, which count the items."""
        return self._is_given

    @property
    def indices(self) -> npt.NDArray[Any]:
        """The ids: a read-only array of shape `(n_items,)`."""
        ids = self._ids
        if isinstance(ids, range):
            ids = np.arange(ids.start, ids.stop)
        elif isinstance(ids, Ranges):
            ids = ids.array()
        elif ids.dtype.kind == "T" and ids.dtype == TEXTS:  # to be seen as they were given
            ids = ids.astype(object)
        if ids.flags.writeable:  # the part of an order that a batch was made with
            ids = ids.view()
            ids.flags.writeable = False
        return ids

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._ids)

    def __contains__(self, item: Any) -> bool:
        return not isinstance(item, BOOLS) and self._table(item) is not None

    def __repr__(self) -> str:
        if isinstance(self._ids, (range, Ranges)):
            return f"{type(self).__name__}({self._ids})"
        is_date = self._ids.dtype.kind in "mM"
        shown = ", ".join(str(i) if is_date else repr(i) for i in plain(self._ids[:4]))
        return f"{type(self).__name__}({len(self)} ids: {shown}{', ...' if len(self) > 4 else ''})"

    def __getattr__(self, name: str) -> Any:
        if hint := old_word(name, "index"):
            raise UnknownAttributeError(f"a {type(self).__name__} has no {name!r}.{hint}")
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def get_pos(self, ids: Any) -> Any:
        """Return the position of an id, or the positions of several.

        Args:
            ids: One id; or a list, array or index of ids. A tuple is one id where the ids of
                this index are tuples. Or a mask: one bool for each item.

        Returns:
            An int for one id, an int64 array for several. The table for this is made at the first
            call.

        Raises:
            UnknownNameError: (a `KeyError`) An id is not in this index.
            ArgumentValueError: A mask has another length than the index.
        """
        if (mask := as_mask(ids, self)) is not None:
            return np.flatnonzero(mask)
        if hasattr(ids, "__array__") and not isinstance(ids, np.generic):
            ids = np.asarray(ids)
            ids = ids if ids.ndim else ids[()]
        if isinstance(ids, (list, range, DatasetIndex, np.ndarray)):
            return self._positions(ids.indices if isinstance(ids, DatasetIndex) else ids)
        if isinstance(ids, tuple) and self._table(ids) is None:
            return self.get_pos(list(ids))
        return self._position(ids)

    def take(self, positions: slice | npt.NDArray[np.int64] | Sequence[int]) -> Self:
        """Return the index of the items at some positions.

        Args:
            positions: A slice, a list or an array of positions (negative ones count from the end),
                or one bool for each item.

        Raises:
            ArgumentTypeError: The values are no positions.
            ArgumentValueError: A position is outside the index or given twice, or nothing is
                selected.
        """
        return self._take(self._chosen(positions))

    def create_subset(self, ids: Any) -> Self:
        """Return the index of the items with some ids, or with one id, in that order.

        A mask, one bool for each item, selects the items where it is true.

        Raises:
            UnknownNameError: (a `KeyError`) An id is not in this index.
        """
        return self.take(self._positions_of(ids))

    @takes_positions
    @knows_old_options("split")
    def split(
        self,
        train: Any = 0.8,
        validation: Any = None,
        test: Any = None,
        shuffle: ShuffleLike = False,
        *,
        stratify: Any = None,
        groups: Any = None,
        by: Literal["hash"] | None = None,
    ) -> Split[Self]:
        """Return up to three parts without common items.

        Args:
            train: A share (a float, 0.8) or a count (an int, 100); or a tuple of up to three of
                them: (train, validation, test). By name, `train=...`, also the items themselves: a
                list, an array or a slice of positions, or a mask, one bool for each item.
            validation: A share or a count, or the items.
            test: A share or a count, or the items. Parts that are not given take the rest, test
                first; where others are given by their items, train first.
            shuffle: False: the parts are contiguous. True: a new random order. An int: the order of
                that seed.
            stratify: The labels of the items: each part has the items of each label in its share,
                but for less than one item. One for each item, or a column whose labels are the ids.
            groups: The groups of the items, such as patients, given in the same ways: no group is
                in two parts, and the parts are as near to their shares as large groups allow. With
                `stratify` as well, also those of each label. `split.shares` and
                `split.label_shares` tell those that were reached.
            by: `"hash"`: an item's part depends on its id alone (with `groups`, on its group), so
                that it stays there when items are added. Shares are then reached on average. An
                int as `shuffle` is the key: with another, other items go together.

        Returns:
            The parts as `.train`, `.validation` and `.test`. A part without items is None.

        Raises:
            ArgumentTypeError: A part or a rule is of no type that is known.
            ArgumentValueError: They do not fit the items: labels are missing or too few, positions
                are in two parts, there are fewer groups than parts.

        Example:
            >>> parts = DatasetIndex(6).split(0.5, stratify=["a", "a", "a", "a", "b", "b"])
            >>> parts.train.indices, parts.test.indices
            (array([0, 1, 4]), array([2, 3, 5]))
        """
        rules = stratify, groups, by
        positions, shares = self._split_positions((train, validation, test), shuffle, rules)
        train_part, *others = map(self._take, positions)
        parts = Split(train_part, *(part if len(part) else None for part in others))
        return parts.with_label_shares(shares)

    def kfold(
        self,
        n_splits: int = 5,
        shuffle: ShuffleLike = False,
        *,
        stratify: Any = None,
        groups: Any = None,
        by: Literal["hash"] | None = None,
    ) -> tuple[Split[Self], ...]:
        """Return several splits for cross-validation: each item is in the test part of one split.

        Args:
            n_splits: The number of splits: 2 or more.
            shuffle: As for `split`. False: the test parts are contiguous, and a range of ids is
                split without arrays.
            stratify: As for `split`.
            groups: As for `split`: each group is in the test part of one split.
            by: As for `split`.

        Returns:
            `n_splits` splits with `.train` and `.test` (and None as `.validation`). The sizes of
            the test parts differ by one at most, larger ones first; with `groups` or `by`, they are
            as `split` says.

        Raises:
            ArgumentTypeError: `n_splits` is no whole number, or a rule of no type that is known.
            ArgumentValueError: `n_splits` is below 2, or larger than the number of items or of
                groups.

        Example:
            >>> [fold.test.indices.tolist() for fold in DatasetIndex(5).kfold(2)]
            [[0, 1, 2], [3, 4]]
        """
        folds = self._fold_positions(n_splits, shuffle, (stratify, groups, by))
        return tuple(
            Split(self._take_part(train), None, self._take_part(test)).with_label_shares(shares)
            for train, test, shares in folds
        )

    def _split_positions(
        self, parts: tuple[Any, Any, Any], shuffle: ShuffleLike, rules: tuple[Any, Any, Any]
    ) -> tuple[list[Positions], LabelShares]:
        """Return the positions of train, validation and test, and the shares of labels."""
        if any(rule is not None for rule in rules) or Selection in map(type, parts):
            from batchflow.index.parting import Rules, split_parting  # on use

            parting = split_parting(self, parts, shuffle, Rules(*rules))
            return [*parting.positions], parting.label_shares()
        bounds = part_bounds(len(self), *parts)
        order = self._order(shuffle, where="split")
        if order is None:
            return [slice(start, stop) for start, stop in bounds], None
        return [order.part(start, stop) for start, stop in bounds], None

    def _fold_positions(
        self, n_splits: Any, shuffle: ShuffleLike, rules: tuple[Any, Any, Any]
    ) -> list[tuple[Positions | Ranges, Positions, LabelShares]]:
        """Return the positions of the train and the test part of each fold, and label shares."""
        if any(rule is not None for rule in rules):
            from batchflow.index.parting import Rules, folds  # on use

            return folds(self, n_splits, shuffle, Rules(*rules))
        n_items = len(self)
        bounds = fold_bounds(n_items, n_splits)
        order = self._order(shuffle, where="kfold")
        if order is None:
            return [
                (Ranges([range(start), range(stop, n_items)]), slice(start, stop), None)
                for start, stop in bounds
            ]
        positions = order.part(0, n_items)
        return [
            (np.delete(positions, slice(start, stop)), positions[start:stop].copy(), None)
            for start, stop in bounds
        ]

    def _order(self, shuffle: ShuffleLike, where: str) -> Permutation | None:
        if shuffle is False or shuffle is None:
            return None
        seed = drawn_seed() if shuffle is True else order_seed(shuffle, where=where)
        return permutation(len(self), np.random.SeedSequence(seed))

    def _take_part(self, positions: Positions | Ranges) -> Self:
        """Return the index of a part of a split, whose `positions` may be ranges."""
        if not isinstance(positions, Ranges):
            return self._take(positions)
        ids = self._ids
        if isinstance(ids, np.ndarray):
            return self._take(positions.array())
        part = self._take(slice(0, 0))
        part._ids = (Ranges([ids]) if isinstance(ids, range) else ids)[positions]
        return part

    def _take(self, positions: slice | npt.NDArray[np.int64]) -> Self:
        """Return the index of the items at `positions`, unchecked."""
        return self._taker()(positions)

    def _taker(self) -> Callable[[Positions], Self]:
        """Return what `_take` does. Runs call it for each batch, so it looks nothing up."""
        cls, ids, is_given, attributes = type(self), self._ids, self._is_given, self.__dict__
        new, first = cls.__new__, ids.start if isinstance(ids, range) else None

        def take(positions: Any) -> Any:
            part = new(cls)
            if first is None or positions.__class__ is slice:
                part._ids = ids[positions]
            else:
                part._ids = positions + first if first else positions
            part._is_given = is_given
            part._lookup = None
            if attributes:
                part.__dict__.update(attributes)
            return part

        return take

    @staticmethod
    def _of_parts(parts: Sequence[DatasetIndex], ids: npt.NDArray[Any]) -> DatasetIndex:
        """Return the index of all items of several, whose ids are known to be unique.

        Parts of one index (of files, for instance) give an index of its class.
        """
        first = parts[0]
        are_parts_of_one = all(
            type(part) is type(first)
            and part.__dict__.keys() == first.__dict__.keys()
            and all(part.__dict__[name] is value for name, value in first.__dict__.items())
            for part in parts
        )
        # The ids in a row are an array, whatever those of the parts were computed from.
        are_parts_of_one &= not hasattr(first._ids, "chosen")
        cls = type(first) if are_parts_of_one else DatasetIndex
        whole = cls.__new__(cls)
        whole._ids, whole._lookup = ids, None
        whole._is_given = any(part._is_given for part in parts)
        if are_parts_of_one:
            whole.__dict__.update(first.__dict__)
        return whole

    @property
    def _table(self) -> Lookup:
        if self._lookup is None:
            # Two threads may both make it: equal tables, so the later assignment does no harm.
            self._lookup = make_lookup(self._ids)
        return self._lookup

    def _chosen(self, positions: Any) -> Positions:
        """Return the positions that `take` is given, checked: some, and each once."""
        mask = None if isinstance(positions, slice) else as_mask(positions, self)
        chosen = checked_positions(positions if mask is None else mask, len(self))
        if isinstance(chosen, slice):
            n_chosen = max(chosen.stop - chosen.start, 0)
        else:
            n_chosen = len(chosen)
            ordered = np.sort(chosen)
            if (ordered[1:] == ordered[:-1]).any():
                refuse_duplicates(self._take(chosen).indices)
        if n_chosen == 0:
            raise ArgumentValueError(f"take: no items are left of {len(self)} by {positions!r:.60}")
        return chosen

    def _positions_of(self, ids: Any) -> npt.NDArray[np.int64]:
        """Return the positions for the ids or the mask of `create_subset`."""
        is_one = isinstance(ids, (str, bytes, tuple))
        if isinstance(ids, Collection) and not is_one and not hasattr(ids, "__array__"):
            ids = list(ids)
        return np.atleast_1d(self.get_pos(ids))

    def _positions(self, ids: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        places = self._table.many(ids)
        if (places < 0).any():
            first = int(np.argmin(places))
            is_array = isinstance(ids, np.ndarray)
            self._position(plain(ids[first : first + 1])[0] if is_array else ids[first])  # type: ignore[arg-type]
        return places

    def _position(self, item: Any) -> int:
        position = self._table(item)
        if position is None:
            hint = ""
            if isinstance(item, slice):
                hint = ". A slice is of positions: give the ids there, index.indices[start:stop]"
            raise UnknownNameError(f"no item with the id {item!r} in {self!r}{hint}")
        return position

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_ids": self._ids, "_is_given": self._is_given}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._ids, self._is_given = state.pop("_ids"), state.pop("_is_given")
        self._lookup = None
        self.__dict__.update(state)
