"""A look at a pipeline before a long run: what each step does to one small batch.

Guarantees:
    - The pipeline's own variables and models are as before: variables are those of a copy, and so
      are models. A step that works on a model of which there can be no copy is not run. The global
      random generators get their state back: see generators.py.
    - What fails behind a step that was not run is no problem: it may need what that step does.
    - Actions are run, and have the effects outside of the batch that they always have. Where page
      faults took much of the time, the parallel ones are run again: see page_faults.py.
    - Static models of the batch class are made, if they are not yet: as when a run starts.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from typing import Any

import numpy as np

from batchflow.batch import Batch
from batchflow.batch.directory import hooked, in_parallel
from batchflow.counts import checked_count
from batchflow.engine import Program, ReadyGraph, RunOptions
from batchflow.engine.hooks import take_hooks
from batchflow.engine.prefix import Prefix
from batchflow.engine.remote.stubs import ordered_calls
from batchflow.engine.remote.work import run_travel_problem, step_travel_problem
from batchflow.engine.state import PipelineState
from batchflow.engine.steps import run_steps
from batchflow.engine.stream import NEVER
from batchflow.errors import (
    ArgumentValueError,
    BatchflowError,
    SkipBatch,
    StopPipeline,
)
from batchflow.executors.loop import EventLoop
from batchflow.generators import GeneratorWatch, noticed
from batchflow.inspection.debugging import Inspector
from batchflow.inspection.model_copies import CopiedModels, Copies, NoCopyError
from batchflow.inspection.page_faults import FaultWatch
from batchflow.inspection.report import Report, StepReport
from batchflow.models.adapters import harmed_in_threads
from batchflow.plan import Bound, BoundChance, BoundRegrouping, BoundStep
from batchflow.plan.model_steps import load_model, predict_model, save_model

__all__ = ["Report", "StepReport", "check_program"]

_RUN_FACTS = frozenset({"pipeline", "dataset", "index", "number", "epoch"})


def check_program(program: Program, n_items: int, seed: int | None, made: PipelineState) -> Report:
    """Take a batch through the steps of a pipeline, one by one, and look at it in between.

    Args:
        program: A copy of the pipeline: its variables change.
        n_items: The number of items in the batch, if there are as many.
        seed: The seed of its randomness; None: a new one.
        made: The state of the pipeline itself, for the models that it has made.
    """
    n_items = checked_count("check: n_items", n_items)
    if program.source is not None and not len(program.source):
        raise ArgumentValueError("check: the dataset has no items")
    program.state.share_models(made)
    return _Check(program, n_items, seed).report()


class _Check:
    """A batch on its way through the steps: see `check_program`."""

    def __init__(self, program: Program, n_items: int, seed: int | None) -> None:
        keywords = {"seed": seed, "n_iters": 1, "executor": "serial"}
        n_there = min(n_items, len(program.source or ()))
        self._n_asked, self._n_items = n_items, n_there
        self._copies = Copies()
        self._generators = GeneratorWatch()
        self._faults = FaultWatch()
        self._models = CopiedModels(program.models, self._copies)
        self._steps = program.plan.steps
        plan = program.plan._replace(steps=tuple(map(_surely, self._steps)))
        self._program = program._replace(plan=plan, models=self._models)
        options = RunOptions.parse(n_there, keywords, endless=False)
        self._inspector = Inspector(self._program, options)
        self._left_out: str | None = None  # what was not run first

    def report(self) -> Report:
        """Take the batch through, and report."""
        program = self._program
        # What their definitions draw from global generators is drawn here, and not in the run.
        self._models.make_static(program.plan.models)
        with self._generators, hooked(self._copies.asked_for):
            self._set_up()
            found: Any = self._inspector.alone(self._checked)
        return found  # type: ignore[no-any-return]

    def _set_up(self) -> None:
        """Take the steps before the first batch that work on no model, for what they set."""
        program, graph = self._program, self._inspector.graph
        program.state.start_run(graph.seed)
        loop = EventLoop() if graph.is_async else None
        try:
            for moment in ("once", "before"):
                given: tuple[BoundStep, ...] = getattr(program.plan.hooks, moment)
                steps = tuple(step for step in given if step.model is None)
                if len(steps) < len(given):
                    left_out = next(step for step in given if step.model is not None)
                    self._left_out = (
                        self._left_out or f"the step {left_out.step.name!r} of .{moment}"
                    )
                hooks = program.plan.hooks._replace(**{moment: steps})
                plan = program.plan._replace(hooks=hooks)
                take_hooks(program._replace(plan=plan), moment, (graph.seed, 0, 0), loop)
        except StopPipeline:
            self._left_out = self._left_out or f"what follows the stop in .{moment}"
        finally:
            if loop is not None:
                loop.close()

    def _checked(self, ready: ReadyGraph) -> Report:
        plan = self._program.plan
        batch: Batch | None = None
        with suppress(SkipBatch, StopPipeline):
            batch = self._inspector.source_batch(ready, 0)
        n_items = self._n_items if batch is None else len(batch)
        start = [f"{n}: {_kind(v)}" for n, v in _parts(batch).items()] if batch is not None else []
        report = Report([], n_items, start, n_asked=self._n_asked)
        for place, (bound, chained) in enumerate(zip(plan.steps, self._steps, strict=True)):
            is_ordered = plan.section.start <= place < plan.section.stop
            step = StepReport(str(chained.step), str(chained.step.where), is_ordered)
            report.steps.append(step)
            is_ahead = place < plan.section.start
            if is_ahead and not isinstance(bound, BoundRegrouping):
                step.stays = _why_it_stays(bound, ready.prefix)
            if batch is not None and not is_ahead:
                batch.pipeline = self._program.pipeline
            batch = self._taken(ready, bound, batch, step, is_ahead=is_ahead)
            if step.stays is not None:
                report.stays.append(f"{step.name}: {step.stays}")
        if (problem := run_travel_problem(ready.prefixes)) is not None and not report.stays:
            report.stays.append(problem)
        report.memory = self._remark_on_memory(ready, report)
        return report

    def _remark_on_memory(self, ready: ReadyGraph, report: Report) -> str | None:
        """Return what is to be said of page faults; None where not all that is ahead was run."""
        ahead = report.steps[: self._program.plan.section.start]
        if self._left_out is not None or any(step.outcome != "done" for step in ahead):
            return None
        ticket = self._inspector.graph.schedule.ticket(0)
        in_run = in_parallel.set(True)
        try:
            return self._faults.remark(lambda: ready.prefix.work(ticket, NEVER))
        finally:
            in_parallel.reset(in_run)

    def _taken(
        self,
        ready: ReadyGraph,
        bound: Bound,
        batch: Batch | None,
        step: StepReport,
        *,
        is_ahead: bool,
    ) -> Batch | None:
        """Take the batch through a step, if that does no harm. Return the batch that goes on."""
        if batch is None:
            step.outcome = "not run: no batch comes here"
            return None
        reason = self._why_not_run(bound, batch)
        if reason is None:
            return self._observed(ready, bound, batch, step, is_ahead=is_ahead)
        step.outcome = f"not run: {reason}"
        if not isinstance(bound, BoundRegrouping) or bound.what.others:
            self._left_out = self._left_out or f"the step {bound.step.name!r}"
        if is_ahead:
            self._note_unknown(bound, batch, step)
        return batch

    def _why_not_run(self, bound: Bound, batch: Batch) -> str | None:
        if isinstance(bound, BoundRegrouping):
            return "it makes other batches out of several; the steps behind it get this one"
        for leaf in bound.leaves:
            if leaf.function in (save_model, load_model):
                return "it works on a file"
            if leaf.model is not None and leaf.function is not predict_model:
                with suppress(Exception):  # then the step itself will say it
                    if not self._models.has_copy(leaf.model, batch):
                        return f"it works on the model {leaf.model!r}"
            if any(_has_effects(other._bound_plan()) for other in leaf.joined):
                return "it gets batches of a pipeline that does more than work on its batches"
        return None

    def _observed(
        self, ready: ReadyGraph, bound: Bound, batch: Batch, step: StepReport, *, is_ahead: bool
    ) -> Batch | None:
        """Run one step, and note what it does. Return the batch that goes on, if one does."""
        before, states = _look_of(batch), self._generators.states()
        drawn: set[str] = set()
        noted = noticed.set(drawn)
        self._copies.asked.clear()
        done: Batch | None = None
        in_run = in_parallel.set(is_ahead)
        try:
            counting = self._faults.counting() if is_ahead else nullcontext()
            with ordered_calls(type(batch)) as called, counting:
                done = run_steps(batch, ready.steps.of([bound]), ready.prefix.notes.ahead)
            if is_ahead and called and step.stays is None:
                step.stays = f"it calls the ordered action {min(called)!r}"
        except NoCopyError as signal:
            step.outcome = f"not run: it asks for the model {signal.name!r}"
            self._left_out = self._left_out or f"the step {bound.step.name!r}"
            done = batch  # as far as it came
        except SkipBatch:
            step.outcome = "skipped the batch"
        except StopPipeline:
            step.outcome = "stopped the run"
        except Exception as error:  # noqa: BLE001  that is what a check is for
            self._note_failure(error, step)
        finally:
            in_parallel.reset(in_run)
            noticed.reset(noted)
        if done is not None:
            step.changes = _differences(before, _look_of(done))
        if self._copies.asked or any(leaf.model is not None for leaf in bound.leaves):
            self._note_models(step, is_ahead)
        for name in sorted({*self._generators.drawn(states), *drawn}):
            _note_draws(name, step)
        return done

    def _note_failure(self, error: Exception, step: StepReport) -> None:
        what = f"{type(error).__name__}: {error}"
        if self._left_out is None:
            step.outcome = f"failed: {what}"
            step.problems.append(step.outcome)
        else:
            step.outcome = (
                f"not checked: {self._left_out} before it was not run, and "
                f"without that it raises {what}"
            )

    def _note_unknown(self, bound: Bound, batch: Batch, step: StepReport) -> None:
        """Note the models that a parallel step works on that was not run."""
        for name in (leaf.model for leaf in bound.leaves if leaf.function not in _HARMLESS):
            model = None
            if name is None:
                continue
            with suppress(Exception):  # it cannot be made, which the step itself says
                model = self._models.get(name, batch)
            harmed = harmed_in_threads(model, name)
            if harmed is not None:  # a run warns of it, too
                step.problems.append(
                    f"works on the {harmed} {_AT_ONCE}, which loses updates or breaks "
                    f"the model; {_mark(name)}"
                )
            else:
                step.look_at.append(
                    f"works on the model {name!r} {_AT_ONCE}; if it trains it, {_mark(name)}"
                )

    def _note_models(self, step: StepReport, is_ahead: bool) -> None:
        """Note the models that a step changes, or asks for by name."""
        changed, asked = self._copies.changed(), dict.fromkeys(self._copies.asked)
        if is_ahead:
            step.problems += [f"changes the model {n!r} {_AT_ONCE}; {_mark(n)}" for n in changed]
            step.look_at += [
                f"asks for the model {name!r} in its body, {_AT_ONCE}; if it trains it, "
                f"{_mark(name)}"
                for name in asked
                if name not in changed
            ]
            if asked and step.stays is None:
                step.stays = f"it asks for the model {next(iter(asked))!r}"
        else:
            step.changes += [f"the model {name!r}: changed (here a copy)" for name in changed]


_AT_ONCE = "for several batches at once when prefetch is given"
_HARMLESS = (predict_model, save_model)


def _mark(model: str | None) -> str:
    return f'mark it @action(model="{model}", singleton=True)'


def _surely(bound: Bound) -> Bound:
    """Return a step that is taken whatever the coins say, so that it is seen."""
    if not isinstance(bound, BoundChance) or not bound.step.probability:
        return bound
    steps: Any = tuple(map(_surely, bound.steps))
    return BoundChance(bound.step._replace(probability=1.0), steps)


def _has_effects(plan: Any) -> bool:
    """Check whether a joined pipeline's steps may have effects that last, or need ones before."""
    models = (leaf for leaf in plan.leaves if leaf.model is not None)
    joined = (other for leaf in plan.leaves for other in leaf.joined)
    return (
        plan.has_section
        or any(plan.hooks)
        or any(leaf.function is not predict_model for leaf in models)
        or any(_has_effects(other._bound_plan()) for other in joined)
    )


def _why_it_stays(bound: Any, prefix: Prefix) -> str | None:
    for leaf in bound.leaves:
        if leaf.model is not None:
            return f"it works on the model {leaf.model!r}"
        try:
            problem = step_travel_problem(leaf, prefix)
        except BatchflowError as error:  # nothing can: the extra is missing
            return str(error)
        if problem is not None:
            return problem
    return None


# ---- what there is in a batch


def _parts(batch: Batch) -> dict[str, Any]:
    names = tuple(batch.components) or ("_data",)
    others = [n for n in batch.__dict__ if not n.startswith("_") and n not in _RUN_FACTS]
    return {name.lstrip("_"): batch.__dict__.get(name) for name in dict.fromkeys((*names, *others))}


def _kind(value: Any, depth: int = 3) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    if isinstance(value, list | tuple) and value and depth:
        kinds = list(dict.fromkeys(_kind(part, depth - 1) for part in value))
        return f"{type(value).__name__} of {len(value)}: {', '.join(kinds[:3])}"
    return "None" if value is None else type(value).__name__


def _look_of(batch: Batch) -> dict[str, tuple[str, Any]]:
    """Return the kind and a digest of each part of a batch."""
    from batchflow.testing import digest  # on use: it is for tests otherwise

    found = {}
    for name, value in _parts(batch).items():
        found[name] = _kind(value), str(id(value))
        with suppress(Exception):  # it cannot be pickled: then it is what it is
            found[name] = _kind(value), digest(value)
    return found


def _differences(before: Any, after: dict[str, tuple[str, Any]]) -> list[str]:
    changes = []
    for name, (kind, digest) in after.items():
        if name not in before:
            changes.append(f"{name}: {kind}, new")
        elif before[name][0] != kind:
            changes.append(f"{name}: {kind}, was {before[name][0]}")
        elif before[name][1] != digest:
            changes.append(f"{name}: {kind}, other values")
    return [*changes, *(f"{name}: gone" for name in before if name not in after)]


# ---- the global random generators


def _note_draws(name: str, step: StepReport) -> None:
    if step.is_ordered and name not in ("random", "numpy.random"):  # as layers like Dropout do
        step.look_at.append(
            f"draws from the global generator of {name}; if it is not seeded before the run, "
            "results differ from run to run"
        )
        return
    step.problems.append(
        f"draws from the global generator of {name}, so that results differ from run to run and "
        "with the parallelism; draw from self.rng, or give R(...) as an argument"
    )
