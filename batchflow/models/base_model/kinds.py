"""The kinds of models: `BaseModel`s whose type is fixed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from batchflow.models.base_model.base_model import BaseModel


class _Kind(BaseModel):
    model_type: str

    def __init__(
        self,
        mode: Any,
        graph_fn: Callable[..., Any] | None,
        loss: Any,
        optimizer: Any = None,
        metrics: Any = None,
        summaries: Any = "all",
        clip_gradients: float | None = 0.5,
        clip_embed_gradients: float | None = 0.1,
        name: str | None = None,
    ) -> None:
        super().__init__(
            mode,
            type(self).model_type,
            graph_fn,
            loss,
            optimizer=optimizer,
            metrics=metrics,
            summaries=summaries,
            clip_gradients=clip_gradients,
            clip_embed_gradients=clip_embed_gradients,
            name=type(self).model_type if name is None else name,
        )


class Regressor(_Kind):
    """A `BaseModel` of the type `"Regressor"`, with the same arguments but `model_type`."""

    model_type = BaseModel.Types.REGRESSOR


class Classifier(_Kind):
    """A `BaseModel` of the type `"Classifier"`, with the same arguments but `model_type`."""

    model_type = BaseModel.Types.CLASSIFIER


class Generator(_Kind):
    """A `BaseModel` of the type `"Generator"`, with the same arguments but `model_type`.

    Only generators have the modes `GENERATE` and `ENCODE`.
    """

    model_type = BaseModel.Types.GENERATOR
