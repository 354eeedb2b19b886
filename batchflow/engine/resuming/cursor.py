"""Where a run stands: behind which batch, in a few numbers.

    nothing regroups            the number of the next source batch
    a regrouping, then the      the epoch, and the number of the last batch of it: the batches of
    ordered section             the epoch are made again, in workers, and given away up to that one
    a regrouping in or behind   the epoch, at its borders alone: rows in the regrouping have been
    the ordered section         through ordered steps, which are not taken twice

A batch of a group (`steps_per_call`) is no place to stand at, but for the last of the group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from batchflow.engine.graph import RunGraph, graphs_in
from batchflow.engine.regrouping.start import Start
from batchflow.errors import ArgumentValueError, BatchflowError
from batchflow.plan import BoundRegrouping
from batchflow.records import Record

FORMAT = 1


class Place(NamedTuple):
    """The place of a batch in a run, which holds none of its data."""

    epoch: int | None
    number: int | None
    closes: bool
    in_group: bool


class Cursor(Record):
    """Where a run stands.

    Attributes:
        step: How many batches were delivered, those before the run was resumed included.
        epoch: The epoch that it is in.
        number: The number of the last batch of the epoch; None: the next one is the first of it.
        stopped: Whether it ended before its last batch, by `StopPipeline`.
        problem: Why nobody can go on from here; None: one can.
        seen: The epoch of the last batch that this run has delivered.
        skips: Whether an action has skipped a batch ahead of a merge: how many batches of the
            others are gone is then found out by making the epochs before again.
        end: Where the run ended, if nothing can follow that: the number behind its last source
            batch.
    """

    step: int
    epoch: int
    number: int | None = None
    stopped: bool = False
    problem: str | None = None
    seen: int | None = None
    skips: bool = False
    end: int | None = None

    @classmethod
    def at_start(cls, graph: RunGraph) -> Cursor:
        """Return where a run begins."""
        return cls(0, graph.schedule.first_epoch)

    def behind(self, place: Place, graph: RunGraph, n_batches: int = 1) -> Cursor:
        """Return where the run stands when a batch, the last of several, has been delivered."""
        epoch, number, problem = place.epoch or 0, place.number, None
        is_end = ends_epoch(place, graph)
        if place.in_group:
            problem = "it is in the middle of a group of batches that were trained on in one call"
        elif not is_end and (late := _late_regrouping(graph)) is not None:
            problem = (
                f"{late.step}, chained at {late.step.where}, holds rows that have been through "
                "ordered steps; it has none at the end of an epoch"
            )
        if is_end:
            epoch, number = epoch + 1, None
        if epoch and problem is None and _regroups(graph):
            problem = _later_problem(graph)
        skips = any(inner.skips for _, inner in graphs_in(graph))
        step = self.step + n_batches
        return Cursor(step, epoch, number, False, problem, place.epoch, skips)

    def left_for(self, epoch: int, graph: RunGraph) -> Cursor:
        """Return where the run stands when an epoch is to come next, whatever is left of others."""
        problem = _later_problem(graph) if epoch and _regroups(graph) else None
        skips = any(inner.skips for _, inner in graphs_in(graph))
        return self._replace(epoch=epoch, number=None, problem=problem, skips=skips)

    def at_end(self, graph: RunGraph, *, stopped: bool) -> Cursor:
        """Return where the run stands when there are no more batches."""
        end = graph.schedule.end
        if stopped or end is None:
            return self._replace(stopped=True, problem=None)
        epoch, rest = divmod(end, graph.schedule.batches_per_epoch)
        if not _regroups(graph):
            return self._replace(epoch=epoch, number=end - 1 if rest else None, problem=None)
        if (self.epoch, self.number) == (epoch, None) and not rest and self.problem is None:
            return self
        # What was left came as a shorter batch, or a merged pipeline has ended: nothing can follow.
        return self._replace(stopped=True, problem=None, end=end)

    def refuse_problem(self) -> None:
        """Raise an error if nobody can go on from here."""
        if self.problem is not None:
            raise BatchflowError(f"the run has no state that could be resumed here: {self.problem}")

    def begin(self, graph: RunGraph) -> None:
        """Let a run begin here.

        Raises:
            ArgumentValueError: It had ended, and nothing can follow that.
        """
        end = graph.schedule.end
        if self.end is not None and (end is None or end > self.end):
            raise ArgumentValueError(
                f"the run that was saved ended behind {self.end} source batches, where rows were "
                "left over or a merged pipeline ended, so it cannot go on to more of them. Begin "
                "anew with the n_epochs or n_iters that you want"
            )
        if self.stopped:
            graph.begin(0, end or 0)
        elif self.number is None or _regroups(graph):
            for _, inner in graphs_in(graph):
                inner.skips = self.skips
            graph.begin(self.epoch)
            graph.given_away = self.number
        else:
            graph.begin(0, self.number + 1)

    def is_over(self, graph: RunGraph) -> bool:
        """Check whether there is nothing to come."""
        return self.stopped or graph.schedule.n_batches == 0

    def to_json(self) -> dict[str, Any]:
        """Return it as a mapping for JSON."""
        always = {"format": FORMAT, "step": self.step, "epoch": self.epoch, "number": self.number}
        more = {"stopped": self.stopped, "skips": self.skips, "end": self.end}
        return always | {name: value for name, value in more.items() if value}

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> Cursor:
        """Return what `to_json` has written.

        Raises:
            ArgumentValueError: It is no such mapping.
        """
        try:
            if state["format"] != FORMAT:
                raise ArgumentValueError(
                    f"the state has the format {state['format']!r}, and this batchflow reads "
                    f"{FORMAT}: update it"
                )
            numbers = state["step"], state["epoch"], state["number"], state.get("end")
            if not all(type(n) is int and n >= 0 for n in numbers if n is not None):
                raise TypeError
            if None in numbers[:2]:
                raise TypeError
            stopped, skips = (bool(state.get(name, False)) for name in ("stopped", "skips"))
            return cls(*numbers[:3], stopped, skips=skips, end=numbers[3])
        except (LookupError, TypeError) as error:
            raise ArgumentValueError(
                f"state is what run.state_dict() returns, got {state!r:.60}"
            ) from error


def ends_epoch(place: Place, graph: RunGraph) -> bool:
    """Check whether a batch is the last of its epoch."""
    return place.closes if _regroups(graph) else graph.schedule.ends_epoch(place.number or 0)


def _regroups(graph: RunGraph) -> bool:
    return bool(graph.program.plan.regroupings)


def _late_regrouping(graph: RunGraph) -> BoundRegrouping | None:
    """Return the first regrouping that gets batches which have been through ordered steps."""
    late = graph.stages[graph.n_parallel :]
    return late[0].regrouping if late else None


def _later_problem(graph: RunGraph) -> str | None:
    """Return why no run can begin at a later epoch: it is not known what is merged with what."""
    try:
        start = Start.behind(1, graph.counted, graph.sizes, skips=graph.skips)
    except ArgumentValueError as error:
        return str(error)
    for step, (n_epochs, _) in zip(graph.program.plan.regroupings, start.others, strict=True):
        for key in graph.keys_of(step) if n_epochs else ():
            if (problem := _later_problem(graph.nested[key])) is not None:
                return problem
    return None
