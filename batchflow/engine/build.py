"""From a plan to something that runs: the work of the workers, and the ordered steps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from batchflow.batch import Batch
from batchflow.batch.directory import ModelSlot
from batchflow.batch.regroup import merge_batches
from batchflow.engine.hooks import take_hooks
from batchflow.engine.options import RunOptions
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
from batchflow.engine.source import EpochEnd, Source
from batchflow.engine.state import PipelineView
from batchflow.engine.steps import ReadyStep, batch_facts, run_steps
from batchflow.engine.stream import Halt
from batchflow.errors import ArgumentValueError, SkipBatch, StopPipeline, add_note_once
from batchflow.executors.loop import EventLoop
from batchflow.plan import BoundRegrouping, Concat, Merge, Rebatch
from batchflow.plan.builtin import filter_items

if TYPE_CHECKING:
    from batchflow.engine.source import Ticket
    from batchflow.engine.workers import Workers

__all__ = ["Machine"]

_NO_SHARD = 0


class Machine:
    """A program made ready for one run, cut at its ordered section and its regroupings.

    Args:
        program: The pipeline.
        options: What was asked for; None where no batches are read.
        seed: The seed of the run, for a pipeline inside of another; None: as the options say.
        paths: Numbers the sources and regroupings of a run, whose randomness differs by them.
        is_regrouped: Whether a pipeline outside of this one regroups its batches.
    """

    def __init__(
        self,
        program: Program,
        options: RunOptions | None,
        *,
        seed: int | None = None,
        paths: Iterator[int] | None = None,
        is_regrouped: bool = False,
    ) -> None:
        self._program = program
        self._plan, self._source, self._state, self._models, self._pipeline = program
        self._options = options
        paths = itertools.count() if paths is None else paths
        self._path = path = next(paths)
        self.seed, self._shuffle = seed or 0, None
        if options is not None:
            self.seed, self._shuffle = options.seeds(path)
            self.schedule = options.schedule(len(self._given_source), self._shuffle)
        self._rng_key = (self.seed, path, _NO_SHARD)
        self._n_batches = None if options is None else self.schedule.n_batches
        self.marks_epochs = is_regrouped or bool(self._plan.regroupings)
        self._pieces, self._n_ahead = cut_plan(self._plan)
        self._nested: dict[tuple[int, int], Machine] = {
            nested.key: self._inside(nested, paths) for nested in nested_in(self._plan)
        }
        self._namings = {
            id(step): Naming(
                (self.seed, next(paths), _NO_SHARD), f"{step.step}, chained at {step.step.where}"
            )
            for step in self._plan.regroupings
        }
        self._loop: Any = None
        self._view: PipelineView | None = None
        self._steps: ReadySteps
        self._first: Sequence[ReadyStep] = ()
        self._is_open = False

    @property
    def _given_source(self) -> Source:
        if self._source is None:
            raise ArgumentValueError("this pipeline has no dataset to read batches from")
        return self._source

    def _inside(self, nested: NestedProgram, paths: Iterator[int]) -> Machine:
        program = nested.pipeline._program()
        options = None
        if nested.is_stream and self._options is not None:
            outer = self._options.settled(self.seed, self._shuffle)
            options = RunOptions.nested(nested.pipeline._ahead, outer)
        return Machine(program, options, seed=self.seed, paths=paths, is_regrouped=nested.is_stream)

    # ---- what a run does with it

    @property
    def n_segments(self) -> int:
        """How many parallel segments there are."""
        own = 1 + sum(bool(piece.ahead) for piece in self._pieces[1:])
        nested = self._nested.values()
        return own + sum(machine.n_segments for machine in nested if machine._options is not None)

    @property
    def n_batches(self) -> int | None:
        """How many batches come out if none is skipped; None where that is not known."""
        count = self.schedule.n_batches
        sizes_known = not any(leaf.function is filter_items for leaf in self._plan.leaves)
        for step in self._plan.regroupings:
            counts = [count, *(machine.n_batches for machine in self._others_of(step))]
            if isinstance(step.what, Merge):
                count = min((n for n in counts if n is not None), default=None)
            elif isinstance(step.what, Concat):
                count = None if None in counts else sum(counts)  # type: ignore[arg-type]
            elif sizes_known and count is not None:
                count = self._count_of(step.what, count)
            else:
                count = None
            sizes_known = False
        return count

    def _count_of(self, what: Rebatch, n_batches: int) -> int:
        """Tell how many batches are made of the first `n_batches` source batches."""
        schedule = self.schedule
        drop = schedule.drop_last if what.drop_last is None else what.drop_last

        def made(n_sources: int) -> int:
            whole, rest = divmod(min(n_sources * schedule.batch_size, schedule.n_items), what.size)
            return whole + (rest > 0 and not drop)

        epochs, rest = divmod(n_batches, schedule.batches_per_epoch)
        return epochs * made(schedule.batches_per_epoch) + made(rest)

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
        self._open(loop)
        self._prepare(loop)

    def _open(self, loop: Any) -> None:
        self._state.start_run(self.seed)
        for machine in self._nested.values():
            machine._open(loop)
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

    def ahead(self, workers: Workers) -> Flow:
        """Give the batches as they come to the ordered section."""
        made: Flow = workers.spread(self.work, self.schedule.tickets(), is_staged=False)
        for piece in self._pieces[1 : self._n_ahead]:
            made = self._regrouped(piece, made, workers)
            if piece.ahead:
                work = partial(self._go_on, self._steps.of(piece.ahead))
                made = workers.spread(work, made, is_staged=True)
        return made

    def ordered(self, made: Flow, workers: Workers) -> Flow:
        """Take batches through the ordered section and what follows it."""
        made = self._in_order(self._pieces[self._n_ahead - 1], made)
        for piece in self._pieces[self._n_ahead :]:
            made = self._in_order(piece, self._regrouped(piece, made, workers))
        return made

    def work(self, ticket: Ticket, halt: Halt) -> Batch | EpochEnd | None:
        """Make a source batch and take it to the ordered section. For any thread."""
        try:
            batch = self._make(ticket)
            return run_steps(batch, self._first, self._replay_note, halt)
        except SkipBatch:
            if self.marks_epochs and self.schedule.ends_epoch(ticket[0]):
                return EpochEnd()
            return None

    def through(self, batch: Batch) -> Batch | None:
        """Take one batch through all steps. For any thread, but for ordered steps."""
        piece = self._pieces[0]
        batch.pipeline = self._view
        if self._loop is not None:
            batch._loop = self._loop
        done = run_steps(batch, self._first, self._replay_note)
        if done is not None:
            done.pipeline = self._pipeline
        if done is not None and piece.section:
            section = partial(
                run_steps, done, self._steps.of(piece.section), self._replay_section_note
            )
            done = holding(self.locks(), section)
        if done is not None and piece.rest:
            done = run_steps(done, self._steps.of(piece.rest), self._replay_section_note)
        return done

    def joined_to(self, batch: Batch) -> Batch | None:
        """Make the batch with the ids of another and take it through all steps."""
        if batch._source_ids is not None:
            raise ArgumentValueError(
                "join: the ids of this batch are those of several sources (see its source_ids), so "
                "they do not tell which items to join; join before the merge"
            )
        source = self._given_source
        facts = self._facts(batch.number, batch.epoch)
        facts["_n_batches"] = batch._n_batches
        return self.through(source.make_batch(source.positions(batch.index), facts))

    def replay(self, number: int) -> Batch | None:
        """Make a source batch as it comes to the ordered section, or to the first regrouping.

        None if a step drops it.
        """
        ticket = self.schedule.ticket(number)
        self.marks_epochs = False
        batch: Batch | None = self._alone(lambda: self.work(ticket, Halt()))
        if batch is not None:
            batch.pipeline = self._pipeline
        return batch

    def execute_for(self, batch: Batch) -> Batch | None:
        """Take a given batch through all steps; None if a step drops it."""
        done: Batch | None = self._alone(lambda: self.through(batch))
        return done

    def _alone(self, work: Callable[[], Any]) -> Any:
        """Do some work outside of a run. None where a step says skip or stop."""
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
        self._loop = loop if any(map(needs_loop, self._plan.leaves)) else None
        self._view = self._state.view(self._pipeline, self._plan.written)
        joined = {key[0]: machine.joined_to for key, machine in self._nested.items()}
        self._steps = ReadySteps(self._plan, self._models, joined, self._loop, self._replay_note)
        self._first = self._steps.of(self._pieces[0].ahead)
        if self._options is not None and self._options.prefetch:
            ahead = [step for piece in self._pieces for step in piece.ahead]
            self._steps.warn_of_concurrent_training(ahead)

    # ---- taking batches through

    def _facts(self, number: int | None, epoch: int | None) -> dict[str, Any]:
        facts = {
            "number": number,
            "epoch": epoch,
            "pipeline": self._view,
            "_rng_key": self._rng_key,
            "_n_batches": self._n_batches,
        }
        if self._loop is not None:
            facts["_loop"] = self._loop
        return facts

    def _make(self, ticket: Ticket) -> Batch:
        number, epoch, positions = ticket
        facts = self._facts(number, epoch)
        if self.marks_epochs and self.schedule.ends_epoch(number):
            facts["_closes"] = True
        source = self._given_source
        try:
            return source.make_batch(positions, facts)
        except (SkipBatch, StopPipeline):
            raise
        except Exception as error:
            name = self._plan.batch_class.__name__
            add_note_once(error, f"while a {name} was made, before its first action")
            add_note_once(error, batch_facts(number, epoch, source.ids(positions)))
            add_note_once(error, self._replay_note([number]))
            raise

    def _go_on(
        self, steps: Sequence[ReadyStep], batch: Batch | EpochEnd, halt: Halt
    ) -> Batch | EpochEnd | None:
        """Take a regrouped batch to the ordered section. For any thread."""
        if isinstance(batch, EpochEnd):
            return batch
        batch.pipeline = self._view
        try:
            return run_steps(batch, steps, self._replay_note, halt)
        except SkipBatch:
            return EpochEnd() if batch._closes else None

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
        return in_order(
            made,
            self._steps.of(piece.section),
            self._steps.of(piece.rest),
            self.locks() if piece.section else (),
            self._pipeline,
            self._replay_section_note,
        )

    def locks(self) -> list[Any]:
        """Give the locks of the section, in one global order: those of models first."""
        slots, sections = self._locked()
        in_one_order = sorted({*slots}, key=lambda slot: slot.serial_number)
        return [*(slot.lock for slot in in_one_order), *sections]

    def _locked(self) -> tuple[list[ModelSlot], list[Any]]:
        steps = (bound for piece in self._pieces for bound in piece.section)
        leaves = [leaf for step in steps for leaf in step.leaves]
        slots = [self._models.slot(leaf.model) for leaf in leaves if leaf.model is not None]
        sections = [self._state.section]
        for value in (value for leaf in leaves for value in joined_in(leaf.args)):
            inner_slots, inner_sections = self._nested[id(value), 0]._locked()
            slots += inner_slots
            sections += inner_sections
        return slots, sections

    # ---- messages

    def _replay_note(self, numbers: Sequence[int]) -> str:
        return f"make this batch again: {self._replay_calls(numbers)}"

    def _replay_section_note(self, numbers: Sequence[int]) -> str:
        return f"make the batch that came to the ordered section: {self._replay_calls(numbers)}"

    def _replay_calls(self, numbers: Sequence[int]) -> str:
        if self._options is None:
            return f"by the batch that it was joined to (it is of {self._source!r})"
        calls = [
            self._options.replay_call(number, self.seed, self._shuffle) for number in numbers[:3]
        ]
        dots = "; ..." if len(numbers) > 3 else ""
        of = f" (pipeline: the one over {self._source!r} inside of it)" if self._path else ""
        return "; ".join(calls) + dots + of
