"""A cluster of Dask.

Dask's own executor looks at a task's state once more after its result has come. When a worker dies
in between, the result is taken for an error, or nobody is told at all. Here Dask is asked directly.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

from batchflow.executors.backends.base import Backend
from batchflow.executors.backends.call import SentFunction, remote_call


class DaskCluster(Backend):
    """The executor of a client of Dask, whose options hold."""

    @property
    def n_workers(self) -> int | None:
        """The number of threads of all workers; None: there are no workers yet."""
        return sum(self.executor._client.nthreads().values()) or None

    def submit(self, *args: Any) -> Future[Any]:
        """Let a worker call `remote_call`."""
        if self.executor._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        client = self.executor._client
        # Dask does a pure task once: also one whose worker has died, which is to be tried again.
        options = {**self.executor._kwargs, "pure": False}
        ours = _DaskFuture(client.submit(remote_call, *args, **options))
        client.loop.add_callback(ours.carry)
        return ours

    def share(self, function: SentFunction) -> Any:
        """Bring a function to all workers, so that it is still there when one of them dies."""
        return self.executor._client.scatter([function], broadcast=True, hash=False)[0]

    def stop(self, futures: Iterable[Any]) -> None:
        """Let Dask forget tasks. Tasks at work go on to their end."""
        wanted = [theirs for ours in futures if (theirs := ours.theirs) is not None]
        if wanted:
            self.executor._client.cancel(wanted)


class _DaskFuture(Future[Any]):
    """The future of a task of Dask: it ends whatever happens there.

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
