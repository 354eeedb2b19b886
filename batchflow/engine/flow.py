"""The flow of batches through the graph of a run: its steps made ready, its stages chained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from batchflow.batch import Batch
from batchflow.engine.graph import RunGraph
from batchflow.engine.prefix import Prefix, Segment
from batchflow.engine.preparation.ready import ReadySteps, needs_loop
from batchflow.engine.program import Stage
from batchflow.engine.regrouping.count import is_as_counted, none_is_missing, refuse_missing
from batchflow.engine.regrouping.naming import Flow, Naming
from batchflow.engine.regrouping.regroup import regroup
from batchflow.engine.section import holding, in_order
from batchflow.engine.source import Schedule, behind, refuse_nothing, without_epochs
from batchflow.engine.state import PipelineView
from batchflow.engine.steps import run_steps
from batchflow.plan import BoundRegrouping, Merge, MixRows, Rebatch

if TYPE_CHECKING:
    from batchflow.engine.workers import Workers


class Resuming(Protocol):
    """Puts back what an earlier run has saved."""

    def note_once(self, graph: RunGraph) -> None:
        """Let steps that are taken once be taken no more, if they were."""

    def put_variables(self, graph: RunGraph) -> None:
        """Set the variables."""

    def put_models(self, graph: RunGraph, ready: ReadyGraph) -> None:
        """Put the states of models into them."""


def start(graph: RunGraph, loop: Any, resuming: Resuming | None = None) -> ReadyGraph:
    """Make variables and static models, in the thread that asks for the first batch."""
    if resuming is not None:
        resuming.note_once(graph)
    graph.set_up(loop)
    if resuming is not None:
        resuming.put_variables(graph)  # parallel actions see those that no step writes
    ready = ReadyGraph(graph, loop)
    if resuming is not None:
        resuming.put_models(graph, ready)
    if graph.options is not None:
        from batchflow.engine.retraining import note_training  # on use, for a light import

        note_training(graph.program, graph.options, graph.schedule)
    return ready


class ReadyGraph:
    """The graph of a run, made ready in the thread that starts it.

    Attributes:
        steps: The steps, ready.
        prefix: The steps ahead of the ordered section, ready.
    """

    def __init__(self, graph: RunGraph, loop: Any) -> None:
        self._graph = graph
        self._nested = {key: ReadyGraph(nested, loop) for key, nested in graph.nested.items()}
        plan, _, state, models, self._pipeline = graph.program
        own_loop = loop if any(map(needs_loop, plan.leaves)) else None
        joined = {key[0]: nested.joined_to for key, nested in self._nested.items()}
        steps = [step for step in plan.steps if not isinstance(step, BoundRegrouping)]
        timed = graph.recorder and graph.recorder.steps_of(graph.seed)
        self.steps = ReadySteps(steps, models.get, joined, own_loop, graph.notes.ahead, timed)
        self.prefix: Prefix = graph.prefix.readied(
            [self.steps.of(row) for row in graph.prefix.segments],
            state.view(self._pipeline, plan.written),
            own_loop,
            [(value, self._nested[id(value), 0].prefix) for value, _ in graph.prefix.joined],
            marks_epochs=graph.marks_epochs,
        )
        if graph.options is not None and graph.options.prefetch:
            parallel = [step for stage in graph.stages for step in stage.prefix]
            section = [step for stage in graph.stages for step in stage.section]
            self.steps.warn_of_concurrent_training(parallel)
            self.steps.warn_of_stale_weights(self._predictions(), section)

    def _predictions(self) -> list[Any]:
        """Return the predictions ahead of the section, with those of pipelines inside of this."""
        graph = self._graph
        own = self.steps.predictions([step for stage in graph.stages for step in stage.prefix])
        ahead = {(id(value), 0) for value, _ in graph.prefix.joined}
        nested = [
            ready
            for key, ready in self._nested.items()
            if key in ahead or ready._graph.options is not None  # joined there; or merged
        ]
        return own + [found for ready in nested for found in ready._predictions()]

    def end(self, failed: bool) -> None:
        """Tell the models of the end of the run, and whether an error has ended it."""
        self.steps.end(failed)
        for nested in self._nested.values():
            nested.end(failed)

    @property
    def prefixes(self) -> list[Prefix]:
        """The prefixes of this pipeline and of those that are merged into it."""
        nested = (ready for ready in self._nested.values() if ready._graph.options is not None)
        return [self.prefix, *(prefix for ready in nested for prefix in ready.prefixes)]

    def ahead(self, workers: Workers, numbers: range | None = None) -> Flow:
        """Return the batches, or those of some numbers, as they come to the ordered section."""
        graph = self._graph
        tickets = graph.made_schedule.tickets(numbers)
        if graph.recorder is not None:
            tickets = graph.recorder.drawing(tickets, graph.seed)
        made: Flow = workers.spread(Segment(self.prefix, 0), tickets)
        for place, stage in enumerate(graph.stages[1 : graph.n_parallel], start=1):
            made = self._regrouped(place, made, workers)
            if place == graph.start.n_remade:
                made = without_epochs(made, graph.start.n_epochs, graph.ended(place))
            if stage.prefix:
                made = workers.spread(Segment(self.prefix, place), made)
        if graph.given_away is not None and numbers is None:
            made = behind(made, graph.schedule.first_epoch, graph.given_away)
        return made

    def ordered(self, made: Flow, workers: Workers) -> Flow:
        """Take batches through the ordered section and what follows it."""
        stages, n_parallel = self._graph.stages, self._graph.n_parallel
        made = self._in_order(stages[n_parallel - 1], made)
        for place, stage in enumerate(stages[n_parallel:], start=n_parallel):
            made = self._in_order(stage, self._regrouped(place, made, workers))
        return made

    def unending(self, batches: Flow) -> Flow:
        """Return the batches, with an error in the place of an endless search for one."""
        schedule = self._graph.schedule
        return batches if schedule.end is not None else refuse_nothing(batches, schedule)

    def through(self, batch: Batch, pipeline: Any) -> Batch | None:
        """Take one batch through all steps. For any thread, but for ordered steps."""
        stage, note = self._graph.stages[0], self._graph.notes.in_section
        done = self.prefix.through(batch)
        if done is not None:
            done.pipeline = pipeline
        if done is not None and stage.section:
            section = self.steps.of(stage.section)
            done = holding(self._graph.locks(), run_steps, done, section, note)
        if done is not None and stage.suffix:
            done = run_steps(done, self.steps.of(stage.suffix), note)
        return done

    def joined_to(self, batch: Batch) -> Batch | None:
        """Make the batch with the ids of another and take it through all steps."""
        # In a parallel action the joined batch gets no more rights than the batch itself.
        is_free = not isinstance(batch.pipeline, PipelineView)
        pipeline = self._pipeline if is_free else self.prefix.view
        return self.through(self.prefix.beside(batch), pipeline)

    # ---- inside

    def _regrouped(self, place: int, made: Flow, workers: Workers) -> Flow:
        graph, n_remade = self._graph, self._graph.start.n_remade
        bound: Any = graph.stages[place].regrouping
        seed, path, shard = graph.rng_key
        n_batches = graph.sizes[place].batches
        naming = Naming((seed, path + place, shard), bound.step, graph.notes.ahead, n_batches)
        schedule = graph.made_schedule if place <= n_remade else graph.schedule
        if place == 1 and isinstance(bound.what, Rebatch | MixRows) and graph.sizes[0].is_known:
            growth = graph.sizes[0].growth
            made = is_as_counted(made, schedule, graph.length, bound.step, growth)
        if isinstance(bound.what, Merge) and graph.sizes[place - 1].is_known:
            made = self._none_missing(place, made, schedule)
        nested = [self._nested[key] for key in graph.keys_of(bound)]
        if graph.recorder is not None:
            made = graph.recorder.outside(made)
        others = [ready.unending(ready.ordered(ready.ahead(workers), workers)) for ready in nested]
        stage = regroup(bound.what, made, others, bound.batch_class, naming, schedule)
        if graph.recorder is not None:
            stage = graph.recorder.regrouping(bound.step, stage, graph.seed)
        return workers.also_close(stage)

    def _none_missing(self, place: int, made: Flow, schedule: Schedule) -> Flow:
        graph, per_epoch = self._graph, self._graph.sizes[place - 1].batches
        first = schedule.first if place == 1 else schedule.first_epoch * per_epoch
        step = graph.stages[place].regrouping.step  # type: ignore[union-attr]

        def missing(number: int) -> None:
            if first:
                refuse_missing(step, number)
            graph.skips = True

        return none_is_missing(made, first, per_epoch, missing)

    def _in_order(self, stage: Stage, made: Flow) -> Flow:
        locks = self._graph.locks() if stage.section else ()
        note = self._graph.notes.in_section
        behind = self.steps.of(stage.suffix), locks, self._pipeline, note
        if any(leaf.group > 1 for bound in stage.section for leaf in bound.leaves):
            from batchflow.engine.preparation.grouped import in_groups  # on use, for a light import

            return in_groups(made, self.steps.phases_of(stage.section), *behind)
        return in_order(made, self.steps.of(stage.section), *behind)
