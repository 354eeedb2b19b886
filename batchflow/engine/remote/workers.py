"""The workers of a run in other processes: see work.py for what is sent there.

Guarantees: those of `Workers`, and
    - Every batch is handed over; where its worker dies, the executor has it made again.
    - Who kills every worker that gets it is named: number, ids, and what became of the worker.
    - `close` leaves nothing at work for this run; what takes longer than `CLOSE_GRACE` is killed.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from batchflow.batch import Batch
from batchflow.engine.prefix import Prefix, Segment
from batchflow.engine.remote.work import (
    check_travel,
    packed_work,
    unpacking_problem,
    with_loop,
)
from batchflow.engine.source import EpochEnd
from batchflow.engine.steps import batch_facts, explain
from batchflow.engine.stream import elsewhere
from batchflow.engine.workers import CLOSE_GRACE, Workers
from batchflow.errors import ArgumentTypeError, WorkerDiedError, add_note_once
from batchflow.executors.job import check_available, open_job
from batchflow.executors.serialization.pickling import WHILE_UNPACKED
from batchflow.executors.waiting import result_of

if TYPE_CHECKING:
    from contextvars import Context

    from batchflow.engine.options import RunOptions
    from batchflow.executors.futures import Job


class RemoteWorkers(Workers):
    """Spreads the work of a run over other processes.

    Args:
        options: Those of the run.
        prefixes: Its prefixes.
        n_segments: Among how many segments `prefetch` is divided.
        context: What runs in the consumer's thread runs in a copy of it.
    """

    def __init__(
        self,
        options: RunOptions,
        prefixes: Sequence[Prefix],
        n_segments: int,
        context: Context,
    ) -> None:
        super().__init__(None, options.prefetch, n_segments, context)
        check_travel(prefixes, repr(options.executor))
        check_available(options.executor)
        self._given = options.executor
        self._n_workers = options.n_workers
        self._job: Job | None = None
        self._prefixes: Sequence[Prefix] = ()

    def start(self, prefixes: Sequence[Prefix]) -> None:
        """Send the work to the workers."""
        self._prefixes = prefixes
        self._job = open_job(self._given, packed_work(prefixes), self._n_workers)

    def _ahead(
        self, segment: Segment, items: Iterator[Any], ahead: int
    ) -> Generator[Any, None, None]:
        number = next(i for i, prefix in enumerate(self._prefixes) if prefix is segment.prefix)
        return elsewhere(
            partial(self._submit, (number, segment.place)),
            partial(self._collect, segment),
            items,
            ahead,
        )

    def _submit(self, place: tuple[int, int], item: Any) -> Future[Any]:
        if isinstance(item, EpochEnd):
            future: Future[Any] = Future()
            future.set_result(item)
            return future
        job: Any = self._job
        given = (item,) if isinstance(item, Batch) else item
        try:
            return job.submit((*place, *given))  # type: ignore[no-any-return]
        except ArgumentTypeError as error:  # it cannot travel; said at its turn
            future = Future()
            future.set_exception(error)
            return future

    def _collect(self, segment: Segment, item: Any, future: Future[Any]) -> Any:
        prefix = segment.prefix
        try:
            made = result_of(future)
        except (WorkerDiedError, ArgumentTypeError) as error:
            _explain(error, item, prefix)
            raise
        except Exception as error:
            notes = getattr(error, "__notes__", ())
            if not notes or Future.exception(future) is error:  # it was not the action's
                _explain(error, item, prefix)
            if WHILE_UNPACKED in notes:
                problem = unpacking_problem(self._prefixes)
                if problem is not None:
                    add_note_once(error, problem)
            raise
        finally:
            del future  # its error holds this frame: no circle
        if prefix.recorder is not None:
            made = prefix.recorder.received(made)
        return with_loop(made, prefix) if isinstance(made, Batch) else made

    def close(self) -> None:
        """End all segments, and the job."""
        super().close()
        job, self._job = self._job, None
        if job is not None:
            job.close(CLOSE_GRACE)


def _explain(error: Exception, item: Any, prefix: Prefix) -> None:
    """Add to an error which batch it is, and how to make it again."""
    if isinstance(item, Batch):
        number, epoch, ids = item.number, item.epoch, item.source_ids
        explain(error, None, item, prefix.notes.ahead)
    else:
        number, epoch, positions = item
        ids = prefix.given_source._ids_at(positions)
        prefix.explain(error, item)
    if isinstance(error, WorkerDiedError):
        hint = 'to see it happen in this process, run with executor="serial"'
        error.name_batch(number, ids.tolist(), batch_facts(number, epoch, ids), hint)
        add_note_once(error, f"{hint}, or make this batch alone as shown above")
