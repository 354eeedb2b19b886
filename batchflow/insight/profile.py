"""`Profile`: where the time of a run went."""

from __future__ import annotations

import html
import os
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from batchflow.insight.verdict import judge, size_of, time_of

if TYPE_CHECKING:
    from batchflow.engine.timing import Call
    from batchflow.insight.costs import StepCost, Totals

_HEAD = ("step", "calls", "mean", "p95", "share", "out", "faults", "ran in")


class Profile:
    """Where the time of a run went. Made by `pipeline.profile`, and by `run(profile=True)`.

    Printed, it is a table of the steps and the verdict. Times of a step are those of one call, by
    the clock, without what it calls of other steps; `share` is its share of the time of all steps.
    `out` is the size of the batch that comes out of it. The start of workers, and the first batch,
    are left out of the waiting.

    Args:
        totals: The figures of the run.
        costs: Those of its steps, and of what is around them.
        calls: Single calls, for the trace.
        consumed: When the consumer had a batch in its hands, and how long.

    Example:
        >>> from batchflow import ArrayBatch, Dataset, action
        >>> import time
        >>> class Images(ArrayBatch):
        ...     @action
        ...     def decode(self):
        ...         time.sleep(0.002)
        ...         return self
        >>> profile = Dataset.from_arrays(Images, data=range(80)).p.decode().profile(20, 4)
        >>> profile.bottleneck
        'decode'
        >>> [step["name"] for step in profile.to_dict()["steps"][:2]]
        ['source', 'decode']
    """

    def __init__(
        self,
        totals: Totals,
        costs: Sequence[StepCost],
        calls: Sequence[Call] = (),
        consumed: Sequence[tuple[float, float]] = (),
    ) -> None:
        self._totals = totals
        self._costs = list(costs)
        self._calls = list(calls)
        self._consumed = list(consumed)

    @cached_property
    def _found(self) -> tuple[str | None, str]:
        return judge(self._totals, self._costs)

    @property
    def bottleneck(self) -> str | None:
        """What limits the run; None: nothing takes most of the time.

        The name of a step, or `"source"`: making batches of the dataset; `"consumer"`: the loop
        that uses them; `"prefetch"`: too few batches are made ahead; `"gil"`: threads wait for the
        interpreter; `"faults"`: page faults; `"transfer"`: batches on their way from workers;
        `"lock"`: threads wait for each other; `"overhead"`: what batches or items cost at all.
        """
        return self._found[0]

    @property
    def verdict(self) -> str:
        """What limits the run, in words, and what would change that."""
        return self._found[1]

    @cached_property
    def _steps(self) -> list[StepCost]:
        shown = [cost for cost in self._costs if cost.key.kind != "work" and cost.n_calls]
        shown = [cost for cost in shown if cost.key.name != "order" or cost.mean > 1e-4]
        return sorted(shown, key=lambda cost: (not cost.is_ahead, cost.first))

    def _share(self, cost: StepCost) -> float:
        whole = sum(cost.mean * cost.n_calls for cost in self._steps)
        return cost.mean * cost.n_calls / whole if whole else 0.0

    def _ran_in(self, cost: StepCost) -> str:
        if not cost.threads:
            return ""
        processes = {process for process, _ in cost.threads}
        if processes != {os.getpid()}:
            return f"{len(processes)} process{'es' * (len(processes) > 1)}"
        if {*cost.threads} <= {*self._totals.consumers}:
            return "your thread" if cost.is_ahead or not self._totals.prefetch else "section"
        return f"{len(cost.threads)} thread{'s' * (len(cost.threads) > 1)}"

    def to_dict(self) -> dict[str, Any]:
        """Return everything as a dictionary for JSON. Times are in seconds, sizes in bytes."""
        totals = self._totals
        elapsed = totals.elapsed or 1.0
        return {
            "n_batches": totals.n_batches,
            "seconds": totals.elapsed,
            "waited": min(totals.waited / elapsed, 1.0),
            "consumer": min(totals.consumer / elapsed, 1.0),
            "live_batches": totals.n_live,
            "peak_memory": totals.memory,
            "prefetch": totals.prefetch,
            "n_workers": totals.n_workers,
            "bottleneck": self.bottleneck,
            "verdict": self.verdict,
            "steps": [self._row(cost) for cost in self._steps],
        }

    def _row(self, cost: StepCost) -> dict[str, Any]:
        return {
            "name": cost.name,
            "where": cost.key.where,
            "calls": cost.n_calls,
            "mean": cost.mean,
            "p95": cost.p95,
            "cpu": cost.cpu,
            "share": self._share(cost),
            "bytes_out": cost.n_bytes,
            "faults": cost.n_faults,
            "ran_in": self._ran_in(cost),
        }

    def _cells(self) -> list[tuple[str, ...]]:
        return [
            (
                cost.name,
                f"{cost.n_calls:,}",
                time_of(cost.mean),
                time_of(cost.p95),
                f"{self._share(cost):.0%}",
                size_of(cost.n_bytes) if cost.n_bytes else "",
                f"{cost.n_faults:,}" if cost.n_faults else "",
                self._ran_in(cost),
            )
            for cost in self._steps
        ]

    def _summary(self) -> str:
        totals = self._totals
        elapsed = totals.elapsed or 1.0
        live = f"{totals.n_live} live batches at most, " if totals.n_live else ""
        memory = f"peak memory {size_of(totals.memory)}" if totals.memory else ""
        return (
            f"{totals.n_batches} batches in {time_of(totals.elapsed)}: waited "
            f"{min(totals.waited / elapsed, 1.0):.0%}, your loop "
            f"{min(totals.consumer / elapsed, 1.0):.0%}; {live}{memory}"
        ).rstrip("; ,")

    def __str__(self) -> str:
        rows = [_HEAD, *self._cells()]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for row in rows:
            name, *figures = row
            *figures, where = (x.rjust(w) for x, w in zip(figures, widths[1:], strict=True))
            lines.append("  ".join([name.ljust(widths[0]), *figures, where.strip()]).rstrip())
        bottleneck = self.bottleneck or "none"
        return "\n".join([*lines, "", self._summary(), f"bottleneck: {bottleneck}", self.verdict])

    def __repr__(self) -> str:
        return f"{self}"

    def _repr_html_(self) -> str:
        """Return the table and the verdict for a notebook."""
        head = "".join(f"<th>{html.escape(cell)}</th>" for cell in _HEAD)
        rows = "".join(
            f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>"
            for row in self._cells()
        )
        told = [self._summary(), f"bottleneck: {self.bottleneck or 'none'}", self.verdict]
        words = "<br>".join(map(html.escape, told))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table><p>{words}</p>"

    def save_trace(self, path: str | os.PathLike[str]) -> None:
        """Write the calls as trace events, for https://ui.perfetto.dev or `chrome://tracing`.

        The last 20,000 measured calls, one row for each thread and worker process.

        Args:
            path: The file, `profile.json`.

        Raises:
            ArgumentValueError: The path is a folder, or its folder does not exist.
        """
        from batchflow.insight.trace import write_trace  # on use, for a light import

        write_trace(path, self._calls, self._consumed, self._totals.consumers)
