"""Layers that compute the losses of items, and count items.

Guarantees:
    - A loss object is used itself, with all its state. Only where a saved model is loaded, it is
      made from its config.
    - A function gets labels of shape `(n,)` and results of shape `(n, 1)`, or the other way round,
      in one shape, as from `keras.Model.compile`. Otherwise it would compare all with all.
    - Where results carry a mask, the loss of an item is the mean over its positions that the mask
      keeps. A function that takes the mean over positions itself is left alone.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from batchflow.models.base_model.keras import Base, keras


@functools.cache
def losses_layer() -> Any:
    """Return the class of the layer that computes losses, made on first use of Keras."""

    @keras().saving.register_keras_serializable("batchflow")
    class Losses(_Comparing, keras().layers.Layer):  # type: ignore[misc]
        """Computes the loss of each item."""

    return Losses


@functools.cache
def count_layer() -> Any:
    """Return the class of the layer that counts items, made on first use of Keras."""

    @keras().saving.register_keras_serializable("batchflow")
    class ItemCount(_Counting, keras().layers.Layer):  # type: ignore[misc]
        """Computes the number of items of its input."""

    return ItemCount


class _Comparing(Base):  # type: ignore[misc]
    """A layer that compares labels and results by a loss."""

    def __init__(self, loss: Callable[[Any, Any], Any], name: str | None = None) -> None:
        super().__init__(name=name, dtype=keras().config.floatx())
        self.supports_masking = True
        self.loss = loss
        self._each = _of_each(loss)

    def call(
        self,
        labels: Any,
        results: Any,
        weights: Any = None,
        results_mask: Any = None,
    ) -> Any:
        ops = keras().ops
        if results_mask is not None:
            labels = _by_position(labels, results, results_mask)
        losses = self._each(labels, results)
        if len(losses.shape) == 0:  # of a function that has taken the mean itself
            losses = ops.broadcast_to(losses, (ops.shape(results)[0],))
        if weights is not None:
            losses = losses * _like(ops.cast(weights, losses.dtype), losses)
        return _by_item(losses, results_mask, getattr(self.loss, "reduction", None) == "sum")

    def compute_mask(self, *_: Any, **__: Any) -> None:
        """Return None: there is one loss for each item, and no mask."""

    def compute_output_spec(self, *tensors: Any, **more: Any) -> Any:
        # A symbolic `tensor * 2` claims to be sparse, which no result is.
        dense = [keras().KerasTensor(one.shape, one.dtype) for one in tensors]
        return super().compute_output_spec(*dense, **more)

    def get_config(self) -> dict[str, Any]:
        return {"loss": _config_of(self.loss), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Any:
        return cls(keras().saving.deserialize_keras_object(config["loss"]), config["name"])


class _Counting(Base):  # type: ignore[misc]
    """A layer that counts items."""

    def call(self, tensor: Any) -> Any:
        ops = keras().ops
        return ops.convert_to_tensor(ops.shape(tensor)[0], dtype="int32")

    def compute_output_spec(self, tensor: Any) -> Any:  # noqa: ARG002
        return keras().KerasTensor((), dtype="int32")


def _config_of(loss: Any) -> Any:
    """Return the config of a loss, with entries that Keras leaves out, such as Huber's delta."""
    config = keras().saving.serialize_keras_object(loss)
    settings = config.get("config") if isinstance(loss, keras().losses.Loss) else None
    if isinstance(settings, dict):
        known = inspect.signature(type(loss)).parameters
        for name, value in (getattr(loss, "_fn_kwargs", None) or {}).items():
            if name in known:
                settings.setdefault(name, value)
    return config


def _of_each(loss: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a function of labels and results that does not reduce the losses of items."""
    if not isinstance(loss, keras().losses.Loss):
        return lambda labels, results: loss(*_of_one_rank(labels, results))
    # Not by `copy.copy`: Keras would make it from its config, which may be incomplete.
    each: Any = object.__new__(type(loss))
    each.__dict__.update(vars(loss))
    each.reduction = None
    return each  # type: ignore[no-any-return]


def _of_one_rank(one: Any, other: Any) -> tuple[Any, Any]:
    """Return two tensors without the last dimension of 1 that only one of them has."""
    ops = keras().ops
    more = len(one.shape) - len(other.shape)
    if more == -1:
        other, one = _of_one_rank(other, one)
    elif more == 1 and one.shape[-1] == 1:
        if len(other.shape) == 1:  # keeps the axis of the items
            other = ops.expand_dims(other, -1)
        else:
            one = ops.squeeze(one, -1)
    return one, other


def _by_position(labels: Any, results: Any, mask: Any) -> Any:
    """Return labels with one value for each position of the mask, where results have one, too.

    Keras would remove the last dimension of such results, and its losses would take the mean over
    positions.
    """
    n_dims = len(mask.shape)
    is_single = len(results.shape) == n_dims + 1 and results.shape[-1] == 1
    if is_single and len(labels.shape) == n_dims:
        return keras().ops.expand_dims(labels, -1)
    return labels


def _like(weights: Any, losses: Any) -> Any:
    """Return weights with as many dimensions as losses."""
    ops = keras().ops
    if len(weights.shape) > len(losses.shape):
        weights = ops.squeeze(weights, -1)
    while len(weights.shape) < len(losses.shape):
        weights = ops.expand_dims(weights, -1)
    return weights


def _by_item(losses: Any, mask: Any, is_sum: bool) -> Any:
    """Return the mean, or the sum, of the losses of each item."""
    ops = keras().ops
    axes = tuple(range(1, len(losses.shape)))
    if mask is None or len(mask.shape) > len(losses.shape):
        reduce = ops.sum if is_sum else ops.mean
        return reduce(losses, axis=axes) if axes else losses
    counts = ops.broadcast_to(_like(ops.cast(mask, losses.dtype), losses), ops.shape(losses))
    losses = losses * counts
    if not axes:
        return losses
    total = ops.sum(losses, axis=axes)
    return total if is_sum else total / ops.maximum(ops.sum(counts, axis=axes), 1)
