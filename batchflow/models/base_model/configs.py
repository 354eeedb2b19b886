"""Losses, optimizers and metrics from an identifier, a config dictionary or an object.

A config dictionary is Keras's own, `{"class_name": "Adam", "config": {"learning_rate": 0.01}}`; its
settings may also stand beside the name, `{"class_name": "Adam", "learning_rate": 0.01}`.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from batchflow.errors import ArgumentTypeError, ArgumentValueError, did_you_mean
from batchflow.models.base_model.keras import keras

# The entries of an optimizer's config that describe a decay of its learning rate.
_SCHEDULES = {
    "exponential_decay": "ExponentialDecay",
    "inverse_time_decay": "InverseTimeDecay",
    "polynomial_decay": "PolynomialDecay",
    "cosine_decay": "CosineDecay",
    "cosine_decay_restarts": "CosineDecayRestarts",
    "piecewise_constant_decay": "PiecewiseConstantDecay",
}


def is_config(value: Any) -> bool:
    """Check whether a value is a config dictionary."""
    return isinstance(value, Mapping) and "class_name" in value


def is_optimizer(value: Any) -> bool:
    """Check whether a value is an optimizer."""
    return isinstance(value, keras().optimizers.Optimizer)


def optimizer_of(given: Any) -> Any:
    """Return an optimizer that has not been used yet.

    Args:
        given: An identifier, a config dictionary, an optimizer, or None: Adam. The learning rate of
            a config is a number, a config of a schedule, or a number with `decay_type` (such as
            `"exponential_decay"`) and the arguments of that schedule beside it.

    Raises:
        ArgumentValueError: (a `ValueError`) There is no such optimizer or schedule.
        ArgumentTypeError: (a `TypeError`) `given` is something else.
    """
    optimizers = keras().optimizers
    if given is None:
        return optimizers.Adam(learning_rate=0.001)
    if is_optimizer(given):
        # A model that is built again, for other shapes or after an error, begins with another.
        return type(given).from_config(given.get_config()) if given.built else given
    if is_config(given):
        normal = _normal(given)
        given = {**normal, "config": _with_schedule(normal["config"])}
    return _got(optimizers.get, given, "optimizer", optimizers.Optimizer)


def loss_of(given: Any) -> Callable[[Any, Any], Any]:
    """Return a function of labels and results: a loss, or a user's function.

    Raises:
        ArgumentValueError: (a `ValueError`) There is no such loss.
        ArgumentTypeError: (a `TypeError`) `given` is something else, or None.
    """
    losses = keras().losses
    if given is None:
        raise ArgumentTypeError("loss is missing: an identifier such as 'mse', or a keras.losses")
    if is_config(given):
        given = _normal(given)
    loss = _got(losses.get, given, "loss", None)
    if not callable(loss):
        raise ArgumentTypeError(f"loss cannot be called: {loss!r:.60}")
    return loss  # type: ignore[no-any-return]


def metric_of(given: Any, labels: Any, results: Any) -> Any:
    """Return a metric.

    Args:
        given: An identifier, a config dictionary, a metric, or a function of labels and results.
            `"accuracy"` and `"crossentropy"` are chosen by the shapes, as in `keras.Model.compile`.
        labels: The tensor of labels that it will compare.
        results: The tensor of results that it will compare with them.

    Raises:
        ArgumentValueError: (a `ValueError`) There is no such metric.
        ArgumentTypeError: (a `TypeError`) `given` is something else.
    """
    metrics = keras().metrics
    if is_config(given):
        given = _normal(given)
    if given in ("accuracy", "acc", "crossentropy", "ce") and isinstance(given, str):
        return _by_shapes(given, labels, results)
    metric = _got(metrics.get, given, "metric", None)
    if isinstance(metric, metrics.Metric):
        return metric
    if callable(metric):
        name = given if isinstance(given, str) else getattr(metric, "__name__", "metric")
        return metrics.MeanMetricWrapper(metric, name=name)
    raise ArgumentTypeError(f"a metric is an identifier, a config or a metric, got {given!r:.60}")


def _normal(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config dictionary with its settings under `config`."""
    copied = copy.copy(dict(config))
    keras_keys = ("class_name", "config", "module", "registered_name", "build_config")
    beside = {key: copied.pop(key) for key in list(copied) if key not in keras_keys}
    return {**copied, "config": {**(copied.get("config") or {}), **beside}}


def _with_schedule(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of an optimizer with its decay as a schedule."""
    schedules = keras().optimizers.schedules
    result = dict(config)
    kind = result.pop("decay_type", None)
    rate = result.get("learning_rate")
    if not kind:
        if isinstance(rate, Mapping) and is_config(rate):
            result["learning_rate"] = _got(
                schedules.deserialize, _normal(rate), "schedule", schedules.LearningRateSchedule
            )
        return result
    if kind not in _SCHEDULES:
        raise ArgumentValueError(
            f"there is no decay_type {kind!r}.{did_you_mean(kind, _SCHEDULES)}"
        )
    schedule = getattr(schedules, _SCHEDULES[kind])
    known = list(inspect.signature(schedule).parameters)
    settings = {name: result.pop(name) for name in list(result) if name in known and name != "name"}
    if "initial_learning_rate" in known:
        settings.setdefault("initial_learning_rate", 0.001 if rate is None else rate)
    try:
        result["learning_rate"] = schedule(**settings)
    except TypeError as error:
        raise ArgumentTypeError(f"decay_type {kind!r} takes {', '.join(known)}: {error}") from error
    return result


def _got(get: Callable[[Any], Any], given: Any, what: str, kind: type | None) -> Any:
    """Return the object that Keras has for an identifier."""
    if not (isinstance(given, str | Mapping) or callable(given)):
        raise ArgumentTypeError(
            f"{what} is an identifier such as a name, a config dictionary or an object of Keras, "
            f"got {given!r:.60}"
        )
    if isinstance(given, Mapping) and not is_config(given):
        raise ArgumentValueError(
            f"{what}: a config dictionary has its name under 'class_name', as in "
            f"{{'class_name': 'Adam', 'learning_rate': 0.01}}; this one has {[*given]}"
        )
    try:
        found = get(given)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ArgumentValueError(f"Keras knows no {what} {given!r:.120}: {error}") from error
    if kind is not None and not isinstance(found, kind):
        raise ArgumentTypeError(f"{given!r:.60} is no {what} of Keras")
    return found


def _by_shapes(name: str, labels: Any, results: Any) -> Any:
    """Return the one of several metrics of a name that fits the shapes."""
    metrics = keras().metrics
    true, predicted = tuple(labels.shape), tuple(results.shape)
    is_accuracy = name in ("accuracy", "acc")
    if predicted[-1:] == (1,) or len(predicted) < 2:
        kind = metrics.BinaryAccuracy if is_accuracy else metrics.BinaryCrossentropy
    elif len(true) < len(predicted) or true[-1] == 1:
        kind = (
            metrics.SparseCategoricalAccuracy
            if is_accuracy
            else metrics.SparseCategoricalCrossentropy
        )
    else:
        kind = metrics.CategoricalAccuracy if is_accuracy else metrics.CategoricalCrossentropy
    return kind(name=name)


def unique_name(name: str, taken: Sequence[str] | Mapping[str, Any]) -> str:
    """Return a name that is not taken: the given one, if need be with a number."""
    if name not in taken:
        return name
    number = 1
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"
