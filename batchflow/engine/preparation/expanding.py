"""Steps that may give another number of items, or batches of another class: what they promised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from batchflow.batch import Batch
from batchflow.errors import ActionResultError
from batchflow.plan import BoundStep


def keeping_promises(bound: BoundStep, give: Callable[[Batch], Any]) -> Callable[[Batch], Any]:
    """Make a function that checks what an action with `expands=` or `gives=` returns.

    A batch that it returns, and that does not know where its items come from, is told.
    """
    named = f"the action {bound.step.name!r}, chained at {bound.step.where},"
    times = None if bound.expands is True else bound.expands

    def take(batch: Batch) -> Any:
        n_items, ids = len(batch), batch.source_ids  # an action may change the batch in place
        result = give(batch)
        if not isinstance(result, Batch):
            return result  # which is refused as of any other action
        if bound.gives is not None and not isinstance(result, bound.gives):
            raise ActionResultError(
                f"{named} is declared with gives={bound.gives.__name__}, and returned a batch of "
                f"the class {type(result).__name__}"
            )
        if times is not None and len(result) != times * n_items:
            raise ActionResultError(
                f"{named} is declared with expands={times}, so it makes {times * n_items} "
                f"items of {n_items}, and returned {len(result)}. Where the number differs from "
                "batch to batch, declare expands=True"
            )
        if result is not batch and result._source_ids is None:
            result.__dict__["_source_ids"] = _origins(result, n_items, ids, times)
        return result

    return take


def _origins(result: Batch, n_items: int, ids: Any, times: int | None) -> Any:
    """Return the source ids of a batch that was made by hand; None: they are its own ids."""
    if times is not None:
        return np.repeat(ids, times)
    if result.index._is_given:
        return None  # ids that the action has chosen
    if len(result) == n_items:
        return ids
    return np.full(len(result), None)  # not known: what asks for data by them is an error
