"""The ordered section with steps that take several batches in one call.

    batch by batch          k batches in one call      batch by batch, when it is asked for
    [ the steps before ] -> [ train_model(...) ] ----> [ the steps behind, and the rest ]

A group is k batches of an epoch in a row, as they reach the section's first such step; the batches
that are left over at the end of an epoch, or before an error, are taken one by one.

Guarantees:
    - A model that cannot be trained on several batches in one call is trained batch by batch.
    - The values that a step stores are stored batch by batch, in order, as single steps store them.
    - An error or `StopPipeline` at a batch comes when all batches before it have been delivered.
      An error of the call itself comes before its group: none of its batches is delivered.
    - While one of its batches is in the consumer's hands, no batch behind its group has been begun.
    - The locks are held as in a section without groups.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from batchflow.batch import Batch
from batchflow.engine.preparation.arguments import Arguments, refuse_coroutine, store
from batchflow.engine.section import finished, holding
from batchflow.engine.source import EpochEnd
from batchflow.engine.steps import ReadyStep, ReplayNote, run_steps
from batchflow.errors import SkipBatch, add_note_once
from batchflow.plan import BoundStep

Items = list[Batch | EpochEnd]


class GroupedStep(NamedTuple):
    """A step that takes several batches in one call.

    Attributes:
        bound: The step.
        arguments: Returns its arguments for a batch.
        model_for: Returns its model for a batch, from which a dynamic one is made.
    """

    bound: BoundStep
    arguments: Callable[[Batch], Arguments]
    model_for: Callable[[Batch], Any]

    def prepare(self, batch: Batch) -> Arguments:
        """Make a dynamic model, if there is none yet, and give the arguments for a batch."""
        self.model_for(batch)
        return self.arguments(batch)

    def take_all(self, batches: Sequence[Batch], given: Sequence[Arguments]) -> bool:
        """Do the step for a whole group in one call, if its model can be trained so.

        Returns:
            Whether it has been done.
        """
        values = self.bound.several(self.model_for(batches[0]), given)  # type: ignore[misc]
        if values is None:
            return False
        for batch, value in zip(batches, values, strict=True):
            if self.bound.save_to is not None:
                store(self.bound.save_to, value, batch)
        return True

    def take_one(self, batch: Batch, given: Arguments) -> None:
        """Do the step for one batch."""
        args, kwargs = given
        value = self.bound.function(batch, self.model_for(batch), *args, **kwargs)
        refuse_coroutine(value, self.bound.step.name)
        if self.bound.save_to is not None:
            store(self.bound.save_to, value, batch)


class Phase(NamedTuple):
    """Steps of the section that take batch by batch, and the one behind them that takes several.

    Attributes:
        steps: The steps.
        grouped: The step behind them; None: the section ends here.
    """

    steps: Sequence[ReadyStep]
    grouped: GroupedStep | None


def in_groups(
    batches: Iterator[Batch | EpochEnd], section: Sequence[Phase], *behind: Any
) -> Generator[Batch | EpochEnd, None, None]:
    """Take batches through an ordered section with steps that take several: as `in_order` does."""
    groups = _Groups(section, *behind)
    while not groups.is_over:
        items = groups.next_group(batches)
        while items:
            done = [groups.finished(items.pop(0))]
            if isinstance(done[0], Batch):
                done[0]._in_group = bool(items)
            if done[0] is not None:
                yield done.pop()  # type: ignore[misc]
    if groups.ending is not None:
        try:
            raise groups.ending
        finally:
            groups.ending = None  # it holds this frame: no circle


@dataclass
class _Groups:
    """Makes group after group.

    Attributes:
        phases: The phases of the section. The last one has no step that takes several batches.
        is_over: Whether there is no further group.
        ending: The error that ended them, raised when the batches before it have been delivered.
    """

    phases: Sequence[Phase]
    rest: Sequence[ReadyStep]
    locks: Sequence[Any]
    pipeline: Any
    replay_note: ReplayNote
    is_over: bool = False
    ending: Exception | None = None

    @property
    def _size(self) -> int:
        return self.phases[0].grouped.bound.group  # type: ignore[union-attr]

    def next_group(self, batches: Iterator[Batch | EpochEnd]) -> Items:
        """Take a group through all steps that take several."""
        items: Items = []
        for place, phase in enumerate(self.phases[:-1]):
            source = batches if place == 0 else iter(items)
            items, given = self._collected(source, phase, is_first=place == 0)
            items = self._taken(items, phase.grouped, given)
        return items

    def _taken(self, items: Items, grouped: Any, given: Sequence[Arguments]) -> Items:
        """Do the step that takes several; give what goes on."""
        own = [item for item in items if isinstance(item, Batch)]
        try:
            if len(own) == self._size and self._did_all(grouped, own, given):
                return items
        except Exception as error:  # noqa: BLE001  raised when the batches before have gone
            self.is_over, self.ending = True, error
            return []
        rest = iter(given)
        done: Items = []
        for item in items:
            if isinstance(item, EpochEnd):
                done.append(item)
                continue
            try:
                self._run(item, partial(grouped.take_one, item, next(rest)), grouped)
                done.append(item)
            except SkipBatch:
                done += [EpochEnd()] if item._closes else []
            except Exception as error:  # noqa: BLE001  the same
                self.is_over, self.ending = True, error
                break
        return done

    def _did_all(self, grouped: Any, own: Sequence[Batch], given: Sequence[Arguments]) -> bool:
        try:
            return bool(self._run(own[0], partial(grouped.take_all, own, given), grouped))
        except BaseException as error:
            numbers = ", ".join(str(batch.number) for batch in own)
            add_note_once(error, f"in one call for the batches {numbers}")
            raise

    def _run(self, batch: Batch, work: Callable[[], Any], grouped: Any) -> Any:
        """Do some work for a batch under the locks, and say where if that fails."""
        told: list[Any] = []

        def step(batch: Batch) -> Batch:
            told.append(work())
            return batch

        ready = step, grouped.bound.step
        holding(self.locks, run_steps, batch, [ready], self.replay_note)
        return told[0]

    def _collected(
        self, source: Iterator[Batch | EpochEnd], phase: Phase, *, is_first: bool
    ) -> tuple[Items, list[Arguments]]:
        """Take batches to the step that takes several: up to a group of them."""
        items: Items = []
        given: list[Arguments] = []
        try:
            while len(given) < self._size:
                item = next(source, None)  # no lock is held: it may be long in coming
                if item is None:
                    self.is_over |= is_first
                    break
                if isinstance(item, Batch):
                    item = holding(self.locks, self._through, item, phase, given)
                if item is not None:
                    items.append(item)
                if is_first and (isinstance(item, EpochEnd) or (item and item._closes)):
                    break
        except Exception as error:  # noqa: BLE001  raised at its turn
            self.is_over, self.ending = True, error
        return items, given

    def _through(
        self, item: Batch, phase: Phase, given: list[Arguments]
    ) -> Batch | EpochEnd | None:
        """Take a batch through the steps of a phase, and note its arguments of the next."""
        item.pipeline = self.pipeline
        try:
            done: Any = run_steps(item, phase.steps, self.replay_note)
            given.append(self._run(done, partial(phase.grouped.prepare, done), phase.grouped))  # type: ignore[union-attr]
        except SkipBatch:
            return EpochEnd() if item._closes else None
        return done  # type: ignore[no-any-return]

    def finished(self, item: Batch | EpochEnd) -> Batch | EpochEnd | None:
        """Take a batch through what follows the last step that takes several."""
        return finished(item, self.phases[-1].steps, self.rest, self.locks, self.replay_note)
