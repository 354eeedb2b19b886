"""An executor of somebody else's, as the scheduler sees it: `Backend`, for one of an unknown kind.

Guarantees:
    - An executor of the user's is never shut down; one that was made here is ended by `end`.
    - An executor that is broken for good is replaced by one with the same settings, or the error
      says what to pass instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import Any

from batchflow.errors import ArgumentTypeError, BatchflowError
from batchflow.executors.backends.call import SentFunction, remote_call

# The errors by which executors that go on say that workers have died, and how many.
_DEATHS = {
    "KilledWorker": 2,  # Dask: more than that, one after the other, perhaps not all of this task
    "WorkerCrashedError": 1,  # Ray, from here on
    "OutOfMemoryError": 1,
    "NodeDiedError": 1,
    "LocalRayletDiedError": 1,
}


def n_deaths(error: BaseException) -> int:
    """Return how many workers have died if an executor gives this error for a task; 0: none."""
    if isinstance(error, BrokenExecutor):
        return 1
    return next((_DEATHS[c.__name__] for c in type(error).__mro__ if c.__name__ in _DEATHS), 0)


class Backend:
    """An executor to work on.

    Args:
        executor: The executor.
        remake: Makes another one in place of this one, where that is known.
        is_ours: Whether it was made here, and is ended here.
    """

    def __init__(
        self, executor: Any, remake: Callable[[], Backend] | None = None, *, is_ours: bool = False
    ) -> None:
        self.executor = executor
        self._remake = remake
        self._is_ours = is_ours

    @property
    def may_kill(self) -> bool:
        """Whether tasks at work end with the job, however long they would take."""
        return self._is_ours

    def begin(self) -> None:
        """Start the executor, where the consumer's thread has to do that."""

    @property
    def n_workers(self) -> int | None:
        """How many tasks it works on at once; None: it does not tell."""
        return getattr(self.executor, "_max_workers", None)

    def submit(self, *args: Any) -> Future[Any]:
        """Let a worker call `remote_call`."""
        future = self.executor.submit(remote_call, *args)
        if not isinstance(future, Future):
            raise ArgumentTypeError(
                f"submit of the executor must give a concurrent.futures.Future, got "
                f"{type(future).__name__} {future!r:.60}"
            )
        return future

    def share(self, function: SentFunction) -> Any:
        """Put a big function where workers find it; return its stand-in for `submit`."""
        return function

    def cause(self, error: BaseException) -> str:
        """Return how a worker has died, when the executor gives this error for its task."""
        return f"the executor said: {type(error).__name__}: {error}"

    def renewed(self) -> Backend:
        """Make another executor in place of this one, which is broken."""
        if self._remake is not None:
            return self._remake()
        executor = self._alike()
        if executor is None:
            raise BatchflowError(
                f"the executor {self.executor!r:.80} is broken after the death of a worker, and "
                "how to make another one is not known: instead of the executor, pass a function "
                "that makes it, such as executor=lambda: MyExecutor(4)"
            )
        return type(self)(executor, is_ours=True)

    def _alike(self) -> Executor | None:
        """Make an executor with the settings of this one; None: it is not known how."""
        return None

    def stop(self, futures: Iterable[Future[Any]]) -> None:
        """Cancel those tasks that have not begun. Nothing is submitted afterwards."""
        for future in futures:
            future.cancel()

    def kill(self, future: Future[Any]) -> None:
        """Break off a task, if this can be done without harm to others."""

    def end(self, *, is_busy: bool) -> None:
        """End the executor, if it was made here.

        Args:
            is_busy: Whether tasks are at work that are to be killed, if that can be done.
        """
        if self._is_ours:
            self._end(is_busy)

    def _end(self, is_busy: bool) -> None:
        if hasattr(self.executor, "shutdown"):
            self.executor.shutdown(wait=not is_busy)
