"""Tables and columns with labels: rows go by label where the user gave the ids.

Guarantees:
    - Where the user gave the ids (an index, files), a row goes to the item whose id is its label.
      Labels that are missing or doubled are errors that name them.
    - Where the ids only count the items, rows go by position, and several labelled values must have
      equal labels in equal order: rows that lay beside each other stay together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from batchflow.errors import ArgumentValueError

if TYPE_CHECKING:
    import numpy.typing as npt


class Index(Protocol):
    """What is asked of a `DatasetIndex` here."""

    @property
    def is_given(self) -> bool:
        """Whether a user gave the ids."""

    @property
    def indices(self) -> npt.NDArray[Any]:
        """The ids."""

    def __len__(self) -> int: ...


class Labels(NamedTuple):
    """The labels of a value."""

    name: str  # of the value in messages
    labels: Any


def has_labels(value: Any) -> bool:
    """Check whether the rows of a value have labels, as in pandas and similar packages."""
    return hasattr(value, "iloc") and hasattr(value, "index") and not callable(value.index)


def positions_by_label(
    value: Any, ids: npt.NDArray[Any], shown: str
) -> slice | npt.NDArray[np.int64]:
    """Return the positions of the rows whose labels are some ids, in the order of the ids.

    Returns:
        An int64 array; or a slice, if the rows are in the order of the ids.

    Raises:
        ArgumentValueError: A label is missing, or occurs twice.
    """
    labels = value.index
    way = (
        f"{shown}: rows go to the items whose ids are their labels, as the ids were given; "
        "to take them by position write .to_numpy()"
    )
    if len(labels) == len(ids) and _same(labels, ids):
        return slice(0, len(ids))
    if not labels.is_unique:
        doubled = list(dict.fromkeys(labels[labels.duplicated()].tolist()))
        raise ArgumentValueError(
            f"{way}. These labels are there more than once: {_listed(doubled)}"
        )
    positions = np.asarray(labels.get_indexer(ids.tolist() if ids.dtype.kind in "OUS" else ids))
    missing = ids[positions < 0].tolist()
    if missing:
        raise ArgumentValueError(f"{way}. There is no row with these labels: {_listed(missing)}")
    return positions.astype(np.int64)


def by_label(value: Any, index: Index, shown: str) -> Any:
    """Return a value with its rows in the order of an index, if it has labels and ids were given.

    Raises:
        ArgumentValueError: A label is missing, or occurs twice.
    """
    if not (index.is_given and has_labels(value)):
        return value
    positions = positions_by_label(value, index.indices, shown)
    is_in_order = isinstance(positions, slice) and positions.stop == len(value)
    return value if is_in_order else value.iloc[positions]


def checked_labels(values: Iterable[tuple[str, Any]], first: Labels | None = None) -> Labels | None:
    """Check that values which go by position have the same labels in the same order.

    Values without labels do not count; `first` are the labels of earlier values.

    Returns:
        The labels; None if there are none.

    Raises:
        ArgumentValueError: The labels differ.
    """
    for name, value in values:
        if not has_labels(value):
            continue
        if first is None:
            first = Labels(name, value.index)
        elif len(value.index) == len(first.labels) and not _same(value.index, first.labels):
            raise ArgumentValueError(
                f"{first.name} and {name} have different labels, or in another order, so their "
                "rows do not belong together by position. Give the labels as ids, "
                "index=table.index, and rows go by label; or take them as they lie: .to_numpy()"
            )
    return first


def _same(one: Any, other: Any) -> bool:
    with np.errstate(all="ignore"):
        same = np.asarray(one) == np.asarray(other)
    return bool(np.all(same)) if isinstance(same, np.ndarray) else bool(same)


def _listed(labels: list[Any]) -> str:
    return f"{labels[:5]}{f' and {len(labels) - 5} more' if len(labels) > 5 else ''}"
