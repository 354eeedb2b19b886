"""One run of a pipeline: an iterator over its batches, in order.

    schedule -> tickets -> ready.ahead, in workers -> ready.ordered -> the consumer

Guarantees: a run that has ended, for whatever reason, has ended everything that it began.
"""

from __future__ import annotations

import contextvars
import threading
import weakref
from collections import deque
from collections.abc import Generator
from functools import cached_property
from math import ceil
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, cast

from batchflow.batch import Batch
from batchflow.batch.directory import in_parallel, side_by_side
from batchflow.batch.typevars import BatchT_co
from batchflow.engine.chained import Course, Observer, chained, workers_for
from batchflow.engine.epochs import Epochs
from batchflow.engine.graph import RunGraph, record_calls
from batchflow.engine.options import RunOptions
from batchflow.engine.program import Program
from batchflow.engine.regrouping.count import Length
from batchflow.engine.resuming.cursor import Cursor, Place
from batchflow.engine.source import EpochEnd
from batchflow.engine.workers import CLOSE_GRACE
from batchflow.errors import BatchflowError, RunClosedError
from batchflow.executors.loop import EventLoop, PrivateLoop

if TYPE_CHECKING:
    from batchflow.engine.resuming.saving import Saver

__all__ = ["CLOSE_GRACE", "Observer", "Run"]

# The runs whose parallel actions the current code is called by.
_inside: contextvars.ContextVar[tuple[object, ...]] = contextvars.ContextVar("inside", default=())


class Run(Generic[BatchT_co]):
    """The batches of one run: an iterator and a context manager. Made by `pipeline.gen_batch`.

    Nothing starts before the first batch is asked for. The run ends after the last batch, after an
    error, when it is closed, and when it is garbage-collected.

    Args:
        program: The pipeline.
        options: The options of the run.
        observer: What watches the run, or None.
        numbers: Of the source batches that are made, in a row; None: all that the options say.
        length: Whether somebody counts on the number of batches; None: nobody yet.

    Raises:
        ArgumentValueError: The options do not fit the source.
    """

    def __init__(
        self,
        program: Program,
        options: RunOptions,
        observer: Observer | None = None,
        numbers: range | None = None,
        length: Length | None = None,
    ) -> None:
        self._saver, self._graph = _opened(program, options, length)
        options = cast("RunOptions", self._graph.options)
        self._first_epoch = self._graph.schedule.first_epoch
        if observer is not None and observer.recorder is not None:
            record_calls(self._graph, observer.recorder)
        self._at: Any = None  # the place of the last batch that was delivered
        self._n_delivered = self._n_ends = 0
        self._observer = observer
        self._end: str | None = None
        self._is_failed = False  # whether an error in a `with` block has ended it
        self._has_begun = False
        self._was_iterated = False  # since a batch was taken, or the length was asked for
        self._told_end: set[int] = set()  # the threads that were told of the end
        self._course = Course()
        self._turn = threading.Lock()  # who reads and who closes take turns
        self._reader: int | None = None  # the thread that reads now
        self._token = object()
        context = contextvars.copy_context()
        context.run(_inside.set, (*_inside.get(), self._token))
        context.run(in_parallel.set, True)
        context.run(side_by_side.set, bool(options.prefetch))
        make_loop = PrivateLoop if options.executor == "serial" else EventLoop
        self._loop = make_loop() if self._graph.is_async else None
        self._workers = workers_for(options, self._graph, context)
        self._numbers = numbers
        stream = chained(
            self._graph, self._workers, self._loop, observer, numbers, self._course, self._saver
        )
        self._stream = cast("Generator[BatchT_co | EpochEnd, None, None]", stream)
        # A run that nobody holds ends, too: a loop that was left.
        self._close_observer = None if observer is None else weakref.finalize(self, observer.closed)

    @property
    def seed(self) -> int:
        """The seed of everything random in this run.

        Given to another run with the same other options, it makes the same batches.
        """
        return self._graph.seed

    def epochs(self) -> Epochs[BatchT_co]:
        """Return the epochs of this run, each an iterator of its batches with a `number`.

        An epoch that is left early leaves the rest of its batches unmade; the next one begins at
        its own first batch. An epoch without batches, as all were skipped, is an empty iterator.

        Example:
            >>> from batchflow import Dataset
            >>> run = Dataset(5).p.gen_batch(2, n_epochs=2)
            >>> [(epoch.number, [len(batch) for batch in epoch]) for epoch in run.epochs()]
            [(0, [2, 2, 1]), (1, [2, 2, 1])]

        Raises:
            RunClosedError: The run has ended.
            BatchflowError: Batches have been taken from it.
        """
        self._refuse_used_up()
        if self._has_begun or self._course.tells_ends:
            raise BatchflowError(
                "epochs() goes through a run from its first batch on, and batches or epochs "
                "have been taken from this one: call it once: gen_batch(...).epochs()"
            )
        self._course.tells_ends = True
        self._graph.marks_epochs = True
        schedule = self._graph.schedule
        per_epoch, first = schedule.batches_per_epoch, schedule.first_epoch
        n_epochs = None if schedule.end is None else ceil(schedule.end / per_epoch) - first
        return Epochs(self, first, n_epochs)

    def _exhaust(self) -> None:
        """Read the batches to the end; keep none, not even the last.

        Nobody waits for one here: a run without end may deliver nothing, and go on until a step
        raises `StopPipeline`.
        """
        is_endless = self._graph.schedule.end is None
        for batches in self.epochs() if is_endless else (self,):
            deque(batches, maxlen=0)

    def __iter__(self) -> Self:
        self._refuse_used_up()
        self._was_iterated = True
        return self

    def __next__(self, *, tells_ends: bool = False) -> BatchT_co:
        if _inside.get() or self._reader == get_ident():
            self._refuse_its_own_actions()
        with self._turn:
            self._reader = get_ident()
            self._has_begun, self._was_iterated = True, False
            try:
                if self._saver is not None:
                    self._saver.save_if_due()
                batch = next(self._stream)
                if not isinstance(batch, EpochEnd):
                    self._n_delivered += 1
                    self._at = batch.epoch, batch.number, batch._closes, batch._in_group
                    self._n_ends = self._course.n_ends
                    if self._saver is not None:
                        self._saver.delivered(Place(*self._at))
                if self._observer is not None and isinstance(batch, Batch):
                    self._observer.delivered(batch)
            except StopIteration:
                self._told_end.add(get_ident())
                self._finish("ended")
                raise
            except BaseException:
                self._finish("failed")
                raise
            finally:
                self._reader = None
        if batch.__class__ is EpochEnd and not tells_ends:
            return next(self)
        return batch  # type: ignore[return-value]

    def _take(self) -> BatchT_co | EpochEnd:
        """Return the next batch, or the end of an epoch whose last batch was skipped."""
        return self.__next__(tells_ends=True)

    def _leave(self, epoch: int) -> None:
        """Let an epoch come next, whatever is left of those before it."""
        self._n_batches  # noqa: B018  those that are left are counted, too
        self._course.target = epoch
        self._first_epoch, self._at, self._n_ends = epoch, None, self._course.n_ends
        if self._saver is not None:
            self._saver.leaves_for(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return where the run stands: behind the batch in your hands.

        `pipeline.gen_batch(..., state=state)` goes on from there, with the same dataset, steps,
        batch size, order and seed. Variables and models are not in it: `checkpoint=` saves all.

        Returns:
            A mapping for JSON of less than 1 KB, whatever the number of items.

        Raises:
            BatchflowError: Nobody can go on from here: rows of several batches are held behind an
                ordered step, or others of the same group have been trained on.

        Example:
            >>> from batchflow import Dataset
            >>> run = Dataset(6).p.gen_batch(2, shuffle=1)
            >>> first, state = next(run), run.state_dict()
            >>> later = Dataset(6).p.gen_batch(2, shuffle=1, state=state)
            >>> [b.indices.tolist() for b in later] == [b.indices.tolist() for b in run]
            True
        """
        from batchflow.engine.resuming.saving import state_of  # on use, for a light import

        return state_of(self._cursor(), self._graph)

    def _cursor(self) -> Cursor:
        """Return where the run stands."""
        if self._saver is not None:
            return self._saver._here
        cursor = Cursor(self._n_delivered, self._first_epoch)
        if self._at is not None:
            cursor = cursor.behind(Place(*self._at), self._graph, 0)
        for _ in range(self._n_ends, self._course.n_ends):
            cursor = cursor.left_for(cursor.epoch + 1, self._graph)
        if self._end == "ended":
            cursor = cursor.at_end(self._graph, stopped=self._course.is_stopped)
        return cursor

    def checkpoint(self) -> None:
        """Save the run now: behind the batch in your hands, in the directory of `checkpoint=`.

        It is on the disk when this returns.

        Raises:
            BatchflowError: It has no such directory, has ended, or cannot be resumed here.
            Exception: What has gone wrong with it, or with the one before it.
        """
        if self._saver is None or self._end is not None:
            raise BatchflowError(
                "only a run that goes on, and has a directory for it, can be saved: "
                "gen_batch(..., checkpoint=directory)"
            )
        self._saver.save(waits=True)

    @property
    def n_batches(self) -> int | None:
        """The number of batches, skipped ones included; None if it is endless or not known."""
        if self._numbers is not None:
            return len(self._numbers)
        return None if self.length.changed_by is not None else self._n_batches

    @cached_property
    def _n_batches(self) -> int | None:
        return self._graph.n_batches

    @property
    def first_number(self) -> int:
        """The number of the first batch."""
        return self._graph.first_number if self._numbers is None else self._numbers.start

    @property
    def first_step(self) -> int:
        """How many batches were delivered before, where the run goes on with an earlier one."""
        return 0 if self._saver is None else self._saver.first_step

    @property
    def length(self) -> Length:
        """Whether somebody counts on the number of batches."""
        return self._graph.length

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        """Return the number of batches, skipped ones included.

        Where an action then changes it, by changing the number of items ahead of `rebatch`, the run
        ends in an error.

        Raises:
            TypeError: The run is endless, or regroups batches whose sizes are not known.
        """
        is_hint, self._was_iterated = self._was_iterated, False
        self.length.asked(is_hint=is_hint)
        n_batches = self.n_batches
        if n_batches is None and self._graph.schedule.n_batches is not None:
            raise TypeError("the number of batches behind a regrouping step is not known here")
        if n_batches is None:
            raise TypeError("an endless run has no length; give n_epochs or n_iters")
        return n_batches

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_failed = error is not None
        try:
            self.close()
        except Exception as late:
            if error is None:
                raise
            error.add_note(f"the end of the run failed, too: {late!r:.200}")

    def __repr__(self) -> str:
        of = "batches" if self.n_batches is None else f"{self.n_batches} batches"
        if self._graph.schedule.n_batches is None:
            of = "endless"
        return f"<Run of {of}, seed {self.seed}{f', {self._end}' if self._end else ''}>"

    def _repr_html_(self) -> str:
        from batchflow.pictures import of_run  # on use, for a light import

        return of_run(self)

    def close(self) -> None:
        """End the run. Workers stop at their next step; a second call does nothing.

        Called while another thread waits for a batch, it lets that thread have the batch first.
        """
        self._refuse_its_own_actions()
        with self._turn:
            if self._end is None:
                self._finish("closed")

    def _refuse_used_up(self) -> None:
        # A thread that shares the run with others, and comes when they have read it to its end,
        # finds no batches left; that is no mistake.
        if self._end == "ended" and get_ident() in self._told_end:
            raise RunClosedError(
                "this run has ended: its batches come once. Make another with gen_batch(...), or "
                "go through several epochs in one run: gen_batch(..., n_epochs=3)"
            )
        if self._end not in (None, "ended"):
            self._finish("used again")

    def _refuse_its_own_actions(self) -> None:
        """Refuse the actions of this run, ordered or not: they would wait for themselves."""
        if self._token in _inside.get() or self._reader == get_ident():
            raise BatchflowError(
                "an action cannot read or close the run that it is part of; to end the run, raise "
                "StopPipeline"
            )

    def _finish(self, end: str) -> None:
        """End everything that was begun. Called again: the run was asked for more after its end."""
        if self._end is None:
            self._end = end
            try:
                self._stream.close()
            finally:
                if self._close_observer is not None:
                    self._close_observer()
                if self._loop is not None:
                    self._loop.close(CLOSE_GRACE)
                self._workers.join(CLOSE_GRACE)
                if self._saver is not None:
                    if end == "ended":
                        self._saver.ended(stopped=self._course.is_stopped)
                    self._saver.close(saves=end != "failed" and not self._is_failed)
        elif self._end != "ended":
            raise RunClosedError(
                f"this run has {'been closed' if self._end == 'closed' else 'failed'}; make "
                'another with gen_batch(...), or, for next_batch, call pipeline.reset("iter") first'
            ) from None


def _opened(
    program: Program, options: RunOptions, length: Length | None
) -> tuple[Saver | None, RunGraph]:
    """Return the graph of a run, and what saves it or lets it go on, if its options say so."""
    if options.checkpoint is None and options.state is None:
        return None, RunGraph(program, options, length=length)
    from batchflow.engine.resuming.saving import Saver  # on use, for a light import

    saver = Saver(options, None if program.source is None else program.source.shard_spec)
    try:
        graph = RunGraph(program, saver.settled(options), length=length)
        saver.attach(graph)
    except BaseException:
        saver.close(saves=False)
        raise
    return saver, graph
