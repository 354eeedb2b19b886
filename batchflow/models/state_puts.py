"""How states are put into objects that are there."""

from __future__ import annotations

import random
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from batchflow.checkpoints import tensors
from batchflow.errors import ArgumentValueError


class HeldTensors:
    """Tensors of torch that are there: optimizers and views of them may hold them.

    Guarantees:
        - Each is filled by one of those that were saved, and that one is it everywhere.
    """

    def __init__(self) -> None:
        self._by_saved: dict[int, tuple[Any, Any]] = {}  # by id: what was saved, and the one here
        self._taken: dict[int, Any] = {}

    def filled(self, held: Any, value: Any) -> Any:
        """Return data, with tensors that are held in the place of those in it, where they fit.

        Args:
            held: What is there.
            value: What was saved: numbers, tensors, and lists, tuples and mappings of these.
        """
        if "torch" not in sys.modules:
            return value
        if tensors.changes(value):
            return self._tensor(held, value)
        if not isinstance(value, (list, dict, tuple)):
            return value
        is_dict = isinstance(value, dict)
        parts = dict(value) if is_dict else dict(enumerate(value))
        alike = type(held) is type(value)
        others = (held if is_dict else dict(enumerate(held))) if alike else {}
        made = {key: self.filled(others.get(key), part) for key, part in parts.items()}
        return put_into(value, made)

    def _tensor(self, held: Any, value: Any) -> Any:
        if id(value) in self._by_saved:
            return self._by_saved[id(value)][1]
        if self._fits(held, value):
            held.data.copy_(value)
            held.grad = value.grad
            self._taken[id(held)] = held
            self._by_saved[id(value)] = value, held
            return held
        self._by_saved[id(value)] = value, value
        return value

    def _fits(self, held: Any, value: Any) -> bool:
        return (
            tensors.changes(held)
            and id(held) not in self._taken
            and all(
                getattr(held, name) == getattr(value, name)
                for name in ("shape", "dtype", "device", "requires_grad", "grad_fn")
            )
        )


def put_into(model: Any, parts: Mapping[Any, Any]) -> Any:
    """Put parts into a list or dictionary; return it, or, of a tuple, one with these parts."""
    if isinstance(model, tuple):
        is_same = len(model) == len(parts) and all(
            one is other for one, other in zip(model, parts.values(), strict=True)
        )
        return model if is_same else tuple.__new__(type(model), parts.values())
    if isinstance(model, dict):
        if list(model) == list(parts):
            model.update(parts)
            return model
        model.clear()
        model.update(parts)
    else:
        model[:] = parts.values()
    return model


def assign(variables: Sequence[Any], values: Sequence[Any], where: str) -> None:
    """Put values into variables of a framework.

    Raises:
        ArgumentValueError: They do not fit.
    """
    shapes = [tuple(variable.shape) for variable in variables]
    saved = [np.shape(value) for value in values]
    if shapes != saved:
        raise misfit(where, f"variables of the shapes {saved}", f"{shapes}")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def fill(model: Any, state: Any, where: str) -> None:
    """Put data into an object of the same kind that is there.

    Raises:
        ArgumentValueError: It does not fit.
    """
    if type(model) is not type(state):
        raise misfit(where, type(state).__name__, type(model).__name__)
    if isinstance(model, np.ndarray):
        if (model.shape, model.dtype) != (state.shape, state.dtype):
            raise misfit(where, f"{state.dtype} {state.shape}", f"{model.dtype} {model.shape}")
        model[...] = state
    elif isinstance(model, np.random.Generator):
        model.bit_generator.state = state.bit_generator.state
    elif isinstance(model, random.Random):
        model.setstate(state.getstate())
    elif isinstance(model, np.random.RandomState):
        model.set_state(state.get_state())
    else:
        model.clear()
        (model.update if isinstance(model, (dict, set)) else model.extend)(state)


def misfit(where: str, saved: str, here: str) -> ArgumentValueError:
    """Return the error about a state of another model."""
    return ArgumentValueError(f"{where}: what was saved has {saved}, and here it has {here}")
