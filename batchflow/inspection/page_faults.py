"""How much of the time of parallel steps goes into page faults: memory asked for again and again.

A first batch always asks the system for memory. So where its faults could matter, the same batch
is made again, several times by two threads, as a run with `prefetch` may do: faults that come back
then come back with every batch. How many do depends on what malloc has learned before: a check
that says nothing is no proof.
"""

from __future__ import annotations

import contextvars
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from batchflow.allocator import seconds_of_a_fault

SHARE = 0.1  # of the time
LEAST = 256  # faults of the first batch: 1 MiB; what Python itself needs stays below
LEAST_AGAIN = 64  # of each one after it
N_THREADS = 2
N_ROUNDS, N_PASSES = 4, 4


class FaultWatch:
    """Counts page faults and seconds of the steps in its `with` blocks."""

    def __init__(self) -> None:
        self._faults, self._seconds = 0, 0.0

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count what happens in the block."""
        faults, start, cpu = _minor_faults(), time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            # Steps that wait have time of the clock; those with several threads, of the CPUs.
            self._seconds += max(time.perf_counter() - start, time.process_time() - cpu)
            self._faults += _minor_faults() - faults

    def remark(self, make_again: Callable[[], Any]) -> str | None:
        """Return what is to be said of the page faults of a batch; None: nothing.

        Args:
            make_again: Makes the same batch again. Called only if what was counted is suspicious.
        """
        cost = seconds_of_a_fault() if self._faults >= LEAST else 0.0
        if self._share(cost) < SHARE:
            return None
        try:
            again = _made_again(make_again)
        except Exception:  # noqa: BLE001  the first pass has told what there is to tell
            return None
        share, n_faults = again._share(cost), again._faults // N_PASSES
        if n_faults < LEAST_AGAIN or share < SHARE:
            return None
        return (
            f"page faults take about {min(share, 0.99):.0%} of the time of the parallel steps "
            f"({n_faults:,} for each batch of this size): the memory of arrays is given back to "
            "the system and asked for again. In threads, batchflow.keep_memory() at the start of "
            "the script ends that; worker processes keep it"
        )

    def _share(self, cost: float) -> float:
        return self._faults * cost / self._seconds if self._seconds else 0.0


def _made_again(make: Callable[[], Any]) -> FaultWatch:
    """Make a batch again and again, some of them alive at once; return the best round."""
    waiting: deque[Future[Any]] = deque()
    rounds = []
    with ThreadPoolExecutor(N_THREADS) as threads:
        for _ in range(N_ROUNDS):
            watch = FaultWatch()
            with watch.counting():
                for _ in range(N_PASSES):
                    waiting.append(threads.submit(contextvars.copy_context().run, make))
                    if len(waiting) > N_THREADS:
                        waiting.popleft().result()
            rounds.append(watch)
    return min(rounds, key=lambda watch: watch._faults)


def _minor_faults() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
