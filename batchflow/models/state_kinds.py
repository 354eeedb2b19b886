"""What the state of a model is: which of the ways of `states.py` fits it.

Nothing is imported: a model of a framework exists only where that was imported already.
"""

from __future__ import annotations

import collections
import contextlib
import dis
import functools
import random
import sys
import types
from typing import Any, Literal

import numpy as np

from batchflow.checkpoints import tensors, values
from batchflow.models.adapters import adapter_of
from batchflow.models.keras_state import optimizer_variables
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
    "tree",
]
METHODS: dict[str, str] = {"set_state": "get_state", "load_state_dict": "state_dict"}
_PLAIN = (type(None), bool, int, float, complex, str, bytes, frozenset, np.generic)
_KINDS_OF_NUMBERS = ("dtype", "DType", "device")  # of NumPy, torch, TensorFlow
_CODE = (types.BuiltinFunctionType, types.MethodType, types.ModuleType, np.ufunc)
_GENERATORS = (np.random.Generator, np.random.RandomState, random.Random)
# Data that change in place, and so are put into the object that is there.
_FILLED = (list, dict, set, collections.deque, np.ndarray, *_GENERATORS)
_OF_ADAPTERS: dict[str, Kind] = {
    "KerasAdapter": "file",
    "TfKerasAdapter": "file",
    "TorchModelAdapter": "file",
    "EstimatorAdapter": "estimator",
}


def kind_of(model: Any, *, replaced: bool = False) -> Kind:
    """Return what the state of a model is.

    Args:
        model: The model.
        replaced: Whether another object may take its place: it is in a list, or the like.
    """
    if replaced and is_tree(model):
        return "tree"
    if isinstance(model, tuple) and replaced:
        return "parts"
    if is_constant(model):
        return "constant"
    if tensors.changes(model):
        return "torch"
    if (kind := _own_kind(model)) is not None:
        return kind
    is_container = isinstance(model, (list, dict)) and not is_data(model)
    if isinstance(model, tuple) or is_container or _holds_something(model):
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
        return values.is_known(value) and all(is_data(part) for _, part in parts_of(value))
    return values.is_known(value)


def is_replaced(part: Any) -> bool:
    """Check whether a part is data that takes the place of what is there."""
    return is_data(part) and not isinstance(part, _GENERATORS)


def holds_replaced(owner: Any, replaced: bool) -> bool:
    """Check whether parts of something may be replaced: those of a tuple, where it may itself."""
    return isinstance(owner, (list, dict)) or (isinstance(owner, tuple) and replaced)


def title_of(model: Any) -> str | None:
    """Return the name of a function or class; None: it is something else."""
    name = getattr(model, "__qualname__", None)
    return name if isinstance(name, str) else None


def is_tree(value: Any) -> bool:
    """Check whether JAX knows a value as a tree, such as a dataclass that is registered."""
    jax = sys.modules.get("jax")
    if (
        jax is None
        or not hasattr(jax, "tree_util")
        or values.is_known(value)
        or isinstance(value, tuple)
    ):
        return False
    return not jax.tree_util.all_leaves([value]) and _own_kind(value) is None


def holds_models(value: Any) -> bool:
    """Check whether a value is a model that says what its state is, or holds one."""
    if isinstance(value, (list, dict, tuple)):
        return any(holds_models(part) for _, part in parts_of(value))
    if _own_kind(value) is not None or is_tree(value):
        return True
    return is_of_graph(value) or isinstance(value, _GENERATORS)


class _Plain:
    """An object whose state is its attributes."""


def has_plain_attributes(value: Any) -> bool:
    """Check whether all that an object holds are attributes: it has no slots, and none of C."""
    kind = type(value)
    slots = any(getattr(cls, "__slots__", ()) for cls in kind.__mro__)
    sizes = kind.__basicsize__, kind.__itemsize__
    is_plain = sizes == (_Plain.__basicsize__, _Plain.__itemsize__)
    return is_plain and hasattr(value, "__dict__") and not slots


def parts_of(model: Any) -> list[tuple[Any, Any]]:
    """Return the parts of a list, tuple or dictionary, with keys; or what a function holds."""
    if isinstance(model, dict):
        return list(model.items())
    return list(enumerate(model if isinstance(model, (list, tuple)) else _held_by(model)))


def _held_by(value: Any) -> list[Any]:
    """Return what a function, a method of an object or a `partial` has beside its code."""
    if isinstance(value, functools.partial):
        return [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, types.MethodType):
        return [value.__self__]
    if (inner := _compiled_from(value)) is not None:
        return [inner]
    if not isinstance(value, types.FunctionType):
        return []
    held = [*(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    for cell in value.__closure__ or ():
        with contextlib.suppress(ValueError):  # there is nothing in it yet
            held.append(cell.cell_contents)
    return held


def _compiled_from(value: Any) -> Any:
    """Return the function that TensorFlow or JAX has compiled; None: it is no such thing."""
    if type(value).__module__.partition(".")[0] not in ("tensorflow", "jax", "jaxlib"):
        return None
    inner = getattr(value, "python_function", getattr(value, "__wrapped__", None))
    return inner if callable(inner) else None


def assigned_in(value: Any) -> list[str]:
    """Return the names outside of a function to which it assigns: `nonlocal`."""
    code = getattr(value, "__code__", None)
    if not isinstance(code, types.CodeType) or not code.co_freevars:
        return []
    stores = (one.argval for one in dis.get_instructions(code) if one.opname == "STORE_DEREF")
    return sorted(set(code.co_freevars) & set(stores))


def _holds_something(value: Any, seen: frozenset[int] = frozenset()) -> bool:
    """Check whether a function holds more than constants, and functions that hold no more."""
    if assigned_in(value):
        return True
    seen |= {id(value)}  # functions that call each other hold each other
    return any(
        _holds_something(part, seen) if _held_by(part) else not is_constant(part)
        for part in _held_by(value)
        if id(part) not in seen
    )


def variables_of(model: Any) -> list[Any] | None:
    """Return the variables of a layer, an optimizer, a generator; None if it is none of these."""
    optimizers = getattr(sys.modules.get("keras"), "optimizers", None)
    if isinstance(model, getattr(optimizers, "Optimizer", ())):
        return optimizer_variables(model)
    state = model if _is_variable(model) else getattr(model, "state", None)  # of a generator
    several = [state] if _is_variable(state) else getattr(model, "variables", None)
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
    return bool(torch.is_tensor(model)) or is_own or isinstance(model, torch.Generator)


def is_constant(model: Any) -> bool:
    """Check whether a model is a plain value, a function, a class, or of a graph: it has no state.

    So are tensors that cannot be changed, and tuples of all these. What a graph of TensorFlow 1
    computes with is in its session.
    """
    if isinstance(model, tuple):
        return all(map(is_constant, model))
    is_code = hasattr(model, "__code__") or isinstance(model, (*_CODE, functools.partial))
    if (is_code or _compiled_from(model) is not None) and not _holds_something(model):
        return True
    is_kind = type(model).__name__ in _KINDS_OF_NUMBERS and not hasattr(model, "__dict__")
    if tensors.framework_of(model) in ("jax", "tensorflow"):
        return True
    return is_kind or isinstance(model, (*_PLAIN, type)) or is_of_graph(model)
