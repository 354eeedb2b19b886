"""The parallel steps of a pipeline, ahead of its ordered section: any worker can take them.

Guarantees:
    - What a prefix makes of a ticket, or of a regrouped batch, depends on nothing else.
    - It never changes, and what is made ready is a copy: any number of threads may work with it.
    - It can travel to another process, with all that its steps need and nothing else; there it is
      readied again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from batchflow.batch import Batch
from batchflow.engine.preparation.notes import ReplayNotes
from batchflow.engine.source import EpochEnd, Schedule, Source
from batchflow.engine.state import PipelineView
from batchflow.engine.steps import ReadyStep, batch_facts, run_steps
from batchflow.engine.stream import Halt
from batchflow.errors import ArgumentValueError, SkipBatch, StopPipeline, add_note_once
from batchflow.index.order import SequentialOrder
from batchflow.plan import Bound, Joined
from batchflow.records import Record

if TYPE_CHECKING:
    from batchflow.engine.source import Ticket
    from batchflow.engine.stream import Work


def _no_source(*_: Any) -> NoReturn:
    raise ArgumentValueError("this pipeline has no dataset to read batches from")


_NO_FACTS: dict[str, Any] = {}


class Prefix(Record):
    """The parallel steps of one pipeline in one run.

    Attributes:
        source: The source of its batches; None where they are given.
        batch_class: The class of its batches.
        segments: The steps, in rows: up to the first regrouping, behind it, and so on.
        joined: The pipelines whose batches the steps get, by what stands for them in the steps.
        rng_key: The key of the randomness of source batches.
        n_batches: The number of source batches of the run; None if it is endless.
        schedule: The source batches, or None.
        notes: Makes the notes of errors.
        marks_epochs: Whether somebody has to know where epochs end.
        view: The `pipeline` of its batches.
        loop: The event loop for coroutines, or None.
        recorder: Measures what is done; None: nobody does.
    """

    source: Source | None
    batch_class: type[Batch]
    segments: Sequence[Sequence[Bound]]
    joined: Sequence[tuple[Joined, Prefix]]
    rng_key: tuple[int, ...]
    n_batches: int | None
    schedule: Schedule | None
    notes: ReplayNotes
    marks_epochs: bool = False
    view: PipelineView | None = None
    loop: Any = None
    recorder: Any = None
    _steps: Sequence[Sequence[ReadyStep]] = ()
    _facts: dict[str, Any] = _NO_FACTS
    _read: Callable[..., Batch] = _no_source

    def __getstate__(self) -> dict[str, Any]:
        # The order stays: it may be a function of the user's, and tickets say what is in a batch.
        schedule = self.schedule and self.schedule._replace(order=SequentialOrder())
        bare = {"_steps": (), "_facts": {}, "_read": _no_source, "loop": None}
        return {**self.__dict__, **bare, "schedule": schedule}

    def readied(
        self,
        steps: Sequence[Sequence[ReadyStep]],
        view: Any,
        loop: Any,
        joined: Sequence[tuple[Joined, Prefix]],
        *,
        marks_epochs: bool,
    ) -> Prefix:
        """Return the same prefix with what it needs to work: see its attributes."""
        facts = {"number": None, "epoch": None, "_closes": False, "pipeline": view}
        facts.update(_rng_key=self.rng_key, _n_batches=self.n_batches)
        read = _no_source if self.source is None else self._maker(self.source)
        if self.recorder is not None:
            read = self.recorder.reading(read, self.rng_key[0])
        return self._replace(
            view=view,
            joined=joined,
            loop=loop,
            marks_epochs=marks_epochs,
            _steps=steps,
            _facts=facts if loop is None else {**facts, "_loop": loop},
            _read=read,
        )

    @property
    def batch_classes(self) -> list[type[Batch]]:
        """The class of its batches, and those that steps of it give."""
        leaves = (leaf for row in self.segments for bound in row for leaf in bound.leaves)
        return [self.batch_class, *[leaf.gives for leaf in leaves if leaf.gives is not None]]

    @property
    def given_source(self) -> Source:
        """The source of its batches; an error where there is none."""
        return _no_source() if self.source is None else self.source

    # ---- for any thread

    def work(self, ticket: Ticket, halt: Halt) -> Batch | EpochEnd | None:
        """Make a source batch and take it to the ordered section."""
        try:
            batch = self.make(ticket)
            return run_steps(batch, self._steps[0], self.notes.ahead, halt)
        except SkipBatch:
            return EpochEnd() if self._closes(ticket[0]) else None

    def make(self, ticket: Ticket) -> Batch:
        """Make a source batch, before its first step."""
        number, epoch, positions = ticket
        facts = self._facts.copy()
        facts["number"], facts["epoch"] = number, epoch
        if self.marks_epochs:
            facts["_closes"] = self._closes(number)
        try:
            return self._read(positions, facts)
        except (SkipBatch, StopPipeline):
            raise
        except Exception as error:
            name = self.batch_class.__name__
            add_note_once(error, f"while a {name} was made, before its first action")
            self.explain(error, ticket)
            raise

    def explain(self, error: BaseException, ticket: Ticket) -> None:
        """Add notes to an error: which source batch, and how to make it again."""
        number, epoch, positions = ticket
        add_note_once(error, batch_facts(number, epoch, self.given_source._ids_at(positions)))
        add_note_once(error, self.notes.ahead([number]))

    def go_on(self, place: int, batch: Batch | EpochEnd, halt: Halt) -> Batch | EpochEnd | None:
        """Take a regrouped batch to the ordered section, or to the next regrouping."""
        if isinstance(batch, EpochEnd):
            return batch
        batch.pipeline = self.view
        try:
            return run_steps(batch, self._steps[place], self.notes.ahead, halt)
        except SkipBatch:
            return EpochEnd() if batch._closes else None

    def through(self, batch: Batch) -> Batch | None:
        """Take a given batch through the steps of the first segment."""
        batch.pipeline = self.view
        if self.loop is not None:
            batch._loop = self.loop
        return run_steps(batch, self._steps[0], self.notes.ahead)

    def beside(self, batch: Batch) -> Batch:
        """Make the batch with the ids of another."""
        facts = {**self._facts, "number": batch.number, "epoch": batch.epoch}
        facts["_n_batches"] = batch._n_batches
        source, ids = self.given_source, batch._source_ids
        if ids is not None and batch._sources is None:  # of an order in which items repeat
            unique, places = _numbered(ids)
            positions = np.asarray(source._positions_of(unique))[places]
            return source._maker(repeats=True)(positions, facts)
        if ids is not None:
            raise ArgumentValueError(
                "join: the ids of this batch are those of several sources (see its source_ids), so "
                "they do not tell which items to join; join before the merge"
            )
        return self._read(source._positions_of(batch.index), facts)

    def joined_to(self, batch: Batch) -> Batch | None:
        """Make the batch with the ids of another and take it through the steps."""
        return self.through(self.beside(batch))

    # ---- inside

    def _maker(self, source: Source) -> Callable[..., Batch]:
        if self.schedule is None:
            return source._maker()
        return source._maker(repeats=self.schedule.repeats, window=self.schedule.window)

    def _closes(self, number: int) -> bool:
        return self.marks_epochs and self.schedule is not None and self.schedule.ends_epoch(number)


def _numbered(ids: Any) -> tuple[list[Any], list[int]]:
    """Return the different ids, and for each the number of its own."""
    numbers: dict[Any, int] = {}
    places = [numbers.setdefault(item, len(numbers)) for item in ids.tolist()]
    return [*numbers], places


class Segment(NamedTuple):
    """A row of steps of a prefix, between two regroupings.

    Attributes:
        prefix: The prefix.
        place: Which of its segments. The first makes source batches of tickets, the others take
            batches.
    """

    prefix: Prefix
    place: int

    @property
    def work(self) -> Work:
        """The function that is called for each ticket, or for each batch."""
        prefix = self.prefix
        work: Callable[..., Any] = (
            prefix.work if self.place == 0 else partial(prefix.go_on, self.place)
        )
        if prefix.recorder is not None:
            return prefix.recorder.working(work, prefix.rng_key[0])  # type: ignore[no-any-return]
        return work
