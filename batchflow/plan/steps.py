"""One step of a chain: as it was written, and as a batch class understands it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from batchflow.batch import Batch
from batchflow.errors import UnknownAttributeError, UnknownNameError, did_you_mean

__all__ = ["BoundStep", "Step", "Where", "same_value"]


@dataclass(frozen=True, slots=True)
class Where:
    """The place in a user's code where a step was chained."""

    file: str
    line: int

    @classmethod
    def of_caller(cls, depth: int) -> Where:
        """Give the place of the caller `depth` frames above the function that calls this."""
        frame = sys._getframe(depth + 1)
        return cls(frame.f_code.co_filename, frame.f_lineno)

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A call of an action, as it was chained: a value.

    Attributes:
        name: The action.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        where: Where it was chained; not compared.
    """

    name: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    where: Where = Where("<unknown>", 0)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Step):
            return NotImplemented
        return self.name == other.name and same_value(
            (self.args, dict(self.kwargs)), (other.args, dict(other.kwargs))
        )

    def __hash__(self) -> int:
        return hash(self.name)

    def __str__(self) -> str:
        shown = [_shown(value) for value in self.args]
        shown += [f"{key}={_shown(value)}" for key, value in self.kwargs.items()]
        return f"{self.name}({', '.join(shown)})"

    def bind(self, batch_class: type[Batch]) -> BoundStep:
        """Find the action in a batch class and check the call.

        Raises:
            UnknownAttributeError: The class has no such action.
            ArgumentTypeError: The action cannot be called with these arguments.
            UnknownNameError: The action's model is not defined.
        """
        action = batch_class._actions.get(self.name)
        if action is None:
            raise UnknownAttributeError(unknown_action(self.name, batch_class, self.where))
        action.check_call(self.args, self.kwargs, self.where)
        model, models = action.spec.model, batch_class.models
        if model is not None and model not in models:
            raise UnknownNameError(
                f"{batch_class.__name__} has no model {model!r}, which the action {self.name!r}, "
                f"chained at {self.where}, needs.{did_you_mean(model, models.names)}"
            )
        dynamic = model is not None and models.definition(model).mode == "dynamic"
        return BoundStep(self, action.function, model, action.spec.singleton, dynamic)


@dataclass(frozen=True, slots=True)
class BoundStep:
    """A step whose action is known.

    Attributes:
        step: What was chained.
        function: The action: called with the batch, the model's descriptor if there is one, and
            the step's arguments.
        model: The name of its model, or None.
        singleton: Whether the action is marked as a singleton.
        dynamic: Whether its model is made by the pipeline from its first batch.
    """

    step: Step
    function: Callable[..., Any]
    model: str | None
    singleton: bool
    dynamic: bool


def unknown_action(name: str, batch_class: type[Batch], where: Where) -> str:
    """Make the message for an action that a batch class does not have."""
    hint = did_you_mean(name, batch_class._actions)
    if not hint:
        hint = f" {batch_class.__name__} has no actions: mark its methods with @action."
    elif callable(getattr(batch_class, name, None)):
        hint = f" The method {name!r} is there; mark it with @action to chain it."
    return f"{batch_class.__name__} has no action {name!r} (chained at {where}).{hint}"


def same_value(one: Any, other: Any) -> bool:
    """Compare two arguments as values, arrays by their elements, without ever raising."""
    if one is other:
        return True
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        if type(one) is not type(other) or one.dtype != other.dtype or one.shape != other.shape:
            return False
        if one.dtype.hasobject:
            return same_value(one.tolist(), other.tolist())
        return bool(one.tobytes() == other.tobytes())
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_value, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_value(one[k], other[k]) for k in one)
    try:
        return bool(one == other)
    except Exception:  # noqa: BLE001  a comparison in a user's type; unequal is the safe answer
        return False


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"<array {value.shape} {value.dtype}>"
    if callable(value) and hasattr(value, "__qualname__"):
        return str(value.__qualname__)
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
