"""Steps that take several batches in one call: `train_model(..., steps_per_call=8)`.

Where such a step is, the ordered section goes through it in phases: the steps before it take all
batches of the group, then the step itself does, then those behind it do. That changes nothing, as
long as no step of one phase touches what a step of another phase changes. Whatever may is refused
here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from batchflow.errors import ArgumentValueError
from batchflow.plan.bound import Bound, BoundChance, BoundRegrouping, BoundStep

if TYPE_CHECKING:
    from batchflow.plan.plan import BoundPlan

__all__ = ["check_groups"]


class _Use(NamedTuple):
    """A step that has a thing in hand.

    Attributes:
        phase: The phase in which it does.
        step: The step.
        changes: Whether it may change the thing.
    """

    phase: int
    step: BoundStep | BoundRegrouping
    changes: bool


def check_groups(plan: BoundPlan, has_section: Callable[[object], bool]) -> None:
    """Refuse steps that take several batches in one call, where that would change the result.

    Args:
        plan: The plan.
        has_section: Tells whether a pipeline has an ordered step.

    Raises:
        ArgumentValueError: Such a step is left to a coin; two take groups of different sizes;
            another step of the ordered section uses its model or what it stores; or steps before
            and behind it may touch the same.
    """
    grouped = [leaf for leaf in plan.leaves if leaf.group > 1]
    if not grouped:
        return
    for step in plan.steps:
        if isinstance(step, BoundChance) and any(leaf.group > 1 for leaf in step.leaves):
            raise ArgumentValueError(
                f"{grouped[0].step}, chained at {grouped[0].step.where}, is left to the coin of "
                f"each batch ({step.step.name}), so its batches are not in a row; leave "
                "steps_per_call out"
            )
    for one, other in pairwise(grouped):
        if one.group != other.group:
            raise ArgumentValueError(
                f"{other.step}, chained at {other.step.where}: steps_per_call is {one.group} in "
                f"{one.step}; give both the same"
            )
    uses: dict[str, list[_Use]] = {}
    for thing, use in _uses(plan.steps[plan.section], has_section):
        for earlier in uses.setdefault(thing, []):
            if earlier.phase != use.phase and (earlier.changes or use.changes):
                _refuse(thing, earlier.step, use.step, grouped[0])
        uses[thing].append(use)


def _uses(
    steps: tuple[Bound, ...], has_section: Callable[[object], bool]
) -> Iterator[tuple[str, _Use]]:
    """Tell what the steps of a section have in hand, and in which phase."""
    phase = 0
    for step in steps:
        if isinstance(step, BoundRegrouping):
            if any(map(has_section, step.what.others)):
                yield _ANYTHING, _Use(phase, step, True)
            continue
        for leaf in step.leaves:
            for name in leaf.reads:  # by a grouped step, too, with its batch at hand
                yield f"the variable {name!r}", _Use(phase, leaf, False)
            if leaf.group > 1:
                phase += 1
            if leaf.model is not None:
                yield f"the model {leaf.model!r}", _Use(phase, leaf, True)
            elif leaf.singleton or any(map(has_section, leaf.joined)):
                yield _ANYTHING, _Use(phase, leaf, True)
            for name in leaf.writes:
                yield f"the variable {name!r}", _Use(phase, leaf, True)
        if any(leaf.group > 1 for leaf in step.leaves):
            phase += 1


_ANYTHING = "state of their own"


def _refuse(
    thing: str,
    one: BoundStep | BoundRegrouping,
    other: BoundStep | BoundRegrouping,
    grouped: BoundStep,
) -> None:
    raise ArgumentValueError(
        f"{grouped.step}, chained at {grouped.step.where}, takes {grouped.group} batches in one "
        f"call. In between, {one.step.name!r}, chained at {one.step.where}, and "
        f"{other.step.name!r}, chained at {other.step.where}, would both work on {thing}, and no "
        "longer see each other's work batch by batch; leave steps_per_call out, or one of them"
    )
