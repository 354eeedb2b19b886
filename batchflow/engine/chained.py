"""The stages of a run, chained: from the source to the batches that the consumer gets."""

from __future__ import annotations

import contextvars
from collections.abc import Generator
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from batchflow.batch import Batch
from batchflow.engine.ending import end_run
from batchflow.engine.flow import ReadyGraph, start
from batchflow.engine.graph import RunGraph
from batchflow.engine.options import RunOptions
from batchflow.engine.regrouping.naming import Flow
from batchflow.engine.source import EpochEnd
from batchflow.engine.workers import Workers
from batchflow.errors import StopPipeline
from batchflow.executors.loop import EventLoop, PrivateLoop

if TYPE_CHECKING:
    from batchflow.engine.resuming.saving import Saver


class Observer(Protocol):
    """Watches a run, in the consumer's thread."""

    recorder: Any  # measures what the steps cost; None: nobody does

    def watch(self, made: Flow) -> Flow:
        """Stand between the parallel steps and the rest: waiting here is waiting for data."""

    def delivered(self, batch: Batch) -> None:
        """Record a batch that goes to the consumer."""

    def closed(self) -> None:
        """Record the end: once, also where nobody holds the run any more. For any thread."""


class Course:
    """The epoch that the reader of a run wants next.

    Attributes:
        tells_ends: Whether the ends of epochs are told, where no batch marks them.
        target: The epoch to go on with; None: the batches in a row.
        is_stopped: Whether a step has raised `StopPipeline`.
        n_ends: How many epochs have ended behind a batch that was skipped.
    """

    def __init__(self) -> None:
        self.tells_ends = False
        self.target: int | None = None
        self.is_stopped = False
        self.n_ends = 0

    def goes_on(self, graph: RunGraph) -> bool:
        """Let the batches begin at the target, if there is one; tell whether there are any."""
        if self.target is not None:
            target, self.target = self.target, None
            graph.begin(target)
        return graph.schedule.n_batches != 0


def workers_for(options: RunOptions, graph: RunGraph, context: contextvars.Context) -> Workers:
    """Return the workers of a run, which have not begun."""
    n_segments, executor = graph.n_segments, options.executor
    if not options.prefetch:
        return Workers(None, 0, n_segments, context)
    if options.is_far:
        from batchflow.engine.remote.workers import RemoteWorkers  # on use

        return RemoteWorkers(options, graph.prefixes, n_segments, context)
    from batchflow.executors.threads import Borrowed, ThreadExecutor  # on use

    n_workers = options.n_workers
    own = ThreadExecutor(n_workers) if executor == "threads" else Borrowed(executor, n_workers)
    return Workers(own, options.prefetch, n_segments, context)


def _begun(
    graph: RunGraph, loop: EventLoop | PrivateLoop | None, saver: Saver | None
) -> ReadyGraph | None:
    """Make the steps of a run ready; None if it goes on behind its end."""
    if saver is None:
        return start(graph, loop)
    saver.begin()
    if saver.is_over:
        saver.restore_only(graph, loop)
        return None
    return start(graph, loop, saver.resuming())


def _until_target(batches: Flow, course: Course, saver: Saver | None) -> Flow:
    """Pass batches on, and the ends of epochs if they are to be told, until others are wanted."""
    for batch in batches:
        if isinstance(batch, EpochEnd):
            course.n_ends += 1
            if saver is not None:
                saver.ended_epoch()
        passed = [batch] if isinstance(batch, Batch) or course.tells_ends else []
        del batch  # what is given away is not held here
        if passed:
            yield passed.pop()
        if course.target is not None:
            return


def chained(
    graph: RunGraph,
    workers: Workers,
    loop: EventLoop | PrivateLoop | None,
    observer: Observer | None,
    numbers: range | None,
    course: Course,
    saver: Saver | None,
) -> Generator[Batch | EpochEnd, None, None]:
    """Chain the stages. Holds no reference to the `Run`, so an abandoned run is collected."""
    ready, failed = None, False
    try:
        ready = _begun(graph, loop, saver)
        if ready is None:
            return
        workers.start(ready.prefixes)
        while course.goes_on(graph):
            made = ready.ahead(workers, numbers)
            batches = ready.ordered(made if observer is None else observer.watch(made), workers)
            if not course.tells_ends:
                batches = ready.unending(batches)
            if not graph.marks_epochs:
                yield from batches
                return
            yield from _until_target(batches, course, saver)
            if course.target is None:
                return
            del made, batches
            workers.restart()
    except StopPipeline:
        course.is_stopped = True
        return
    except BaseException as error:
        failed = not isinstance(error, GeneratorExit)  # that of `close`; an action's is passed on
        raise
    finally:
        end_run(graph, workers, loop, None if ready is None else partial(ready.end, failed))
