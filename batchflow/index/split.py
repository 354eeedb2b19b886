"""Sizes of the parts of a split."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import wraps
from itertools import pairwise
from typing import Any, Generic, NamedTuple, Self, TypeVar, cast

from batchflow.errors import ArgumentTypeError, ArgumentValueError

T = TypeVar("T")
Method = TypeVar("Method", bound=Callable[..., Any])
_TOLERANCE = 1e-6


class _Parts(NamedTuple, Generic[T]):
    train: T
    validation: T | None
    test: T | None


class Split(_Parts[T]):
    """The parts of an index or a dataset. A part without items is None.

    Attributes:
        train: The part to train on.
        validation: The part to choose by.
        test: The part to test on.
        label_shares: After a split with `stratify`: for each label, the shares of its items that
            train, validation and test have. None after another.

    Example:
        >>> from batchflow import DatasetIndex
        >>> train, validation, test = DatasetIndex(10).split(0.6, 0.3)
        >>> len(train), len(validation), len(test)
        (6, 3, 1)
    """

    label_shares: dict[Any, tuple[float, ...]] | None = None

    @property
    def shares(self) -> tuple[float, float, float]:
        """The shares of all items that train, validation and test have."""
        train, validation, test = (0 if part is None else len(part) for part in self)  # type: ignore[arg-type]
        total = train + validation + test
        return train / total, validation / total, test / total

    def with_label_shares(self, shares: dict[Any, tuple[float, ...]] | None) -> Self:
        """Return this split, which keeps the shares of labels."""
        if shares is not None:
            self.label_shares = shares
        return self


class Selection:
    """The items of a part, given by positions or a mask."""

    def __init__(self, items: Any) -> None:
        self.items = items


def takes_positions(method: Method) -> Method:
    """Let `split` take positions or masks as parts, by name.

    By position, several numbers are shares in a row, as in an older batchflow.
    """

    @wraps(method)
    def split(self: Any, *args: Any, **kwargs: Any) -> Any:
        named = {
            name: Selection(kwargs[name])
            for name in Split._fields
            if _is_selection(kwargs.get(name))
        }
        if named and not args:
            kwargs.setdefault("train", None)  # it has the rest
        return method(self, *args, **{**kwargs, **named})

    return cast(Method, split)


def _is_selection(part: Any) -> bool:
    if isinstance(part, (slice, range)):
        return True
    if isinstance(part, list):
        return not any(isinstance(number, float) for number in part)
    dtype = getattr(part, "dtype", None)
    return dtype is not None and getattr(part, "ndim", 1) > 0 and "float" not in str(dtype)


def part_bounds(n_items: int, train: Any, validation: Any, test: Any) -> list[tuple[int, int]]:
    """Return the (start, stop) of train, validation and test among `n_items` items.

    Args:
        n_items: The number of items.
        train: A share (a float up to 1) or a count (an int); or a tuple of up to three of them, for
            train, validation and test.
        validation: A share, a count or None.
        test: A share, a count or None.

    Returns:
        Three pairs. The rest of the items goes to test if test is None, otherwise to validation if
        that is None. Borders between shares are rounded.

    Raises:
        ArgumentValueError: The parts ask for more items than there are, or all three are given
            and leave some out.
        ArgumentTypeError: A part is not a number.
    """
    given = three_parts(train, validation, test)
    sizes = [_size(name, part, n_items) for name, part in zip(Split._fields, given, strict=True)]
    total = sum(size for size in sizes if size is not None)
    are_counts = all(size is None or isinstance(size, int) for size in sizes)
    slack = 0.0 if are_counts else _TOLERANCE * n_items
    named = [name for name, size in zip(Split._fields, sizes, strict=True) if size is not None]
    if total > n_items + slack and len(named) == 1:
        asked = given[Split._fields.index(named[0])]
        percent = f"; for {asked} percent write {asked / 100:g}" if 1 < asked <= 100 else ""
        raise ArgumentValueError(
            f"split: {named[0]}={asked} asks for {asked} of {n_items} items; a part is a share "
            f"(a float up to 1, as 0.8) or a count of at most {n_items}{percent}"
        )
    if total > n_items + slack or (None not in sizes and total < n_items - slack):
        raise ArgumentValueError(
            f"split: train={given[0]}, validation={given[1]}, test={given[2]} ask for "
            f"{total:g} of {n_items} items; shares must sum to 1 and counts to {n_items}. "
            "Leave one of them out to give it the rest."
        )
    rest = max(n_items - total, 0)
    if sizes[2] is None:
        sizes[2], rest = rest, 0
    if sizes[1] is None:
        sizes[1] = rest
    first = round(sizes[0] or 0)
    second = min(round((sizes[0] or 0) + (sizes[1] or 0)), n_items)
    if first == 0:
        raise ArgumentValueError(f"split: train={given[0]} of {n_items} items leaves none to train")
    return [(0, first), (first, second), (second, n_items)]


def fold_bounds(n_items: int, n_splits: Any) -> list[tuple[int, int]]:
    """Return the (start, stop) of the test parts of a cross-validation, the larger ones first.

    Raises:
        ArgumentTypeError: `n_splits` is no whole number.
        ArgumentValueError: `n_splits` is below 2, or larger than the number of items.
    """
    if isinstance(n_splits, bool) or not hasattr(n_splits, "__index__"):
        raise ArgumentTypeError(f"kfold: n_splits is a whole number (5), got {n_splits!r:.60}")
    count = operator.index(n_splits)
    if not 2 <= count <= n_items:
        raise ArgumentValueError(
            f"kfold: {n_items} items can be split in 2 to {n_items} folds, got n_splits={count}"
        )
    size, larger = divmod(n_items, count)
    starts = [fold * size + min(fold, larger) for fold in range(count + 1)]
    return list(pairwise(starts))


def refuse_shares_in_a_row(train: Any) -> None:
    """Refuse several shares in one argument: in an older batchflow the second was the test part.

    Raises:
        ArgumentTypeError: There are several.
    """
    given = train.tolist() if hasattr(train, "tolist") else train
    if not isinstance(given, (tuple, list)):
        return
    named = ", ".join(f"{name}={part!r}" for name, part in zip(Split._fields, given, strict=False))
    raise ArgumentTypeError(
        f"split({given!r:.60}): the order of shares in a row is not the same everywhere. For "
        f"(train, validation, test) name the parts, split({named}); for (train, test, validation), "
        f"as in an older batchflow, cv_split({given!r:.60})"
    )


def three_parts(train: Any, validation: Any, test: Any) -> tuple[Any, Any, Any]:
    """Return train, validation and test as they are given, one by one or in a row."""
    if hasattr(train, "tolist"):
        train = train.tolist()  # an array of parts, or a number of NumPy's
    if not isinstance(train, (tuple, list)):
        return train, validation, test
    if validation is not None or test is not None:
        raise ArgumentTypeError(
            f"split: a tuple stands for all parts; do not give validation or test beside {train!r}"
        )
    if not 1 <= len(train) <= 3:
        raise ArgumentValueError(
            f"split: expected a tuple of 1 to 3 parts (train, validation, test), got {train!r}"
        )
    padded = [*train, None, None]
    return padded[0], padded[1], padded[2]


def _size(name: str, part: Any, n_items: int) -> float | None:
    if part is None:
        if name == "train":
            raise ArgumentTypeError("split: train must be a share or a count, got None")
        return None
    if isinstance(part, bool):
        raise ArgumentTypeError(f"split: {name} must be a share or a count, got {part!r}")
    try:
        size: float = operator.index(part)
    except TypeError:
        try:
            share = float(part)
        except (TypeError, ValueError):
            raise ArgumentTypeError(
                f"split: {name} must be a share (0.8) or a count (100), got {part!r}"
            ) from None
        if not 0 <= share <= 1:
            raise ArgumentValueError(
                f"split: {name}={part!r} is not a share between 0 and 1; counts are ints"
            ) from None
        size = share * n_items
    if size < 0:
        raise ArgumentValueError(f"split: {name}={part!r} must not be negative")
    return size
