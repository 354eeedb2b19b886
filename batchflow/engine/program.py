"""The parts of a run before it runs: the pipelines in it, and where their plans are cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from batchflow.engine.options import RunOptions
from batchflow.engine.preparation.models import PipelineModels
from batchflow.engine.source import Source
from batchflow.engine.state import PipelineState
from batchflow.errors import ArgumentValueError
from batchflow.plan import Bound, BoundPlan, BoundRegrouping, BoundStep
from batchflow.plan.several import joined_in


class Program(NamedTuple):
    """A pipeline over a dataset, as a run sees it.

    Attributes:
        plan: Its steps.
        source: The source of the batches; None where they are given.
        state: Its variables and models.
        models: Its models.
        pipeline: The `pipeline` of the batches.
    """

    plan: BoundPlan
    source: Source | None
    state: PipelineState
    models: PipelineModels
    pipeline: Any


class Stage(NamedTuple):
    """A regrouping, and the steps up to the next one.

    Attributes:
        regrouping: The step that makes its batches; None: they are source batches.
        prefix: The parallel steps, ahead of the ordered section.
        section: The ordered section, or its part.
        suffix: The steps behind the section.
    """

    regrouping: BoundRegrouping | None
    prefix: list[Bound]
    section: list[Bound]
    suffix: list[Bound]


class NestedProgram(NamedTuple):
    """A pipeline inside of another."""

    key: tuple[int, int]  # what stands for it in the plan: the id, and which part
    pipeline: Any
    is_stream: bool  # whether its batches are read, or made for the ids of others
    where: str  # the step that has it


def nested_in(plan: BoundPlan) -> Iterator[NestedProgram]:
    """Go through the pipelines inside of a plan."""
    for leaf in plan.leaves:
        for value in joined_in(leaf.args):
            yield NestedProgram((id(value), 0), value._pipeline, False, _where(leaf))
    for step in plan.regroupings:
        for place, other in enumerate(step.what.others):
            yield NestedProgram((id(step), place), other, True, _where(step))


def _where(bound: BoundStep | BoundRegrouping) -> str:
    return f"{bound.step.name}, chained at {bound.step.where}"


def shard_word(source: Source | None) -> int:
    """Return the word that a shard has in the keys of its randomness: 0 for all items."""
    return 0 if source is None or source.shard_spec is None else source.shard_spec.number + 1


def refuse_derived_shard(pipeline: Any, options: RunOptions) -> None:
    """Refuse a shard inside of another pipeline whose order is derived from that one's."""
    ahead: dict[str, Any] = dict(pipeline._ahead[1]) if pipeline._ahead else {}
    own = ahead.get("shuffle", True)
    is_derived = options.shuffle is not False and (own is True or own is None)
    if pipeline._source.shard_spec is not None and is_derived:
        raise ArgumentValueError(
            "a shard inside of another pipeline has an order derived from that one's, so that "
            "shards overlap; give it one of its own: .run_later(shuffle=1)"
        )


def cut_plan(plan: BoundPlan) -> tuple[list[Stage], int]:
    """Cut a plan at its regroupings.

    Returns:
        The stages, and how many of them begin ahead of the ordered section.
    """
    section = plan.section
    stages = [Stage(None, [], [], [])]
    n_parallel = 1
    for i, bound in enumerate(plan.steps):
        if isinstance(bound, BoundRegrouping):
            stages.append(Stage(bound, [], [], []))
            n_parallel += i < section.start
        elif i < section.start:
            stages[-1].prefix.append(bound)
        elif i < section.stop:
            stages[-1].section.append(bound)
        else:
            stages[-1].suffix.append(bound)
    return stages, n_parallel
