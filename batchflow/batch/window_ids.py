"""The words of batches of windows: which records, and where windows begin."""

from __future__ import annotations

from typing import Any

import numpy as np

from batchflow.arrays import exact_array
from batchflow.errors import UnknownAttributeError


def records_of(batch: Any) -> Any:
    """Return the records of the windows in a batch."""
    return exact_array([record for record, _ in _ids_of(batch)])


def starts_of(batch: Any) -> Any:
    """Return where the windows of a batch begin."""
    return np.array([start for _, start in _ids_of(batch)], dtype=np.int64)


def _ids_of(batch: Any) -> list[tuple[Any, Any]]:
    ids: list[Any] = batch.source_ids.tolist()
    own_id = getattr(type(getattr(batch.dataset, "index", None)), "own_id", None)
    if own_id is not None:  # of windows of several datasets that are mixed
        ids = [own_id(batch.dataset.index, item) for item in ids]
    if not all(isinstance(item, tuple) and len(item) == 2 for item in ids):
        raise UnknownAttributeError(
            f"{batch!r} is none of windows: records and starts are those of dataset.windows(...)"
        )
    return ids
