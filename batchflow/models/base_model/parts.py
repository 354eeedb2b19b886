"""The parts of a model: calls of its methods, whose results are checked.

An error in a method that a subclass overrides says which one it was, and with what it was called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from batchflow.errors import ArgumentTypeError
from batchflow.models.base_model.configs import is_optimizer
from batchflow.models.estimator.hooks import is_hook
from batchflow.models.estimator.model_fn import telling
from batchflow.models.estimator.spec import EstimatorSpec, is_metric, is_symbolic, leaves


def part_of(model: Any, name: str, **given: Any) -> Any:
    """Call a method of a `BaseModel`, and return its result.

    Args:
        model: The model.
        name: The name of the method.
        given: Its arguments, in their order, by names.

    Raises:
        ArgumentTypeError: (a `TypeError`) The result is of another kind.
    """
    owner = next(cls for cls in type(model).__mro__ if name in vars(cls))
    method = getattr(model, name)
    if owner.__module__ == "batchflow.models.base_model.base_model":
        result = method(*given.values())
    else:
        with telling(f"{owner.__qualname__}.{name}", model.mode, **given):
            result = method(*given.values())
    if name == "_clip_gradients_fn" and isinstance(result, Iterable):
        result = list(result)
    what, fits = _RESULTS[name]
    if not fits(result, *given.values()):
        raise ArgumentTypeError(
            f"{owner.__qualname__}.{name} returns {what}, got {result!r:.120}"
            + (": is a return missing?" if result is None else "")
        )
    return result


def _is_pair(value: Any, *_: Any) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2


def _are_losses(value: Any, *_: Any) -> bool:
    return _is_pair(value) and is_symbolic(value[1]) and all(is_symbolic(t) for t in _parts(value))


def _parts(value: Any) -> list[Any]:
    return [leaf for _, leaf in leaves(tuple(value), "")]


def _are_metrics(value: Any, *_: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and all(map(is_metric, value.values())))


def _are_predictions(value: Any, *_: Any) -> bool:
    return isinstance(value, Mapping) and all(is_symbolic(leaf) for leaf in _parts([value]))


def _are_of_the_same_variables(value: Any, given: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == len(given)
        and all(map(_is_pair, value))
        and all(pair[1] is old[1] for pair, old in zip(value, given, strict=True))
    )


_OPTIMIZER = "a keras.optimizers.Optimizer"
# By the name of a method: what it returns, in words, and whether a result is that.
_RESULTS: dict[str, tuple[str, Callable[..., bool]]] = {
    "_build": ("an EstimatorSpec", lambda value, *_: isinstance(value, EstimatorSpec)),
    "_preprocess": ("(features, labels)", _is_pair),
    "_build_loss": (
        "(losses, loss): tensors, the loss of each item and the scalar to minimize",
        _are_losses,
    ),
    "_build_eval_metrics": (
        "a dictionary: name to (keras.metrics.Metric, labels, results)",
        _are_metrics,
    ),
    "_build_train_op": (_OPTIMIZER, lambda value, *_: is_optimizer(value)),
    "_build_optimizer": (_OPTIMIZER, lambda value, *_: is_optimizer(value)),
    "_clip_gradients_fn": (
        "the pairs of a gradient and its variable, all of them in their order",
        _are_of_the_same_variables,
    ),
    "_build_summary_op": (
        "a hook (a keras.callbacks.Callback, or an object with the methods of a session run hook),"
        " or None",
        lambda value, *_: value is None or is_hook(value),
    ),
    "_build_predictions": ("a dictionary of tensors", _are_predictions),
}
