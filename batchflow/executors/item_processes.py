"""Per-item work in the worker processes of the program: see processes/pool.py.

Guarantees:
    - However a call ends, no chunk of it begins afterwards, and no process works for nobody: when a
      timeout, Ctrl-C or an error ends a call, the processes at work for it are killed.
    - A chunk whose process was killed runs again in another one: three times in all.
    - A worker process does per-item work of its own in place.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from batchflow.errors import ItemTimeoutError, WorkerDiedError
from batchflow.executors.item_threads import cpu_count, end_of, is_worker
from batchflow.executors.job import open_job
from batchflow.executors.serialization.pickling import pack
from batchflow.executors.waiting import result_of

__all__ = ["in_processes"]


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
