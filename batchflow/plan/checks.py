"""Checks of a whole chain: all variables are declared, and no group changes the result."""

from __future__ import annotations

from typing import NoReturn

from batchflow.errors import UnknownNameError, did_you_mean
from batchflow.plan.bound import BoundPlan, BoundStep, variables_in

__all__ = ["check_plan"]


def check_plan(plan: BoundPlan) -> None:
    """Check a whole chain.

    Args:
        plan: The plan of the chain.

    Raises:
        UnknownNameError: A step or a model's config uses a variable that is not declared.
        ArgumentValueError: A step cannot take several batches in one call.
    """
    declared = {variable.name for variable in plan.variables}
    for model in plan.declared_models:
        for name in sorted(variables_in([model.config]) - declared):
            _refuse(f"the config of the model {model.name!r}", name, declared)
    hooked: list[BoundStep] = [leaf for steps in plan.hooks for leaf in steps]
    for leaf in (*plan.leaves, *hooked):
        for name in sorted((leaf.reads | leaf.writes) - declared):
            _refuse(f"the step {leaf.step}, chained at {leaf.step.where},", name, declared)
    if plan.has_groups or plan.regroupings:
        from batchflow.plan.groups import check_groups  # on use

        check_groups(plan)


def _refuse(user: str, name: str, declared: set[str]) -> NoReturn:
    raise UnknownNameError(
        f"{user} uses the variable {name!r}, which is not declared.{did_you_mean(name, declared)} "
        f"Declare it with .init_variable({name!r}, ...) in the chain"
    )
