"""Steps that take several batches in one call: `train_model(..., steps_per_call=8)`.

Where such a step is, the ordered section goes through it in phases: the steps before it take all
batches of the group, then the step itself does, then those behind it do. That changes nothing, as
long as no step of one phase touches what a step of another phase changes. Steps that may are
refused here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, NoReturn

from batchflow.errors import ArgumentValueError
from batchflow.plan.bound import Bound, BoundChance, BoundPlan, BoundRegrouping, BoundStep
from batchflow.plan.several import Nested


class _Use(NamedTuple):
    """A step that uses a thing: a variable, a model.

    Attributes:
        phase: The phase in which it does.
        step: The step.
        changes: Whether it may change the thing.
    """

    phase: int
    step: BoundStep | BoundRegrouping
    changes: bool


_ANYTHING = "state of their own"


def check_groups(plan: BoundPlan) -> None:
    """Refuse steps that take several batches in one call, where that would change the result.

    Raises:
        ArgumentValueError: Such a step is left to a coin; two take groups of different sizes;
            another step of the ordered section uses its model or what it stores; steps before and
            behind it may touch the same; or it is in a pipeline whose batches this one reads.
    """
    for regrouping in plan.regroupings:
        for other in regrouping.what.others:
            if (inner := _first_group(other._bound_plan())) is not None:
                raise ArgumentValueError(
                    f"{_named(inner)} takes several batches in one call, and is in a pipeline "
                    f"whose batches {_named(regrouping)} takes one by one; leave steps_per_call out"
                )
    grouped = [leaf for leaf in plan.leaves if leaf.group > 1]
    if not grouped:
        return
    for step in plan.steps:
        for leaf in step.leaves if isinstance(step, BoundChance) else ():
            if leaf.group > 1:
                raise ArgumentValueError(
                    f"{_named(leaf)} is left to the coin of each batch ({step.step.name}), so its "
                    "batches are not in a row; leave steps_per_call out"
                )
    for one, two in pairwise(grouped):
        if one.group != two.group:
            raise ArgumentValueError(
                f"{_named(two)}: steps_per_call is {one.group} in {one.step}; give both the same"
            )
    uses: dict[str, list[_Use]] = {}
    for thing, use in _uses(plan.steps[plan.section]):
        for earlier in uses.setdefault(thing, []):
            if earlier.phase != use.phase and (earlier.changes or use.changes):
                _refuse(thing, earlier, use, grouped)
        uses[thing].append(use)


def _first_group(plan: BoundPlan) -> BoundStep | None:
    """Return a step of a plan, or of one inside of it, that takes several batches in one call."""
    own = next((leaf for leaf in plan.leaves if leaf.group > 1), None)
    inner = (_first_group(other._bound_plan()) for other in plan.nested)
    return own or next((leaf for leaf in inner if leaf is not None), None)


def _uses(steps: tuple[Bound, ...]) -> Iterator[tuple[str, _Use]]:
    """Go through what the steps of a section use, with the phase in which they do.

    A step that takes several batches stands between two phases, in one of its own.
    """
    phase = 0
    for step in steps:
        if isinstance(step, BoundRegrouping):
            yield from _of_nested(step.what.others, phase, step)
            continue
        for leaf in step.leaves:
            for name in leaf.reads:
                yield f"the variable {name!r}", _Use(phase, leaf, False)
            if leaf.group > 1:
                phase += 1
                # A list that grows is there for all batches as it is for the last of them.
                for name in leaf.reads:
                    yield f"the variable {name!r}", _Use(phase, leaf, False)
            if leaf.model is not None:
                yield f"the model {leaf.model!r}", _Use(phase, leaf, True)
            elif leaf.singleton:
                yield _ANYTHING, _Use(phase, leaf, True)
            yield from _of_nested(leaf.joined, phase, leaf)
            for name in leaf.writes:
                yield f"the variable {name!r}", _Use(phase, leaf, True)
        if any(leaf.group > 1 for leaf in step.leaves):
            phase += 1


def _of_nested(
    others: Iterable[Nested], phase: int, step: BoundStep | BoundRegrouping
) -> Iterator[tuple[str, _Use]]:
    """Go through what the pipelines inside of this one use."""
    for other in others:
        plan = other._bound_plan()
        if plan.models or any(inner._bound_plan().models for inner in plan.nested):
            raise ArgumentValueError(
                f"{_named(step)} takes batches of a pipeline that works on models, in a section "
                "with a step that takes several batches in one call; leave steps_per_call out"
            )
        if plan.has_section:
            yield _ANYTHING, _Use(phase, step, True)


def _refuse(thing: str, one: _Use, other: _Use, grouped: Sequence[BoundStep]) -> NoReturn:
    between = [leaf for leaf in grouped if leaf is one.step or leaf is other.step] or grouped
    steps = dict.fromkeys((_called(one.step), _called(other.step)))
    who = " and ".join(steps) + (" would both work" if len(steps) > 1 else " would work")
    raise ArgumentValueError(
        f"{_named(between[0])} takes {between[0].group} batches in one call. In between, {who} on "
        f"{thing}, and no longer see what was done to it batch by batch; leave steps_per_call out, "
        "or one of them"
    )


def _named(step: BoundStep | BoundRegrouping) -> str:
    return f"{step.step}, chained at {step.step.where},"


def _called(step: BoundStep | BoundRegrouping) -> str:
    return f"{step.step.name!r}, chained at {step.step.where},"
