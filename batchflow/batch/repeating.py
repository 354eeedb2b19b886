"""Batches in which each item stands several times: what expanding actions return."""

from __future__ import annotations

import operator
from typing import Any, TypeVar

import numpy as np

from batchflow.batch.core import BaseBatch
from batchflow.batch.regroup import data_of, refuse_lost, rows_of
from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    SkipBatch,
    UnknownNameError,
    did_you_mean,
)
from batchflow.index import DatasetIndex

B = TypeVar("B", bound=BaseBatch)


def repeated(batch: BaseBatch, counts: Any, into: type[B], components: dict[str, Any]) -> B:
    """Make the batch: see `Batch.repeat`."""
    counts = _counts(counts, len(batch.index))
    total = int(counts.sum())
    if not total:
        raise SkipBatch
    added = batch.__dict__.get("components")  # of the class, and some that were added
    if added is not None and not (isinstance(batch, into) and {*into.components} <= {*added}):
        added = None
    known = added or into.components or ("data",)
    for name in components:
        if name not in known:
            raise UnknownNameError(
                f"repeat: {into.__name__} has no component {name!r}.{did_you_mean(name, known)}"
            )
    refuse_lost(batch, "a batch of repeated items")
    places = np.repeat(np.arange(len(counts)), counts)
    held = batch.__dict__
    facts: dict[str, Any] = {
        name: held[name] for name in ("dataset", "pipeline", "_mixed") if name in held
    }
    if added is not None:
        facts["components"] = added
    facts["_source_ids"] = ids = batch.source_ids[places]
    ids.flags.writeable = False
    made = into._make(DatasetIndex(total), None, facts)
    own = {name.lstrip("_"): value for name, value in data_of(batch).items()}
    for name in known:
        if name in components:
            setattr(made, name, components[name])
        elif own.get(name) is not None:
            shown = f"{type(batch).__name__}.{name}"
            setattr(made, name, rows_of(own[name], places, len(counts), shown))
    return made


def _counts(counts: Any, n_items: int) -> Any:
    """Return how often each item stands in the new batch."""
    given = np.asarray(counts)
    if given.dtype.kind not in "iu":
        raise ArgumentTypeError(
            f"repeat: counts is a whole number, or one for each item, got {counts!r:.60}"
        )
    if given.ndim == 0:
        given = np.full(n_items, operator.index(counts))
    if given.shape != (n_items,) or (given < 0).any():
        raise ArgumentValueError(
            f"repeat: expected one number from 0 on for each of {n_items} items, got {counts!r:.60}"
        )
    return given
