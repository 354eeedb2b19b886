"""The classes of an estimator that learns in parts: known from the labels of the dataset.

The first `partial_fit` of a classifier of scikit-learn needs all classes, also those of which its
batch has none.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from batchflow.batch import Batch
from batchflow.batch.preloaded import Preloaded, rows_at
from batchflow.errors import ArgumentValueError, add_note_once
from batchflow.models.adapters.base import signature_of

_CURE = "train_model(name, x, y, classes=[...])"

# By model, the dataset that has told its classes.
_told: weakref.WeakKeyDictionary[Any, weakref.ref[Any]] = weakref.WeakKeyDictionary()


def train_in_parts(
    batch: Batch, model: Any, args: Sequence[Any], kwargs: Mapping[str, Any], fetches: Any
) -> Any:
    """Train an object with a `partial_fit`, and give it the classes, if it asks for them.

    That are those of all labels of the dataset, if the targets of this batch are the labels that
    the dataset has for its items. A note says what to write where they are not.

    Raises:
        ArgumentValueError: (a `ValueError`) The dataset has told the classes, and the targets of
            this batch are not its labels: those of a batch before were so by chance.
    """
    from batchflow.models import calls

    y = args[1] if len(args) > 1 else kwargs.get("y")
    if not _needs_classes(model, args, kwargs):
        if _has_told(batch.dataset, model) and _labels(batch, y) == []:
            raise ArgumentValueError(
                "the classes were taken from the labels of the dataset, and the targets of this "
                f"batch are others. Name all classes: {_CURE}"
            )
        return calls.train(model, args, kwargs, fetches)
    classes = _classes(batch, y)
    if classes is None:
        try:
            return calls.train(model, args, kwargs, fetches)
        except Exception as error:
            add_note_once(
                error,
                "the dataset tells the classes where the targets are a component that it was given "
                f"in memory, unchanged, one label for each item; elsewhere name all: {_CURE}",
            )
            raise
    result = calls.train(model, args, {**kwargs, "classes": classes}, fetches)
    with contextlib.suppress(TypeError):  # an object that cannot be a key is not watched
        _told[model] = weakref.ref(batch.dataset)
    return result


def _has_told(dataset: Any, model: Any) -> bool:
    """Check whether a dataset has told a model its classes."""
    with contextlib.suppress(TypeError):
        return model in _told and _told[model]() is dataset
    return False


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
    for name in _labels(batch, y) or ():
        with contextlib.suppress(TypeError):  # values that have no order are no labels
            found.append(np.unique(dataset._data.values(name, dataset._rows, dataset.index)))
    if not found or not all(np.array_equal(found[0], other) for other in found):
        return None
    texts = dataset.classes  # of labels that the dataset has numbered
    is_number = found[0].dtype.kind in "iu"
    return np.arange(len(texts)) if texts is not None and is_number else found[0]


def _labels(batch: Batch, y: Any) -> list[str] | None:
    """Return the components that the dataset has been given, and that these targets equal.

    None: that cannot be known here, as where rows come from several datasets.
    """
    dataset = batch.dataset
    data = getattr(dataset, "_data", None)
    if batch._mixed or not isinstance(data, Preloaded) or np.ndim(y) != 1:
        return None
    targets = np.asarray(y)
    rows = rows_at(dataset._rows, dataset.index.get_pos(batch.source_ids))
    return [
        name
        for name in dataset.batch_class.components or ("_data",)
        if (values := data.values(name, rows, batch.index)) is not None
        and np.ndim(values) == 1
        and (np.asarray(values).dtype == bool) == (targets.dtype == bool)  # False is no label 0
        and np.array_equal(values, targets)
    ]
