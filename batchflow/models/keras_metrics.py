"""The running values of the metrics of Keras models, and of those of `tf_keras`, in checkpoints.

They count where steps go on with them (`reset_metrics=False`). Keras makes most of their variables
in the first step, which knows the shapes. So values that were read before wait for that step.

Guarantees:
    - What a step reports after values were put back is what it would have reported without that.
    - Values whose model was trained in another way since then, which has made the variables, are
      dropped.
"""

from __future__ import annotations

import sys
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
    return list(waiting.get(model, ())) or [np.asarray(one).copy() for one in _variables_of(model)]


def put(model: Any, values: Values) -> None:
    """Put the values of metrics into a model, or let them wait for its first step."""
    waiting.pop(model, None)
    if len(_variables_of(model)) == len(values):
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
    if len(values) > len(_variables_of(model)):
        _build(model, data)
        _assign(model, values)


def _variables_of(model: Any) -> list[Any]:
    if hasattr(model, "metrics_variables"):
        return list(model.metrics_variables)
    return [variable for metric in model.metrics for variable in metric.variables]


def _build(model: Any, data: Sequence[Any]) -> None:
    """Make the variables of the metrics, as the first step does."""
    if hasattr(model, "_symbolic_build"):
        model._symbolic_build(data_batch=tuple(data))
        return
    tf = sys.modules["tensorflow"]  # a model of tf_keras
    x, y = (tf.nest.map_structure(tf.convert_to_tensor, part) for part in data[:2])
    outputs = model(x, training=False)
    model.compiled_loss.build(outputs)
    model.compiled_metrics.build(outputs, y)


def _assign(model: Any, values: Values) -> None:
    variables = _variables_of(model)
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [value.shape for value in values]:
        raise ArgumentValueError(
            f"the metrics of the Keras model {model.name!r} were saved with values of the shapes "
            f"{[value.shape for value in values]}, and have {shapes} now"
        )
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
