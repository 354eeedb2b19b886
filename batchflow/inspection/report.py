"""The report of a check, and its text."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class StepReport:
    """The report on one step.

    Attributes:
        name: The step, as it was chained.
        where: The place of that.
        is_ordered: Whether it is part of the ordered section: one batch at a time, in order.
        changes: Its changes to the batch: `"images: float64 (2, 8, 8), was uint8 (2, 8, 8)"`.
        problems: Faults that make it fail, or make results differ from run to run.
        look_at: Things that may be right or wrong; only their author knows.
        stays: Why it cannot travel to worker processes; None: it can, or need not.
        outcome: `"done"`, `"skipped the batch"`, `"stopped the run"`, `"failed: ..."`,
            `"not run: ..."`, or `"not checked: ..."`.
    """

    name: str
    where: str
    is_ordered: bool
    changes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    look_at: list[str] = field(default_factory=list)
    stays: str | None = None
    outcome: str = "done"

    def __str__(self) -> str:
        is_told = self.outcome == "done" or self.outcome in self.problems
        lines = [f"{self.name}  at {self.where}"]
        lines += [] if is_told else [f"    {self.outcome}"]
        lines += [f"    {change}" for change in self.changes]
        lines += [f"    ! {problem}" for problem in self.problems]
        lines += [f"    ? {remark}" for remark in self.look_at]
        if self.stays is not None:
            lines.append(f"    stays in this process: {self.stays}")
        return "\n".join(lines)


@dataclass
class Report:
    """The report of a check.

    Attributes:
        steps: By step, in order.
        n_items: The number of items in the batch.
        start: The batch before the first step: its components.
        stays: Why the pipeline cannot run in worker processes; empty: it can.
        n_asked: The number of items that was asked for.
        memory: What there is to say of page faults; None: nothing.
    """

    steps: list[StepReport]
    n_items: int
    start: list[str]
    stays: list[str] = field(default_factory=list)
    n_asked: int | None = None
    memory: str | None = None

    @property
    def problems(self) -> list[str]:
        """All problems, each with its step."""
        return [f"{step.name}: {problem}" for step in self.steps for problem in step.problems]

    @property
    def look_at(self) -> list[str]:
        """All that may be right or wrong, each with its step."""
        of_steps = [f"{step.name}: {remark}" for step in self.steps for remark in step.look_at]
        return of_steps if self.memory is None else [*of_steps, self.memory]

    @property
    def can_use_processes(self) -> bool:
        """Whether all that is needed ahead of the section can travel to worker processes."""
        return not self.stays

    def __str__(self) -> str:
        fewer = ""
        if self.n_asked is not None and self.n_asked > self.n_items:
            fewer = f" ({self.n_asked} were asked for, and there are no more)"
        of = _several(self.n_items, "item")
        lines = [f"a batch of {of}{fewer}: {'; '.join(self.start) or 'no data'}"]
        in_section = False
        for number, step in enumerate(self.steps):
            if step.is_ordered != in_section:
                in_section = step.is_ordered
                lines.append(f"-- {'ordered section' if in_section else 'end of the section'} --")
            lines.append(f"{number:4d} {step}")
        if self.stays and all(step.stays is None for step in self.steps):
            lines += [f"     stays in this process: {problem}" for problem in self.stays]
        lines += [] if self.memory is None else [f"     ? {self.memory}"]
        return "\n".join([*lines, self._sum()])

    __repr__ = __str__

    def _sum(self) -> str:
        parts = [_several(len(self.problems), "problem")]
        if n := len(self.look_at):
            parts.append(f"{_several(n, 'thing')} to look at")
        if n := sum(step.outcome.startswith("not ") for step in self.steps):
            parts.append(f"{_several(n, 'step')} not checked")
        return ", ".join(parts)


def _several(n: int, what: str) -> str:
    return f"{n or 'no'} {what}{'' if n == 1 else 's'}"
