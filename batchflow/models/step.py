"""The common part of the training steps: of the compiled ones on Keras's backends, and of torch.

Guarantees:
    - *Bounded*: at most `N_UNREAD` unread values of a model are on the device; then all are read.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from batchflow.models.lazy import LazyValue

N_UNREAD = 1024  # a read waits for all work on the device, so it is done rarely

Logs = dict[str, Any]


class Data(NamedTuple):
    """The data of one step: arrays, or lists or dicts of them."""

    x: Any
    y: Any = None
    sample_weight: Any = None


class Step:
    """One step of a model's optimizer, compiled.

    Attributes:
        model: The model. Its `train_function` keeps the step.
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self._unread = Unread()

    def one(self, data: Data, resets: bool) -> Logs:
        """Do a step on one batch.

        Args:
            data: The batch.
            resets: Whether the metrics begin anew with this batch.
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
            The result of `one` for each; None, and nothing is done, if only single steps are
            possible.
        """
        return None

    def _values(self, logs: Any) -> Logs:
        return self._unread.kept(logs)


class Unread:
    """The values of one model that are still on its device: at most `N_UNREAD`."""

    def __init__(self) -> None:
        self._values: list[weakref.ref[LazyValue]] = []

    def kept(self, logs: Any) -> Logs:
        """Return the values of a step as `lazy_logs` does, and keep an eye on them."""
        if len(self._values) >= N_UNREAD:
            for value in (reference() for reference in self._values):
                if value is not None:
                    float(value)
            self._values.clear()
        values = lazy_logs(logs)
        self._values += [
            weakref.ref(value) for value in values.values() if value.__class__ is LazyValue
        ]
        return values


def lazy_logs(logs: Any) -> Logs:
    """Return the values of a step, named and ordered as by Keras, all of them unread."""
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
    """Return the structure, shapes and dtypes of data; data without a shape equals nothing."""
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
