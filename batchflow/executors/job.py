"""Work in other processes: a function that workers call with one item after the other.

    pack(function) ---> open_job(executor, packed, n_workers) ---> job.submit(item) ---> future
                                                                   job.close(grace)

Guarantees of `in_processes`:
    - However a call ends, no chunk of it begins afterwards, and no process works for nobody: when a
      timeout, Ctrl-C or an error ends a call, the processes at work for it are killed.
    - A chunk whose process was killed runs again in another one: three times in all.

The workers are those of our pool (`"processes"`), of Ray (`"ray"`), of an executor of the user's,
or of one that a function of the user's makes. Whole batches and per-item work take the same way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from batchflow.errors import ItemTimeoutError, WorkerDiedError
from batchflow.executors.futures import Job
from batchflow.executors.item_threads import cpu_count, end_of, is_worker, refuse_while_unpacking
from batchflow.executors.serialization.pickling import PackedCall, pack
from batchflow.executors.waiting import result_of


def open_job(executor: Any, packed: PackedCall, n_workers: int) -> Job:
    """Begin a job.

    Args:
        executor: `"processes"`, `"ray"`, an executor, or a function that makes one.
        packed: The function, packed by `pack`.
        n_workers: The most tasks at work at once, where the executor has more workers.

    Raises:
        ArgumentTypeError: The function that should make an executor makes something else.
        ArgumentValueError: The executor forks, or `n_workers` is less than 1.
        BatchflowError: The executor is not available here, or cannot be started; or a worker asks
            for it while it imports a module for its own work.
    """
    refuse_while_unpacking()
    if executor == "processes":
        from batchflow.executors.processes.pool import process_pool

        return process_pool().open(packed, n_workers)
    from batchflow.executors.scheduler import ScheduledJob

    return ScheduledJob(executor, packed, n_workers)


def check_available(executor: Any) -> None:
    """Raise the `BatchflowError` of `open_job` where the executor is not available here."""
    if executor == "processes":
        from batchflow.executors.processes.pool import process_pool

        process_pool()
    elif executor == "ray":
        from batchflow.executors.backends.ray import RayCluster

        RayCluster()


def in_processes(
    work: Callable[..., Any],
    chunks: Sequence[tuple[Any, ...]],
    *,
    n_workers: int | None = None,
    timeout: float | None = None,
) -> list[Any]:
    """Call `work(*chunk)` for each chunk in worker processes.

    In a worker process it calls them in place.

    Args:
        work: The function, which is packed once for all chunks.
        chunks: The arguments of each call.
        n_workers: The most chunks at work at once, by default one for each CPU.
        timeout: Seconds for the whole call. Processes at work when it ends are killed.

    Returns:
        What the calls returned, in the order of the chunks.

    Raises:
        Exception: What the first chunk that failed has raised.
        BatchflowError: The extra `processes` is not installed.
        ItemTimeoutError: Some chunks were not finished in time.
        WorkerDiedError: A chunk lost three processes.
    """
    if is_worker():
        return [work(*chunk) for chunk in chunks]
    end = end_of(timeout)
    job = open_job("processes", pack(functools.partial(_call, work)), n_workers or cpu_count())
    try:
        futures = [job.submit(chunk) for chunk in chunks]
        results = []
        for place, future in enumerate(futures):
            try:
                results.append(result_of(future, end))
            except TimeoutError:
                unfinished = [i for i, other in enumerate(futures) if not other.done()]
                raise ItemTimeoutError(f"not finished after {timeout} s", unfinished) from None
            except WorkerDiedError as error:
                raise WorkerDiedError(
                    str(error), place, attempts=error.attempts, cause=error.cause
                ) from error
        return results
    finally:
        futures = future = None  # type: ignore[assignment]  # their errors hold this frame
        job.close(0.0)


def _call(work: Callable[..., Any], chunk: tuple[Any, ...]) -> Any:
    return work(*chunk)
