"""What the state of a model is: which of the ways of `states.py` fits it.

Nothing is imported: a model of a framework exists only where that was imported already.
"""

from __future__ import annotations

import collections
import sys
from typing import Any, Literal

import numpy as np

from batchflow.checkpoints import values
from batchflow.models.adapters import adapter_of
from batchflow.models.tf1 import is_of_graph, is_session

Kind = Literal[
    "file",
    "estimator",
    "torch",
    "variables",
    "session",
    "set_state",
    "load_state_dict",
    "parts",
    "content",
    "constant",
    "attributes",
]
METHODS: dict[str, str] = {"set_state": "get_state", "load_state_dict": "state_dict"}
_PLAIN = (type(None), bool, int, float, complex, str, bytes, frozenset, np.generic)
_GENERATORS = (np.random.Generator, np.random.RandomState)
# Data that change in place, and so are put into the object that is there.
_FILLED = (list, dict, set, collections.deque, np.ndarray, *_GENERATORS)
_OF_ADAPTERS: dict[str, Kind] = {
    "KerasAdapter": "file",
    "TfKerasAdapter": "file",
    "TorchModelAdapter": "file",
    "EstimatorAdapter": "estimator",
}


def kind_of(model: Any) -> Kind:
    """Return what the state of a model is."""
    if is_constant(model):
        return "constant"
    if (kind := _own_kind(model)) is not None:
        return kind
    if isinstance(model, tuple) or (isinstance(model, (list, dict)) and not is_data(model)):
        return "parts"
    return "content" if isinstance(model, _FILLED) else "attributes"


def _own_kind(model: Any) -> Kind | None:
    """Return the kind of a model that says itself what its state is; None for any other object."""
    if values.is_known(model):
        return None
    if is_session(model):
        return "session"
    adapter = type(adapter_of(model)).__name__
    if adapter in _OF_ADAPTERS:
        return _OF_ADAPTERS[adapter]
    if variables_of(model) is not None:
        return "variables"
    if adapter == "ModuleAdapter" or _is_of_torch(model):
        return "torch"
    for put, get in METHODS.items():
        if callable(getattr(model, get, None)) and callable(getattr(model, put, None)):
            return put  # type: ignore[return-value]
    return None


def is_data(value: Any) -> bool:
    """Check whether a value, and all that is in it, is data."""
    if isinstance(value, (list, dict, tuple)):
        return all(is_data(part) for _, part in parts_of(value))
    return values.is_known(value)


def is_replaced(part: Any, owner: Any) -> bool:
    """Check whether a part of something is data that takes the place of what is there."""
    if isinstance(owner, tuple) or isinstance(part, _GENERATORS):
        return False
    return is_data(part)


def holds_models(value: Any) -> bool:
    """Check whether a value is a model that says what its state is, or holds one."""
    if isinstance(value, (list, dict, tuple)):
        return any(holds_models(part) for _, part in parts_of(value))
    return _own_kind(value) is not None or is_of_graph(value) or isinstance(value, _GENERATORS)


def parts_of(model: Any) -> list[tuple[Any, Any]]:
    """Return the parts of a list, tuple or dictionary, with their keys."""
    return list(model.items() if isinstance(model, dict) else enumerate(model))


def variables_of(model: Any) -> list[Any] | None:
    """Return the variables of a layer, an optimizer or the like; None if it is none of these."""
    several = [model] if _is_variable(model) else getattr(model, "variables", None)
    if isinstance(several, (list, tuple)) and several and all(map(_is_variable, several)):
        return list(several)
    return None


def _is_variable(value: Any) -> bool:
    return callable(getattr(value, "assign", None)) and callable(getattr(value, "numpy", None))


def _is_of_torch(model: Any) -> bool:
    """Check whether an object is a tensor of torch, or has a state as torch's own have."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    is_own = type(model).__module__.partition(".")[0] == "torch" and hasattr(model, "state_dict")
    return bool(torch.is_tensor(model)) or is_own


def is_constant(model: Any) -> bool:
    """Check whether a model is a plain value, a function, a class, or of a graph: it has no state.

    What a graph of TensorFlow 1 computes with is in its session.
    """
    return isinstance(model, (*_PLAIN, type)) or hasattr(model, "__code__") or is_of_graph(model)
