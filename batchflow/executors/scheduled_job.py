"""A job on an executor of somebody else's: any `concurrent.futures.Executor`, Dask, or Ray.

    submit(item) ---> the scheduler, a thread ---> executor.submit(remote_call, ...) ---> future
                          ^-------------- answers, deaths of workers -------------+

Guarantees:
    - A future gets the result or the error of its item exactly once, whatever dies.
    - An executor of the user's is never shut down. One that was made here (by the user's function,
      or in place of a broken one) ends with its job.

See scheduler.py for the thread, backends/ for the kinds of executors and for the worker's side.
"""

from __future__ import annotations

import sys
import threading
import time
from concurrent.futures import Future
from typing import Any

from batchflow.errors import RunClosedError
from batchflow.executors.backends.kinds import backend_of
from batchflow.executors.futures import ResultFuture
from batchflow.executors.scheduler import KILL_SECONDS, RetryScheduler, Task
from batchflow.executors.serialization.pickling import PackedCall, packed_whole

__all__ = ["ScheduledJob"]

END_SECONDS = 5.0  # for the executor, if it is ended


class ScheduledJob:
    """A function in the workers of an executor.

    Args:
        executor: The executor, `"ray"`, or a function that makes an executor.
        packed: The function.
        n_workers: The most tasks at work at once, where the executor has more workers.

    Raises:
        ArgumentTypeError: The function makes no executor.
        ArgumentValueError: The executor forks.
        BatchflowError: Ray is not installed, or cannot be started.
    """

    def __init__(self, executor: Any, packed: PackedCall, n_workers: int) -> None:
        backend = backend_of(executor)
        backend.begin()
        self._packed = packed
        self._is_closed = False
        self._scheduler = RetryScheduler(backend, packed, n_workers)
        self._thread = threading.Thread(
            target=self._scheduler.serve, name="batchflow-executor", daemon=True
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
        self._scheduler.post(self._scheduler.add, Task(item, future))
        return future

    def close(self, grace: float) -> None:
        """End the job. A second call does nothing.

        Tasks that wait are cancelled. Tasks at work are broken off where that is possible: in Ray,
        and in an executor that was made here. In an executor of the user's they go on to their end,
        and nobody waits for them.

        Args:
            grace: Seconds that tasks at work have.
        """
        if not self._is_closed:
            self._is_closed = True
            if sys.is_finalizing():
                return  # the scheduler's thread stands still: to wait for it would be for ever
            self._scheduler.post(self._scheduler.close, time.monotonic() + grace)
            if self._thread is not threading.current_thread():
                self._thread.join(grace + KILL_SECONDS + END_SECONDS)
