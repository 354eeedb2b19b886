"""From a plan to something that runs: the work of the workers, and the ordered steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property, partial
from math import ceil
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from batchflow.batch import Batch
from batchflow.batch.directory import ModelSlot
from batchflow.engine.hooks import take_hooks
from batchflow.engine.options import RunOptions, derived_seed
from batchflow.engine.prefix import Prefix, Segment
from batchflow.engine.preparation.notes import ReplayNotes
from batchflow.engine.preparation.ready import ReadySteps, needs_loop
from batchflow.engine.program import (
    NestedProgram,
    Program,
    Stage,
    cut_plan,
    nested_in,
    refuse_derived_shard,
    shard_word,
)
from batchflow.engine.regrouping.count import (
    Counted,
    EpochSize,
    Length,
    is_as_counted,
    none_is_missing,
)
from batchflow.engine.regrouping.regroup import Flow, Naming, merging, regroup
from batchflow.engine.regrouping.start import Start, refuse_ended
from batchflow.engine.retraining import note_training
from batchflow.engine.section import holding, in_order
from batchflow.engine.source import Schedule, without_epochs
from batchflow.engine.state import PipelineState, PipelineView
from batchflow.engine.steps import ReadyStep, run_steps
from batchflow.errors import (
    ArgumentValueError,
    BatchflowError,
    SkipBatch,
    StopPipeline,
    add_note_once,
)
from batchflow.executors.loop import EventLoop
from batchflow.index.order import drawn_seed
from batchflow.plan import Bound, BoundRegrouping, Merge, Rebatch
from batchflow.plan.several import joined_in

if TYPE_CHECKING:
    from batchflow.engine.workers import Workers

__all__ = ["RunGraph"]

_SOURCE = 0  # the path of source batches; regroupings count from there


class RunGraph:
    """A program made ready for one run, cut at its ordered section and its regroupings.

    Args:
        program: The pipeline.
        options: What was asked for; None where no batches are read.
        seed: The seed where there are no options; None: a new one.
        is_regrouped: Whether a pipeline outside of this one regroups its batches.
        is_nested: Whether there is a pipeline outside of this one.
        length: Who counts on the number of batches that come out.
    """

    def __init__(
        self,
        program: Program,
        options: RunOptions | None,
        *,
        seed: int | None = None,
        is_regrouped: bool = False,
        is_nested: bool = False,
        length: Length | None = None,
    ) -> None:
        self._program = program
        self._plan, self._source, self._state, self._models, self._pipeline = program
        self._options = options
        self.seed, self._shuffle = drawn_seed() if seed is None else seed, None
        if options is not None:
            self.seed, self._shuffle = options.seeds()
            if self._source is None:
                raise ArgumentValueError("this pipeline has no dataset to read batches from")
            spec = self._source.shard_spec
            self.schedule = options.schedule(len(self._source), self._shuffle, spec)
        shard = shard_word(self._source)
        self._rng_key = (self.seed, _SOURCE, shard)
        self.length = Length() if length is None else length
        self._notes = ReplayNotes(options, self.seed, self._shuffle, self._source, is_nested)
        self._n_epochs_ahead = 0 if options is None or is_nested else options.first_epoch
        regroups = bool(self._plan.regroupings) or self._plan.has_groups
        self.marks_epochs = is_regrouped or regroups
        self._pieces, self._n_ahead = cut_plan(self._plan)
        self._nested: dict[tuple[int, int], RunGraph] = {
            nested.key: self._inside(nested, number)
            for number, nested in enumerate(nested_in(self._plan))
        }
        self.prefix = self._make_prefix()
        self._steps: ReadySteps
        self._is_open = False
        self._start = Start(0, 0, (), ())
        if options is not None:
            # The first batch of one long run: a nested pipeline may be set to begin at an epoch.
            self._origin = self.schedule.first if is_nested else 0
            if not is_nested:
                self._last_longer(options.first_epoch, options.first_epoch)
                self.begin(options.first_epoch)
                refuse_ended(self.counted)

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
            n_batches=None if self._options is None else self.schedule.end,
            schedule=None if self._options is None else self.schedule,
            marks_epochs=self.marks_epochs,
            notes=self._notes,
        )

    def _inside(self, nested: NestedProgram, number: int) -> RunGraph:
        try:
            options = None
            if nested.is_stream and self._options is not None:
                outer = self._options.settled(self.seed, self._shuffle)
                n_epochs = outer.n_epochs and outer.n_epochs + self._n_epochs_ahead
                options = RunOptions.nested(nested.pipeline._ahead, outer, number, n_epochs)
                refuse_derived_shard(nested.pipeline, options)
            return RunGraph(
                nested.pipeline._program(),
                options,
                seed=derived_seed(self.seed, number),
                is_regrouped=nested.is_stream,
                is_nested=True,
                length=self.length if options and not options.is_endless else None,
            )
        except BatchflowError as error:
            add_note_once(error, f"for the pipeline inside of {nested.where}")
            raise

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
    def first_number(self) -> int:
        """The number of the first batch that comes out."""
        return self._start.n_epochs * self._sizes[-1].batches

    def _last_longer(self, n_epochs: int, n_gone: int) -> None:
        """Let others that end with the run have as many epochs in it as if it began at epoch 0.

        Args:
            n_epochs: How many epochs of the run are gone.
            n_gone: How many of this pipeline: of a shorter one that is merged it is more.
        """
        sizes = self._sizes if n_gone else ()
        for step, size in zip(self._plan.regroupings, sizes, strict=False):
            for machine in self._others_of(step):
                schedule, options = machine.schedule, machine._options
                per_epoch, epochs = schedule.batches_per_epoch, n_gone
                if isinstance(step.what, Merge):
                    epochs = max(n_gone, ceil(n_gone * size.batches / per_epoch))
                if options and options.inherits_epochs and schedule.end is not None:
                    end = schedule.end + (epochs - n_epochs) * per_epoch
                    machine.schedule = schedule._replace(end=end)
                machine._last_longer(n_epochs, epochs)

    @cached_property
    def _sizes(self) -> Sequence[EpochSize]:
        return self.counted.epoch_sizes()

    @property
    def counted(self) -> Counted:
        """What the number of batches follows from."""
        others = {
            id(step): [machine.counted for machine in self._others_of(step)]
            for step in self._plan.regroupings
        }
        n_before = dict(zip(map(id, self._plan.regroupings), self._start.n_before, strict=False))
        return Counted(self._plan, self.schedule, others, n_before)

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
        if self._options is not None:
            note_training(self._program, self._options, self.schedule)

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

    def begin(self, n_epochs: int, n_batches: int = 0) -> None:
        """Let the batches begin behind some epochs of one long run, and some batches more.

        Raises:
            ArgumentValueError: Where others begin cannot be found out.
        """
        schedule, first = self.schedule, self._origin + n_batches
        first += n_epochs * schedule.batches_per_epoch
        if schedule.end is not None:
            first = min(first, schedule.end)
        self.schedule = schedule._replace(first=first)
        self._start = Start(n_epochs, 0, (), ())
        if self._plan.regroupings:
            self._start = Start.behind(n_epochs, self.counted, self._sizes)
        for step, gone in zip(self._plan.regroupings, self._start.others, strict=True):
            for machine in self._others_of(step):
                machine.begin(*gone)

    @property
    def _made_schedule(self) -> Schedule:
        """The source batches that are made, those of epochs that are thrown away included."""
        is_remade = self._start.n_remade
        return self.schedule._replace(first=self._origin) if is_remade else self.schedule

    def ahead(self, workers: Workers, numbers: range | None = None) -> Flow:
        """Give the batches, or those of some numbers, as they come to the ordered section."""
        n_remade = self._start.n_remade
        made: Flow = workers.spread(Segment(self.prefix, 0), self._made_schedule.tickets(numbers))
        for place, piece in enumerate(self._pieces[1 : self._n_ahead], start=1):
            made = self._regrouped(place, made, workers)
            if place == n_remade:
                made = without_epochs(made, self._start.n_epochs)
            if piece.ahead:
                made = workers.spread(Segment(self.prefix, place), made)
        return made

    def ordered(self, made: Flow, workers: Workers) -> Flow:
        """Take batches through the ordered section and what follows it."""
        made = self._in_order(self._pieces[self._n_ahead - 1], made)
        for place, piece in enumerate(self._pieces[self._n_ahead :], start=self._n_ahead):
            made = self._in_order(piece, self._regrouped(place, made, workers))
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

    def source_batch(self, number: int) -> Batch:
        """Make a source batch, before its first step. For work in `alone`."""
        self.prefix.marks_epochs = False
        return self.prefix.make(self.schedule.ticket(number))

    def ready_steps(self, steps: Iterable[Bound]) -> list[ReadyStep]:
        """Give some of the steps, ready. For work in `alone`."""
        return self._steps.of(steps)

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

    def _regrouped(self, place: int, made: Flow, workers: Workers) -> Flow:
        bound: Any = self._pieces[place].regrouping
        key = self.seed, _SOURCE + place, self._rng_key[2]
        naming = Naming(key, bound.step, self._notes.ahead, self._sizes[place].batches)
        schedule = self._made_schedule if place <= self._start.n_remade else self.schedule
        if place == 1 and isinstance(bound.what, Rebatch) and self._sizes[0].is_known:
            made = is_as_counted(made, schedule, self.length, bound.step)
        if place == 1 and isinstance(bound.what, Merge) and schedule.first:
            made = none_is_missing(made, schedule, bound.step)
        machines = self._others_of(bound)
        others = [machine.ordered(machine.ahead(workers), workers) for machine in machines]
        merge, epoch = merging(self._plan.batch_class), schedule.first_epoch
        stage = regroup(bound.what, made, others, merge, naming, schedule.drop_last, epoch)
        return workers.also_close(stage)

    def _others_of(self, bound: BoundRegrouping) -> list[RunGraph]:
        return [self._nested[id(bound), place] for place in range(len(bound.what.others))]

    def _in_order(self, piece: Stage, made: Flow) -> Flow:
        locks = self.locks() if piece.section else ()
        behind = self._steps.of(piece.rest), locks, self._pipeline, self._notes.in_section
        if any(leaf.group > 1 for bound in piece.section for leaf in bound.leaves):
            from batchflow.engine.preparation.grouped import in_groups  # on use, for a light import

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
