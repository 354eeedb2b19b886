"""Work on an executor of somebody else's: any `concurrent.futures.Executor`.

    submit(item) ---> the desk, a thread ---> executor.submit(far_call, ...) ---> future
                          ^-------------- answers, deaths of workers -------------+

Guarantees:
    - A future gets the result or the error of its item exactly once, whatever dies.
    - An executor of the user's is never shut down. One that was made here (by the user's function,
      or in place of a broken one) ends with its job.

See desk.py for the thread, homes.py for the kinds of executors, worker.py for the worker's side.
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import Future
from typing import Any

from batchflow.errors import RunClosedError
from batchflow.executors.foreign.desk import KILL_SECONDS, Desk, Task
from batchflow.executors.foreign.homes import Home, home_of
from batchflow.executors.pool import refuse_while_unpacking
from batchflow.executors.travel.futures import ResultFuture
from batchflow.executors.travel.packing import PackedCall, packed_whole

__all__ = ["ForeignJob", "open_job"]

END_SECONDS = 5.0  # for the executor, if it is ended


def open_job(executor: Any, packed: PackedCall, n_workers: int) -> ForeignJob:
    """Begin a job on an executor.

    Args:
        executor: The executor, or a function that makes one.
        packed: The function, packed by `pack`.
        n_workers: The most tasks at work at once, where the executor has more workers.

    Raises:
        ArgumentTypeError: What the function makes is no executor.
        ArgumentValueError: The executor forks.
        BatchflowError: A worker asks for it while it imports a module for its own work.
    """
    refuse_while_unpacking()
    home = home_of(executor)
    home.begin()
    return ForeignJob(home, packed, n_workers)


class ForeignJob:
    """A function in the workers of an executor.

    Args:
        home: The executor.
        packed: The function.
        n_workers: The most tasks at once.
    """

    def __init__(self, home: Home, packed: PackedCall, n_workers: int) -> None:
        self._packed = packed
        self._is_closed = False
        self._desk = Desk(home, packed, n_workers)
        self._thread = threading.Thread(
            target=self._desk.serve, name="batchflow-executor", daemon=True
        )
        self._thread.start()

    def submit(self, item: Any) -> Future[Any]:
        """Let a worker call the function with an item. Never waits.

        The item is packed here and now: what happens to it later does not matter.

        Raises:
            ArgumentTypeError: The item cannot be packed; the message says what in it.
            RunClosedError: The job is closed.
        """
        if self._is_closed:
            raise RunClosedError("this job is closed: it takes no more items")
        item = packed_whole(item, self._packed.classes, "the item")
        future = ResultFuture(self._packed)
        self._desk.post(self._desk.add, Task(item, future))
        return future

    def close(self, grace: float) -> None:
        """End the job. A second call does nothing.

        What waits is cancelled. What is at work then is broken off where that is possible: in Ray,
        and in an executor that was made here. In an executor of the user's it goes on to its end,
        and nobody waits for it. While the interpreter ends nobody is waited for: the desk's thread
        stands still.

        Args:
            grace: Seconds that tasks at work have.
        """
        if not self._is_closed:
            self._is_closed = True
            if sys.is_finalizing():
                return
            self._desk.post(self._desk.close, time.monotonic() + grace)
            if self._thread is not threading.current_thread():
                self._thread.join(grace + KILL_SECONDS + END_SECONDS)
