"""Calls for items in worker processes, seen from the main process.

    a task, and the arguments of some calls -------> remote_worker.py
    outcomes, and what the next call has missed <---
    the task with what was missed, the other calls ---> ...

`self` in a worker process stands for the batch: it has the class of the batch and its methods. What
the batch holds (components, `pipeline`, `dataset`, other attributes) is sent when a call asks for
it: that call is broken off and begun anew. Later calls of the same action get it at once. So
nothing is sent that no call needs: no data set, and no component for the sake of its elements.

Guarantees:
    - A call gives the same outcome and draws the same random numbers as on any other target.
    - Writing to the batch, which would be lost, is refused.
"""

from __future__ import annotations

import itertools
import pickle
import time
from typing import Any

import numpy as np

from batchflow.batch.items.calls import Failed, How, ItemCalls
from batchflow.batch.items.packing import packed, sendable
from batchflow.batch.items.remote_worker import SEED, Answer, Far, Key, Task, work
from batchflow.batch.items.streams import ItemStreams
from batchflow.errors import ArgumentTypeError, ItemTimeoutError, WorkerDiedError
from batchflow.executors.item_threads import cpu_count
from batchflow.executors.processes.items import in_processes
from batchflow.generators import noticed

__all__ = ["call_in_processes"]

_CHUNKS_PER_WORKER = 2
_FAR = ("pipeline", "dataset")  # never sent as a whole
_NEVER = frozenset({"_rng", "_rng_key", "_loop"})
_SMALL = (int, float, str, bool)


def call_in_processes(calls: ItemCalls, how: How) -> list[Any]:
    """Make the calls in worker processes.

    Returns:
        What each call returned, or `Failed`.

    Raises:
        ArgumentTypeError: The function or an argument cannot be sent.
        ItemTimeoutError: They were not finished in time.
        WorkerDiedError: Processes were killed.
    """
    n_calls = len(calls.calls)
    n_workers = min(how.n_workers or cpu_count(), n_calls)
    end = None if how.timeout is None else time.monotonic() + how.timeout
    outcomes: list[Any] = [None] * n_calls
    desk = _Desk(calls)
    chunks = _cut(n_calls, _CHUNKS_PER_WORKER * n_workers)
    try:
        while chunks:
            left = None if end is None else end - time.monotonic()
            rest = []
            answers = _send(calls, desk, chunks, n_workers, left)
            for chunk, answer in zip(chunks, answers, strict=True):
                n_done = len(answer.outcomes)
                outcomes[chunk.start : chunk.start + n_done] = answer.outcomes
                desk.serve(answer)
                if n_done < len(chunk):
                    rest.append(chunk[n_done:])
            chunks = rest
        return outcomes
    finally:
        desk.close()


def _cut(n_calls: int, n_chunks: int) -> list[range]:
    edges = np.linspace(0, n_calls, min(n_chunks, n_calls) + 1, dtype=int).tolist()
    return [range(a, b) for a, b in itertools.pairwise(edges)]


def _send(
    calls: ItemCalls, desk: _Desk, chunks: list[range], n_workers: int, timeout: float | None
) -> list[Answer]:
    """Let workers make the calls of some chunks, each as far as it comes."""
    try:
        task = packed(desk.task(), is_for_worker=True)
        parts = [[(i, *calls.calls[i]) for i in chunk] for chunk in chunks]
        sent = [(task, packed(part, is_for_worker=True)) for part in parts]
    except Exception as error:
        raise ArgumentTypeError(
            f"{calls.name}(): the function, an argument, or what it asks of the batch cannot be "
            f'sent to a worker process: {error}. Pass something else, or write target="threads"'
        ) from error
    try:
        got = in_processes(work, sent, n_workers=n_workers, timeout=timeout)
    except ItemTimeoutError as error:
        raise ItemTimeoutError("", [i for k in error.unfinished for i in chunks[k]]) from None
    except WorkerDiedError as error:
        places = ", ".join(calls.place(i) for i in chunks[error.position][:10])
        raise WorkerDiedError(
            f"{calls.name}() {places}: {error}",
            error.position,
            attempts=error.attempts,
            cause=error.cause,
        ) from error
    answers: list[Answer] = [pickle.loads(part) for part in got]
    for answer in answers:
        if answer.problem is not None:
            raise ArgumentTypeError(
                f"{calls.name}(): a worker process cannot unpack what it was sent: "
                f"{answer.problem}. Functions and classes must be defined in a module that can be "
                'imported there, or within a function; or write target="threads"'
            )
    return answers


class _Desk:
    """Knows what calls have asked for, and looks it up."""

    def __init__(self, calls: ItemCalls) -> None:
        self._calls = calls
        self._streams = ItemStreams(calls.batch)
        self._held: dict[Key, Any] = {}
        if calls.takes_batch:
            small = {n: v for n, v in calls.batch.__dict__.items() if type(v) in _SMALL}
            self._held.update(((name,), value) for name, value in small.items())
            for key in list(calls.asked):
                self._look_up(key)

    def task(self) -> Task:
        """Make what is sent beside the arguments."""
        calls = self._calls
        far = {name for name in _FAR if getattr(calls.batch, name) is not None}
        return Task(
            calls.wrapper or calls.function,
            calls.wrapper is not None,
            type(calls.batch) if calls.takes_batch else None,
            frozenset(calls.batch.__dict__) - _NEVER | far,
            self._held,
            calls.keeps_results,
            is_watched=noticed.get() is not None,
        )

    def serve(self, answer: Answer) -> None:
        """Look up what a call missed; draw the seed that it was shown, if it has used it."""
        if (names := noticed.get()) is not None:
            names.update(answer.drawn)
        if answer.drew:
            self._streams.seed()
        key = answer.missed
        if key is not None and key not in self._held:
            self._look_up(key)
            if _comes_again(key):
                self._calls.asked.add(key)

    def close(self) -> None:
        """Forget what was looked up: an error among it holds a frame that holds this desk."""
        self._held.clear()

    def _look_up(self, key: Key) -> None:
        try:
            self._held[key] = self._streams.peek() if key == SEED else self._found(key)
        except Exception as error:  # noqa: BLE001  raised where it was asked for
            self._held[key] = Failed(sendable(error))

    def _found(self, key: Key) -> Any:
        if len(key) == 1 and key[0] in _FAR:
            return Far(key)
        value = getattr(self._calls.batch, key[0])
        if len(key) == 1:
            return value
        value = getattr(value, key[1])
        if len(key) == 2:
            return Far(key) if callable(value) else value
        return value(*key[2], **dict(key[3]))


def _comes_again(key: Key) -> bool:
    """Tell whether other items will ask the same: not where a method gets an item's own values."""
    if len(key) <= 2:
        return True
    place, _, args, kwargs = key
    return not kwargs and all(type(a) is str and place == "pipeline" for a in args)
