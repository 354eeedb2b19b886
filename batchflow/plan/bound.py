"""Bound steps: the actions and arguments that the steps of a chain stand for, and their plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

from batchflow.batch import Batch
from batchflow.plan.declared import DeclaredModel, Variable
from batchflow.plan.expressions import expressions_in, shown
from batchflow.plan.leaves import V
from batchflow.plan.several import Nested, Regrouping, joined_in
from batchflow.plan.steps import NO_HOOKS, NO_NAMED, Chance, Hooks, Step
from batchflow.records import Record


class BoundStep(Record):
    """A step whose action is known.

    Attributes:
        step: The step of the chain.
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
        several: The function that does it for them: see `Builtin`.
        expands: How many items it makes of each: see `ActionSpec`.
        gives: The class of the batches that it returns, if it is another one.
    """

    step: Step
    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = NO_NAMED
    model: str | None = None
    singleton: bool = False
    dynamic: bool = False
    returns_batch: bool = True
    needs_batch: bool = True
    save_to: Any = None
    stores: bool = False
    places: tuple[Any, ...] = ()
    group: int = 1
    several: Callable[..., list[Any] | None] | None = None
    expands: int | Literal[True] | None = None
    gives: type[Batch] | None = None

    @property
    def leaves(self) -> tuple[BoundStep, ...]:
        """The step itself: see `BoundChance`."""
        return (self,)

    @property
    def joined(self) -> tuple[Nested, ...]:
        """The pipelines whose batches it gets."""
        return tuple([value._pipeline for value in joined_in(self.args)])

    @cached_property
    def has_expressions(self) -> bool:
        """Whether something in its arguments is known only when a batch is there."""
        return next(expressions_in([*self.args, *self.kwargs.values()]), None) is not None

    @cached_property
    def reads(self) -> frozenset[str]:
        """The variables that its arguments read."""
        return variables_in([*self.args, *self.kwargs.values()]) if self.has_expressions else _NONE

    @cached_property
    def writes(self) -> frozenset[str]:
        """The variables that it stores to."""
        return variables_in(self.places) if self.places else _NONE


class BoundChance(Record):
    """A chance whose steps are known.

    Attributes:
        step: The chance of the chain.
        steps: Its steps.
    """

    step: Chance
    steps: tuple[BoundStep | BoundChance, ...]

    @property
    def leaves(self) -> tuple[BoundStep, ...]:
        """The actions in it, at any depth."""
        return tuple([leaf for step in self.steps for leaf in step.leaves])


class BoundRegrouping(Record):
    """A step that makes other batches out of a stream of them.

    Attributes:
        step: The step of the chain.
        what: The regrouping: how the other batches are made.
        batch_class: The class of its batches.
    """

    step: Step
    what: Regrouping
    batch_class: type[Batch] = Batch
    leaves = ()  # it has no actions of this pipeline


Bound = BoundStep | BoundChance | BoundRegrouping


class BoundPlan(Record):
    """A plan whose names are known. All that follows from its steps is computed once.

    Attributes:
        steps: The steps.
        variables: The declared variables.
        batch_class: The class of the source batches, whose actions the first steps are.
        declared_models: The declared models.
        hooks: The steps outside of the stream of batches.
    """

    steps: tuple[Bound, ...]
    variables: tuple[Variable, ...] = ()
    batch_class: type[Batch] = Batch
    declared_models: tuple[DeclaredModel, ...] = ()
    hooks: Hooks = NO_HOOKS

    @cached_property
    def leaves(self) -> tuple[BoundStep, ...]:
        """The actions and built-in steps, at any depth."""
        return tuple([leaf for step in self.steps for leaf in step.leaves])

    @cached_property
    def batch_classes(self) -> tuple[type[Batch], ...]:
        """The classes of the batches, from that of the source to that of the last step."""
        return (self.batch_class, *[leaf.gives for leaf in self.leaves if leaf.gives is not None])

    @cached_property
    def regroupings(self) -> tuple[BoundRegrouping, ...]:
        """The steps that make other batches out of a stream of them."""
        return tuple([step for step in self.steps if isinstance(step, BoundRegrouping)])

    @cached_property
    def nested(self) -> tuple[Any, ...]:
        """The pipelines inside of this one: joined, merged or concatenated."""
        joined = [pipeline for leaf in self.leaves for pipeline in leaf.joined]
        return (*joined, *[other for step in self.regroupings for other in step.what.others])

    @cached_property
    def written(self) -> frozenset[str]:
        """The variables that some step of the stream writes."""
        return _NONE.union(*[leaf.writes for leaf in self.leaves])

    @cached_property
    def ordered(self) -> tuple[bool, ...]:
        """Whether each step takes one batch at a time, in order.

        Singletons do; so does every step on a model that has a singleton step here, and every
        step on a dynamic model, which is made from the first batch in order; every step that
        writes a variable, or reads one that some step writes; and every step that takes batches
        of a pipeline with an ordered step.
        """
        trained = {leaf.model for leaf in self.leaves if leaf.singleton and leaf.model is not None}

        def is_ordered(leaf: BoundStep) -> bool:
            touched = bool(leaf.writes) or bool(leaf.reads & self.written)
            own = leaf.singleton or leaf.dynamic or leaf.model in trained or touched
            return own or any(map(_has_section, leaf.joined))

        def of_step(step: Bound) -> bool:
            if isinstance(step, BoundRegrouping):
                return any(map(_has_section, step.what.others))
            return any(map(is_ordered, step.leaves))

        return tuple(map(of_step, self.steps))

    @cached_property
    def section(self) -> slice:
        """The ordered section: the steps from the first to the last ordered one.

        Empty, behind the last step, if no step is ordered.
        """
        places = [i for i, is_ordered in enumerate(self.ordered) if is_ordered]
        if not places:
            return slice(len(self.steps), len(self.steps))
        return slice(places[0], places[-1] + 1)

    @property
    def has_section(self) -> bool:
        """Whether some step is ordered."""
        return any(self.ordered)

    @cached_property
    def has_groups(self) -> bool:
        """Whether some step takes several batches in one call."""
        return any(leaf.group > 1 for leaf in self.leaves)

    @property
    def models(self) -> dict[str, bool]:
        """The names of the models that the steps need, and whether each is dynamic."""
        return {leaf.model: leaf.dynamic for leaf in self.leaves if leaf.model is not None}

    def describe(self) -> str:
        """Show the steps, one numbered line each, and the borders of the ordered section."""
        hooks = Hooks(*[tuple([bound.step for bound in steps]) for steps in self.hooks])
        lines, last = hooks.lines()
        section = self.section
        for i, bound in enumerate(self.steps):
            if i == section.start:
                lines.append("     -- ordered section: one batch at a time, in order --")
            names = {leaf.model for leaf in bound.leaves if leaf.model}
            model = f"  [model {', '.join(sorted(names))}]" if names else ""
            lines += [f"     join({shown(o)})" for leaf in bound.leaves for o in leaf.joined]
            lines.append(f"{i:4d} {bound.step}{model}  at {bound.step.where}")
            if i == section.stop - 1 and section.start < section.stop:
                lines.append("     -- end of the ordered section --")
        return "\n".join([*lines, *last])


_NONE: frozenset[str] = frozenset()


def variables_in(values: Sequence[Any]) -> frozenset[str]:
    """Return the names of the variables in some values."""
    return frozenset([part._name for part in expressions_in(values) if isinstance(part, V)])


def _has_section(pipeline: Nested) -> bool:
    return bool(pipeline._bound_plan().has_section)
