"""A look at a pipeline before a long run: what each step does to one small batch.

Guarantees:
    - The pipeline's own variables and models are as before: steps that would change a model are not
      run, variables are those of a copy, and the global random generators get their state back.
    - Actions are run, and have the effects outside of the batch that they always have.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from batchflow.batch import Batch
from batchflow.engine import Machine, Program, RunOptions
from batchflow.engine.far import run_travel_problem, step_travel_problem
from batchflow.engine.hooks import take_hooks
from batchflow.engine.ready import is_awaited
from batchflow.engine.steps import run_steps
from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    BatchflowError,
    SkipBatch,
    StopPipeline,
)
from batchflow.plan import Bound, BoundRegrouping
from batchflow.plan.builtin import predict_model

__all__ = ["Report", "StepReport", "check_program"]

_RUN_FACTS = frozenset({"pipeline", "dataset", "index", "number", "epoch"})


@dataclass
class StepReport:
    """What a check found out about one step.

    Attributes:
        name: The step, as it was chained.
        where: The place of that.
        is_ordered: Whether it is part of the ordered section: one batch at a time, in order.
        changes: What it did to the batch: `"images: float64 (2, 8, 8), was uint8 (2, 8, 8)"`.
        problems: What will go wrong, or make results differ from run to run.
        stays: Why it cannot travel to worker processes; None: it can, or need not.
        outcome: `"done"`, `"skipped the batch"`, `"stopped the run"`, `"failed: ..."`, or
            `"not run: ..."`.
    """

    name: str
    where: str
    is_ordered: bool
    changes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    stays: str | None = None
    outcome: str = "done"

    def __str__(self) -> str:
        lines = [f"{self.name}  at {self.where}"]
        lines += [] if self.outcome == "done" else [f"    {self.outcome}"]
        lines += [f"    {change}" for change in self.changes]
        lines += [f"    ! {problem}" for problem in self.problems]
        if self.stays is not None:
            lines.append(f"    stays in this process: {self.stays}")
        return "\n".join(lines)


@dataclass
class Report:
    """What a check found out.

    Attributes:
        steps: By step, in order.
        n_items: The number of items in the batch.
        start: The batch before the first step: its components.
        stays: Why the pipeline cannot run in worker processes; empty: it can.
    """

    steps: list[StepReport]
    n_items: int
    start: list[str]
    stays: list[str] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """All problems, each with its step."""
        return [f"{step.name}: {problem}" for step in self.steps for problem in step.problems]

    @property
    def can_use_processes(self) -> bool:
        """Whether all that is needed ahead of the section can travel to worker processes."""
        return not self.stays

    def __str__(self) -> str:
        first = f"a batch of {self.n_items} items: {'; '.join(self.start) or 'no data'}"
        lines = [first]
        in_section = False
        for number, step in enumerate(self.steps):
            if step.is_ordered != in_section:
                in_section = step.is_ordered
                lines.append(f"-- {'ordered section' if in_section else 'end of the section'} --")
            lines.append(f"{number:4d} {step}")
        if self.stays and all(step.stays is None for step in self.steps):
            lines += [f"     stays in this process: {problem}" for problem in self.stays]
        n = len(self.problems)
        lines.append(f"{n or 'no'} problem{'' if n == 1 else 's'}")
        return "\n".join(lines)

    __repr__ = __str__


def check_program(program: Program, n_items: int, seed: int | None) -> Report:
    """Take a batch through the steps of a pipeline, one by one, and look at it in between.

    Args:
        program: A copy of the pipeline: its variables change.
        n_items: The number of items in the batch.
        seed: What its randomness is derived from; None: something new.

    Raises:
        ArgumentValueError: The dataset has not as many items.
    """
    keywords = {"seed": seed, "n_iters": 1, "executor": "serial"}
    if not hasattr(n_items, "__index__") or isinstance(n_items, bool):
        raise ArgumentTypeError(f"check: n_items must be a whole number, got {n_items!r:.60}")
    n_there = len(program.source) if program.source is not None else 0
    if not 1 <= n_items <= n_there:
        raise ArgumentValueError(f"check: n_items={n_items}, and the dataset has {n_there} items")
    machine = Machine(program, RunOptions.parse(n_items, keywords, endless=False))
    with _global_state_kept():
        _set_up(machine, program)
        report: Report = machine.alone(lambda: _checked(machine, program, int(n_items)))
    return report


def _checked(machine: Machine, program: Program, n_items: int) -> Report:
    batch: Batch | None = None
    with suppress(SkipBatch, StopPipeline):
        batch = machine.source_batch(0)
    report = Report([], n_items, [f"{n}: {kind}" for n, kind in _kinds(batch).items()])
    ordered = program.plan.section
    for place, bound in enumerate(program.plan.steps):
        is_ordered = ordered.start <= place < ordered.stop
        step = StepReport(str(bound.step), str(bound.step.where), is_ordered)
        report.steps.append(step)
        if not is_ordered and place < ordered.start and not isinstance(bound, BoundRegrouping):
            step.stays = _why_it_stays(bound, machine)
        step.problems += _model_problems(bound, is_ordered)
        if step.stays is not None:
            report.stays.append(f"{step.name}: {step.stays}")
        if batch is None:
            step.outcome = "not run: no batch comes here"
        elif (reason := _why_not_run(bound)) is not None:
            step.outcome = f"not run: {reason}"
        else:
            if place >= ordered.start:
                batch.pipeline = program.pipeline
            batch = _observed(machine, bound, batch, step)
    if (problem := run_travel_problem(machine.prefixes)) is not None and not report.stays:
        report.stays.append(problem)
    return report


def _set_up(machine: Machine, program: Program) -> None:
    """Take the steps before the first batch that work on no model, for what they set."""
    for moment in ("once", "before"):
        steps = tuple(
            step
            for step in getattr(program.plan.hooks, moment)
            if step.model is None and not is_awaited(step)
        )
        plan = program.plan._replace(hooks=program.plan.hooks._replace(**{moment: steps}))
        take_hooks(program._replace(plan=plan), moment, (machine.seed, 0, 0), None)


def _observed(machine: Machine, bound: Any, batch: Batch, step: StepReport) -> Batch | None:
    """Run one step, and note what it does. Give the batch that goes on, if one does."""
    before, globals_before = _kinds(batch), _global_state()
    digests = _digests(batch)
    done: Batch | None = None
    try:
        done = run_steps(batch, machine.ready_steps([bound]), machine.prefix.notes.ahead)
    except SkipBatch:
        step.outcome = "skipped the batch"
    except StopPipeline:
        step.outcome = "stopped the run"
    except Exception as error:  # noqa: BLE001  that is what a check is for
        step.outcome = f"failed: {type(error).__name__}: {error}"
        step.problems.append(step.outcome)
    if done is not None:
        step.changes = _differences(before, _kinds(done), digests, _digests(done))
    for name, state in _global_state().items():
        if state != globals_before[name]:
            step.problems.append(
                f"draws from the global generator of {name}, so that results differ from run to "
                "run and with the parallelism; draw from self.rng, or give R(...) as an argument"
            )
    return done


def _why_not_run(bound: Bound) -> str | None:
    if isinstance(bound, BoundRegrouping):
        return "it makes other batches out of several; the steps behind it get this one"
    for leaf in bound.leaves:
        if leaf.model is not None and leaf.function is not predict_model:
            return f"it works on the model {leaf.model!r}"
        if any(other._bound_plan().has_section for other in leaf.joined):
            return "it gets batches of a pipeline with ordered steps, which would take them"
    return None


def _why_it_stays(bound: Any, machine: Machine) -> str | None:
    for leaf in bound.leaves:
        if leaf.model is not None:
            return f"it works on the model {leaf.model!r}"
        try:
            problem = step_travel_problem(leaf, machine.prefix.view)
        except BatchflowError as error:  # nothing can: the extra is missing
            return str(error)
        if problem is not None:
            return problem
    return None


def _model_problems(bound: Bound, is_ordered: bool) -> Iterator[str]:
    if is_ordered:
        return
    steps = () if isinstance(bound, BoundRegrouping) else bound.leaves
    for leaf in steps:
        if leaf.model is not None and leaf.function is not predict_model:
            yield (
                f"works on the model {leaf.model!r} for several batches at once when prefetch is "
                f'given; if it trains it, mark it @action(model="{leaf.model}", singleton=True)'
            )


# ---- what there is in a batch


def _parts(batch: Batch) -> dict[str, Any]:
    names = tuple(batch.components) or ("_data",)
    others = [n for n in batch.__dict__ if not n.startswith("_") and n not in _RUN_FACTS]
    return {name.lstrip("_"): batch.__dict__.get(name) for name in dict.fromkeys((*names, *others))}


def _kinds(batch: Batch | None) -> dict[str, str]:
    return {} if batch is None else {name: _kind(value) for name, value in _parts(batch).items()}


def _kind(value: Any, depth: int = 3) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {value.shape}"
    if isinstance(value, list | tuple) and value and depth:
        kinds = list(dict.fromkeys(_kind(part, depth - 1) for part in value))
        return f"{type(value).__name__} of {len(value)}: {', '.join(kinds[:3])}"
    return "None" if value is None else type(value).__name__


def _digests(batch: Batch) -> dict[str, Any]:
    from batchflow.testing import digest  # on use: it is for tests otherwise

    found = {}
    for name, value in _parts(batch).items():
        try:
            found[name] = digest(value)
        except Exception:  # noqa: BLE001  it cannot be pickled: then it is what it is
            found[name] = str(id(value))
    return found


def _differences(
    before: dict[str, str], after: dict[str, str], old: dict[str, Any], new: dict[str, Any]
) -> list[str]:
    changes = []
    for name, kind in after.items():
        if name not in before:
            changes.append(f"{name}: {kind}, new")
        elif before[name] != kind:
            changes.append(f"{name}: {kind}, was {before[name]}")
        elif old[name] != new[name]:
            changes.append(f"{name}: {kind}, other values")
    return [*changes, *(f"{name}: gone" for name in before if name not in after)]


# ---- the global random generators


def _global_state() -> dict[str, Any]:
    kind, keys, *rest = np.random.get_state()
    return {"numpy.random": (kind, np.asarray(keys).tobytes(), *rest), "random": random.getstate()}


@contextmanager
def _global_state_kept() -> Iterator[None]:
    ours, numpys = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(ours)
        np.random.set_state(numpys)
