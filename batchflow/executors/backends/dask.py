"""Tasks of a cluster of Dask, as futures that end whatever happens there.

Dask's own executor looks at a task's state once more after its result has come. When a worker dies
in between, the result is taken for an error, or nobody is told at all. Here Dask is asked directly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any

__all__ = ["cancel", "share", "submit", "worker_threads"]


class _DaskFuture(Future[Any]):
    """What has become of a task of Dask.

    Attributes:
        theirs: Dask's future, which keeps the task wanted; None when it is done.
    """

    def __init__(self, theirs: Any) -> None:
        super().__init__()
        self.theirs = theirs

    async def carry(self) -> None:
        """Wait for the end of the task. Runs in Dask's event loop."""
        try:
            answer = await self.theirs
        except BaseException as error:
            if "Cancelled" in type(error).__name__:
                self.cancel()
                self.set_running_or_notify_cancel()  # wakes up those who wait
            elif self.set_running_or_notify_cancel():
                self.set_exception(error)
        else:
            if self.set_running_or_notify_cancel():
                self.set_result(answer)
        self.theirs = None


def submit(executor: Any, function: Callable[..., Any], *args: Any) -> Future[Any]:
    """Let a worker call a function.

    Args:
        executor: The executor of a client, whose options hold.
        function: The function.
        args: Its arguments.

    Raises:
        RuntimeError: The executor has been shut down.
    """
    if executor._shutdown:
        raise RuntimeError("cannot schedule new futures after shutdown")
    client = executor._client
    # What is pure in the eyes of Dask is done once: so would be what its worker has died of.
    options = {**executor._kwargs, "pure": False}
    ours = _DaskFuture(client.submit(function, *args, **options))
    client.loop.add_callback(ours.carry)
    return ours


def cancel(executor: Any, futures: Iterable[Any]) -> None:
    """Let Dask forget tasks. What is at work goes on to its end."""
    wanted = [theirs for ours in futures if (theirs := ours.theirs) is not None]
    if wanted:
        executor._client.cancel(wanted)


def share(executor: Any, value: Any) -> Any:
    """Bring a value to all workers, so that it is still there when one of them dies."""
    return executor._client.scatter([value], broadcast=True, hash=False)[0]


def worker_threads(executor: Any) -> int | None:
    """Tell how many tasks the workers do at once; None: there are no workers yet."""
    return sum(executor._client.nthreads().values()) or None
