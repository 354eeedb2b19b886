"""The graph of a run: the pipelines in it, where their batches begin, and what stands at its ends.

Nothing is made ready here: see flow.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import cached_property
from operator import attrgetter
from typing import Any

from batchflow.batch.directory import ModelSlot
from batchflow.engine.hooks import take_hooks
from batchflow.engine.options import RunOptions
from batchflow.engine.prefix import Prefix
from batchflow.engine.preparation.notes import ReplayNotes
from batchflow.engine.preparation.ready import needs_loop
from batchflow.engine.program import (
    NestedProgram,
    Program,
    cut_plan,
    nested_in,
    refuse_derived_shard,
    shard_word,
)
from batchflow.engine.regrouping.count import Counted, EpochSize, Length
from batchflow.engine.regrouping.start import Start, has_ended, refuse_ended
from batchflow.engine.source import Schedule
from batchflow.engine.state import PipelineState
from batchflow.errors import ArgumentValueError, BatchflowError, StopPipeline, add_note_once
from batchflow.index.order import derived_seed, drawn_seed
from batchflow.plan import BoundRegrouping
from batchflow.plan.several import joined_in

_SOURCE = 0  # the path of source batches; regroupings count from there


class RunGraph:
    """The pipelines of one run, with their seeds and schedules, cut into stages.

    Args:
        program: The pipeline.
        options: The options of the run; None where no batches are read.
        seed: The seed where there are no options; None: a new one.
        is_regrouped: Whether a pipeline outside of this one regroups its batches.
        is_nested: Whether there is a pipeline outside of this one.
        length: Whether somebody counts on the number of batches that come out.

    Attributes:
        seed: The seed of everything random in the run.
        shuffle: What the order is made from: see `RunOptions.seeds`.
        schedule: The source batches; only where there are options.
        notes: Makes the notes of errors.
        marks_epochs: Whether somebody has to know where epochs end. To be set before the start.
        stages: The steps, cut at the regroupings.
        n_parallel: How many stages begin ahead of the ordered section.
        nested: The graphs of the pipelines inside of this one, by what stands for them in the plan.
        fingerprint: What the run is, for who compares it with another; None: nobody has asked.
        step_texts: Its steps in words, alike.
        skips: Whether an action has skipped a batch ahead of a merge.
        given_away: The number of the last batch of the first epoch that has been delivered in an
            earlier run; None: none has.
        prefix: The steps ahead of the ordered section.
        rng_key: The key of the randomness of source batches.
        start: Where the streams begin.
        recorder: Measures what the steps cost; None: nobody does.
    """

    shuffle: Any
    given_away: int | None = None
    recorder: Any = None
    fingerprint: dict[str, Any] | None = None
    step_texts: list[str] | None = None
    skips = False

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
        self.program, self.options = program, options
        self._plan, self._source, self._state, self._models, _ = program
        self.seed, self.shuffle = drawn_seed() if seed is None else seed, None
        if options is not None:
            self.seed, self.shuffle = options.seeds()
            if self._source is None:
                raise ArgumentValueError("this pipeline has no dataset to read batches from")
            self.schedule = options.schedule(self._source, self.seed, self.shuffle)
        shard = shard_word(self._source)
        self.rng_key = (self.seed, _SOURCE, shard)
        self.length = Length() if length is None else length
        self.notes = ReplayNotes(options, self.seed, self.shuffle, self._source, is_nested)
        self._n_epochs_ahead = 0 if options is None or is_nested else options.first_epoch
        regroups = bool(self._plan.regroupings) or self._plan.has_groups
        is_endless = options is not None and options.is_endless
        self.marks_epochs = is_regrouped or regroups or is_endless
        self.stages, self.n_parallel = cut_plan(self._plan)
        self.nested: dict[tuple[int, int], RunGraph] = {
            nested.key: self._inside(nested, number)
            for number, nested in enumerate(nested_in(self._plan))
        }
        self.prefix = self._make_prefix()
        self._is_open = False  # whether the steps before the first batch have begun
        self.start = Start(0, 0, (), ())
        if options is not None:
            # The first batch of one long run: a nested pipeline may be set to begin at an epoch.
            self._origin = self.schedule.first if is_nested else 0
            if not is_nested:
                self.begin(options.first_epoch)
                refuse_ended(self.counted)

    def _make_prefix(self) -> Prefix:
        segments = [stage.prefix for stage in self.stages[: self.n_parallel]]
        leaves = (leaf for row in segments for bound in row for leaf in bound.leaves)
        values = (value for leaf in leaves for value in joined_in(leaf.args))
        return Prefix(
            source=self._source,
            batch_class=self._plan.batch_class,
            segments=segments,
            joined=[(value, self.nested[id(value), 0].prefix) for value in values],
            rng_key=self.rng_key,
            n_batches=None if self.options is None else self.schedule.end,
            schedule=None if self.options is None else self.schedule,
            notes=self.notes,
        )

    def _inside(self, nested: NestedProgram, number: int) -> RunGraph:
        try:
            options = None
            if nested.is_stream and self.options is not None:
                outer = self.options.settled(self.seed, self.shuffle)
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
        """The prefixes of this pipeline and of those that are merged into it."""
        nested = (graph for graph in self.nested.values() if graph.options is not None)
        return [self.prefix, *(prefix for graph in nested for prefix in graph.prefixes)]

    @property
    def n_segments(self) -> int:
        """How many parallel segments there are."""
        own = 1 + sum(bool(stage.prefix) for stage in self.stages[1:])
        nested = self.nested.values()
        return own + sum(graph.n_segments for graph in nested if graph.options is not None)

    @property
    def first_number(self) -> int:
        """The number of the first batch that comes out."""
        if not self._plan.regroupings:
            return self.schedule.first
        first = self.start.n_epochs * self.sizes[-1].batches
        return first if self.given_away is None else self.given_away + 1

    @property
    def n_batches(self) -> int | None:
        """How many batches come out if none is skipped; None if endless, or not known."""
        n_batches = self.counted.n_batches
        if n_batches is None or self.given_away is None:
            return n_batches
        return n_batches + self.start.n_epochs * self.sizes[-1].batches - self.first_number

    @cached_property
    def sizes(self) -> Sequence[EpochSize]:
        """The size of an epoch ahead of each regrouping, and at the end."""
        return self.counted.epoch_sizes()

    @property
    def counted(self) -> Counted:
        """The facts from which the number of batches follows."""
        others = {
            id(step): [graph.counted for graph in self._others_of(step)]
            for step in self._plan.regroupings
        }
        n_before = dict(zip(map(id, self._plan.regroupings), self.start.n_before, strict=False))
        return Counted(self._plan, self.schedule, others, n_before)

    @property
    def is_async(self) -> bool:
        """Whether some step needs an event loop."""
        hooked = (bound for steps in self._plan.hooks for bound in steps)
        own = any(map(needs_loop, (*self._plan.leaves, *hooked)))
        return own or any(graph.is_async for graph in self.nested.values())

    def set_up(self, loop: Any, done: set[PipelineState] | None = None) -> None:
        """Make the variables, and take the steps that come before the first batch.

        `done` has the states of the pipelines for which this is done: each is set up once.
        """
        done = set() if done is None else done
        if self._state in done:
            return
        done.add(self._state)
        self._state.start_run(self.seed)
        for graph in self.nested.values():
            graph.set_up(loop, done)
        self._is_open = True
        with self._state.setting_up:
            if not self._state.is_set_up:
                take_hooks(self.program, "once", self.rng_key, loop)
                self._state.is_set_up = True
        take_hooks(self.program, "before", self.rng_key, loop)

    @property
    def has_last_steps(self) -> bool:
        """Whether there is something to do after the last batch."""
        nested = (graph.has_last_steps for graph in self.nested.values())
        return bool(self._plan.hooks.after) or any(nested)

    def finish(self, loop: Any = None) -> None:
        """Take the steps that come after the last batch, if those before the first have begun.

        The steps of all pipelines are taken, whatever fails.
        """
        with ExitStack() as stack:
            for graph in reversed(self.nested.values()):
                stack.callback(graph.finish, loop)
            if self._is_open:
                self._is_open = False
                with suppress(StopPipeline):  # there is nothing left to stop
                    take_hooks(self.program, "after", self.rng_key, loop)

    def begin(self, n_epochs: int, n_batches: int = 0) -> None:
        """Let the batches begin behind some epochs of one long run, and some batches more."""
        schedule, first = self.schedule, self._origin + n_batches
        first += n_epochs * schedule.batches_per_epoch
        if schedule.end is not None:
            first = min(first, schedule.end)
        self.schedule = schedule._replace(first=first)
        self.start, self.given_away = Start(n_epochs, 0, (), ()), None
        if self._plan.regroupings:
            self.start = Start.behind(n_epochs, self.counted, self.sizes, skips=self.skips)
        for step, gone in zip(self._plan.regroupings, self.start.others, strict=True):
            for graph in self._others_of(step):
                graph.begin(*gone)

    def ended(self, place: int) -> Exception | None:
        """Return the error of a run that has no batches behind a regrouping, if it is one."""
        is_first = self.start.n_epochs == self._n_epochs_ahead  # or an epoch was left for this one
        return has_ended(self._plan.regroupings[place - 1]) if is_first else None

    @property
    def made_schedule(self) -> Schedule:
        """The source batches that are made, those of epochs that are thrown away included."""
        is_remade = self.start.n_remade
        return self.schedule._replace(first=self._origin) if is_remade else self.schedule

    def keys_of(self, bound: BoundRegrouping) -> list[tuple[int, int]]:
        """Return the keys, in `nested`, of the pipelines that a regrouping reads."""
        return [(id(bound), place) for place in range(len(bound.what.others))]

    def _others_of(self, bound: BoundRegrouping) -> list[RunGraph]:
        return [self.nested[key] for key in self.keys_of(bound)]

    def locks(self) -> list[Any]:
        """Return the locks of the section, in one global order: those of models first."""
        slots, states = self._locked()
        by_number = attrgetter("serial_number")
        models = [slot.lock for slot in sorted({*slots}, key=by_number)]
        return [*models, *(state.section for state in sorted({*states}, key=by_number))]

    def _locked(self) -> tuple[list[ModelSlot], list[PipelineState]]:
        steps = (bound for stage in self.stages for bound in stage.section)
        leaves = [leaf for step in steps for leaf in step.leaves]
        slots = [self._models.slot(leaf.model) for leaf in leaves if leaf.model is not None]
        states = [self._state]
        for value in (value for leaf in leaves for value in joined_in(leaf.args)):
            inner_slots, inner_states = self.nested[id(value), 0]._locked()
            slots += inner_slots
            states += inner_states
        return slots, states


def graphs_in(graph: RunGraph, path: str = "0") -> Iterator[tuple[str, RunGraph]]:
    """Go through a graph and those inside of it, with their places in it."""
    yield path, graph
    for number, inner in enumerate(graph.nested.values()):
        yield from graphs_in(inner, f"{path}.{number}")


def record_calls(graph: RunGraph, recorder: Any) -> None:
    """Let a recorder measure the steps of a graph, those of the graphs inside included."""
    for _, one in graphs_in(graph):
        one.recorder = recorder
        one.prefix = one.prefix._replace(recorder=recorder)
