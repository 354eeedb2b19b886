"""The words of batches of windows: which records, and where windows begin."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchflow.arrays import exact_array
from batchflow.errors import UnknownAttributeError
from batchflow.index.windows import WindowsIndex


def records_of(batch: Any) -> Any:
    """Return the records of the windows in a batch."""
    return _told(batch)[0]


def starts_of(batch: Any) -> Any:
    """Return where the windows of a batch begin."""
    return _told(batch)[1]


def _told(batch: Any) -> tuple[Any, Any]:
    index = batch.index
    if batch._source_ids is None and isinstance(index, WindowsIndex):
        return index.windows.records_and_starts(index._ids.numbers)
    ids: list[Any] = batch.source_ids.tolist()  # of batches that were merged, and of pieces
    own_id = getattr(type(getattr(batch.dataset, "index", None)), "own_id", None)
    if own_id is not None:  # of windows of several datasets that are mixed
        ids = [own_id(batch.dataset.index, item) for item in ids]
    if not all(isinstance(item, tuple) and len(item) == 2 for item in ids):
        raise UnknownAttributeError(
            f"{batch!r} is none of windows: records and starts are those of dataset.windows(...)"
        )
    records = exact_array([record for record, _ in ids])
    return records, np.array([start for _, start in ids], dtype=np.int64)
