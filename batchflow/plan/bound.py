"""Steps as a batch class understands them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from batchflow.plan.expressions import expressions_in
from batchflow.plan.leaves import V
from batchflow.plan.several import Joined, Nested, Regrouping

if TYPE_CHECKING:
    from batchflow.plan.steps import Chance, Step

__all__ = ["Bound", "BoundChance", "BoundRegrouping", "BoundStep", "variables_in"]


class BoundStep(NamedTuple):
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
        needs_batch: Whether it makes no sense outside of the stream of batches.
        save_to: Where to store the value that it gives, or None.
        stores: Whether its first argument says where to store, and so is not resolved.
        places: All places that it stores to: `save_to` and that argument.
        group: How many batches of an epoch in a row it does in one call, as `steps_per_call` says.
        several: What does it for them: see `Builtin`.
    """

    step: Step
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    model: str | None
    singleton: bool
    dynamic: bool
    returns_batch: bool
    needs_batch: bool
    save_to: Any
    stores: bool
    places: tuple[Any, ...]
    group: int = 1
    several: Callable[..., list[Any] | None] | None = None

    @property
    def leaves(self) -> tuple[BoundStep, ...]:
        """The step itself: see `BoundChance`."""
        return (self,)

    @property
    def joined(self) -> tuple[Nested, ...]:
        """The pipelines whose batches it gets."""
        return tuple(value._pipeline for value in self.args if isinstance(value, Joined))

    @property
    def has_expressions(self) -> bool:
        """Whether something in its arguments is known only when a batch is there."""
        return any(True for _ in expressions_in([*self.args, *self.kwargs.values()]))

    @property
    def reads(self) -> frozenset[str]:
        """The variables that its arguments read."""
        return variables_in([*self.args, *self.kwargs.values()])

    @property
    def writes(self) -> frozenset[str]:
        """The variables that it stores to."""
        return variables_in(list(self.places))


class BoundChance(NamedTuple):
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


class BoundRegrouping(NamedTuple):
    """A step that makes other batches out of a stream of them.

    Attributes:
        step: What was chained.
        what: Which.
    """

    step: Step
    what: Regrouping

    @property
    def leaves(self) -> tuple[BoundStep, ...]:
        """The actions in it: none of this pipeline."""
        return ()


Bound = BoundStep | BoundChance | BoundRegrouping


def variables_in(values: list[Any]) -> frozenset[str]:
    """Give the names of the variables in some values."""
    return frozenset(part._name for part in expressions_in(values) if isinstance(part, V))
