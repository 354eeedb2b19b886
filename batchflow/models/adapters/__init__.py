"""Kinds of models, and what a pipeline does with each: `adapter_of(model)`.

    base.py      Adapter: the questions that are asked of a model
    keras.py     Keras models
    tf_keras.py  models of Keras as it was before version 3
    torch.py     torch modules, and those that are made models with what trains them
    estimator.py Estimators
    objects.py   everything else

A new kind is a file with a subclass of `Adapter`, and a line in `_KINDS`.

Guarantees:
    - No framework is imported to find out the kind of a model: a model of a framework exists only
      where that was imported already.
    - The file of a kind is imported when the first model of that kind is met.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from functools import cache
from itertools import islice
from typing import Any

from batchflow.models.adapters.base import Adapter, Call, Fetches

__all__ = ["Adapter", "Call", "Fetches", "adapter_of", "harmed_in_threads", "models_in"]

# By the class of the models, the adapter in this folder. The first class that fits decides: Keras
# on torch makes models that are torch modules, too.
_KINDS = {
    "keras.Model": "keras.KerasAdapter",
    "tf_keras.Model": "tf_keras.TfKerasAdapter",
    "torch.nn.Module": "torch.ModuleAdapter",
    "batchflow.models.torch_model.model.TorchModel": "torch.TorchModelAdapter",
    "batchflow.models.estimator.estimator.Estimator": "estimator.EstimatorAdapter",
    "builtins.object": "objects.ObjectAdapter",
}

_MOST = 64  # parts of a list are looked at: one that is longer holds data


def adapter_of(model: Any) -> Adapter:
    """Return the adapter of a model, which is any object."""
    # A thread may be importing the framework at this moment: then it has no such class yet.
    return next(
        _adapter(adapter)(model)
        for module, name, adapter in _places()
        if isinstance(model, getattr(sys.modules.get(module), name, ()))
    )


def models_in(descriptor: Any, depth: int = 3) -> list[Any]:
    """Return the models that a descriptor holds: itself, or what is in a list or dictionary."""
    if not isinstance(descriptor, Mapping | list | tuple) or not depth:
        return [descriptor]
    parts = descriptor.values() if isinstance(descriptor, Mapping) else descriptor
    return [model for part in islice(parts, _MOST) for model in models_in(part, depth - 1)]


def harmed_in_threads(descriptor: Any, name: str) -> str | None:
    """Return what in a descriptor is harmed by steps of several threads at once, in words.

    Args:
        descriptor: The descriptor: a model, or a list or dictionary that may hold some.
        name: Its name in the model directory.

    Returns:
        The kind and the name of the model, or None.
    """
    for model in models_in(descriptor):
        if (adapter := adapter_of(model)).needs_order:
            kind = adapter.kind or type(model).__name__
            return f"{kind} {'' if model is descriptor else 'in '}{name!r}"
    return None


@cache
def _places() -> list[tuple[str, str, str]]:
    """Return the module and the name of each class, and its adapter."""
    return [
        (module, name, adapter)
        for path, adapter in _KINDS.items()
        for module, _, name in [path.rpartition(".")]
    ]


@cache
def _adapter(path: str) -> type[Adapter]:
    """Import an adapter."""
    module, _, name = path.partition(".")
    adapter: type[Adapter] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return adapter
