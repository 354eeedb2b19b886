"""The data of a mixture of datasets: a batch gets rows of several of them.

Guarantees:
    - Each row comes from the dataset that its item is of, in the order of the items.
    - Datasets whose rows do not fit together are refused before the first batch: components that
      one has and another has not, other types, other shapes of arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.batch.array import ArrayBatch
from batchflow.batch.core import BatchData
from batchflow.batch.regroup import data_of, joined
from batchflow.batch.rows import take_rows
from batchflow.errors import ArgumentTypeError

if TYPE_CHECKING:
    from batchflow.index import DatasetIndex
    from batchflow.index.mixed import MixedIds
    from batchflow.index.order import Positions


class MixedRows(BatchData):
    """What is read of an item is what its own dataset gives.

    Args:
        datasets: The datasets, of one batch class.
        ids: The ids of their items, one dataset after the other.

    Raises:
        ArgumentTypeError: Their data do not fit together.
    """

    labels = None  # of tables: there is none that holds the rows of all
    blocks = None  # each dataset is walked through by its own

    def __init__(self, datasets: Sequence[Any], ids: MixedIds) -> None:
        self._datasets = tuple(datasets)
        self._ids = ids
        self._window = 0
        self._makers: list[Callable[..., Any]] | None = None
        self._class_name = datasets[0].batch_class.__name__
        self._dtypes = _checked(datasets)

    def keeping(self, n_blocks: int) -> MixedRows:
        """Return the same data for a run that reads so many blocks together."""
        data = type(self).__new__(type(self))
        data.__dict__.update(self.__dict__, _window=n_blocks, _makers=None)
        return data

    def copy_rows(self, rows: Positions, index: DatasetIndex) -> dict[str, Any]:  # noqa: ARG002
        """Read the rows of some items, by the attribute of the batch that they become."""
        if isinstance(rows, slice):
            rows = np.arange(rows.start, rows.stop)
        if not self._dtypes:
            return {}
        if self._makers is None:
            self._makers = [dataset._maker(window=self._window) for dataset in self._datasets]
        numbers, own = self._ids.located(rows)
        places, parts = [], []
        for number in np.unique(numbers).tolist():
            places.append(np.flatnonzero(numbers == number))
            batch = self._makers[number](own[places[-1]], {})
            parts.append((data_of(batch), len(batch)))
        order = np.argsort(np.concatenate(places))
        return {name: self._joined(name, parts, order) for name in self._dtypes}

    def _joined(self, name: str, parts: Sequence[tuple[dict[str, Any], int]], order: Any) -> Any:
        shown = f"{self._class_name}.{name.lstrip('_')}"
        values = [(columns[name], n_items) for columns, n_items in parts]
        value = values[0][0] if len(values) == 1 else joined(values, shown)
        if isinstance(value, np.ndarray) and value.dtype.kind in "US":  # widths differ
            value = value.astype(np.promote_types(value.dtype, self._dtypes[name]), copy=False)
        return value if len(values) == 1 else take_rows(value, order, shown)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_makers": None}


def _checked(datasets: Sequence[Any]) -> dict[str, Any]:
    """Check that the first rows of datasets fit together.

    Returns:
        The components that they fill; of arrays with the dtype that holds those of all.
    """
    batches = [dataset._make_batch(np.zeros(1, np.int64), {}) for dataset in datasets]
    first, *others = (data_of(batch) for batch in batches)
    has_shape = isinstance(batches[0], ArrayBatch)  # others may hold items of several shapes
    for number, other in enumerate(others, start=1):
        for name, value in first.items():
            one, two = (_shown(rows, has_shape=has_shape) for rows in (value, other[name]))
            if one != two:
                raise ArgumentTypeError(
                    f"mix: {type(batches[0]).__name__}.{name.lstrip('_')} is {one} in dataset 0, "
                    f"and {two} in dataset {number}; make them alike before they are mixed"
                )
    dtypes: dict[str, Any] = {}
    for name, value in first.items():
        if isinstance(value, np.ndarray):
            dtypes[name] = np.result_type(*(data_of(batch)[name].dtype for batch in batches))
        elif value is not None:
            dtypes[name] = None
    return dtypes


def _shown(rows: Any, *, has_shape: bool) -> str:
    """Return the type of rows in words, which are equal where rows fit together."""
    if rows is None:
        return "not given"
    if not isinstance(rows, np.ndarray):
        return f"a {type(rows).__name__}"
    words = {"U": "texts", "S": "bytes"}.get(rows.dtype.kind, str(rows.dtype))
    shape = f", of shape {rows.shape[1:]} for each item" if has_shape else ""
    return f"an array of {words}{shape}"
