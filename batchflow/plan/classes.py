"""The classes of an estimator that learns in parts: known from the labels of the dataset.

The first `partial_fit` of a classifier of scikit-learn needs all classes, also those of which its
batch has none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from batchflow.batch import Batch
from batchflow.batch.preloaded import Preloaded, rows_at
from batchflow.errors import add_note_once
from batchflow.models.adapters.base import signature_of


def train_in_parts(
    batch: Batch, model: Any, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Any
) -> Any:
    """Train an object with a `partial_fit`, and give it the classes, if it asks for them.

    That are those of all labels of the dataset, if the targets of this batch are the labels that
    the dataset has for its items. A note says what to write where they are not.
    """
    from batchflow.models import calls

    if not _needs_classes(model, args, kwargs):
        return calls.train(model, args, kwargs, fetches)
    y = args[1] if len(args) > 1 else kwargs.get("y")
    classes = _classes(batch, y)
    try:
        given = kwargs if classes is None else {**kwargs, "classes": classes}
        return calls.train(model, args, given, fetches)
    except Exception as error:
        if classes is None:
            add_note_once(
                error,
                "the dataset tells the classes where the targets are a component that it was given "
                "in memory, unchanged, one label for each item; elsewhere name all of them: "
                "train_model(name, x, y, classes=[...])",
            )
        raise


def _needs_classes(model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if len(args) > 2 or "classes" in kwargs or hasattr(model, "classes_"):
        return False
    if any(callable(getattr(model, name, None)) for name in ("train_on_batch", "train")):
        return False
    signature = signature_of(model.partial_fit)
    return signature is not None and "classes" in signature.parameters


def _classes(batch: Batch, y: Any) -> Any:
    """Return the classes of the component that a target is; None if it is none, or not surely."""
    dataset, found = batch.dataset, []
    data = getattr(dataset, "_data", None)
    if batch._mixed or not isinstance(data, Preloaded) or np.ndim(y) != 1:
        return None
    positions = dataset.index.get_pos(batch.source_ids)
    for name in dataset.batch_class.components or ("_data",):
        rows = data.values(name, rows_at(dataset._rows, positions), batch.index)
        if rows is None or np.ndim(rows) != 1 or not np.array_equal(rows, y):
            continue
        with contextlib.suppress(TypeError):  # values that have no order are no labels
            found.append(np.unique(data.values(name, dataset._rows, dataset.index)))
    if not found or not all(np.array_equal(found[0], other) for other in found):
        return None
    texts = dataset.classes  # of labels that the dataset has numbered
    is_number = found[0].dtype.kind in "iu"
    return np.arange(len(texts)) if texts is not None and is_number else found[0]
