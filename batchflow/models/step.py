"""What the compiled steps of Keras's backends share: their form, and the values nobody has read.

Guarantees:
    - *Bounded*: of the values of a model at most `N_UNREAD` are on the device; then all are read.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from batchflow.models.lazy import LazyValue

__all__ = ["N_UNREAD", "Data", "Logs", "Step", "lazy_logs", "shape_of"]

N_UNREAD = 1024  # a read waits for all that the device has been given: rarely is often enough

Logs = dict[str, Any]


class Data(NamedTuple):
    """What a step is given of a batch: arrays, or lists or dicts of them."""

    x: Any
    y: Any = None
    sample_weight: Any = None


class Step:
    """One step of a model's optimizer, compiled.

    Attributes:
        model: The model. The step is kept by the model's own `train_function`, and goes with both.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._unread: list[weakref.ref[LazyValue]] = []

    def one(self, data: Data, resets: bool) -> Logs:
        """Do a step on one batch.

        Args:
            data: The batch.
            resets: Whether the metrics begin anew with it.
        """
        raise NotImplementedError

    def several(
        self,
        batches: Sequence[Data],  # noqa: ARG002
        first_resets: bool,  # noqa: ARG002
        others_reset: bool,  # noqa: ARG002
    ) -> list[Logs] | None:
        """Do a step on each of several batches of one shape, in one call.

        Returns:
            What `one` would have given for each; None, and nothing is done, where only single
            steps will do.
        """
        return None

    def _values(self, logs: Any) -> Logs:
        if len(self._unread) >= N_UNREAD:
            for value in (reference() for reference in self._unread):
                if value is not None:
                    float(value)
            self._unread.clear()
        values = lazy_logs(logs)
        self._unread += [
            weakref.ref(value) for value in values.values() if value.__class__ is LazyValue
        ]
        return values


def lazy_logs(logs: Any) -> Logs:
    """Name and order the values of a step as Keras does, and read none of them."""
    values: Logs = {}
    for name, value in sorted((logs or {}).items()):
        if getattr(value, "shape", None) == ():
            values[name] = LazyValue(value)
        elif isinstance(value, Mapping):
            values.update(lazy_logs(value))
        else:
            values[name] = value if hasattr(value, "shape") else LazyValue(value)
    return values


def shape_of(data: Any) -> Any:
    """Give the structure, shapes and dtypes of data, to compare; what has none is like nothing."""
    if type(data) is np.ndarray:
        return data.shape, data.dtype
    if data is None:
        return None
    if hasattr(data, "shape") and hasattr(data, "dtype"):
        return tuple(data.shape), data.dtype
    if isinstance(data, list | tuple):
        return type(data), *map(shape_of, data)
    if isinstance(data, Mapping):
        return type(data), tuple((name, shape_of(part)) for name, part in data.items())
    return object()
