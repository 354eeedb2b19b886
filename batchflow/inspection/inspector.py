"""A pipeline made ready outside of a run, for work with its steps in this thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from batchflow.batch import Batch
from batchflow.engine import ReadyGraph, RunGraph
from batchflow.engine.stream import NEVER
from batchflow.errors import SkipBatch, StopPipeline
from batchflow.executors.loop import EventLoop

if TYPE_CHECKING:
    from batchflow.engine import Program, RunOptions

__all__ = ["Inspector"]

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
        try:
            return work(ReadyGraph(self.graph, loop))
        except (SkipBatch, StopPipeline):
            return None
        finally:
            if loop is not None:
                loop.close()

    def source_batch(self, ready: ReadyGraph, number: int) -> Batch:
        """Make a source batch, before its first step."""
        return ready.prefix.make(self.graph.schedule.ticket(number))

    def replayed(self, number: int) -> Batch | None:
        """Make a source batch and take it to the ordered section; None if it is dropped."""
        ticket = self.graph.schedule.ticket(number)
        batch = self.alone(lambda ready: ready.prefix.work(ticket, NEVER))
        if not isinstance(batch, Batch):
            return None
        batch.pipeline = self._pipeline
        return batch

    def through(self, make: Callable[[ReadyGraph], Batch]) -> Any:
        """Take one batch through all steps; None if it is dropped.

        Args:
            make: Make the batch, or return it.
        """
        return self.alone(lambda ready: ready.through(make(ready), self._pipeline))
