"""The plan: the steps that were chained, and what the chain declares."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from typing import Any, TypeVar, get_args

from batchflow.batch import Batch
from batchflow.errors import ArgumentValueError, UnknownNameError, did_you_mean
from batchflow.plan.binding import bind_hook, bind_steps
from batchflow.plan.bound import BoundPlan, BoundStep, variables_in
from batchflow.plan.config import Config
from batchflow.plan.declared import DeclaredModel, Variable
from batchflow.plan.names import Names
from batchflow.plan.steps import NO_HOOKS, Chance, HookName, Hooks, Step, Where
from batchflow.plan.values import Value

Declaration = TypeVar("Declaration", Variable, DeclaredModel)


_NO_CONFIG = Config()


class Plan(Value):
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
    config: Config = _NO_CONFIG
    models: tuple[DeclaredModel, ...] = ()
    hooks: Hooks = NO_HOOKS
    namespaces: tuple[Any, ...] = ()

    def __hash__(self) -> int:
        return hash((self.steps, self.variables, self.models))

    def with_step(self, step: Step, moment: HookName | None = None) -> Plan:
        """Make the plan that goes on with `step`: in the stream, or at another moment."""
        if moment is None:
            return self._replace(steps=(*self.steps, step))
        return self._replace(
            hooks=self.hooks._replace(**{moment: (*getattr(self.hooks, moment), step)})
        )

    def with_variable(self, variable: Variable) -> Plan:
        """Make the plan with one more variable; a new declaration takes the place of the old."""
        return self._replace(variables=_declared(self.variables, variable))

    def without_variables(self, names: Iterable[str]) -> Plan:
        """Make the plan without the declarations of some variables."""
        known = {variable.name for variable in self.variables}
        for name in names:
            if name not in known:
                raise UnknownNameError(
                    f"no variable {name!r} is declared.{did_you_mean(name, known)}"
                )
        return self._replace(variables=tuple(v for v in self.variables if v.name not in {*names}))

    def with_model(self, model: DeclaredModel) -> Plan:
        """Make the plan with one more model; a new declaration takes the place of the old."""
        return self._replace(models=_declared(self.models, model))

    def with_namespaces(self, namespaces: Iterable[Any]) -> Plan:
        """Make the plan with more namespaces: modules, their names, or other objects."""
        found = [importlib.import_module(n) if isinstance(n, str) else n for n in namespaces]
        new = [n for n in found if n not in self.namespaces]
        return self._replace(namespaces=(*self.namespaces, *new))

    def __add__(self, other: Plan) -> Plan:
        """Make the plan of this chain followed by another.

        A step before or after the batches that both have is taken once.
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
        if times < 0:
            raise ArgumentValueError(f"pipeline * {times}: steps cannot be repeated {times} times")
        return self._replace(steps=self.steps * times)

    def with_chance(self, probability: float, where: Where) -> Plan:
        """Make the plan whose steps are gone through with a probability."""
        if not 0 <= probability <= 1:
            raise ArgumentValueError(
                f"pipeline @ {probability}: a probability is a number from 0 to 1"
            )
        return self._replace(steps=(Chance(self.steps, float(probability), where),))

    def names(self, batch_class: type[Batch], dataset: Any = None) -> Names:
        """Return what names in this chain mean over a dataset."""
        return Names(batch_class, dataset, self.namespaces, self.models)

    def check_step(self, step: Step, names: Names, moment: HookName | None = None) -> None:
        """Check a step that is to be chained behind these; raises the errors of `bind`."""
        if moment is not None:
            bind_hook(step, names, moment)
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
        first, last = self.hooks.lines()
        steps = [f"{i:4d} {step}  at {step.where}" for i, step in enumerate(self.steps)]
        return "\n".join([*first, *steps, *last])

    def bind_whole(self, batch_class: type[Batch], dataset: Any = None) -> BoundPlan:
        """Bind a plan to which nothing more is chained: see `bind` and `check_plan`."""
        bound = self.bind(batch_class, dataset, end=True)
        check_plan(bound)
        return bound

    def bind(
        self, batch_class: type[Batch], dataset: Any = None, *, end: bool = False
    ) -> BoundPlan:
        """Look up what every name means, and check every call.

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
        moments = zip(get_args(HookName), self.hooks, strict=True)
        steps = tuple(bind_steps(self.steps, names, end=end))
        last = names.behind(*self.steps)
        hooks = Hooks(*[tuple([bind_hook(step, last, at) for step in own]) for at, own in moments])
        return BoundPlan(steps, self.variables, batch_class, self.models, hooks)


def check_plan(plan: BoundPlan) -> None:
    """Check a whole chain.

    Raises:
        UnknownNameError: A step or a model's config uses a variable that is not declared.
        ArgumentValueError: A step cannot take several batches in one call; or two batch classes
            define a model of one name.
    """
    _refuse_two_definitions(plan)
    declared = {variable.name for variable in plan.variables}
    uses = [
        (f"the config of the model {model.name!r}", variables_in([model.config]))
        for model in plan.declared_models
    ]
    hooked: list[BoundStep] = [leaf for steps in plan.hooks for leaf in steps]
    uses += [
        (f"the step {leaf.step}, chained at {leaf.step.where},", leaf.reads | leaf.writes)
        for leaf in (*plan.leaves, *hooked)
    ]
    for user, names in uses:
        for name in sorted(names - declared):
            raise UnknownNameError(
                f"{user} uses the variable {name!r}, which is not declared."
                f"{did_you_mean(name, declared)} "
                f"Declare it with .init_variable({name!r}, ...) in the chain"
            )
    if plan.has_groups or plan.regroupings:
        from batchflow.plan.groups import check_groups  # on use

        check_groups(plan)


def _refuse_two_definitions(plan: BoundPlan) -> None:
    """Refuse a model that two classes of the chain define, each in its own way."""
    classes = plan.batch_classes
    declared = {model.name for model in plan.declared_models}
    for name in plan.models.keys() - declared if len(classes) > 1 else ():
        owners = {cls.models.definition(name): cls for cls in classes if name in cls.models}
        if len(owners) > 1:
            one, other, *_ = [cls.__name__ for cls in owners.values()]
            raise ArgumentValueError(
                f"{one} and {other}, whose batches are in this chain, both define a model "
                f"{name!r}; give one of them another name"
            )


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
