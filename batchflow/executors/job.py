"""Work in other processes: a function that workers call with one item after the other.

    pack(function) ---> open_job(executor, packed, n_workers) ---> job.submit(item) ---> future
                                                                   job.close(grace)

The workers are those of our pool (`"processes"`), of Ray (`"ray"`), of an executor of the user's,
or of one that a function of the user's makes. Whole batches and per-item work take the same way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from batchflow.executors.item_threads import refuse_while_unpacking

if TYPE_CHECKING:
    from concurrent.futures import Future

    from batchflow.executors.serialization.pickling import PackedCall

__all__ = ["Job", "check_available", "open_job"]


class Job(Protocol):
    """A function in worker processes."""

    def submit(self, item: Any) -> Future[Any]:
        """Let a worker call the function with an item. Never waits.

        The item is packed here and now: what happens to it later does not matter.

        Returns:
            The future of what the function returns. It is unpacked by the thread that asks for it.

        Raises:
            ArgumentTypeError: The item cannot be packed; the message says which part of it.
            RunClosedError: The job is closed.
        """

    def close(self, grace: float) -> None:
        """End the job. A second call does nothing.

        Args:
            grace: Seconds that tasks at work have. Tasks that wait are cancelled at once.
        """


def open_job(executor: Any, packed: PackedCall, n_workers: int) -> Job:
    """Begin a job.

    Args:
        executor: `"processes"`, `"ray"`, an executor, or a function that makes one.
        packed: The function, packed by `pack`.
        n_workers: The most tasks at work at once, where the executor has more workers.

    Raises:
        ArgumentTypeError: The function that should make an executor makes something else.
        ArgumentValueError: The executor forks, or `n_workers` is less than 1.
        BatchflowError: The executor is not available here; or a worker asks for it while it
            imports a module for its own work.
    """
    refuse_while_unpacking()
    if executor == "processes":
        from batchflow.executors.processes.pool import process_pool

        return process_pool().open(packed, n_workers)
    from batchflow.executors.scheduled_job import ScheduledJob

    return ScheduledJob(executor, packed, n_workers)


def check_available(executor: Any) -> None:
    """Raise the `BatchflowError` of `open_job` where the executor is not available here."""
    if executor == "processes":
        from batchflow.executors.processes.pool import process_pool

        process_pool()
    elif executor == "ray":
        from batchflow.executors.backends.ray import RayCluster

        RayCluster()
