"""Models, without batches. The names here are imported on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchflow.models.base_model.base_model import BaseModel
    from batchflow.models.base_model.kinds import Classifier, Generator, Regressor
    from batchflow.models.calls import train_step, train_steps
    from batchflow.models.estimator.config import RunConfig
    from batchflow.models.estimator.estimator import Estimator
    from batchflow.models.estimator.spec import EstimatorSpec, Modes, ServingInputReceiver
    from batchflow.models.lazy import LazyValue
    from batchflow.models.torch_model.model import TorchModel

__all__ = [
    "BaseModel",
    "Classifier",
    "Estimator",
    "EstimatorSpec",
    "Generator",
    "LazyValue",
    "Modes",
    "Regressor",
    "RunConfig",
    "ServingInputReceiver",
    "TorchModel",
    "train_step",
    "train_steps",
]

_HOME = {
    "BaseModel": "base_model.base_model",
    "Classifier": "base_model.kinds",
    "Estimator": "estimator.estimator",
    "EstimatorSpec": "estimator.spec",
    "Generator": "base_model.kinds",
    "LazyValue": "lazy",
    "Modes": "estimator.spec",
    "Regressor": "base_model.kinds",
    "RunConfig": "estimator.config",
    "ServingInputReceiver": "estimator.spec",
    "TorchModel": "torch_model.model",
    "train_step": "calls",
    "train_steps": "calls",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
