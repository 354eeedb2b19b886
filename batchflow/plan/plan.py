"""The plan: what was chained, and how a run will cut it at its ordered section."""

from __future__ import annotations

from dataclasses import dataclass, replace

from batchflow.batch import Batch
from batchflow.errors import ArgumentValueError
from batchflow.plan.steps import BoundStep, Step
from batchflow.plan.variables import Variable

__all__ = ["BoundPlan", "Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A chain of steps and the declarations of its variables: a value.

    Attributes:
        steps: The steps, in the order in which they were chained.
        variables: The declared variables.
    """

    steps: tuple[Step, ...] = ()
    variables: tuple[Variable, ...] = ()

    def with_step(self, step: Step) -> Plan:
        """Make the plan that goes on with `step`."""
        return replace(self, steps=(*self.steps, step))

    def with_variable(self, variable: Variable) -> Plan:
        """Make the plan with one more variable; a new declaration takes the place of the old."""
        others = tuple(v for v in self.variables if v.name != variable.name)
        return replace(self, variables=(*others, variable))

    def __add__(self, other: Plan) -> Plan:
        """Make the plan of this chain followed by another.

        Raises:
            ArgumentValueError: Both declare a variable, and not alike.
        """
        mine = {v.name: v for v in self.variables}
        for variable in other.variables:
            if mine.setdefault(variable.name, variable) != variable:
                raise ArgumentValueError(
                    f"both pipelines declare the variable {variable.name!r}, and not alike; "
                    "declare it in one of them"
                )
        return Plan(self.steps + other.steps, tuple(mine.values()))

    def bind(self, batch_class: type[Batch]) -> BoundPlan:
        """Find every action in a batch class, check every call, and mark the ordered section.

        Raises:
            UnknownAttributeError: The class has no such action.
            ArgumentTypeError: An action cannot be called with its arguments.
            UnknownNameError: An action's model is not defined.
        """
        return BoundPlan(tuple(step.bind(batch_class) for step in self.steps), self.variables)


@dataclass(frozen=True, slots=True)
class BoundPlan:
    """A plan whose actions are known.

    Attributes:
        steps: The steps.
        variables: The declared variables.
    """

    steps: tuple[BoundStep, ...]
    variables: tuple[Variable, ...] = ()

    @property
    def ordered(self) -> tuple[bool, ...]:
        """Which steps take one batch at a time, in order.

        Singletons do; so does every step on a model that has a singleton step here, and every
        step on a dynamic model, which is made from the first batch in order.
        """
        trained = {step.model for step in self.steps if step.singleton and step.model is not None}
        return tuple(s.singleton or s.dynamic or s.model in trained for s in self.steps)

    @property
    def section(self) -> slice:
        """The ordered section: the steps from the first to the last ordered one.

        Empty, behind the last step, if no step is ordered.
        """
        places = [i for i, is_ordered in enumerate(self.ordered) if is_ordered]
        if not places:
            return slice(len(self.steps), len(self.steps))
        return slice(places[0], places[-1] + 1)

    @property
    def models(self) -> dict[str, bool]:
        """The names of the models that the steps need, and whether each is dynamic."""
        return {step.model: step.dynamic for step in self.steps if step.model is not None}

    def describe(self) -> str:
        """Show the steps, one numbered line each, and the borders of the ordered section."""
        lines = []
        section = self.section
        for i, bound in enumerate(self.steps):
            if i == section.start:
                lines.append("     -- ordered section: one batch at a time, in order --")
            model = f"  [model {bound.model}]" if bound.model else ""
            lines.append(f"{i:4d} {bound.step}{model}  at {bound.step.where}")
            if i == section.stop - 1 and section.start < section.stop:
                lines.append("     -- end of the ordered section --")
        return "\n".join(lines)
