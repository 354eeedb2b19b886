"""The plan: what was chained, and how a run will cut it at its ordered section."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from batchflow.batch import Batch
from batchflow.errors import ArgumentValueError, UnknownNameError, did_you_mean
from batchflow.plan.config import Config
from batchflow.plan.steps import BoundChance, BoundStep, Chance, Step, Where
from batchflow.plan.variables import Variable

__all__ = ["BoundPlan", "Plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """A chain of steps and the declarations of its variables: a value.

    Attributes:
        steps: The steps, in the order in which they were chained.
        variables: The declared variables.
        config: The settings that expressions read by `C`.
    """

    steps: tuple[Step | Chance, ...] = ()
    variables: tuple[Variable, ...] = ()
    config: Config = field(default_factory=Config)

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
        return Plan(self.steps + other.steps, tuple(mine.values()), self.config | other.config)

    def __mul__(self, times: int) -> Plan:
        """Make the plan that repeats the steps."""
        return replace(self, steps=self.steps * times)

    def with_chance(self, probability: float, where: Where) -> Plan:
        """Make the plan whose steps are gone through with a probability."""
        return replace(self, steps=(Chance(self.steps, probability, where),))

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

    steps: tuple[BoundStep | BoundChance, ...]
    variables: tuple[Variable, ...] = ()

    @property
    def leaves(self) -> tuple[BoundStep, ...]:
        """The actions and built-in steps, at any depth."""
        return tuple(leaf for step in self.steps for leaf in step.leaves)

    @property
    def written(self) -> frozenset[str]:
        """The variables that some step writes."""
        return frozenset[str]().union(*(leaf.writes for leaf in self.leaves))

    @property
    def ordered(self) -> tuple[bool, ...]:
        """Which steps take one batch at a time, in order.

        Singletons do; so does every step on a model that has a singleton step here, and every
        step on a dynamic model, which is made from the first batch in order; and every step that
        writes a variable, or reads one that some step writes.
        """
        trained = {leaf.model for leaf in self.leaves if leaf.singleton and leaf.model is not None}
        written = self.written

        def is_ordered(leaf: BoundStep) -> bool:
            touched = bool(leaf.writes) or bool(leaf.reads & written)
            return leaf.singleton or leaf.dynamic or leaf.model in trained or touched

        return tuple(any(map(is_ordered, step.leaves)) for step in self.steps)

    def check_variables(self) -> None:
        """Check that every variable that a step reads or writes is declared.

        Raises:
            UnknownNameError: One is not.
        """
        declared = {variable.name for variable in self.variables}
        for leaf in self.leaves:
            for name in sorted((leaf.reads | leaf.writes) - declared):
                raise UnknownNameError(
                    f"the step {leaf.step}, chained at {leaf.step.where}, uses the variable "
                    f"{name!r}, which is not declared.{did_you_mean(name, declared)} Declare it "
                    f"with .init_variable({name!r}, ...) in the chain"
                )

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
        return {leaf.model: leaf.dynamic for leaf in self.leaves if leaf.model is not None}

    def describe(self) -> str:
        """Show the steps, one numbered line each, and the borders of the ordered section."""
        lines = []
        section = self.section
        for i, bound in enumerate(self.steps):
            if i == section.start:
                lines.append("     -- ordered section: one batch at a time, in order --")
            names = {leaf.model for leaf in bound.leaves if leaf.model}
            model = f"  [model {', '.join(sorted(names))}]" if names else ""
            lines.append(f"{i:4d} {bound.step}{model}  at {bound.step.where}")
            if i == section.stop - 1 and section.start < section.stop:
                lines.append("     -- end of the ordered section --")
        return "\n".join(lines)
