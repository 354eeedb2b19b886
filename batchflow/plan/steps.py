"""One step of a chain: as it was written, and as a batch class understands it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from batchflow.batch import Batch
from batchflow.batch.actions import Action, ActionSpec
from batchflow.errors import (
    ArgumentTypeError,
    UnknownAttributeError,
    UnknownNameError,
    did_you_mean,
)
from batchflow.plan.builtin import BUILTINS
from batchflow.plan.expressions import Expression, expressions_in, shown
from batchflow.plan.leaves import V
from batchflow.plan.values import same_value

__all__ = ["BoundChance", "BoundStep", "Chance", "Step", "Where", "unknown_action"]


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
        arguments = [shown(value) for value in self.args]
        arguments += [f"{key}={shown(value)}" for key, value in self.kwargs.items()]
        return f"{self.name}({', '.join(arguments)})"

    def bind(self, batch_class: type[Batch]) -> BoundStep:
        """Find the action in a batch class, or a built-in step, and check the call.

        Raises:
            UnknownAttributeError: There is none of this name.
            ArgumentTypeError: It cannot be called with these arguments.
            UnknownNameError: The action's model is not defined.
        """
        action = batch_class._actions.get(self.name)
        builtin = None if action is not None else BUILTINS.get(self.name)
        if action is None:
            if builtin is None:
                raise UnknownAttributeError(unknown_action(self.name, batch_class, self.where))
            action = Action(self.name, builtin.function, ActionSpec())
        kwargs = dict(self.kwargs)
        save_to = None if action.has_parameter("save_to") else kwargs.pop("save_to", None)
        action.check_call(self.args, kwargs, self.where)
        stores = builtin is not None and builtin.stores
        places = (save_to, *self.args[:1]) if stores else (save_to,)
        for place in places:
            _check_place(place, self)
        model, models = action.spec.model, batch_class.models
        if model is not None and model not in models:
            raise UnknownNameError(
                f"{batch_class.__name__} has no model {model!r}, which the action {self.name!r}, "
                f"chained at {self.where}, needs.{did_you_mean(model, models.names)}"
            )
        dynamic = model is not None and models.definition(model).mode == "dynamic"
        return BoundStep(
            step=self,
            function=action.function,
            args=self.args,
            kwargs=kwargs,
            model=model,
            singleton=action.spec.singleton,
            dynamic=dynamic,
            returns_batch=builtin is None,
            save_to=save_to,
            stores=stores,
            places=tuple(place for place in places if place is not None),
        )


@dataclass(frozen=True, slots=True)
class BoundStep:
    """A step whose action is known.

    Attributes:
        step: What was chained.
        function: The action: called with the batch, the model's descriptor if there is one, and
            the arguments.
        args: The positional arguments, with expressions in them.
        kwargs: The keyword arguments.
        model: The name of its model, or None.
        singleton: Whether the action is marked as a singleton.
        dynamic: Whether its model is made by the pipeline from its first batch.
        returns_batch: Whether the function gives a batch; otherwise it gives a value.
        save_to: Where to store the value that it gives, or None.
        stores: Whether its first argument says where to store, and so is not resolved.
        places: All places that it stores to: `save_to` and that argument.
    """

    step: Step
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    model: str | None
    singleton: bool
    dynamic: bool
    returns_batch: bool
    save_to: Any
    stores: bool
    places: tuple[Any, ...]

    @property
    def leaves(self) -> tuple[BoundStep, ...]:
        """The step itself: see `BoundChance`."""
        return (self,)

    @property
    def is_late(self) -> bool:
        """Whether something is to be resolved or stored for each batch."""
        late = any(True for _ in expressions_in([*self.args, *self.kwargs.values()]))
        return late or not self.returns_batch or self.save_to is not None

    @property
    def reads(self) -> frozenset[str]:
        """The variables that its arguments read."""
        return _variables_in([*self.args, *self.kwargs.values()])

    @property
    def writes(self) -> frozenset[str]:
        """The variables that it stores to."""
        return _variables_in(list(self.places))


@dataclass(frozen=True, slots=True)
class Chance:
    """Steps that a batch goes through with a probability: `pipeline @ 0.5`.

    Attributes:
        steps: The steps.
        probability: From 0 to 1. The coin is thrown once per batch, by the batch's generator.
        where: Where it was chained; not compared.
    """

    steps: tuple[Step | Chance, ...]
    probability: float
    where: Where = field(default=Where("<unknown>", 0), compare=False)

    def __str__(self) -> str:
        return f"({'; '.join(map(str, self.steps))}) @ {self.probability:g}"

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return f"@ {self.probability:g}"

    def bind(self, batch_class: type[Batch]) -> BoundChance:
        """Bind its steps."""
        return BoundChance(self, tuple(step.bind(batch_class) for step in self.steps))


@dataclass(frozen=True, slots=True)
class BoundChance:
    """A chance whose steps are known.

    Attributes:
        step: What was chained.
        steps: Its steps.
    """

    step: Chance
    steps: tuple[BoundStep | BoundChance, ...]

    @property
    def leaves(self) -> tuple[BoundStep, ...]:
        """The actions in it, at any depth."""
        return tuple(leaf for step in self.steps for leaf in step.leaves)


def _check_place(place: Any, step: Step) -> None:
    if isinstance(place, (list, tuple, Mapping)):
        for part in place.values() if isinstance(place, Mapping) else place:
            _check_place(part, step)
    elif place is not None and not isinstance(place, Expression):
        raise ArgumentTypeError(
            f"{step}, chained at {step.where}: {place!r:.60} is no place to store a value; "
            f"write V('name'), B.name or B.name[item]"
        )


def _variables_in(values: list[Any]) -> frozenset[str]:
    return frozenset(part._name for part in expressions_in(values) if isinstance(part, V))


def unknown_action(name: str, batch_class: type[Batch], where: Where) -> str:
    """Make the message for an action that a batch class does not have."""
    actions = batch_class._actions
    if callable(getattr(batch_class, name, None)):
        hint = f" The method {name!r} is there; mark it with @action to chain it."
    elif not actions:
        hint = f" {batch_class.__name__} has no actions: mark its methods with @action."
    else:
        hint = did_you_mean(name, {*BUILTINS, *actions}, only_near=True)
        hint = hint or did_you_mean(name, actions)
    return f"{batch_class.__name__} has no action {name!r} (chained at {where}).{hint}"
