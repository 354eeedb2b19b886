"""Modes, and EstimatorSpec: the result of a model function, the tensors of one mode.

Everything here is symbolic: the tensors are `KerasTensor`s that the model function has computed
from `keras.Input`s. Keras is not imported here: where they exist, it is loaded.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from batchflow.errors import ArgumentTypeError, ArgumentValueError


class Modes(StrEnum):
    """The purpose of a model. Each mode is a `str`, and equal to its value."""

    TRAIN = "train"
    EVAL = "eval"
    PREDICT = "infer"
    GENERATE = "generate"
    ENCODE = "encode"

    @classmethod
    def of(cls, mode: Any) -> Modes:
        """Return the mode that a value names.

        Raises:
            ArgumentValueError: There is no such mode.
        """
        try:
            return cls(mode)
        except ValueError:
            known = ", ".join(repr(one.value) for one in cls)
            raise ArgumentValueError(f"mode is one of {known}, got {mode!r}") from None

    @staticmethod
    def is_train(mode: Any) -> bool:
        """Check whether a mode is that of training."""
        return bool(mode == Modes.TRAIN)

    @staticmethod
    def is_eval(mode: Any) -> bool:
        """Check whether a mode is that of evaluation."""
        return bool(mode == Modes.EVAL)

    @staticmethod
    def is_infer(mode: Any) -> bool:
        """Check whether a mode computes predictions only: `PREDICT`, `GENERATE` or `ENCODE`."""
        return mode in (Modes.PREDICT, Modes.GENERATE, Modes.ENCODE)


class ServingInputReceiver(NamedTuple):
    """The inputs of an exported model, and the features that the model function gets.

    Attributes:
        features: A tensor or a dictionary of tensors, computed from `receiver_tensors`.
        receiver_tensors: A `keras.Input` or a dictionary of them: the inputs of the signatures.
    """

    features: Any
    receiver_tensors: Any


@dataclass(frozen=True)
class EstimatorSpec:
    """The tensors of a model in one mode.

    Args:
        mode: One of `Modes`.
        predictions: A tensor or a dictionary of tensors. Needed in `PREDICT`.
        loss: A scalar tensor. Needed in `TRAIN` and `EVAL`. The regularization losses of the layers
            are added to it when the model runs.
        train_op: A `keras.optimizers.Optimizer`. Needed in `TRAIN`.
        eval_metric_ops: By name: `(metric, labels, predictions)` or `(metric, labels, predictions,
            weights)`, a `keras.metrics.Metric` and tensors.
        export_outputs: By the name of its signature: a tensor or a dictionary of tensors.
        training_hooks: Hooks of every `train` with this model.
        evaluation_hooks: Hooks of every `evaluate`.
        prediction_hooks: Hooks of every `predict`.

    Raises:
        ArgumentValueError: (a `ValueError`) A part that the mode needs is missing, the loss is no
            scalar, `eval_metric_ops` or `export_outputs` is no dictionary of that form, or a metric
            has the name of another result: `"loss"` or `"global_step"`.
        ArgumentTypeError: (a `TypeError`) A part is no tensor, or `train_op` no optimizer.
    """

    mode: Any
    predictions: Any = None
    loss: Any = None
    train_op: Any = None
    eval_metric_ops: Mapping[str, tuple[Any, ...]] | None = None
    export_outputs: Mapping[str, Any] | None = None
    training_hooks: Sequence[Any] = field(default=())
    evaluation_hooks: Sequence[Any] = field(default=())
    prediction_hooks: Sequence[Any] = field(default=())

    def __post_init__(self) -> None:
        mode = Modes.of(self.mode)
        object.__setattr__(self, "mode", mode)
        needed = {Modes.TRAIN: ("loss", "train_op"), Modes.EVAL: ("loss",)}
        for name in needed.get(mode, ("predictions",)):
            if getattr(self, name) is None:
                raise ArgumentValueError(
                    f"EstimatorSpec: {name} is missing, the mode {mode.value!r} needs it"
                )
        _check_tensors("predictions", self.predictions)
        _check_loss(self.loss)
        _check_optimizer(self.train_op)
        object.__setattr__(self, "eval_metric_ops", _checked_metrics(self.eval_metric_ops))
        object.__setattr__(self, "export_outputs", _checked_outputs(self.export_outputs))
        for name in ("training_hooks", "evaluation_hooks", "prediction_hooks"):
            object.__setattr__(self, name, tuple(getattr(self, name) or ()))


_OWN_RESULTS = ("loss", "global_step")  # names of results of an evaluation


def is_symbolic(value: Any) -> bool:
    """Check whether a value is a `KerasTensor`."""
    keras = sys.modules.get("keras")
    return keras is not None and isinstance(value, keras.KerasTensor)


def is_metric(value: Any) -> bool:
    """Check whether a value is `(keras.metrics.Metric, labels, predictions)`, or with weights."""
    return (
        isinstance(value, tuple | list)
        and len(value) in (3, 4)
        and isinstance(value[0], sys.modules["keras"].metrics.Metric)
    )


def leaves(value: Any, name: str) -> list[tuple[str, Any]]:
    """Return the parts of nested dictionaries and tuples, each with its name, in a fixed order."""
    if isinstance(value, Mapping):
        parts = [(str(key), value[key]) for key in sorted(value, key=str)]
    elif isinstance(value, tuple):
        parts = [(str(position), part) for position, part in enumerate(value)]
    else:
        return [] if value is None else [(name, value)]
    return [leaf for key, part in parts for leaf in leaves(part, f"{name}.{key}")]


def _check_tensors(name: str, value: Any) -> None:
    for path, leaf in leaves(value, name):
        if not is_symbolic(leaf):
            raise ArgumentTypeError(
                f"EstimatorSpec: {path} is a KerasTensor computed from the features and labels, "
                f"got {type(leaf).__name__}. Compute with keras.layers and keras.ops"
            )


def _check_loss(loss: Any) -> None:
    if loss is None:
        return
    if isinstance(loss, Mapping | tuple):
        raise ArgumentTypeError("EstimatorSpec: loss is one tensor: add the losses up")
    _check_tensors("loss", loss)
    if tuple(loss.shape) not in ((), (1,)):
        raise ArgumentValueError(
            f"EstimatorSpec: loss is a scalar, got the shape {tuple(loss.shape)}: take its "
            "keras.ops.mean"
        )


def _check_optimizer(optimizer: Any) -> None:
    if optimizer is None:
        return
    keras = sys.modules.get("keras")
    if keras is None or not isinstance(optimizer, keras.optimizers.Optimizer):
        raise ArgumentTypeError(
            "EstimatorSpec: train_op is a keras.optimizers.Optimizer, which does the steps, got "
            f"{type(optimizer).__name__}"
        )


def _checked_metrics(metrics: Any) -> dict[str, tuple[Any, ...]]:
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise ArgumentValueError(
            "EstimatorSpec: eval_metric_ops is a dictionary {name: (metric, labels, predictions)}, "
            f"got {type(metrics).__name__}"
        )
    for name, parts in metrics.items():
        if name in _OWN_RESULTS:
            raise ArgumentValueError(
                f"EstimatorSpec: a metric is called {name!r}, and so is another result of "
                "evaluate: give it another name, such as 'my_"
                f"{name}' (its key in eval_metric_ops; of a BaseModel, the name= of the metric)"
            )
        if not is_metric(parts):
            raise ArgumentValueError(
                f"EstimatorSpec: the metric {name!r} is (keras.metrics.Metric, labels, predictions)"
                f" or the same with weights, got {parts!r:.80}"
            )
        _check_tensors(f"eval_metric_ops.{name}", tuple(parts[1:]))
    return {str(name): tuple(parts) for name, parts in metrics.items()}


def _checked_outputs(outputs: Any) -> dict[str, Any] | None:
    if outputs is None:
        return None
    if not isinstance(outputs, Mapping):
        raise ArgumentValueError(
            "EstimatorSpec: export_outputs is a dictionary from the name of a signature to a "
            f"tensor or a dictionary of tensors, got {type(outputs).__name__}"
        )
    for name, output in outputs.items():
        if isinstance(output, tuple | list):
            raise ArgumentTypeError(f"EstimatorSpec: export_outputs.{name} is no dictionary")
        _check_tensors(f"export_outputs.{name}", output)
    return dict(outputs)
