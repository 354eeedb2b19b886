"""The plan: what was chained, and how a run will cut it at its ordered section."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeVar

from batchflow.batch import Batch
from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError, did_you_mean
from batchflow.plan.bound import Bound, BoundRegrouping, BoundStep, variables_in
from batchflow.plan.config import Config
from batchflow.plan.declared import DeclaredModel
from batchflow.plan.expressions import shown
from batchflow.plan.names import Names
from batchflow.plan.steps import Chance, Step, Where, bind_steps
from batchflow.plan.variables import Variable

__all__ = ["BoundPlan", "Hooks", "Plan"]

HookName = Literal["once", "before", "after"]
Declaration = TypeVar("Declaration", Variable, DeclaredModel)


class Hooks(NamedTuple):
    """The steps outside of the stream of batches, by the moment at which they are taken.

    Attributes:
        once: At the start of the first run of a pipeline value.
        before: At the start of every run, before its first batch.
        after: At the end of every run, however it ends.
    """

    once: tuple[Any, ...] = ()
    before: tuple[Any, ...] = ()
    after: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A chain of steps and what it declares: a value.

    Attributes:
        steps: The steps, in the order in which they were chained.
        variables: The declared variables.
        models: The declared models.
        hooks: The steps outside of the stream of batches.
        namespaces: Modules and other objects whose functions are steps.
        config: The settings that expressions read by `C`.
    """

    steps: tuple[Step | Chance, ...] = ()
    variables: tuple[Variable, ...] = ()
    config: Config = field(default_factory=Config)
    models: tuple[DeclaredModel, ...] = ()
    hooks: Hooks = field(default_factory=Hooks)
    namespaces: tuple[Any, ...] = ()

    def __hash__(self) -> int:
        return hash((self.steps, self.variables, self.models))

    def with_step(self, step: Step, moment: HookName | None = None) -> Plan:
        """Make the plan that goes on with `step`: in the stream, or at another moment."""
        if moment is None:
            return replace(self, steps=(*self.steps, step))
        return replace(
            self, hooks=self.hooks._replace(**{moment: (*getattr(self.hooks, moment), step)})
        )

    def with_variable(self, variable: Variable) -> Plan:
        """Make the plan with one more variable; a new declaration takes the place of the old."""
        return replace(self, variables=_declared(self.variables, variable))

    def without_variables(self, names: Iterable[str]) -> Plan:
        """Make the plan without the declarations of some variables.

        Raises:
            UnknownNameError: (a `KeyError`) One is not declared.
        """
        known = {variable.name for variable in self.variables}
        for name in names:
            if name not in known:
                raise UnknownNameError(
                    f"no variable {name!r} is declared.{did_you_mean(name, known)}"
                )
        return replace(self, variables=tuple(v for v in self.variables if v.name not in {*names}))

    def with_model(self, model: DeclaredModel) -> Plan:
        """Make the plan with one more model; a new declaration takes the place of the old."""
        return replace(self, models=_declared(self.models, model))

    def __add__(self, other: Plan) -> Plan:
        """Make the plan of this chain followed by another.

        A step before or after the batches that both have is taken once.

        Raises:
            ArgumentValueError: Both declare a variable or a model, and not alike.
        """
        pairs = zip(self.hooks, other.hooks, strict=True)
        hooks = ((*mine, *(h for h in others if h not in mine)) for mine, others in pairs)
        return Plan(
            self.steps + other.steps,
            _merged("variable", self.variables, other.variables),
            self.config | other.config,
            _merged("model", self.models, other.models),
            Hooks(*hooks),
            (*self.namespaces, *(n for n in other.namespaces if n not in self.namespaces)),
        )

    def __mul__(self, times: int) -> Plan:
        """Make the plan that repeats the steps."""
        return replace(self, steps=self.steps * times)

    def with_chance(self, probability: float, where: Where) -> Plan:
        """Make the plan whose steps are gone through with a probability."""
        return replace(self, steps=(Chance(self.steps, probability, where),))

    def names(self, batch_class: type[Batch], dataset: Any = None) -> Names:
        """Tell what names in this chain mean over a dataset."""
        return Names(batch_class, dataset, self.namespaces, self.models)

    def check_step(self, step: Step, names: Names, moment: HookName | None = None) -> None:
        """Check a step that is to be chained behind these; takes the errors of `bind`."""
        if moment is not None:
            _bind_hook(step, names, moment)
            return
        bind_steps([*self._joins, step], names, end=False)

    def n_joined(self, names: Names) -> int:
        """Return how many batches the next step gets of a `join` ahead of it."""
        if "join" in names.batch_class._actions:
            return 0
        return sum(len(step.args) for step in self._joins)

    @property
    def _joins(self) -> list[Step]:
        """The steps at the end that wait for an action to take their batches."""
        waiting: list[Step] = []
        for step in reversed(self.steps):
            if not (isinstance(step, Step) and step.name == "join"):
                break
            waiting.insert(0, step)
        return waiting

    def describe(self) -> str:
        """Show the steps, one line each."""
        first, last = _hook_lines(self.hooks)
        steps = [f"{i:4d} {step}  at {step.where}" for i, step in enumerate(self.steps)]
        return "\n".join([*first, *steps, *last])

    def bind(
        self, batch_class: type[Batch], dataset: Any = None, *, end: bool = False
    ) -> BoundPlan:
        """Find out what every name means, check every call, and mark the ordered section.

        Args:
            batch_class: The class whose actions are called.
            dataset: The dataset whose methods are called, or None.
            end: Whether nothing more will be chained.

        Raises:
            UnknownAttributeError: A name means nothing.
            ArgumentTypeError: A step cannot be called with its arguments.
            UnknownNameError: A step's model is not defined.
        """
        names = self.names(batch_class, dataset)
        hooks = Hooks(
            *(
                tuple(_bind_hook(step, names, moment) for step in steps)
                for moment, steps in zip(Hooks._fields, self.hooks, strict=True)
            )
        )
        steps = tuple(bind_steps(self.steps, names, end=end))
        return BoundPlan(steps, self.variables, batch_class, self.models, hooks)


class BoundPlan(NamedTuple):
    """A plan whose names are known.

    Attributes:
        steps: The steps.
        variables: The declared variables.
        batch_class: The class whose actions they are.
        declared_models: The declared models.
        hooks: The steps outside of the stream of batches.
    """

    steps: tuple[Bound, ...]
    variables: tuple[Variable, ...] = ()
    batch_class: type[Batch] = Batch
    declared_models: tuple[DeclaredModel, ...] = ()
    hooks: Hooks = Hooks()

    @property
    def leaves(self) -> tuple[BoundStep, ...]:
        """The actions and built-in steps, at any depth."""
        return tuple(leaf for step in self.steps for leaf in step.leaves)

    @property
    def regroupings(self) -> tuple[BoundRegrouping, ...]:
        """The steps that make other batches out of a stream of them."""
        return tuple(step for step in self.steps if isinstance(step, BoundRegrouping))

    @property
    def nested(self) -> tuple[Any, ...]:
        """The pipelines inside of this one: joined, merged or concatenated."""
        joined = [pipeline for leaf in self.leaves for pipeline in leaf.joined]
        return (*joined, *(other for step in self.regroupings for other in step.what.others))

    @property
    def written(self) -> frozenset[str]:
        """The variables that some step of the stream writes."""
        return frozenset[str]().union(*(leaf.writes for leaf in self.leaves))

    @property
    def ordered(self) -> tuple[bool, ...]:
        """Which steps take one batch at a time, in order.

        Singletons do; so does every step on a model that has a singleton step here, and every
        step on a dynamic model, which is made from the first batch in order; every step that
        writes a variable, or reads one that some step writes; and every step that takes batches
        of a pipeline with an ordered step.
        """
        trained = {leaf.model for leaf in self.leaves if leaf.singleton and leaf.model is not None}
        written = self.written

        def is_ordered(leaf: BoundStep) -> bool:
            touched = bool(leaf.writes) or bool(leaf.reads & written)
            own = leaf.singleton or leaf.dynamic or leaf.model in trained or touched
            return own or any(map(_has_section, leaf.joined))

        def of_step(step: Bound) -> bool:
            if isinstance(step, BoundRegrouping):
                return any(map(_has_section, step.what.others))
            return any(map(is_ordered, step.leaves))

        return tuple(map(of_step, self.steps))

    def check(self) -> None:
        """Check what only the whole chain shows.

        Raises:
            UnknownNameError: A step or a model's config uses a variable that is not declared.
            ArgumentValueError: A step cannot take several batches in one call.
        """
        self._check_variables()
        if self.has_groups or self.regroupings:
            from batchflow.plan.groups import check_groups  # on use

            check_groups(self)

    @property
    def has_groups(self) -> bool:
        """Whether some step takes several batches in one call."""
        return any(leaf.group > 1 for leaf in self.leaves)

    def _check_variables(self) -> None:
        declared = {variable.name for variable in self.variables}
        for model in self.declared_models:
            for name in sorted(variables_in([model.config]) - declared):
                raise UnknownNameError(
                    f"the config of the model {model.name!r} uses the variable {name!r}, which is "
                    f"not declared.{did_you_mean(name, declared)} Declare it with "
                    f".init_variable({name!r}, ...) in the chain"
                )
        hooked: Iterable[BoundStep] = (leaf for steps in self.hooks for leaf in steps)
        for leaf in (*self.leaves, *hooked):
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
    def has_section(self) -> bool:
        """Whether some step is ordered."""
        return any(self.ordered)

    @property
    def models(self) -> dict[str, bool]:
        """The names of the models that the steps need, and whether each is dynamic."""
        return {leaf.model: leaf.dynamic for leaf in self.leaves if leaf.model is not None}

    def describe(self) -> str:
        """Show the steps, one numbered line each, and the borders of the ordered section."""
        hooks = (tuple(bound.step for bound in steps) for steps in self.hooks)
        lines, last = _hook_lines(Hooks(*hooks))
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


def _hook_lines(hooks: Hooks) -> tuple[list[str], list[str]]:
    """Show the steps before the batches, and those after."""
    lines: dict[str, list[str]] = {
        moment: [f"{moment} {step}  at {step.where}" for step in steps]
        for moment, steps in hooks._asdict().items()
    }
    return lines["once"] + lines["before"], lines["after"]


def _has_section(pipeline: Any) -> bool:
    return bool(pipeline._bound_plan().has_section)


def _declared(others: Iterable[Any], declaration: Any) -> tuple[Any, ...]:
    return (*(other for other in others if other.name != declaration.name), declaration)


def _merged(
    kind: str, mine: tuple[Declaration, ...], others: tuple[Declaration, ...]
) -> tuple[Declaration, ...]:
    by_name = {declaration.name: declaration for declaration in mine}
    for declaration in others:
        if by_name.setdefault(declaration.name, declaration) != declaration:
            raise ArgumentValueError(
                f"both pipelines declare the {kind} {declaration.name!r}, and not alike; declare "
                "it in one of them"
            )
    return tuple(by_name.values())


def _bind_hook(step: Step, names: Names, moment: str) -> BoundStep:
    bound = step.bind(names)
    problem = ""
    if not isinstance(bound, BoundStep) or bound.needs_batch:
        problem = "needs a batch"
    elif bound.dynamic and moment != "after":
        problem = f"needs the model {bound.model!r}, which is made from the first batch"
    if problem:
        raise ArgumentTypeError(
            f"{step}, chained at {step.where}, {problem}, and .{moment} has none: it takes steps "
            "such as call, update, print, load_model and save_model, and functions of namespaces"
        )
    return bound  # type: ignore[return-value]
