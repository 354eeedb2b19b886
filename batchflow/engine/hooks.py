"""The steps before the first batch and after the last."""

from __future__ import annotations

from typing import Any

from batchflow.engine.preparation.arguments import awaited, make_step
from batchflow.engine.preparation.no_batch import NoBatch
from batchflow.engine.preparation.ready import is_awaited
from batchflow.engine.program import Program
from batchflow.engine.section import holding
from batchflow.errors import SkipBatch, StopPipeline, add_note_once
from batchflow.plan import BoundStep, Hooks


def take_hooks(program: Program, moment: str, rng_key: tuple[int, ...], loop: Any) -> None:
    """Take the steps of one moment (`"once"`, `"before"` or `"after"`), in this thread.

    `SkipBatch` ends the steps of the moment: there is no batch to skip.
    """
    steps: tuple[BoundStep, ...] = getattr(program.plan.hooks, moment)
    if not steps:
        return
    key = (*rng_key, Hooks._fields.index(moment))
    at: Any = NoBatch(program.pipeline, program.source, key)
    for bound in steps:
        try:
            _take(bound, program, at, loop)
        except SkipBatch:
            return
        except StopPipeline:
            raise
        except BaseException as error:
            step = bound.step
            add_note_once(error, f"in the step {step.name!r} of .{moment}, chained at {step.where}")
            raise


def _take(bound: BoundStep, program: Program, at: Any, loop: Any) -> None:
    function = awaited(bound.function, loop) if is_awaited(bound) else bound.function
    model_for = None
    locks: list[Any] = []
    if bound.model is not None:
        model = program.models[bound.model]
        model_for = lambda _: model  # noqa: E731
        locks = [program.models.slot(bound.model).lock]
    holding(locks, make_step(bound, function, bound.args, model_for), at)
