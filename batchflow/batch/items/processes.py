"""Calls for items in worker processes.

    the function, a snapshot of the batch --- once ---> each worker: unpacked for its first chunk
    chunks: the arguments of some calls   -----------> called in turn
    outcomes                              <-----------

Guarantees:
    - A call gives the same outcome and draws the same random numbers as on any other target.
    - A call is made once; where its process was killed, its chunk is made again from the start.
    - Of an item its own values travel, not its batch; see snapshot.py for the batch.
    - An error arrives as what it is, with the traceback of the worker as one more note.
"""

from __future__ import annotations

import contextvars
import itertools
import pickle
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from batchflow.batch.item import Item, item_reducer
from batchflow.batch.item_streams import ItemStreams
from batchflow.batch.items.calls import Failed, ItemCalls, Target
from batchflow.batch.items.reads import names_read
from batchflow.batch.items.snapshot import Snapshot, lone_item
from batchflow.errors import ArgumentTypeError, ItemTimeoutError, WorkerDiedError
from batchflow.executors.exceptions import error_line, sendable
from batchflow.executors.item_threads import cpu_count, unpacking
from batchflow.executors.job import in_processes
from batchflow.executors.serialization.pickling import (
    Classes,
    Opened,
    dumps_whole,
    packed_apart,
    packed_for_worker,
)
from batchflow.generators import GeneratorWatch, noticed

_CHUNKS_PER_WORKER = 2


def call_in_processes(calls: ItemCalls, target: Target) -> list[Any]:
    """Make the calls in worker processes; return what each call returned, or `Failed`.

    Raises:
        ArgumentTypeError: The function or an argument cannot be sent.
        ItemTimeoutError: They were not finished in time.
        WorkerDiedError: Processes were killed.
    """
    n_calls = len(calls.calls)
    if not n_calls:
        return []
    n_workers = min(target.n_workers or cpu_count(), n_calls)
    chunks = _cut(n_calls, _CHUNKS_PER_WORKER * n_workers)
    streams = ItemStreams(calls.batch)
    work, parts = contextvars.copy_context().run(_packed, calls, streams, chunks)
    try:
        answers = in_processes(work, parts, n_workers=n_workers, timeout=target.timeout)
    except ItemTimeoutError as error:
        raise ItemTimeoutError("", [i for k in error.unfinished for i in chunks[k]]) from None
    except WorkerDiedError as error:
        place, attempts, cause = error.position, error.attempts, error.cause
        shown = ", ".join(calls.place(i) for i in chunks[place][:10])
        told = f"{calls.name}() {shown}: {error}"
        raise WorkerDiedError(told, place, attempts=attempts, cause=cause) from error
    outcomes: list[Any] = []
    for answer in answers:
        if answer.drew:
            streams.seed()
        if (names := noticed.get()) is not None:
            names.update(answer.drawn)
        outcomes += answer.outcomes.load()
    return outcomes


def _cut(n_calls: int, n_chunks: int) -> list[range]:
    edges = np.linspace(0, n_calls, min(n_chunks, n_calls) + 1, dtype=int).tolist()
    return [range(a, b) for a, b in itertools.pairwise(edges)]


def _packed(
    calls: ItemCalls, streams: ItemStreams, chunks: Sequence[range]
) -> tuple[_Work, list[tuple[Opened]]]:
    """Pack everything before the first call begins, in a context of its own."""
    item_reducer.set(_item_reducer(calls))
    try:
        snapshot = Snapshot.of(calls.batch, calls.function) if calls.takes_batch else None
        task = _Task(
            calls.wrapper or calls.function,
            calls.wrapper is not None,
            snapshot,
            None if snapshot is None or "rng" in snapshot.parts else streams.peek(),
            calls.keeps_results,
            noticed.get() is not None,
            np.geterr(),
        )
        parts = [[(i, *calls.calls[i]) for i in chunk] for chunk in chunks]
        packed = [(packed_for_worker(part, "the arguments"),) for part in parts]
        return _Work(calls.name, packed_for_worker(task, "the call")), packed
    except ArgumentTypeError as error:
        raise ArgumentTypeError(
            f"{calls.name}(): the function or an argument cannot be sent to a worker process: "
            f'{error}. Pass something else, or write target="threads"'
        ) from error


def _item_reducer(calls: ItemCalls) -> Callable[[Item], tuple[Any, ...]]:
    """Return the reducer of items: those of the calls have the components that are read of them."""
    names = names_read(calls.function, len(calls.first)) if calls.gives_items else None
    own = {id(args[0]) for args, _ in calls.calls} if names is not None else set()
    return lambda item: lone_item(item, names if id(item) in own else None)


# ---- in a worker


class _Task(NamedTuple):
    """The common part of the calls of all chunks."""

    function: Any  # or what it is the `__wrapped__` of
    is_wrapped: bool
    snapshot: Snapshot | None  # None if the function takes no batch
    seed: int | None  # of the random streams of the items; None if they draw no numbers
    keeps_results: bool
    is_watched: bool  # whether draws from global random generators are reported
    numpy_errors: Any  # the setting of `np.errstate`

    def named_parts(self) -> tuple[str, list[tuple[str, Any]]]:
        """Return what it is called if it cannot be packed, and the part that may be the reason."""
        return "the call", [("", self.function)]


class _Answer(NamedTuple):
    """The answer of a worker to a chunk."""

    outcomes: Opened  # what each call returned, or `Failed`
    drew: bool  # whether a call has drawn random numbers
    drawn: list[str]  # the global random generators that calls have drawn from, where watched


class _Work:
    """Makes the calls of chunks, in a worker: of a task that is unpacked for the first one."""

    def __init__(self, name: str, packed: Opened) -> None:
        self._name = name
        self._packed: Opened | None = packed
        self._task: Any = None
        self._first: list[Any] = []

    def __call__(self, chunk: Opened) -> _Answer:
        """Make the calls of a chunk.

        Raises:
            ArgumentTypeError: It cannot be unpacked here.
        """
        try:
            with unpacking:
                if self._packed is not None:
                    self._task, self._packed = self._packed.load(), None
                    snapshot = self._task.snapshot
                    self._first = [] if snapshot is None else [snapshot.batch()]
                calls = chunk.load()
        except Exception as error:
            raise ArgumentTypeError(
                f"{self._name}(): a worker process cannot unpack what it was sent: "
                f"{error_line(error)}. Functions and classes must be defined in a module that can "
                'be imported there, or within a function; or write target="threads"'
            ) from error
        return contextvars.copy_context().run(self._answer, calls)

    def _answer(self, calls: list[tuple[int, Any, Any]]) -> _Answer:
        task = self._task
        drawn: list[str] = []
        with np.errstate(**task.numpy_errors):
            if task.is_watched:
                with GeneratorWatch() as watch:
                    states = watch.states()
                    outcomes, drew = self._outcomes(calls)
                    drawn = watch.drawn(states)
            else:
                outcomes, drew = self._outcomes(calls)
        return _Answer(_packed_outcomes(outcomes), drew, drawn)

    def _outcomes(self, calls: list[tuple[int, Any, Any]]) -> tuple[list[Any], bool]:
        task, first = self._task, self._first
        function = task.function.__wrapped__ if task.is_wrapped else task.function
        streams = ItemStreams(first[0], task.seed) if first else None
        outcomes: list[Any] = []
        items = []
        for position, args, kwargs in calls:
            if streams is not None:
                items.append(streams.enter(position))
            try:
                result = function(*first, *args, **kwargs)
                outcomes.append(result if task.keeps_results else None)
            except Exception as error:  # noqa: BLE001  the outcome
                outcomes.append(Failed(_sendable(error)))
        return outcomes, any(item.rng is not None for item in items)


_sendable = partial(sendable, dumps=partial(dumps_whole, classes=Classes()))


def _packed_outcomes(outcomes: list[Any]) -> Opened:
    """Pack outcomes, in a context of their own; one that cannot be packed becomes an error."""
    item_reducer.set(lone_item)
    try:
        return _packed_result(outcomes)
    except ArgumentTypeError:  # one of the outcomes: which?
        return _packed_result([_packable(outcome) for outcome in outcomes])


def _packable(outcome: Any) -> Any:
    try:
        _packed_result(outcome)
    except ArgumentTypeError as error:
        kind = type(outcome).__name__
        return Failed(ArgumentTypeError(f"the result, a {kind}, cannot be sent back: {error}"))
    return outcome


def _packed_result(value: Any) -> Opened:
    payload, buffers = packed_apart(value, Classes(), "the result")
    return Opened(pickle.PickleBuffer(payload), buffers)  # type: ignore[arg-type]
