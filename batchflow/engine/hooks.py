"""The steps before the first batch and after the last."""

from __future__ import annotations

from functools import partial
from typing import Any

from batchflow.engine.late import with_late_values
from batchflow.engine.moment import Moment
from batchflow.engine.program import Program
from batchflow.engine.section import holding
from batchflow.errors import SkipBatch, StopPipeline, add_note_once
from batchflow.plan import BoundStep

__all__ = ["take_hooks"]


def take_hooks(program: Program, moment: str, rng_key: tuple[int, ...]) -> None:
    """Take the steps of one moment, in this thread.

    Args:
        program: The pipeline.
        moment: `"once"`, `"before"` or `"after"`.
        rng_key: What their randomness is derived from.

    Raises:
        Exception: Whatever a step raises, with a note that says where.
    """
    if not getattr(program.plan.hooks, moment):
        return
    at: Any = Moment(program.pipeline, program.source, rng_key)
    for bound in getattr(program.plan.hooks, moment):
        try:
            _take(bound, program, at)
        except (SkipBatch, StopPipeline):
            raise
        except Exception as error:
            step = bound.step
            add_note_once(error, f"in the step {step.name!r} of .{moment}, chained at {step.where}")
            raise


def _take(bound: BoundStep, program: Program, at: Any) -> None:
    args, function = bound.args, bound.function
    locks: list[Any] = []
    if bound.is_late:
        function = with_late_values(bound, function, args)
    if bound.model is not None:
        args = (program.models[bound.model], *args)
        locks = [program.models.slot(bound.model).lock]
    holding(locks, partial(function, at, *args, **bound.kwargs))
