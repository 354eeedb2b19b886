"""The states of models as files and data, for checkpoints: saved beside each other, put back.

    of Keras, `tf_keras`, `TorchModel`       its state, in the file that `save_model` writes
    other modules and optimizers of torch    their `state_dict`, read with `weights_only`
    layers, optimizers, variables of Keras   the values of their variables
    with `get_state` and `set_state`, or
    `state_dict` and `load_state_dict`       what these give, as data
    a list, dictionary, set or array         what is in it, as data, or as models of their own
    any other object                         its attributes, as data; or it is refused by name

Guarantees:
    - A model that comes back goes on with the same bits. It is the same object, with its state put
      in: whoever holds it sees that.
    - Nothing is executed without `trust`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from batchflow.errors import ArgumentTypeError, ArgumentValueError, add_note_once
from batchflow.models import checkpoint
from batchflow.models.adapters import adapter_of

Encode = Callable[[Any, str], Any]
Decode = Callable[[Any], Any]
_PLAIN = (type(None), bool, int, float, complex, str, bytes, tuple, frozenset, np.generic)
_DATA = (*_PLAIN, list, dict, set, np.ndarray)
_METHODS = (("get_state", "set_state"), ("state_dict", "load_state_dict"))
_IN_FILES = ("KerasAdapter", "TfKerasAdapter", "TorchModelAdapter")
_REFUSED = {
    "EstimatorAdapter": "an Estimator keeps its own checkpoints in its model_dir, by steps of its "
    "RunConfig; train it without checkpoint=, or as a Keras model",
}


class Writing(NamedTuple):
    """Where states are written.

    Attributes:
        folder: The folder of their files.
        encode: Makes data of a value; `where` is what it is, for messages.
    """

    folder: str
    encode: Encode

    def write(self, model: Any, name: str, where: str) -> dict[str, Any]:
        """Write the state of a model.

        Args:
            model: The model.
            name: The name of its file, without an ending; no other model has it.
            where: What the model is, for messages: `the model 'net'`.

        Returns:
            What `Reading.put` needs, as data.

        Raises:
            ArgumentTypeError: (a `TypeError`) It cannot be saved as data.
        """
        kind = type(adapter_of(model)).__name__
        if kind in _REFUSED:
            raise ArgumentTypeError(f"{where}: {_REFUSED[kind]}")
        if kind in _IN_FILES:
            checkpoint.save(model, os.path.join(self.folder, f"{name}.state"))
            return {"kind": "file"}
        if kind == "ModuleAdapter" or _is_of_torch(model):
            state = model.state_dict() if hasattr(model, "state_dict") else model
            sys.modules["torch"].save(state, os.path.join(self.folder, f"{name}.pt"))
            return {"kind": "torch"}
        if (variables := _variables_of(model)) is not None:
            values = [np.array(variable.numpy()) for variable in variables]
            return {"kind": "variables", "state": self.encode(values, where)}
        for get, put in _METHODS:
            if callable(getattr(model, get, None)) and callable(getattr(model, put, None)):
                return {"kind": put, "state": self.encode(getattr(model, get)(), where)}
        if isinstance(model, (list, dict)) and _has_models(model):
            parts = [
                self._part(part, f"{name}.{place}", f"{where}[{key!r}]")
                for place, (key, part) in enumerate(_parts(model))
            ]
            return {"kind": "parts", "parts": parts}
        if isinstance(model, (list, dict, set, np.ndarray)):
            return {"kind": "content", "state": self.encode(model, where)}
        return self._of_attributes(model, where)

    def _part(self, part: Any, name: str, where: str) -> dict[str, Any]:
        if isinstance(part, _DATA) and not (isinstance(part, (list, dict)) and _has_models(part)):
            return {"kind": "value", "state": self.encode(part, where)}
        return self.write(part, name, where)

    def _of_attributes(self, model: Any, where: str) -> dict[str, Any]:
        if _is_constant(model):
            return {"kind": "constant"}
        try:
            slots = [getattr(cls, "__slots__", ()) for cls in type(model).__mro__]
            if not hasattr(model, "__dict__") or any(slots):
                raise ArgumentTypeError(f"{where} is a {type(model).__name__}, with __slots__")
            state = {
                name: self.encode(value, f"the attribute {name!r} of {where}")
                for name, value in vars(model).items()
            }
        except ArgumentTypeError as error:
            add_note_once(
                error,
                f"{where} is saved by its attributes; give its class get_state() and "
                "set_state(state), which take and give data",
            )
            raise
        return {"kind": "attributes", "state": state}


class Reading(NamedTuple):
    """Where states are read from: see `Writing`.

    Attributes:
        folder: The folder of their files.
        decode: Makes a value of data.
    """

    folder: str
    decode: Decode

    def put(self, model: Any, entry: Mapping[str, Any], name: str, where: str) -> None:
        """Put a state into the model that it is of.

        Raises:
            ArgumentValueError: (a `ValueError`) It does not fit.
        """
        kind = entry["kind"]
        if kind == "file":
            checkpoint.load(os.path.join(self.folder, f"{name}.state"), into=model)
        elif kind == "torch":
            torch = sys.modules["torch"]
            file = os.path.join(self.folder, f"{name}.pt")
            state = torch.load(file, map_location="cpu", weights_only=True)
            if hasattr(model, "load_state_dict"):
                model.load_state_dict(state)
            else:
                model.data.copy_(state)
        elif kind == "variables":
            _assign(_variables_of(model) or [], self.decode(entry["state"]), where)
        elif kind in ("set_state", "load_state_dict"):
            getattr(model, kind)(self.decode(entry["state"]))
        elif kind == "parts":
            parts = list(_parts(model))
            if len(parts) != len(entry["parts"]):
                raise _misfit(where, f"{len(entry['parts'])} parts", f"{len(parts)}")
            for place, ((key, part), inner) in enumerate(zip(parts, entry["parts"], strict=True)):
                if inner["kind"] == "value":
                    model[key] = self.decode(inner["state"])
                else:
                    self.put(part, inner, f"{name}.{place}", f"{where}[{key!r}]")
        elif kind == "content":
            _fill(model, self.decode(entry["state"]), where)
        elif kind == "attributes":
            held, state = vars(model), entry["state"]
            values = {name: self.decode(value) for name, value in state.items()}
            held.clear()
            held.update(values)


def _assign(variables: Sequence[Any], values: Sequence[Any], where: str) -> None:
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [value.shape for value in values]:
        saved = [value.shape for value in values]
        raise _misfit(where, f"variables of the shapes {saved}", f"{shapes}")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _fill(model: Any, state: Any, where: str) -> None:
    if type(model) is not type(state):
        raise _misfit(where, type(state).__name__, type(model).__name__)
    if isinstance(model, np.ndarray):
        if (model.shape, model.dtype) != (state.shape, state.dtype):
            raise _misfit(where, f"{state.dtype} {state.shape}", f"{model.dtype} {model.shape}")
        model[...] = state
        return
    model.clear()
    if isinstance(model, list):
        model.extend(state)
    else:
        model.update(state)


def _misfit(where: str, saved: str, here: str) -> ArgumentValueError:
    return ArgumentValueError(f"{where}: what was saved has {saved}, and here it has {here}")


def _parts(model: Any) -> Any:
    return model.items() if isinstance(model, dict) else enumerate(model)


def _has_models(model: Any) -> bool:
    """Check whether a container holds models, and so no data alone."""
    return any(
        not (isinstance(part, _DATA) or _is_constant(part))
        or (isinstance(part, (list, dict)) and _has_models(part))
        for _, part in _parts(model)
    )


def _is_of_torch(model: Any) -> bool:
    """Check whether an object is a tensor of torch, or has a state as torch's own have."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    is_own = type(model).__module__.partition(".")[0] == "torch" and hasattr(model, "state_dict")
    return bool(torch.is_tensor(model)) or is_own


def _variables_of(model: Any) -> list[Any] | None:
    """Return the variables of a layer, an optimizer or the like; None if it is none of these."""
    several = [model] if _is_variable(model) else getattr(model, "variables", None)
    if isinstance(several, (list, tuple)) and several and all(map(_is_variable, several)):
        return list(several)
    return None


def _is_variable(value: Any) -> bool:
    return callable(getattr(value, "assign", None)) and callable(getattr(value, "numpy", None))


def _is_constant(model: Any) -> bool:
    """Check whether a model is a function, a class or a plain value: it has no state."""
    return isinstance(model, (*_PLAIN, type)) or hasattr(model, "__code__")
