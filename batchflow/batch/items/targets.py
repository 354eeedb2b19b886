"""Make calls for items: in threads, processes, an event loop, or in turn.

Guarantees:
    - Outcomes are in the order of the items, whatever finishes first.
    - Every item is called, whether or not another fails, on every target: what the calls leave in
      the batch does not depend on the target.
    - Nothing of a call is at work when it returns. When a timeout or an interrupt ends it, no item
      begins afterwards; a thread that is at work goes on to the end of its item.
"""

from __future__ import annotations

import inspect
from typing import Any

from batchflow.batch.item_streams import ItemStreams
from batchflow.batch.items.calls import Failed, ItemCalls, Target
from batchflow.batch.items.watching import watched_calls
from batchflow.batch.writes import collected_writes
from batchflow.errors import ItemTimeoutError
from batchflow.executors.item_threads import (
    in_this_thread,
    in_threads,
    is_worker,
    refuse_while_unpacking,
)

_CANCEL_SECONDS = 1.0  # that tasks have to end when they are cancelled


def make_calls(calls: ItemCalls, target: Target) -> list[Any]:
    """Make the calls.

    Returns:
        What each call returned, or `Failed`.

    Raises:
        ItemTimeoutError: (a `TimeoutError`) They were not finished in time.
    """
    try:
        if target.kind == "processes":
            refuse_while_unpacking()
            if not is_worker():
                from batchflow.batch.items.processes import call_in_processes  # law 9: on use

                return call_in_processes(calls, target)
        with collected_writes(calls.batch):
            return _in_loop(calls, target) if target.kind == "async" else _here(calls, target)
    except ItemTimeoutError as error:
        raise calls.timeout_error(target, error.unfinished) from None


def _here(calls: ItemCalls, target: Target) -> list[Any]:
    """Make the calls in threads of this process, or in this one."""
    function, first, stacked = calls.function, calls.first, calls.stacked
    enter = ItemStreams(calls.batch).enter
    outcomes: list[Any] = [None] * len(calls.calls)
    if (watched := watched_calls.get()) is not None:
        function = watched(function)

    def work(position: int) -> None:
        enter(position)
        args, kwargs = calls.calls[position]
        try:
            result = function(*first, *args, **kwargs)
            outcomes[position] = result if stacked is None else stacked.kept(position, result)
        except Exception as error:  # noqa: BLE001  an outcome: the caller raises it
            outcomes[position] = Failed(error)

    if target.kind == "threads":
        in_threads(work, len(outcomes), n_workers=target.n_workers, timeout=target.timeout)
    else:  # in turn; in a worker process, work in processes is done in turn as well
        in_this_thread(work, len(outcomes), target.timeout)
    return outcomes


def _in_loop(calls: ItemCalls, target: Target) -> list[Any]:
    """Make the calls as tasks of the run's event loop, or of one for them alone."""
    from batchflow.executors.loop import EventLoop, PrivateLoop, runs_here

    shared = getattr(calls.batch, "_loop", None)
    if shared is not None and not shared.is_closed:
        outcomes: list[Any] = shared.run(_as_tasks(calls, target))
        return outcomes
    own = EventLoop() if runs_here() else PrivateLoop()
    try:
        return own.run(_as_tasks(calls, target))
    finally:
        own.close(_CANCEL_SECONDS)


async def _as_tasks(calls: ItemCalls, target: Target) -> list[Any]:
    import asyncio

    first, streams = calls.first, ItemStreams(calls.batch)
    seats = asyncio.Semaphore(target.n_workers or max(1, len(calls.calls)))

    async def work(position: int) -> Any:
        async with seats:
            streams.enter(position)
            args, kwargs = calls.calls[position]
            try:
                result = calls.function(*first, *args, **kwargs)
                return await result if inspect.isawaitable(result) else result
            except Exception as error:  # noqa: BLE001  an outcome: the caller raises it
                return Failed(error)

    tasks = [asyncio.ensure_future(work(i)) for i in range(len(calls.calls))]
    try:
        if tasks:
            await asyncio.wait(tasks, timeout=target.timeout)
        unfinished = [i for i, task in enumerate(tasks) if not task.done()]
        if unfinished:
            raise ItemTimeoutError("", unfinished)
        return [task.result() for task in tasks]
    finally:
        left = [task for task in tasks if task.cancel()]
        if left:
            await asyncio.wait(left, timeout=_CANCEL_SECONDS)
