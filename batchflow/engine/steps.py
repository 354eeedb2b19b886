"""Taking a batch through a row of steps, and saying where when that fails."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from batchflow.batch import Batch
from batchflow.engine.stream import NEVER, Halt
from batchflow.errors import ActionResultError, SkipBatch, StopPipeline, add_note_once
from batchflow.models.tf1 import advice_on_graph
from batchflow.plan import Chance, Step

# Where errors keep the batch that they are about, as their attribute `batch`: those that have it.
keeps_batch: ContextVar[list[BaseException] | None] = ContextVar("keeps_batch", default=None)

# Given the numbers of source batches, a note that shows how to make them again.
ReplayNote = Callable[[Sequence[int]], str]


# A step with everything it needs: what takes a batch through it, and gives what the action gives;
# and the step as it was chained.
ReadyStep = tuple[Callable[[Batch], Any], Step | Chance]


def run_steps(
    batch: Batch, steps: Sequence[ReadyStep], replay_note: ReplayNote, halt: Halt = NEVER
) -> Batch | None:
    """Take a batch through `steps`.

    Args:
        batch: The batch.
        steps: The steps, in order.
        replay_note: Makes a note for errors: how to make a batch again.
        halt: When it goes on, the batch is given up.

    Returns:
        The batch that the last step gave; None if it was given up.

    Raises:
        ActionResultError: A step did not return a batch.
        BaseException: Whatever an action raises, with notes that say where.
    """
    step: Step | Chance | None = None
    try:
        for take, step in steps:
            if halt.is_on:
                return None
            result = take(batch)
            if result is not batch:
                batch = _replacement(result, batch, step)
    except (SkipBatch, StopPipeline):
        raise
    except StopIteration as error:
        # Let through, it would end the loop of whoever reads the run, as if the data had ended.
        failure = RuntimeError(f"the action {step.name!r} raised StopIteration")  # type: ignore[union-attr]
        explain(failure, step, batch, replay_note)
        raise failure from error
    except BaseException as error:
        explain(error, step, batch, replay_note)
        raise
    return batch


def _replacement(result: Any, batch: Batch, step: Step | Chance) -> Batch:
    """Check what an action returned instead of its batch, and give it that batch's place."""
    if isinstance(result, Batch):
        result._adopt(batch)
        if len(result) != len(batch):
            named = (
                f"the action {step.name!r}, chained at {step.where},"
                if isinstance(step, Step)
                else None
            )
            result.__dict__["_resized"] = named or result._resized
        return result
    got = "nothing" if result is None else f"{type(result).__name__} {result!r:.60}"
    raise ActionResultError(
        f"the action {step.name!r} must return a batch, and returned {got}. "
        "End it with: return self"
    )


def explain(
    error: BaseException, step: Step | Chance | None, batch: Batch, replay_note: ReplayNote
) -> None:
    """Add notes to an error: which step, which batch, and how to make it again.

    Nothing that goes wrong with them may hide the error itself.
    """
    with suppress(Exception):
        if isinstance(step, Step):  # a chance has steps of its own, which say it
            add_note_once(error, f"in the action {step.name!r}, chained at {step.where}")
            for hint in _hints(error, step, batch):
                add_note_once(error, hint)
        if batch.number is not None:
            sources, foreign = batch.source_numbers, batch._foreign
            made_of = () if batch._sources is None else sources
            facts = batch_facts(batch.number, batch.epoch, batch.source_ids, made_of, foreign)
            add_note_once(error, facts)
            if sources and foreign is None:
                add_note_once(error, replay_note(sources))
        having = keeps_batch.get()
        if having is not None and not any(error is other for other in having):
            having.append(error)
            error.batch = batch  # type: ignore[attr-defined]


# What the variables of a pipeline are for a parallel action, where they hold a list and their like.
_FROZEN = (tuple, frozenset, types.MappingProxyType)
_CHANGES = frozenset({"add", "append", "extend", "insert", "remove", "setdefault", "update"})
_NAMES = frozenset({"src", "dst", "components", "model", "name"})  # take names of components, too


def _hints(error: BaseException, step: Step, batch: Batch) -> Iterator[str]:
    """Go through what a newcomer may not see in an error of a step."""
    takes_names = str(error).startswith(f"{step.name}: ")  # a built-in word, which says it itself
    named = (value for name, value in step.kwargs.items() if name not in _NAMES)
    for value in () if takes_names else (*step.args, *named):
        if isinstance(value, str) and value in batch.components and value in str(error):
            yield f"{value!r} is a text here; the component of the batch is B.{value}"
    is_frozen = isinstance(error, AttributeError) and isinstance(error.obj, _FROZEN)
    if is_frozen and error.name in _CHANGES:  # type: ignore[attr-defined]
        yield (
            "variables are read-only in parallel actions: store by save_to=V(name, 'a') of the "
            "step, or mark the action @action(singleton=True)"
        )
    if cure := advice_on_graph(error):
        yield cure
    empty = [name for name in batch.components if getattr(batch, name, None) is None]
    if empty and isinstance(error, TypeError) and "NoneType" in str(error):
        yield f"components of the batch without data (None): {', '.join(empty)}"


def batch_facts(
    number: int | None,
    epoch: int | None,
    ids: Any,
    sources: Sequence[int] = (),
    foreign: str | None = None,
) -> str:
    """Say which batch it is: number, epoch and ids, and what a regrouped batch was made of."""
    whose = "" if foreign is None else f" of {foreign}"
    of = f" (of the source batches {_listed(sources)}{whose})" if sources else ""
    shown = _listed(ids[:10].tolist()) + (", ..." if len(ids) > 10 else "")
    return f"batch {number}{of}, epoch {epoch}, {len(ids)} items with the ids [{shown}]"


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(repr, values))
