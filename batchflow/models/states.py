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
    a tree of JAX, in one of these           its leaves, as data; the rest of it is that of the
                                             definition
    any other object                         its attributes, as data or as models of these kinds;
                                             or it is refused by name

Guarantees:
    - A model that comes back goes on with the same bits. It is the same object, with its state put
      in: whoever holds it sees that. Data, and trees of JAX, take the place of what the definition
      has made; a tensor of torch is filled, if it is alike.
    - One object at several places is one object again.
    - What cannot come back is told by an error or a warning when it is saved.
    - Nothing is executed without `trust`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from batchflow.errors import ArgumentTypeError, add_note_once
from batchflow.models import beside, checkpoint, tree
from batchflow.models.adapters import adapter_of
from batchflow.models.state_kinds import (
    METHODS,
    Kind,
    assigned_in,
    has_plain_attributes,
    holds_models,
    holds_replaced,
    is_constant,
    is_data,
    is_replaced,
    kind_of,
    parts_of,
    title_of,
    variables_of,
)
from batchflow.models.state_puts import HeldTensors, assign, fill, misfit, put_into

Encode = Callable[[Any, str], Any]
Decode = Callable[[Any], Any]


class Writing:
    """Where states are written.

    Args:
        folder: The folder of their files.
        encode: Makes data of a value; `where` is what it is, for messages.
        later: Gets what writes files into a folder later, of copies; None: that is done at once.
    """

    def __init__(
        self,
        folder: str,
        encode: Encode,
        later: Callable[[Callable[[str], None]], object] | None = None,
    ) -> None:
        self._folder, self._encode, self._later = folder, encode, later
        self._met: dict[int, tuple[Any, int]] = {}  # by id: the model, and its number

    def write(self, model: Any, name: str, where: str, *, replaced: bool = False) -> dict[str, Any]:
        """Write the state of a model.

        Args:
            model: The model.
            name: The name of its file, without an ending; no other model has it.
            where: What the model is, for messages: `the model 'net'`.
            replaced: Whether another object may take its place.

        Returns:
            What `Reading.put` needs, as data.

        Raises:
            ArgumentTypeError: (a `TypeError`) It cannot be saved as data.
        """
        try:
            kind = kind_of(model, replaced=replaced)
            if kind == "constant" or isinstance(model, tuple):
                return {"kind": kind} | self._state(kind, model, name, where, replaced)
            if id(model) in self._met:
                return {"kind": "same", "as": self._met[id(model)][1]}
            number = len(self._met)
            self._met[id(model)] = model, number
            state = self._state(kind, model, name, where, replaced)
        except RecursionError:
            raise ArgumentTypeError(
                f"{where} contains itself, or is too deep to be saved"
            ) from None
        return {"kind": kind, "object": number, **state}

    def _state(
        self, kind: Kind, model: Any, name: str, where: str, replaced: bool
    ) -> dict[str, Any]:
        if kind == "file":
            self._write_file(model, f"{name}.state")
            return beside.written(model, self._encode, where)
        if kind == "estimator":
            model.snapshot(os.path.join(self._folder, f"{name}.state"))
        elif kind == "torch":
            self._write_tensors(model, f"{name}.pt", where)
            return beside.written(model, self._encode, where)
        elif kind == "parts":
            return {"parts": self._parts(model, name, where, replaced)}
        elif kind == "attributes":
            return {"parts": self._attributes(model, name, where)}
        elif kind == "tree":
            return tree.written(model, self._encode, where)
        elif kind == "constant":
            return {"title": title_of(model)}
        else:
            return {"state": self._encode(self._values(kind, model, where), where)}
        return {}

    def _values(self, kind: Kind, model: Any, where: str) -> Any:
        if kind == "variables":
            return [variable.numpy() for variable in variables_of(model) or ()]
        if kind == "session":
            from batchflow.models import tf1_state  # on use: TensorFlow is loaded

            tf1_state.warn_of_random_operations(model, where)
            return tf1_state.values_of(model)
        return getattr(model, METHODS[kind])() if kind in METHODS else model

    def _write_tensors(self, model: Any, file: str, where: str) -> None:
        from batchflow.models.torch_model import state  # on use: torch is loaded

        # The second one is that of generators; tensors have neither.
        read = getattr(model, "state_dict", None) or getattr(model, "get_state", None)
        values = state.plain(model if read is None else read(), where)
        if self._later is None:
            sys.modules["torch"].save(values, os.path.join(self._folder, file))
            return
        copied = state.copied(values)
        self._later(lambda folder: sys.modules["torch"].save(copied, os.path.join(folder, file)))

    def _write_file(self, model: Any, file: str) -> None:
        snapshot = None if self._later is None else adapter_of(model).snapshot()
        if snapshot is None or self._later is None:
            checkpoint.save(model, os.path.join(self._folder, file))
        else:
            self._later(lambda folder: snapshot(os.path.join(folder, file)))

    def _parts(self, model: Any, name: str, where: str, replaced: bool) -> list[dict[str, Any]]:
        if names := assigned_in(model):
            raise ArgumentTypeError(
                f"{where} is a function that assigns to {', '.join(names)} outside of it, which "
                "cannot be saved: let it change an object that the model holds, too"
            )
        may_change = holds_replaced(model, replaced)
        entries = []
        for place, (key, part) in enumerate(parts_of(model)):
            told = f"{where}[{key!r}]"
            entry: dict[str, Any] = {}
            if may_change and is_replaced(part):
                entry |= {"kind": "value", "state": self._encode(part, told)}
            else:
                entry |= self.write(part, f"{name}.{place}", told, replaced=may_change)
            if isinstance(model, dict):
                entry["key"] = self._encode(key, f"a key of {where}")
            entries.append(entry)
        return entries

    def _attributes(self, model: Any, name: str, where: str) -> dict[str, Any]:
        """Write the attributes of an object: those that are models as such, others as data."""
        entries: dict[str, Any] = {}
        try:
            if not has_plain_attributes(model):
                raise ArgumentTypeError(
                    f"{where} is a {type(model).__name__}, which holds more than attributes: "
                    "__slots__, or a state in C"
                )
            for place, (key, part) in enumerate(vars(model).items()):
                told = f"the attribute {key!r} of {where}"
                if holds_models(part) or (is_constant(part) and not is_data(part)):
                    entries[key] = self.write(part, f"{name}.{place}", told, replaced=True)
                    entries[key]["file"] = f"{name}.{place}"
                else:
                    entries[key] = {"kind": "value", "state": self._encode(part, told)}
        except ArgumentTypeError as error:
            add_note_once(
                error,
                f"{where} is saved by its attributes; give its class get_state() and "
                "set_state(state), which take and give data",
            )
            raise
        return entries


class Reading:
    """Where states are read from: see `Writing`.

    Args:
        folder: The folder of their files.
        decode: Makes a value of data.
    """

    def __init__(self, folder: str, decode: Decode) -> None:
        self._folder, self._decode = folder, decode
        self._made: dict[int, Any] = {}  # models with their states, by number
        self._filled: dict[int, tuple[int, Any]] = {}  # by id: the number of an object, and it
        self._tensors = HeldTensors()

    def put(
        self, model: Any, entry: Mapping[str, Any], name: str, where: str, *, replaced: bool = False
    ) -> Any:
        """Put a state into the model that it is of.

        Args:
            model: The model.
            entry: What `Writing.write` has returned.
            name: The name of its file.
            where: What the model is, for messages.
            replaced: Whether another object may take its place.

        Returns:
            The model, or what takes its place.

        Raises:
            ArgumentValueError: (a `ValueError`) It does not fit.
        """
        kind: Kind | Literal["same"] = entry["kind"]
        if kind == "same":
            found = self._made[entry["as"]]
            if found is not model and not replaced:
                raise misfit(where, "one object with another model", "one of its own")
            return found
        here = kind_of(model, replaced=replaced)
        if here != kind:
            raise misfit(where, f"the kind {kind!r}", f"{here!r}")
        number = entry.get("object")
        if number is not None:
            if kind != "tree" and self._filled.setdefault(id(model), (number, model))[0] != number:
                raise misfit(where, "an object of its own", "one with another model")
            self._made[number] = model  # ahead of its parts, which may hold it
        made = self._put(kind, model, entry, name, where, replaced)
        if number is not None:
            self._made[number] = made
        return made

    def _put(
        self,
        kind: Kind,
        model: Any,
        entry: Mapping[str, Any],
        name: str,
        where: str,
        replaced: bool,
    ) -> Any:
        file = os.path.join(self._folder, f"{name}.state")
        if kind == "file":
            checkpoint.load(file, into=model)
            beside.put(model, entry, self._decode, where)
        elif kind == "estimator":
            model.load(file)
        elif kind == "torch":
            self._put_tensors(model, os.path.join(self._folder, f"{name}.pt"))
            beside.put(model, entry, self._decode, where)
        elif kind == "variables":
            assign(variables_of(model) or (), self._decode(entry["state"]), where)
        elif kind == "session":
            from batchflow.models import tf1_state

            tf1_state.put_values(model, self._decode(entry["state"]), where)
        elif kind in METHODS:
            getattr(model, kind)(self._decode(entry["state"]))
        elif kind == "parts":
            return self._put_parts(model, entry["parts"], name, where, replaced)
        elif kind == "content":
            fill(model, self._value(entry, model), where)
        elif kind == "attributes":
            self._put_attributes(model, entry["parts"], where)
        elif kind == "tree":
            return tree.made(model, entry, self._decode, where)
        elif replaced and entry.get("title") != title_of(model):
            raise misfit(where, f"{entry.get('title')}", f"{title_of(model)}")
        return model

    def _value(self, entry: Mapping[str, Any], held: Any) -> Any:
        """Return the data of an entry, in the tensors that are held already."""
        return self._tensors.filled(held, self._decode(entry["state"]))

    def _put_tensors(self, model: Any, file: str) -> None:
        state = sys.modules["torch"].load(file, map_location="cpu", weights_only=True)
        if hasattr(model, "load_state_dict"):
            model.load_state_dict(state)
        elif hasattr(model, "set_state"):  # a generator
            model.set_state(state)
        else:
            model.data.copy_(state)

    def _put_parts(
        self, model: Any, entries: Sequence[Any], name: str, where: str, replaced: bool
    ) -> Any:
        held, may_change = dict(parts_of(model)), holds_replaced(model, replaced)
        made: dict[Any, Any] = {}
        for place, entry in enumerate(entries):
            key = self._decode(entry["key"]) if "key" in entry else place
            told = f"{where}[{key!r}]"
            if entry["kind"] == "value":
                made[key] = self._value(entry, held.get(key))
            elif key in held or entry["kind"] == "same":
                file = f"{name}.{place}"
                made[key] = self.put(held.get(key), entry, file, told, replaced=may_change)
            else:
                raise misfit(told, f"a state of the kind {entry['kind']!r}", "nothing")
        if not may_change and len(made) != len(held):
            raise misfit(where, f"{len(made)} parts", f"{len(held)}")
        return put_into(model, made) if may_change else model

    def _put_attributes(self, model: Any, entries: Mapping[str, Any], where: str) -> None:
        held = dict(vars(model))
        vars(model).clear()
        for key, entry in entries.items():
            told = f"the attribute {key!r} of {where}"
            if entry["kind"] == "value":
                vars(model)[key] = self._value(entry, held.get(key))
            elif key in held or entry["kind"] == "same":
                vars(model)[key] = held.get(key)
                vars(model)[key] = self.put(
                    held.get(key), entry, entry["file"], told, replaced=True
                )
            elif entry["kind"] == "content":
                vars(model)[key] = self._decode(entry["state"])
            else:
                raise misfit(told, f"a state of the kind {entry['kind']!r}", "no such attribute")
