"""From a plan to something that runs: the work of the workers, and the ordered steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from functools import partial
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from batchflow.batch import Batch
from batchflow.batch.directory import ModelSlot
from batchflow.batch.regroup import merge_batches
from batchflow.engine.count import Counted
from batchflow.engine.hooks import take_hooks
from batchflow.engine.notes import ReplayNotes
from batchflow.engine.options import RunOptions, derived_seed
from batchflow.engine.prefix import Prefix, Segment
from batchflow.engine.program import (
    NestedProgram,
    Piece,
    Program,
    cut_plan,
    joined_in,
    nested_in,
)
from batchflow.engine.ready import ReadySteps, needs_loop
from batchflow.engine.regroup import Flow, Naming, regroup
from batchflow.engine.section import holding, in_order
from batchflow.engine.source import Source
from batchflow.engine.state import PipelineState, PipelineView
from batchflow.engine.steps import ReadyStep, run_steps
from batchflow.engine.stream import Halt
from batchflow.errors import (
    ArgumentValueError,
    BatchflowError,
    SkipBatch,
    StopPipeline,
    add_note_once,
)
from batchflow.executors.loop import EventLoop
from batchflow.index.order import drawn_seed
from batchflow.plan import Bound, BoundRegrouping

if TYPE_CHECKING:
    from batchflow.engine.workers import Workers

__all__ = ["Machine"]

_SOURCE = 0  # the path of source batches; regroupings count from there


class Machine:
    """A program made ready for one run, cut at its ordered section and its regroupings.

    Args:
        program: The pipeline.
        options: What was asked for; None where no batches are read.
        seed: The seed where there are no options; None: a new one.
        is_regrouped: Whether a pipeline outside of this one regroups its batches.
        is_nested: Whether there is a pipeline outside of this one.
    """

    def __init__(
        self,
        program: Program,
        options: RunOptions | None,
        *,
        seed: int | None = None,
        is_regrouped: bool = False,
        is_nested: bool = False,
    ) -> None:
        self._program = program
        self._plan, self._source, self._state, self._models, self._pipeline = program
        self._options = options
        self.seed, self._shuffle = drawn_seed() if seed is None else seed, None
        if options is not None:
            self.seed, self._shuffle = options.seeds()
            if self._source is None:
                raise ArgumentValueError("this pipeline has no dataset to read batches from")
            mark = self._source.mark
            self.schedule = options.schedule(len(self._source), self._shuffle, mark)
        shard = _shard_word(self._source)
        self._rng_key = (self.seed, _SOURCE, shard)
        self._n_batches = None if options is None else self.schedule.n_batches
        self._notes = ReplayNotes(options, self.seed, self._shuffle, self._source, is_nested)
        regroups = bool(self._plan.regroupings) or self._plan.has_groups
        self.marks_epochs = is_regrouped or regroups
        self._pieces, self._n_ahead = cut_plan(self._plan)
        self._nested: dict[tuple[int, int], Machine] = {
            nested.key: self._inside(nested, number)
            for number, nested in enumerate(nested_in(self._plan))
        }
        self.prefix = self._make_prefix()
        self._namings = {
            id(step): Naming((self.seed, path, shard), step.step, self._notes.ahead)
            for path, step in enumerate(self._plan.regroupings, start=_SOURCE + 1)
        }
        self._steps: ReadySteps
        self._is_open = False

    def _make_prefix(self) -> Prefix:
        ahead = [piece.ahead for piece in self._pieces[: self._n_ahead]]
        leaves = (leaf for row in ahead for bound in row for leaf in bound.leaves)
        values = (value for leaf in leaves for value in joined_in(leaf.args))
        return Prefix(
            source=self._source,
            batch_class=self._plan.batch_class,
            segments=ahead,
            joined=[(value, self._nested[id(value), 0].prefix) for value in values],
            rng_key=self._rng_key,
            n_batches=self._n_batches,
            schedule=None if self._options is None else self.schedule,
            marks_epochs=self.marks_epochs,
            notes=self._notes,
        )

    def _inside(self, nested: NestedProgram, number: int) -> Machine:
        try:
            options = None
            if nested.is_stream and self._options is not None:
                outer = self._options.settled(self.seed, self._shuffle)
                options = RunOptions.nested(nested.pipeline._ahead, outer, number)
                _refuse_derived_shard(nested.pipeline, options)
            return Machine(
                nested.pipeline._program(),
                options,
                seed=derived_seed(self.seed, number),
                is_regrouped=nested.is_stream,
                is_nested=True,
            )
        except BatchflowError as error:
            add_note_once(error, f"for the pipeline inside of {nested.where}")
            raise

    # ---- what a run does with it

    @property
    def prefixes(self) -> list[Prefix]:
        """What happens ahead of the ordered section, here and in the pipelines that are merged."""
        nested = (machine for machine in self._nested.values() if machine._options is not None)
        return [self.prefix, *(prefix for machine in nested for prefix in machine.prefixes)]

    @property
    def n_segments(self) -> int:
        """How many parallel segments there are."""
        own = 1 + sum(bool(piece.ahead) for piece in self._pieces[1:])
        nested = self._nested.values()
        return own + sum(machine.n_segments for machine in nested if machine._options is not None)

    @property
    def n_batches(self) -> int | None:
        """How many batches come out if none is skipped; None if endless, or not known."""
        count = self.counted.total()
        return None if count is None or count == inf else int(count)

    @property
    def counted(self) -> Counted:
        """What the number of batches follows from."""
        others = {
            id(step): [machine.counted for machine in self._others_of(step)]
            for step in self._plan.regroupings
        }
        return Counted(self._plan, self.schedule, others)

    @property
    def is_async(self) -> bool:
        """Whether some step needs an event loop."""
        hooked = (bound for steps in self._plan.hooks for bound in steps)
        own = any(map(needs_loop, (*self._plan.leaves, *hooked)))
        return own or any(machine.is_async for machine in self._nested.values())

    def start(self, loop: Any = None) -> None:
        """Make variables and static models, in the thread that asks for the first batch.

        Args:
            loop: What runs coroutines, or None.
        """
        self._open(loop, set())
        self._prepare(loop)

    def _open(self, loop: Any, opened: set[PipelineState]) -> None:
        if self._state in opened:  # a pipeline that is there several times is one
            return
        opened.add(self._state)
        self._state.start_run(self.seed)
        for machine in self._nested.values():
            machine._open(loop, opened)
        self._is_open = True
        with self._state.setting_up:
            if not self._state.is_set_up:
                take_hooks(self._program, "once", self._rng_key, loop)
                self._state.is_set_up = True
        take_hooks(self._program, "before", self._rng_key, loop)

    @property
    def has_last_steps(self) -> bool:
        """Whether there is something to do after the last batch."""
        nested = (machine.has_last_steps for machine in self._nested.values())
        return bool(self._plan.hooks.after) or any(nested)

    def finish(self, loop: Any = None) -> None:
        """Take the steps that come after the last batch, if those before the first have begun.

        Those of all pipelines, whatever fails.
        """
        with ExitStack() as stack:
            for machine in reversed(self._nested.values()):
                stack.callback(machine.finish, loop)
            if self._is_open:
                self._is_open = False
                with suppress(StopPipeline):  # there is nothing left to stop
                    take_hooks(self._program, "after", self._rng_key, loop)

    def ahead(self, workers: Workers, numbers: range | None = None) -> Flow:
        """Give the batches, or those of some numbers, as they come to the ordered section."""
        made: Flow = workers.spread(Segment(self.prefix, 0), self.schedule.tickets(numbers))
        for place, piece in enumerate(self._pieces[1 : self._n_ahead], start=1):
            made = self._regrouped(piece, made, workers)
            if piece.ahead:
                made = workers.spread(Segment(self.prefix, place), made)
        return made

    def ordered(self, made: Flow, workers: Workers) -> Flow:
        """Take batches through the ordered section and what follows it."""
        made = self._in_order(self._pieces[self._n_ahead - 1], made)
        for piece in self._pieces[self._n_ahead :]:
            made = self._in_order(piece, self._regrouped(piece, made, workers))
        return made

    def through(self, batch: Batch, pipeline: Any) -> Batch | None:
        """Take one batch through all steps. For any thread, but for ordered steps.

        Args:
            batch: The batch.
            pipeline: What it has as its `pipeline` behind the parallel steps.
        """
        piece = self._pieces[0]
        done = self.prefix.through(batch)
        if done is not None:
            done.pipeline = pipeline
        if done is not None and piece.section:
            section = partial(
                run_steps, done, self._steps.of(piece.section), self._notes.in_section
            )
            done = holding(self.locks(), section)
        if done is not None and piece.rest:
            done = run_steps(done, self._steps.of(piece.rest), self._notes.in_section)
        return done

    def joined_to(self, batch: Batch) -> Batch | None:
        """Make the batch with the ids of another and take it through all steps."""
        # In a parallel action the joined batch gets no more rights than the batch itself.
        is_free = not isinstance(batch.pipeline, PipelineView)
        return self.through(
            self.prefix.beside(batch), self._pipeline if is_free else self.prefix.view
        )

    def replay(self, number: int) -> Batch | None:
        """Make a source batch as it comes to the ordered section, or to the first regrouping.

        None if a step drops it.
        """
        ticket = self.schedule.ticket(number)
        self.prefix.marks_epochs = False
        batch = self.alone(lambda: self.prefix.work(ticket, Halt()))
        if not isinstance(batch, Batch):
            return None
        batch.pipeline = self._pipeline
        return batch

    def source_batch(self, number: int) -> Batch:
        """Make a source batch, before its first step. For work in `alone`."""
        self.prefix.marks_epochs = False
        return self.prefix.make(self.schedule.ticket(number))

    def ready_steps(self, steps: Iterable[Bound]) -> list[ReadyStep]:
        """Give some of the steps, ready. For work in `alone`."""
        return self._steps.of(steps)

    def debug(self, number: int) -> Batch | None:
        """Make a source batch and take it through all steps; None if one drops it."""
        done: Batch | None = self.alone(
            lambda: self.through(self.source_batch(number), self._pipeline)
        )
        return done

    def execute_for(self, batch: Batch) -> Batch | None:
        """Take a given batch through all steps; None if a step drops it."""
        try:
            done: Batch | None = self.alone(lambda: self.through(batch, self._pipeline))
        finally:
            batch.pipeline = self._pipeline  # also where it was dropped before the last step
        return done

    def alone(self, work: Callable[[], Any]) -> Any:
        """Do some work with the steps outside of a run. None where one says skip or stop."""
        loop = EventLoop() if self.is_async else None
        try:
            self._prepare(loop)
            return work()
        except (SkipBatch, StopPipeline):
            return None
        finally:
            if loop is not None:
                loop.close()

    def _prepare(self, loop: Any) -> None:
        for machine in self._nested.values():
            machine._prepare(loop)
        own_loop = loop if any(map(needs_loop, self._plan.leaves)) else None
        joined = {key[0]: machine.joined_to for key, machine in self._nested.items()}
        steps = [step for step in self._plan.steps if not isinstance(step, BoundRegrouping)]
        self._steps = ReadySteps(steps, self._models.get, joined, own_loop, self._notes.ahead)
        view = self._state.view(self._pipeline, self._plan.written)
        segments = [self._steps.of(row) for row in self.prefix.segments]
        self.prefix.ready(segments, view, own_loop)
        if self._options is not None and self._options.prefetch:
            ahead = [step for piece in self._pieces for step in piece.ahead]
            self._steps.warn_of_concurrent_training(ahead)

    # ---- taking batches through

    def _regrouped(self, piece: Piece, made: Flow, workers: Workers) -> Flow:
        bound: Any = piece.regrouping
        drop_last = self.schedule.drop_last
        machines = self._others_of(bound)
        others = [machine.ordered(machine.ahead(workers), workers) for machine in machines]
        stage = regroup(
            bound.what,
            made,
            others,
            self._merge,
            self._namings[id(bound)],
            drop_last,
        )
        return workers.also_close(stage)

    def _merge(self, batches: list[Batch]) -> Batch:
        batch_class = self._plan.batch_class
        if "merge" in batch_class._actions:  # the user's own step
            return merge_batches(batch_class, batches)
        return batch_class.merge(batches)

    def _others_of(self, bound: BoundRegrouping) -> list[Machine]:
        return [self._nested[id(bound), place] for place in range(len(bound.what.others))]

    def _in_order(self, piece: Piece, made: Flow) -> Flow:
        locks = self.locks() if piece.section else ()
        behind = self._steps.of(piece.rest), locks, self._pipeline, self._notes.in_section
        if any(leaf.group > 1 for bound in piece.section for leaf in bound.leaves):
            from batchflow.engine.groups import in_groups  # on use, for a light import

            return in_groups(made, self._steps.phases_of(piece.section), *behind)
        return in_order(made, self._steps.of(piece.section), *behind)

    def locks(self) -> list[Any]:
        """Give the locks of the section, in one global order: those of models first."""
        slots, states = self._locked()
        by_number = attrgetter("serial_number")
        models = [slot.lock for slot in sorted({*slots}, key=by_number)]
        return [*models, *(state.section for state in sorted({*states}, key=by_number))]

    def _locked(self) -> tuple[list[ModelSlot], list[PipelineState]]:
        steps = (bound for piece in self._pieces for bound in piece.section)
        leaves = [leaf for step in steps for leaf in step.leaves]
        slots = [self._models.slot(leaf.model) for leaf in leaves if leaf.model is not None]
        states = [self._state]
        for value in (value for leaf in leaves for value in joined_in(leaf.args)):
            inner_slots, inner_states = self._nested[id(value), 0]._locked()
            slots += inner_slots
            states += inner_states
        return slots, states


def _shard_word(source: Source | None) -> int:
    """Give the word that a shard has in the keys of its randomness: 0 for all items."""
    return 0 if source is None or source.mark is None else source.mark.number + 1


def _refuse_derived_shard(pipeline: Any, options: RunOptions) -> None:
    """Refuse a shard inside of another pipeline whose order is derived from that one's."""
    ahead: dict[str, Any] = dict(pipeline._ahead[1]) if pipeline._ahead else {}
    own = ahead.get("shuffle", True)
    is_own = own is False or (not isinstance(own, bool) and (callable(own) or own is not None))
    if pipeline._source.mark is not None and options.shuffle is not False and not is_own:
        raise ArgumentValueError(
            "a shard inside of another pipeline has an order derived from that one's, so that "
            "shards overlap; give it one of its own: .run_later(shuffle=1)"
        )
