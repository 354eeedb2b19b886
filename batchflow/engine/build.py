"""From a plan to something that runs: the work of the workers, and the ordered steps."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from batchflow.batch import Batch
from batchflow.batch.directory import ModelSlot
from batchflow.engine.late import with_chance, with_late_values
from batchflow.engine.options import RunOptions
from batchflow.engine.section import in_order
from batchflow.engine.source import Source
from batchflow.engine.state import PipelineState, PipelineView
from batchflow.engine.steps import ReadyStep, add_note_once, batch_facts, run_steps
from batchflow.engine.stream import Halt
from batchflow.errors import SkipBatch, StopPipeline
from batchflow.models.keras import is_keras_model
from batchflow.models.tf1 import initialize_sessions
from batchflow.plan import BoundChance, BoundPlan, BoundStep

if TYPE_CHECKING:
    from batchflow.engine.source import Ticket

__all__ = ["Machine"]

_MAIN_SOURCE = 0
_NO_SHARD = 0


class Machine:
    """A plan made ready for one run, cut at its ordered section.

    Args:
        plan: The steps.
        source: What to read from.
        options: What was asked for.
        state: What the pipeline owns.
        pipeline: What the batches get as their `pipeline`.
    """

    def __init__(
        self,
        plan: BoundPlan,
        source: Source,
        options: RunOptions,
        state: PipelineState,
        pipeline: Any,
    ) -> None:
        self.seed, self._shuffle = options.seeds()
        self.schedule = options.schedule(len(source), self._shuffle)
        self._rng_key = (self.seed, _MAIN_SOURCE, _NO_SHARD)
        self._n_batches = self.schedule.n_batches
        self._plan = plan
        self._source = source
        self._options = options
        self._state = state
        self._pipeline = pipeline
        self._view: PipelineView | None = None
        self._steps: list[ReadyStep] = []
        self._prefix: Sequence[ReadyStep] = ()
        self._slots: dict[str, ModelSlot] = {}

    def start(self) -> None:
        """Make variables and static models, in the thread that asks for the first batch."""
        self._state.start_run(self.seed)
        self._prepare()

    def _prepare(self) -> None:
        self._view = self._state.view(self._pipeline, self._plan.written)
        directory = self._source.batch_class.models
        descriptors = {}
        for name, is_dynamic in self._plan.models.items():
            if is_dynamic:
                self._slots[name] = self._state.dynamic_slot(name)
            else:
                self._slots[name] = directory.definition(name).slot
                descriptors[name] = directory[name]
        self._steps = [self._ready(bound, descriptors) for bound in self._plan.steps]
        self._prefix = self._steps[: self._plan.section.start]
        if self._options.prefetch:
            self._warn_of_concurrent_training(descriptors)
        initialize_sessions(
            value
            for bound in self._plan.leaves
            if bound.model is not None
            for value in (*bound.args, *bound.kwargs.values())
        )

    def work(self, ticket: Ticket, halt: Halt) -> Batch | None:
        """Make a source batch and take it to the ordered section. For any thread."""
        try:
            batch = self._make(ticket)
            return run_steps(batch, self._prefix, self._replay_note, halt)
        except SkipBatch:
            return None

    def _make(self, ticket: Ticket) -> Batch:
        number, epoch, positions = ticket
        facts = {
            "number": number,
            "epoch": epoch,
            "pipeline": self._view,
            "_rng_key": self._rng_key,
            "_n_batches": self._n_batches,
        }
        try:
            return self._source.make_batch(positions, facts)
        except (SkipBatch, StopPipeline):
            raise
        except Exception as error:
            name = self._source.batch_class.__name__
            add_note_once(error, f"while a {name} was made, before its first action")
            add_note_once(error, batch_facts(number, epoch, self._source.ids(positions)))
            add_note_once(error, self._replay_note(number))
            raise

    def ordered(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Take batches through the ordered section and what follows it."""
        section = self._plan.section
        return in_order(
            batches,
            self._steps[section],
            self._steps[section.stop :],
            self._locks(section),
            self._pipeline,
            self._replay_section_note,
        )

    def replay(self, number: int) -> Batch | None:
        """Make a source batch as it comes to the ordered section; None if a step drops it."""
        ticket = self.schedule.ticket(number)
        self._prepare()
        try:
            batch = self.work(ticket, Halt())
        except StopPipeline:
            return None
        if batch is not None:
            batch.pipeline = self._pipeline
        return batch

    def _replay_note(self, number: int) -> str:
        return f"make this batch again: {self._replay_call(number)}"

    def _replay_section_note(self, number: int) -> str:
        return f"make the batch that came to the ordered section: {self._replay_call(number)}"

    def _replay_call(self, number: int) -> str:
        return self._options.replay_call(number, self.seed, self._shuffle)

    def _warn_of_concurrent_training(self, descriptors: dict[str, Any]) -> None:
        prefix = self._plan.steps[: self._plan.section.start]
        for bound in (leaf for step in prefix for leaf in step.leaves):
            if bound.model is not None and is_keras_model(descriptors[bound.model]):
                warnings.warn(
                    f"the action {bound.step.name!r} works on the Keras model {bound.model!r} in "
                    "several threads at once, which loses updates or breaks the model. Mark it "
                    f'@action(model="{bound.model}", singleton=True)',
                    stacklevel=2,
                )

    def _ready(self, bound: BoundStep | BoundChance, descriptors: dict[str, Any]) -> ReadyStep:
        if isinstance(bound, BoundChance):
            steps = [self._ready(step, descriptors) for step in bound.steps]
            function = with_chance(steps, bound.step.probability, self._replay_note)
            return ReadyStep(function, (), {}, bound.step)
        function = with_late_values(bound) if bound.is_late else bound.function
        if bound.model is None:
            return ReadyStep.of(bound, function)
        if not bound.dynamic:
            return ReadyStep.of(bound, function, descriptors[bound.model])
        definition = self._source.batch_class.models.definition(bound.model)
        slot = self._slots[bound.model]
        return ReadyStep.of(bound, _with_dynamic(function, slot, definition.function))

    def _locks(self, section: slice) -> list[Any]:
        """Give the locks of the section: its models' in one global order, then the pipeline's."""
        leaves = (leaf for step in self._plan.steps[section] for leaf in step.leaves)
        models = {leaf.model for leaf in leaves if leaf.model is not None}
        slots = sorted((self._slots[name] for name in models), key=lambda slot: slot.serial_number)
        return [*(slot.lock for slot in slots), self._state.section]


def _with_dynamic(
    function: Callable[..., Any], slot: ModelSlot, define: Callable[[Batch], Any]
) -> Callable[..., Any]:
    """Make an action that gets its model from the first batch that reaches it."""

    def call(batch: Batch, *args: Any, **kwargs: Any) -> Any:
        return function(batch, slot.get(partial(define, batch)), *args, **kwargs)

    return call
