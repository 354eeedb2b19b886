"""The running values of the metrics of Keras models, in checkpoints.

They count where steps go on with them (`reset_metrics=False`). Keras makes most of their variables
in the first step, which knows the shapes. So values that were read before wait for that step.

Guarantees:
    - What a step reports after values were put back is what it would have reported without that.
    - Values whose model was trained in another way since then, which has made the variables, are
      dropped.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchflow.errors import ArgumentValueError

Values = Sequence[NDArray[Any]]

waiting: weakref.WeakKeyDictionary[Any, Values] = weakref.WeakKeyDictionary()  # by model


def values_of(model: Any) -> list[NDArray[Any]]:
    """Return the values of the metrics of a model; copies."""
    variables = model.metrics_variables
    return list(waiting.get(model, ())) or [np.array(variable) for variable in variables]


def put(model: Any, values: Values) -> None:
    """Put the values of metrics into a model, or let them wait for its first step."""
    waiting.pop(model, None)
    if len(model.metrics_variables) == len(values):
        _assign(model, values)
    else:
        waiting[model] = values


def put_waiting(model: Any, data: Sequence[Any]) -> None:
    """Put the values that wait into a model, whose next step goes on with them.

    Args:
        model: The model.
        data: What it is trained on: `x`, `y` and `sample_weight`.
    """
    values = waiting.pop(model, ())
    n_known = len(model.metrics_variables)
    if len(values) > n_known:
        model._symbolic_build(data_batch=tuple(data))
        _assign(model, values)


def _assign(model: Any, values: Values) -> None:
    variables = model.metrics_variables
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [value.shape for value in values]:
        raise ArgumentValueError(
            f"the metrics of the Keras model {model.name!r} were saved with values of the shapes "
            f"{[value.shape for value in values]}, and have {shapes} now"
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
