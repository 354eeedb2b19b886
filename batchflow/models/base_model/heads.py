"""Losses and metrics of a model with one head or several.

A head is a result with its label: the only ones, or those with one key in two dictionaries.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from batchflow.errors import ArgumentValueError, did_you_mean
from batchflow.models.base_model.configs import is_config, loss_of, metric_of, unique_name
from batchflow.models.base_model.keras import keras
from batchflow.models.base_model.layers import count_layer, losses_layer
from batchflow.models.estimator.spec import is_symbolic

_ONLY = ""


def losses_of(given: Any, labels: Any, results: Any, sample_weight: Any = None) -> tuple[Any, Any]:
    """Return the loss of each item, and their mean.

    Args:
        given: A loss for all heads, or a dictionary of losses by head.
        labels: A tensor or a dictionary of tensors.
        results: The same.
        sample_weight: None, a tensor, or a dictionary of tensors by head.

    Returns:
        `(losses, loss)`, added up over all heads. A `keras.losses.Loss` with the reduction "sum" is
        summed over the items instead.

    Raises:
        ArgumentValueError: (a `ValueError`) Labels, results and losses do not fit.
    """
    by_head = dict(given) if isinstance(given, Mapping) and not is_config(given) else None
    pairs = _pairs(labels, results, "loss", by_head)
    all_losses, all_scalars = [], []
    for head, (label, result) in pairs.items():
        loss = loss_of(given if by_head is None else by_head[_key(head, by_head)])
        weight = sample_weight.get(head) if isinstance(sample_weight, Mapping) else sample_weight
        _check_shapes(head, label, result)
        name = f"{head}_losses" if head else "losses"
        arguments = (label, result) if weight is None else (label, result, weight)
        losses = losses_layer()(loss, name=name)(*arguments)
        ops = keras().ops
        is_sum = getattr(loss, "reduction", None) == "sum"
        all_losses.append(losses)
        all_scalars.append(ops.sum(losses) if is_sum else ops.mean(losses))
    return _sum(all_losses), _sum(all_scalars)


def metrics_of(given: Any, labels: Any, results: Any) -> dict[str, tuple[Any, Any, Any]]:
    """Return metrics: by name, `(metric, labels, results)`.

    Args:
        given: None, a metric, a list of metrics for all heads, or a dictionary of those by head.
        labels: A tensor or a dictionary of tensors.
        results: The same.

    Returns:
        A dictionary by the identifier of the metric, or its name. If the model has several heads,
        the head comes first, even if it alone has metrics: `digit_accuracy`.

    Raises:
        ArgumentValueError: (a `ValueError`) Labels, results and metrics do not fit.
    """
    if not given:
        return {}
    by_head = dict(given) if isinstance(given, Mapping) and not is_config(given) else None
    pairs = _pairs(labels, results, "metrics", by_head)
    has_several = _n_heads(labels, results) > 1
    made: dict[str, tuple[Any, Any, Any]] = {}
    for head, (label, result) in pairs.items():
        wanted = given if by_head is None else by_head[_key(head, by_head)]
        for one in wanted if isinstance(wanted, list | tuple) else [wanted]:
            metric = metric_of(one, label, result)
            if any(metric is other for other, *_ in made.values()):
                metric = type(metric).from_config(metric.get_config())
            name = one if isinstance(one, str) else metric.name
            name = unique_name(f"{head}_{name}" if has_several else name, made)
            made[name] = (metric, label, result)
    return made


def n_items(tensor: Any) -> Any:
    """Return the number of items of a symbolic tensor, as a symbolic integer."""
    return count_layer()()(tensor)


def _pairs(
    labels: Any, results: Any, what: str, by_head: Mapping[str, Any] | None
) -> dict[str, tuple[Any, Any]]:
    """Return pairs of labels and results by head."""
    labels, results = _by_name(labels), _by_name(results)
    if is_symbolic(results):
        if is_symbolic(labels) and (by_head is None or len(by_head) == 1):
            return {_ONLY: (labels, results)}
        if isinstance(labels, Mapping) and len(labels) == 1:
            return {_ONLY: (next(iter(labels.values())), results)}
        raise ArgumentValueError(
            f"{what}: graph_fn returns one tensor, but the labels or the {what} have several "
            "heads: let graph_fn return a dictionary by head"
        )
    wanted = list(by_head) if by_head is not None else None
    if is_symbolic(labels):
        names = wanted or list(results)
        if len(names) != 1:
            raise ArgumentValueError(
                f"{what}: graph_fn returns {sorted(results)}, and there is one label for them: "
                f"give a dictionary of labels, or of {what} with the one head that it is for"
            )
        labels = dict.fromkeys(names, labels)
    heads = wanted or [name for name in results if name in labels]
    if not heads:
        raise ArgumentValueError(
            f"{what}: no label has the name of a result: labels {sorted(labels)}, results "
            f"{sorted(results)}"
        )
    for head in heads:
        for kind, there in (("label", labels), ("result", results)):
            if head not in there:
                raise ArgumentValueError(
                    f"{what}: the head {head!r} has no {kind}.{did_you_mean(head, there)}"
                )
    return {head: (labels[head], results[head]) for head in heads}


def _n_heads(labels: Any, results: Any) -> int:
    """Return the number of results that have a label."""
    if not (isinstance(labels, Mapping | tuple) and isinstance(results, Mapping | tuple)):
        return 1
    return sum(name in _by_name(labels) for name in _by_name(results))


def _by_name(parts: Any) -> Any:
    """Return the parts of a tuple by their positions, as texts; anything else unchanged."""
    if isinstance(parts, tuple):
        return {str(number): part for number, part in enumerate(parts)}
    return parts


def _key(head: str, by_head: Mapping[str, Any]) -> str:
    return head if head in by_head else next(iter(by_head))


def _check_shapes(head: str, label: Any, result: Any) -> None:
    for name, tensor in (("labels", label), ("results", result)):
        if not is_symbolic(tensor):
            where = f" of the head {head!r}" if head else ""
            raise ArgumentValueError(f"loss: the {name}{where} are no tensor: {tensor!r:.60}")


def _sum(tensors: list[Any]) -> Any:
    return functools.reduce(lambda a, b: a + b, tensors)
