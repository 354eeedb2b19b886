"""How far is it from `next(run)` to the batch: Python calls, files, and moves between files?

    python benchmarks/hops.py

A profile hook in the consumer's thread counts, for a pipeline of one action on an `ArrayBatch`, the
calls of Python functions, those of other packages as well, the files that they lie in, and how
often a call is in another file than the call before: while the run is set up, in the first `next`,
and in a later one (the median of `LATER`). What workers and the pool's thread do is not counted.

Read it beside the same of another commit: the figures do not depend on the machine, but a wait that
wakes up, or a batch that is there already, changes them a little. Prints JSON.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

from batchflow import ArrayBatch, Dataset, action, shutdown

WAYS: dict[str, dict[str, Any]] = {
    "prefetch=0": {"prefetch": 0},
    "threads": {"prefetch": 4},
    "processes": {"executor": "processes", "prefetch": 4, "n_workers": 2},
}
WARM_UP = 8  # batches
LATER = 15  # batches


class Rows(ArrayBatch):
    """Batches of one action."""

    @action
    def double(self) -> Rows:
        """Double the data."""
        self.data = self.data * 2
        return self


class Hops(NamedTuple):
    """What was counted.

    Attributes:
        calls: Calls of Python functions; a generator that goes on is one, too.
        files: The files that they lie in.
        moves: How often one lay in another file than the one before.
    """

    calls: int
    files: int
    moves: int


def counted(work: Callable[[], Any]) -> tuple[Any, Hops]:
    """Call a function; return what it returns, and what was counted meanwhile."""
    files: set[str] = set()
    calls = moves = 0
    last = ""

    def see(frame: FrameType, event: str, _: Any) -> None:
        nonlocal calls, moves, last
        if event == "call":
            file = frame.f_code.co_filename
            calls += 1
            moves += file != last
            files.add(file)
            last = file

    sys.setprofile(see)
    try:
        made = work()
    finally:
        sys.setprofile(None)
    return made, Hops(calls - 1, len(files - {__file__}), moves - 1)  # without `work` itself


def hops_of(how: dict[str, Any]) -> dict[str, Any]:
    """Count the hops of one way to run."""
    pipeline = Dataset.from_arrays(Rows, data=np.zeros((400, 128, 128))).p.double()
    run, setup = counted(lambda: pipeline.gen_batch(4, seed=1, **how))
    with run:
        _, first = counted(lambda: next(run))
        for _ in range(WARM_UP):
            next(run)
        later = []
        for _ in range(LATER):
            threading.Event().wait(0.02)  # the batch is there: no wait is counted
            later.append(counted(lambda: next(run))[1])
    median = Hops(*(int(statistics.median(figures)) for figures in zip(*later, strict=True)))
    return {"setup": setup._asdict(), "first": first._asdict(), "later": median._asdict()}


def main() -> None:
    """Warm up, count, and print."""
    for how in WAYS.values():  # what is imported on use is imported, and workers are started
        hops_of(how)
    print(json.dumps({name: hops_of(how) for name, how in WAYS.items()}, indent=2))
    shutdown()


if __name__ == "__main__":
    main()
