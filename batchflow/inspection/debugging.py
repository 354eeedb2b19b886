"""Batches taken through the steps of a pipeline in this thread, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, TypeVar

from batchflow.batch import Batch
from batchflow.batch.typevars import OtherT
from batchflow.engine import Program, ReadyGraph, RunGraph, RunOptions
from batchflow.engine.options import checked_seed
from batchflow.engine.steps import keeps_batch
from batchflow.engine.stream import NEVER
from batchflow.errors import ArgumentTypeError, ArgumentValueError, SkipBatch, StopPipeline
from batchflow.executors.loop import EventLoop

T = TypeVar("T")


class Inspector:
    """Works with the steps of a pipeline outside of a run.

    Variables and models are used as they are: nothing starts anew, and no epoch is marked.

    Args:
        program: The pipeline.
        options: The options of the run; None where no batches are read.
        seed: The seed where there are no options; None: a new one.

    Attributes:
        graph: The graph that a run with these options would have.
    """

    def __init__(
        self, program: Program, options: RunOptions | None, *, seed: int | None = None
    ) -> None:
        self.graph = RunGraph(program, options, seed=seed)
        self.graph.marks_epochs = False
        self._pipeline = program.pipeline

    def alone(self, work: Callable[[ReadyGraph], T]) -> T | None:
        """Do some work with the ready graph. None where a step skips the batch or stops."""
        loop = EventLoop() if self.graph.is_async else None
        ready, done, failed = None, None, True
        try:
            ready = ReadyGraph(self.graph, loop)
            with suppress(SkipBatch, StopPipeline):
                done = work(ready)
            failed = False
        finally:
            if ready is not None:
                ready.end(failed)
            if loop is not None:
                loop.close()
        return done

    def source_batch(self, ready: ReadyGraph, number: int) -> Batch:
        """Make a source batch, before its first step."""
        return ready.prefix.make(self.graph.schedule.ticket(number))

    def through(self, make: Callable[[ReadyGraph], Batch]) -> Any:
        """Take the batch that `make` returns through all steps; None if it is dropped."""
        return self.alone(lambda ready: ready.through(make(ready), self._pipeline))


def replay(program: Program, options: RunOptions, number: int) -> Any:
    """Make one source batch of a run again, up to the ordered section; None if it is dropped."""
    inspector = Inspector(program, options)
    ticket = inspector.graph.schedule.ticket(number)
    batch = inspector.alone(lambda ready: ready.prefix.work(ticket, NEVER))
    if not isinstance(batch, Batch):
        return None
    batch.pipeline = program.pipeline
    return batch


def debug_run(open_run: Callable[[], Iterable[OtherT]]) -> OtherT | None:
    """Take all batches of a run through the steps; an error has its batch as `error.batch`.

    Args:
        open_run: Make the run, which is a context manager.

    Returns:
        The last batch; None if there was none.
    """
    last: OtherT | None = None
    keeping = keeps_batch.set([])
    try:
        run: Any = open_run()
        with run:
            for last in run:  # noqa: B007  it is returned
                pass
    finally:
        keeps_batch.reset(keeping)
    return last


def debug_batch(program: Program, options: RunOptions, number: int) -> Any:
    """Take one source batch through all steps; an error has the batch as `error.batch`.

    Returns:
        The batch; None if a step skips it or stops.
    """
    _refuse_regrouping("debug", program)
    keeping = keeps_batch.set([])
    try:
        inspector = Inspector(program, options)
        return inspector.through(lambda ready: inspector.source_batch(ready, number))
    finally:
        keeps_batch.reset(keeping)


def execute_for(
    make_program: Callable[[type[Batch]], Program], batch: OtherT, seed: int | None
) -> OtherT | None:
    """Take a given batch through all steps.

    Args:
        make_program: Make the program for batches of a class.
        batch: The batch.
        seed: The seed of its randomness; None: it keeps its own.

    Returns:
        The batch; None if a step skips it or stops.
    """
    if not isinstance(batch, Batch):
        raise ArgumentTypeError(f"execute_for takes a batch, got {batch!r:.60}")
    program = make_program(type(batch))
    _refuse_regrouping("execute_for", program)
    seed = checked_seed(seed)
    if seed is not None:
        batch._rng, batch._rng_key = None, (seed, 0, 0)
    try:
        done: OtherT | None = Inspector(program, None, seed=seed).through(lambda _: batch)
        return done
    finally:
        batch.pipeline = program.pipeline  # also where it was dropped before the last step


def _refuse_regrouping(method: str, program: Program) -> None:
    if program.plan.regroupings:
        raise ArgumentValueError(
            f"{method}: {program.plan.regroupings[0].step} makes other batches out of a stream of "
            "them; run the pipeline instead"
        )
