"""An optimizer whose gradients are clipped before they are applied.

All gradients are clipped together by their global norm, and then each gradient of an embedding by
its own norm.
An embedding is a variable with "embedding" in its path, after the name of the model.

Guarantees:
    - The norm is taken of the gradient as it is applied: rows of an embedding that occur several
      times in a batch (`IndexedSlices` on TensorFlow) are summed up first.
    - State, learning rate and step are those of the inner optimizer.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

from batchflow.models.base_model.keras import Base, keras

GradsAndVars = list[tuple[Any, Any]]


def is_on(threshold: float | None) -> bool:
    """Check whether a threshold clips anything."""
    return threshold is not None and threshold > 0


def clip(
    grads_and_vars: Sequence[tuple[Any, Any]],
    clip_gradients: float | None,
    clip_embed_gradients: float | None,
    model_name: str | None = None,
) -> GradsAndVars:
    """Return clipped gradients.

    Args:
        grads_and_vars: Pairs of a gradient and its variable. A gradient may be None.
        clip_gradients: The largest global norm. None or not positive: any.
        clip_embed_gradients: The largest norm of the gradient of an embedding, alike.
        model_name: The first part of the paths of all variables, which marks no embedding.
    """
    pairs = [(_dense_rows(gradient), variable) for gradient, variable in grads_and_vars]
    if is_on(clip_gradients):
        ops = keras().ops
        squares = [_square(gradient) for gradient, _ in pairs if gradient is not None]
        if squares:
            scale = _scale(ops.sqrt(functools.reduce(ops.add, squares)), clip_gradients)
            pairs = [(_scaled(gradient, scale), variable) for gradient, variable in pairs]
    if is_on(clip_embed_gradients):
        pairs = [
            (_clipped(gradient, clip_embed_gradients), variable)
            if gradient is not None and _is_embedding(variable, model_name)
            else (gradient, variable)
            for gradient, variable in pairs
        ]
    return pairs


def clipped_optimizer(
    optimizer: Any,
    clip_gradients: float | None = None,
    clip_embed_gradients: float | None = None,
    clip_fn: Callable[[GradsAndVars], GradsAndVars] | None = None,
    model_name: str | None = None,
) -> Any:
    """Return an optimizer that clips gradients before another one applies them.

    Args:
        optimizer: The other one.
        clip_gradients: As for `clip`.
        clip_embed_gradients: As for `clip`.
        clip_fn: The function that clips, instead of `clip`. It is not saved with the optimizer.
        model_name: As for `clip`.
    """
    return _optimizer_class()(
        optimizer, clip_gradients, clip_embed_gradients, clip_fn, model_name=model_name
    )


# ---- gradients


def _is_embedding(variable: Any, model_name: str | None) -> bool:
    path: str = variable.path
    return "embedding" in path.removeprefix(f"{model_name}/").lower()


def _is_sparse(gradient: Any) -> bool:
    tf = sys.modules.get("tensorflow")
    kind = getattr(tf, "IndexedSlices", None)
    return kind is not None and isinstance(gradient, kind)


def _dense_rows(gradient: Any) -> Any:
    """Sum up the rows of a sparse gradient that have the same index."""
    if gradient is None or not _is_sparse(gradient):
        return gradient
    tf: Any = sys.modules["tensorflow"]
    indices, positions = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, positions, tf.shape(indices)[0])
    return tf.IndexedSlices(values, indices, gradient.dense_shape)


def _square(gradient: Any) -> Any:
    ops = keras().ops
    values = gradient.values if _is_sparse(gradient) else gradient
    return ops.sum(ops.square(ops.cast(values, "float32")))


def _scale(norm: Any, threshold: float | None) -> Any:
    ops = keras().ops
    return threshold / ops.maximum(norm, threshold)


def _scaled(gradient: Any, scale: Any) -> Any:
    if gradient is None:
        return None
    ops = keras().ops
    if _is_sparse(gradient):
        tf: Any = sys.modules["tensorflow"]
        values = gradient.values * ops.cast(scale, gradient.values.dtype)
        return tf.IndexedSlices(values, gradient.indices, gradient.dense_shape)
    return gradient * ops.cast(scale, gradient.dtype)


def _clipped(gradient: Any, threshold: float | None) -> Any:
    norm = keras().ops.sqrt(_square(gradient))
    return _scaled(gradient, _scale(norm, threshold))


# ---- the optimizer


class _Clipping(Base):  # type: ignore[misc]
    """An optimizer that clips gradients and lets another one apply them."""

    def __init__(
        self,
        inner_optimizer: Any,
        clip_gradients: float | None = None,
        clip_embed_gradients: float | None = None,
        clip_fn: Callable[[GradsAndVars], GradsAndVars] | None = None,
        name: str | None = None,
        model_name: str | None = None,
    ) -> None:
        super().__init__(learning_rate=0.0, name=name)
        self.inner_optimizer = inner_optimizer
        self.clip_gradients = clip_gradients
        self.clip_embed_gradients = clip_embed_gradients
        self._clip_fn = clip_fn
        self._model_name = model_name

    def build(self, variables: Any) -> None:
        if not self.inner_optimizer.built:
            self.inner_optimizer.build(variables)
        super().build(variables)

    @property
    def variables(self) -> Any:
        return self.inner_optimizer.variables

    @property
    def iterations(self) -> Any:
        return self.inner_optimizer.iterations

    @property
    def learning_rate(self) -> Any:
        return self.inner_optimizer.learning_rate

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        self.inner_optimizer.learning_rate = value

    def apply(self, grads: Any, trainable_variables: Any = None) -> None:
        if trainable_variables is None:
            variables = self._trainable_variables
        else:
            variables = list(trainable_variables)
            if not self.built:
                self.build(variables)
        pairs = list(zip(grads, variables, strict=True))
        if self._clip_fn is not None:
            pairs = list(self._clip_fn(pairs))
        else:
            pairs = clip(
                pairs,
                self._of_scaled(self.clip_gradients),
                self._of_scaled(self.clip_embed_gradients),
                self._model_name,
            )
        self.inner_optimizer.apply([gradient for gradient, _ in pairs], trainable_variables)

    def _of_scaled(self, threshold: float | None) -> float | None:
        """Return a threshold for gradients that the inner optimizer will scale down."""
        factor = self.inner_optimizer.loss_scale_factor
        return threshold if threshold is None or factor is None else threshold * factor

    def scale_loss(self, loss: Any) -> Any:
        return self.inner_optimizer.scale_loss(loss)

    def finalize_variable_values(self, var_list: Any) -> None:
        self.inner_optimizer.finalize_variable_values(var_list)

    def get_config(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "inner_optimizer": keras().saving.serialize_keras_object(self.inner_optimizer),
            "clip_gradients": self.clip_gradients,
            "clip_embed_gradients": self.clip_embed_gradients,
            "model_name": self._model_name,
        }

    @classmethod
    def from_config(cls, config: Any, custom_objects: Any = None) -> Any:
        settings = dict(config)
        inner = settings.pop("inner_optimizer")
        found = keras().saving.deserialize_keras_object(inner, custom_objects=custom_objects)
        return cls(found, **settings)


@functools.cache
def _optimizer_class() -> Any:
    """Return the class of the optimizer, made on first use of Keras."""

    @keras().saving.register_keras_serializable("batchflow")
    class ClippedOptimizer(_Clipping, keras().optimizers.Optimizer):  # type: ignore[misc]
        """An optimizer that clips gradients before another applies them."""

    return ClippedOptimizer
