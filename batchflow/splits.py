"""The splits of a dataset: those of its index, with rules that may be names of components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeVar

from batchflow.errors import ArgumentTypeError, ArgumentValueError, did_you_mean
from batchflow.index import Split
from batchflow.index.split import refuse_shares_in_a_row, takes_positions
from batchflow.old_words import knows_old_options, knows_old_split

if TYPE_CHECKING:
    from batchflow.index.order import ShuffleLike

DatasetT = TypeVar("DatasetT")


@takes_positions
@knows_old_split
@knows_old_options("split")
def split(
    dataset: DatasetT,
    train: Any = 0.8,
    validation: Any = None,
    test: Any = None,
    shuffle: ShuffleLike = False,
    *,
    stratify: Any = None,
    groups: Any = None,
    by: Literal["hash"] | None = None,
) -> Split[DatasetT]:
    """Split into up to three datasets over the same data, without common items.

    Takes the arguments of `DatasetIndex.split`, shares one by one; `stratify` and `groups` may
    be names of components. The parts are also the attributes `train`, `validation` and `test`,
    until the next split; parts that were returned stay as they are.

    Returns:
        The parts as `.train`, `.validation` and `.test`; one without items is None.

    Raises:
        ArgumentTypeError: `train` is a sequence of shares: in an older batchflow their order
            was another.
    """
    whole: Any = dataset
    whole._refuse_shard("split")
    refuse_shares_in_a_row(train)
    rules = values_of(whole, stratify), values_of(whole, groups), by
    positions, shares = whole.index._split_positions((train, validation, test), shuffle, rules)
    train_part, *others = (
        whole._part(where) if len(whole.index._take(where)) else None for where in positions
    )
    parts = Split(train_part, *others).with_label_shares(shares)
    return whole._set_parts(parts)  # type: ignore[no-any-return]


def kfold(
    dataset: DatasetT,
    n_splits: int = 5,
    shuffle: ShuffleLike = False,
    *,
    stratify: Any = None,
    groups: Any = None,
    by: Literal["hash"] | None = None,
) -> tuple[Split[DatasetT], ...]:
    """Split several times for cross-validation: each item is in the test part of one split.

    Takes the arguments of `DatasetIndex.kfold`; `stratify` and `groups` may be names of
    components. Sets no attributes.

    Returns:
        `n_splits` splits with `.train` and `.test` (and None as `.validation`).
    """
    whole: Any = dataset
    whole._refuse_shard("kfold")
    rules = values_of(whole, stratify), values_of(whole, groups), by
    return tuple(
        Split(whole._part(train), None, whole._part(test)).with_label_shares(shares)
        for train, test, shares in whole.index._fold_positions(n_splits, shuffle, rules)
    )


def values_of(dataset: Any, given: Any) -> Any:
    """Return the values of all items for the name of a component; other values as they are."""
    if not isinstance(given, str):
        return given
    names = dataset.batch_class.components or ("data",)
    values = "give the values: an array, a list or a column, one for each item"
    if given not in names:
        raise ArgumentValueError(
            f"{given!r} is no component of {dataset.batch_class.__name__}."
            f"{did_you_mean(given, names)} Or {values}"
        )
    found = (
        None
        if dataset._data is None
        else dataset._data.values(
            given if dataset.batch_class.components else "_data", dataset._rows, dataset.index
        )
    )
    if found is None:
        raise ArgumentTypeError(f"the dataset was given no {given!r}; {values}")
    return found
