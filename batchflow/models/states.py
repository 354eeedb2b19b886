"""The states of models as files and data, for checkpoints: saved beside each other, put back.

    of Keras, `tf_keras`, `TorchModel`       its state, in the file that `save_model` writes
    an Estimator                             the state in memory, in the file that it loads
    other modules, optimizers and tensors    their `state_dict`, read with `weights_only`
    of torch
    layers, optimizers, variables of Keras   the values of their variables
    a session of TensorFlow 1                the values of the variables of its graph
    with `get_state` and `set_state`, or
    `state_dict` and `load_state_dict`       what these give, as data
    a function, method, partial              what it holds beside its code
    a list, tuple, dictionary, set, array    what is in it, as data, or as models of their own
    any other object                         its attributes, as data or as models of these kinds;
                                             or it is refused by name

Guarantees:
    - A model that comes back goes on with the same bits. It is the same object, with its state put
      in: whoever holds it sees that.
    - What cannot come back is told by an error or a warning when it is saved.
    - Nothing is executed without `trust`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from batchflow.checkpoints.values import is_known
from batchflow.errors import ArgumentTypeError, ArgumentValueError, add_note_once
from batchflow.models import checkpoint
from batchflow.models.adapters import adapter_of
from batchflow.models.state_kinds import (
    METHODS,
    Kind,
    assigned_in,
    holds_models,
    is_constant,
    is_replaced,
    kind_of,
    parts_of,
    variables_of,
)

Encode = Callable[[Any, str], Any]
Decode = Callable[[Any], Any]


class Writing(NamedTuple):
    """Where states are written.

    Attributes:
        folder: The folder of their files.
        encode: Makes data of a value; `where` is what it is, for messages.
        later: Gets what writes files into a folder later, of copies; None: that is done at once.
    """

    folder: str
    encode: Encode
    later: Callable[[Callable[[str], None]], object] | None = None

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
        try:
            return self._written(model, name, where)
        except RecursionError:
            raise ArgumentTypeError(
                f"{where} contains itself, or is too deep to be saved"
            ) from None

    def _written(self, model: Any, name: str, where: str) -> dict[str, Any]:
        kind = kind_of(model)
        entry: dict[str, Any] = {"kind": kind}
        if kind == "file":
            self._write_file(model, f"{name}.state")
            entry |= self._beside(model, where)
        elif kind == "estimator":
            model.snapshot(os.path.join(self.folder, f"{name}.state"))
        elif kind == "torch":
            from batchflow.models.torch_model import state  # on use: torch is loaded

            # The second one is that of generators; tensors have neither.
            read = getattr(model, "state_dict", None) or getattr(model, "get_state", None)
            values = model if read is None else read()
            file = os.path.join(self.folder, f"{name}.pt")
            sys.modules["torch"].save(state.plain(values, where), file)
        elif kind == "variables":
            values = [variable.numpy() for variable in variables_of(model) or ()]
            entry["state"] = self.encode(values, where)
        elif kind == "session":
            from batchflow.models import tf1_state

            tf1_state.warn_of_random_operations(model, where)
            entry["state"] = self.encode(tf1_state.values_of(model), where)
        elif kind in METHODS:
            entry["state"] = self.encode(getattr(model, METHODS[kind])(), where)
        elif kind == "parts":
            entry["parts"] = self._parts(model, name, where)
        elif kind == "content":
            entry["state"] = self.encode(model, where)
        elif kind == "attributes":
            entry["parts"] = self._attributes(model, name, where)
        return entry

    def _write_file(self, model: Any, file: str) -> None:
        snapshot = adapter_of(model).snapshot()
        if snapshot is None:
            checkpoint.save(model, os.path.join(self.folder, file))
        else:
            later = self.later or (lambda write: write(self.folder))
            later(lambda folder: snapshot(os.path.join(folder, file)))

    def _parts(self, model: Any, name: str, where: str) -> list[dict[str, Any]]:
        if names := assigned_in(model):
            raise ArgumentTypeError(
                f"{where} is a function that assigns to {', '.join(names)} outside of it, which "
                "cannot be saved: let it change an object that the model holds, too"
            )
        entries = []
        for place, (key, part) in enumerate(parts_of(model)):
            told = f"{where}[{key!r}]"
            if is_replaced(part, model):
                entries.append({"kind": "value", "state": self.encode(part, told)})
            else:
                entries.append(self.write(part, f"{name}.{place}", told))
        return entries

    def _attributes(self, model: Any, name: str, where: str) -> dict[str, Any]:
        """Write the attributes of an object: those that are models as such, others as data."""
        entries = {}
        try:
            slots = [getattr(cls, "__slots__", ()) for cls in type(model).__mro__]
            if not hasattr(model, "__dict__") or any(slots):
                raise ArgumentTypeError(f"{where} is a {type(model).__name__}, with __slots__")
            for place, (key, part) in enumerate(vars(model).items()):
                told = f"the attribute {key!r} of {where}"
                if holds_models(part) or (is_constant(part) and not is_known(part)):
                    entries[key] = self.write(part, f"{name}.{place}", told)
                    entries[key]["file"] = f"{name}.{place}"
                else:
                    entries[key] = {"kind": "value", "state": self.encode(part, told)}
        except ArgumentTypeError as error:
            add_note_once(
                error,
                f"{where} is saved by its attributes; give its class get_state() and "
                "set_state(state), which take and give data",
            )
            raise
        return entries

    def _beside(self, model: Any, where: str) -> dict[str, Any]:
        """Return what the file of a model leaves out."""
        is_old = _is_of("tf_keras", model)
        if not is_old and not _is_of("keras", model):
            return {}
        from batchflow.models import keras_metrics, tf_keras_state  # on use

        entry = {"metrics": self.encode(keras_metrics.values_of(model), where)}
        if is_old:
            tf_keras_state.warn_of_random_layers(model, where)
            states = [one.numpy() for one in tf_keras_state.random_states(model)]
            entry["random"] = self.encode(states, where)
        return entry


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
        kind: Kind = entry["kind"]
        if kind_of(model) != kind:
            raise _misfit(where, f"the kind {kind!r}", f"{kind_of(model)!r}")
        if kind == "file":
            checkpoint.load(os.path.join(self.folder, f"{name}.state"), into=model)
            if "random" in entry:
                from batchflow.models import tf_keras_state

                states = tf_keras_state.random_states(model)
                _assign(states, self.decode(entry["random"]), where)
            if "metrics" in entry:
                from batchflow.models import keras_metrics

                keras_metrics.put(model, self.decode(entry["metrics"]))
        elif kind == "estimator":
            model.load(os.path.join(self.folder, f"{name}.state"))
        elif kind == "torch":
            self._put_tensors(model, os.path.join(self.folder, f"{name}.pt"))
        elif kind == "variables":
            _assign(variables_of(model) or (), self.decode(entry["state"]), where)
        elif kind == "session":
            from batchflow.models import tf1_state

            tf1_state.put_values(model, self.decode(entry["state"]), where)
        elif kind in METHODS:
            getattr(model, kind)(self.decode(entry["state"]))
        elif kind == "parts":
            self._put_parts(model, entry["parts"], name, where)
        elif kind == "content":
            _fill(model, self.decode(entry["state"]), where)
        elif kind == "attributes":
            self._put_attributes(model, entry["parts"], where)

    def _put_tensors(self, model: Any, file: str) -> None:
        state = sys.modules["torch"].load(file, map_location="cpu", weights_only=True)
        if hasattr(model, "load_state_dict"):
            model.load_state_dict(state)
        elif hasattr(model, "set_state"):  # a generator
            model.set_state(state)
        else:
            model.data.copy_(state)

    def _put_parts(self, model: Any, entries: Sequence[Any], name: str, where: str) -> None:
        parts = parts_of(model)
        if len(parts) != len(entries):
            raise _misfit(where, f"{len(entries)} parts", f"{len(parts)}")
        for place, ((key, part), entry) in enumerate(zip(parts, entries, strict=True)):
            if entry["kind"] == "value":
                model[key] = self.decode(entry["state"])
            else:
                self.put(part, entry, f"{name}.{place}", f"{where}[{key!r}]")

    def _put_attributes(self, model: Any, entries: Mapping[str, Any], where: str) -> None:
        held = dict(vars(model))
        vars(model).clear()
        for key, entry in entries.items():
            told = f"the attribute {key!r} of {where}"
            if entry["kind"] == "value":
                vars(model)[key] = self.decode(entry["state"])
            elif key in held:
                vars(model)[key] = held[key]
                self.put(held[key], entry, entry["file"], told)
            elif entry["kind"] == "content":
                vars(model)[key] = self.decode(entry["state"])
            else:
                raise _misfit(told, f"a state of the kind {entry['kind']!r}", "no such attribute")


def _is_of(framework: str, model: Any) -> bool:
    keras = sys.modules.get(framework)
    return keras is not None and isinstance(model, keras.Model)


def _assign(variables: Sequence[Any], values: Sequence[Any], where: str) -> None:
    shapes = [tuple(variable.shape) for variable in variables]
    saved = [np.shape(value) for value in values]
    if shapes != saved:
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
    elif isinstance(model, np.random.Generator):
        model.bit_generator.state = state.bit_generator.state
    elif isinstance(model, np.random.RandomState):
        model.set_state(state.get_state())
    else:
        model.clear()
        (model.update if isinstance(model, (dict, set)) else model.extend)(state)


def _misfit(where: str, saved: str, here: str) -> ArgumentValueError:
    return ArgumentValueError(f"{where}: what was saved has {saved}, and here it has {here}")
