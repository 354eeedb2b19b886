"""Calls for items in worker processes.

    the function, what it asked for before, its arguments ---> a worker: outcomes, or what it misses
    the same with what was missed                         ---> a worker: the outcomes of the rest

`self` in a worker process stands for the batch. It has the batch's class and its methods; what it
holds (components, `pipeline`, `dataset`, other attributes) is sent when it is asked for: the call of
that item is broken off and begun anew with what it missed, which goes along at once in later calls.
So nothing is sent that no item needs: neither a data set, nor a component for one of its elements.

Guarantees:
    - An item that asks for something gives the same outcome, and draws the same random numbers, as
      on any other target.
    - Writing to the batch is refused, as it would be lost.
    - An exception arrives as the object it was, with its notes and the worker's traceback as one
      more. One that cannot be sent is a `BatchflowError` with its text.
"""

from __future__ import annotations

import contextvars
import functools
import io
import itertools
import pickle
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from batchflow.batch.directory import ModelSlot
from batchflow.batch.item import Item
from batchflow.batch.item_calls import Failed, How, ItemCalls, add_note_once
from batchflow.batch.per_item import ItemStreams
from batchflow.errors import ArgumentTypeError, BatchflowError
from batchflow.executors.pool import (
    ItemTimeoutError,
    WorkerDiedError,
    cpu_count,
    in_processes,
    needs_loky,
)

if TYPE_CHECKING:
    from batchflow.batch.batch import Batch

__all__ = ["call_in_processes"]

# What an item can ask for: ("rng",), ("images",), ("pipeline", "config"),
# ("pipeline", "v", ("name",), ()).
Key = tuple[Any, ...]

_CHUNKS_PER_WORKER = 2
_SEED = ("rng",)
_FAR = ("pipeline", "dataset")  # never sent as a whole
_NEVER = frozenset({"_rng", "_rng_key", "_loop"})
_SMALL = (int, float, str, bool)


@dataclass(slots=True)
class _Task:
    """What a worker gets beside the arguments of its calls.

    Attributes:
        function: The function; or what it is the `__wrapped__` of.
        is_wrapped: Which of the two.
        batch_class: The class of `self`; None if the function gets no batch.
        names: The attributes of the batch that can be asked for.
        held: What is sent of them.
        keeps_results: Whether anybody wants what the function returns.
    """

    function: Any
    is_wrapped: bool
    batch_class: type[Batch] | None
    names: frozenset[str]
    held: dict[Key, Any]
    keeps_results: bool


@dataclass(slots=True)
class _Answer:
    """What a worker gives back.

    Attributes:
        outcomes: Those of the first calls of the chunk.
        missed: What the next call asked for and was not sent; None if all calls are done.
        drew: Whether a call asked for random numbers.
        problem: Why no call could be made, or None.
    """

    outcomes: list[Any]
    missed: Key | None = None
    drew: bool = False
    problem: str | None = None


def call_in_processes(calls: ItemCalls, how: How) -> list[Any]:
    """Make the calls in worker processes.

    Returns:
        What each call returned, or `Failed`.

    Raises:
        ArgumentTypeError: The function or an argument cannot be sent.
        ItemTimeoutError: They were not finished in time.
        WorkerDiedError: Worker processes were killed.
    """
    n_calls = len(calls.calls)
    n_workers = min(how.n_workers or cpu_count(), n_calls)
    desk = _Desk(calls)
    outcomes: list[Any] = [None] * n_calls
    end = None if how.timeout is None else time.monotonic() + how.timeout
    chunks = _cut(n_calls, _CHUNKS_PER_WORKER * n_workers)
    while chunks:
        left = None if end is None else end - time.monotonic()
        answers = _answers(calls, desk.task(), chunks, n_workers, left)
        rest = []
        for chunk, answer in zip(chunks, answers, strict=True):
            n_done = len(answer.outcomes)
            outcomes[chunk.start : chunk.start + n_done] = answer.outcomes
            desk.serve(answer)
            if n_done < len(chunk):
                rest.append(chunk[n_done:])
        chunks = rest
    return outcomes


def _cut(n_calls: int, n_chunks: int) -> list[range]:
    edges = np.linspace(0, n_calls, min(n_chunks, n_calls) + 1, dtype=int).tolist()
    return [range(a, b) for a, b in itertools.pairwise(edges)]


def _answers(
    calls: ItemCalls, task: _Task, chunks: list[range], n_workers: int, timeout: float | None
) -> list[_Answer]:
    head = _packed(task, calls)
    sent = [(head, _packed([(i, *calls.calls[i]) for i in chunk], calls)) for chunk in chunks]
    try:
        packed = in_processes(_work, sent, n_workers=n_workers, timeout=timeout)
    except ItemTimeoutError as error:
        raise ItemTimeoutError("", [i for k in error.unfinished for i in chunks[k]]) from None
    except WorkerDiedError as error:
        places = ", ".join(calls.place(i) for i in chunks[error.position][:10])
        raise WorkerDiedError(f"{calls.name}(): {error}, at work on the call {places}") from error
    answers: list[_Answer] = [pickle.loads(part) for part in packed]
    for answer in answers:
        if answer.problem is not None:
            raise ArgumentTypeError(
                f"{calls.name}(): a worker process cannot rebuild what it was sent: "
                f"{answer.problem}. What is sent must be defined in a module that can be imported, "
                'or in a function; or write target="threads"'
            )
    return answers


# ---- in the main process: giving what is asked for


class _Desk:
    """Knows what the items have asked for, and looks it up."""

    def __init__(self, calls: ItemCalls) -> None:
        self._calls = calls
        self._streams = ItemStreams(calls.batch)
        self._held: dict[Key, Any] = {}
        if calls.takes_batch:
            for name, value in calls.batch.__dict__.items():
                if type(value) in _SMALL:
                    self._held[name,] = value
            for key in list(calls.asked):
                self._look_up(key)

    def task(self) -> _Task:
        """Make what is sent beside the arguments."""
        calls = self._calls
        far = {name for name in _FAR if getattr(calls.batch, name) is not None}
        return _Task(
            calls.wrapper or calls.function,
            calls.wrapper is not None,
            type(calls.batch) if calls.takes_batch else None,
            frozenset(calls.batch.__dict__) - _NEVER | far,
            self._held,
            calls.keeps_results,
        )

    def serve(self, answer: _Answer) -> None:
        """Look up what a worker missed; draw the seed that it was shown, if it has used it."""
        if answer.drew:
            self._streams.seed()
        key = answer.missed
        if key is not None and key not in self._held:
            self._look_up(key)
            # Calls with arguments of the items' own are another question each time.
            if len(key) <= 2 or (key[0] == "pipeline" and all(type(a) is str for a in key[2])):
                self._calls.asked.add(key)

    def _look_up(self, key: Key) -> None:
        try:
            self._held[key] = self._streams.peek() if key == _SEED else self._found(key)
        except Exception as error:  # noqa: BLE001  raised where it was asked for
            self._held[key] = Failed(_sendable(error))

    def _found(self, key: Key) -> Any:
        if len(key) == 1 and key[0] in _FAR:
            return _Far(key)
        value = getattr(self._calls.batch, key[0])
        if len(key) == 1:
            return value
        value = getattr(value, key[1])
        if len(key) == 2:
            return _Far(key) if callable(value) else value
        return value(*key[2], **dict(key[3]))


def _packed(value: Any, calls: ItemCalls) -> bytes:
    try:
        return _dumps(value)
    except Exception as error:
        raise ArgumentTypeError(
            f"{calls.name}(): the function, an argument, or what it asks of the batch cannot be "
            f'sent to a worker process: {error}. Pass something else, or write target="threads"'
        ) from error


def _dumps(value: Any) -> bytes:
    with io.BytesIO() as file:
        _pickler()(file, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
        return file.getvalue()


@functools.cache
def _pickler() -> type[Any]:
    """Make the class of the pickler; its package comes with the extra `processes`."""
    needs_loky()
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Packs functions and classes, those without a module of their own as well."""

        def reducer_override(self, value: Any) -> Any:
            if type(value) is Item:
                return _lone_item, (value._batch.components, _values(value))
            if type(value) is ModelSlot:  # the models stay at home
                return ModelSlot, (value._name,)
            return super().reducer_override(value)

    return Pickler


def _values(item: Item) -> list[Any]:
    parts = [getattr(item._batch, name) for name in item._batch.components]
    return [None if part is None else part[item._position] for part in parts]


# ---- in a worker process


def _work(head: bytes, chunk: bytes) -> bytes:
    """Make the calls of a chunk."""
    try:
        task, calls = pickle.loads(head), pickle.loads(chunk)
    except Exception as error:
        return _dumps(_Answer([], problem=f"{type(error).__name__}: {error}"))
    answer = contextvars.copy_context().run(_Outpost(task).work, calls)
    try:
        return _dumps(answer)
    except Exception:
        answer.outcomes = [_sent_or_failed(outcome) for outcome in answer.outcomes]
        return _dumps(answer)


class _Missed(BaseException):
    """Breaks off a call that needs what was not sent. No `Exception`: nobody handles it."""


class _Outpost:
    """Where the calls of a chunk ask for things."""

    def __init__(self, task: _Task) -> None:
        self._task = task
        self._missed: Key | None = None
        self._drew = False

    def work(self, calls: list[tuple[int, Any, Any]]) -> _Answer:
        """Make the calls, until one misses something."""
        _outpost.set(self)
        task, first = self._task, ()
        function = task.function.__wrapped__ if task.is_wrapped else task.function
        streams: Any = None
        if task.batch_class is not None:
            first = (_far_batch(task.batch_class),)
            streams = _FarStreams(*first)
        outcomes = []
        for position, args, kwargs in calls:
            if streams is not None:
                streams.enter(position)
            try:
                outcome = function(*first, *args, **kwargs)
                if not task.keeps_results:
                    outcome = None
            except _Missed:
                break
            except Exception as error:
                outcome = Failed(_sendable(error))
            if self._missed is not None:  # a bare `except:` has hidden it
                break
            outcomes.append(outcome)
        return _Answer(outcomes, self._missed, self._drew)

    def ask(self, key: Key) -> Any:
        """Give what was sent under this key."""
        if key not in self._task.held:
            self._missed = key
            raise _Missed
        value = self._task.held[key]
        if isinstance(value, Failed):
            raise value.error
        if key == _SEED:
            self._drew = True
        return _unchanging(value)

    def can_ask(self, name: str) -> bool:
        """Tell whether the batch holds such an attribute."""
        return name in self._task.names


_outpost: contextvars.ContextVar[_Outpost] = contextvars.ContextVar("outpost")


class _FarBatch:
    """What stands for the batch: a parent, before the batch's class, of the class of `self`."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Do nothing: the class has been checked at home."""

    def __getattribute__(self, name: str) -> Any:
        outpost = _outpost.get()
        if outpost.can_ask(name):
            return outpost.ask((name,))
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        _refuse_writing(name)

    def __setitem__(self, item_id: Any, value: Any) -> NoReturn:
        _refuse_writing(item_id)

    def __reduce__(self) -> NoReturn:
        raise TypeError("self stays in the worker process; return what you have computed")


@functools.lru_cache(maxsize=32)
def _far_class(cls: type[Batch]) -> type[Any]:
    return type(cls.__name__, (_FarBatch, cls), {"__module__": cls.__module__})


def _far_batch(cls: type[Batch]) -> Any:
    return object.__new__(_far_class(cls))


class _FarStreams(ItemStreams):
    """The random streams of the items, seeded from home."""

    def seed(self) -> int:
        seed: int = _outpost.get().ask(_SEED)
        return seed


class _Far:
    """Stands for the pipeline, the dataset, or a method of one: gives what is asked by name."""

    __slots__ = ("_key",)

    def __init__(self, key: Key) -> None:
        self._key = key

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _outpost.get().ask((*self._key, name))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Let the main process make the call."""
        return self._called(self._key, args, kwargs)

    def __len__(self) -> int:
        length: int = self._called((*self._key, "__len__"))
        return length

    def __getitem__(self, item: Any) -> Any:
        return self._called((*self._key, "__getitem__"), (item,))

    def _called(self, method: Key, args: Any = (), kwargs: Any = None) -> Any:
        key = (*method, args, tuple((kwargs or {}).items()))
        try:
            hash(key)
        except TypeError as error:
            raise ArgumentTypeError(
                f"self.{'.'.join(method)}() is called in the main process, for a worker process "
                f"only with plain arguments: {error}"
            ) from None
        return _outpost.get().ask(key)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Far, (self._key,)


class _FixedList(list[Any]):
    def __setitem__(self, place: Any, value: Any) -> NoReturn:
        _refuse_writing(place)


def _unchanging(value: Any) -> Any:
    if type(value) is list:
        return _FixedList(value)
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    return value


def _refuse_writing(what: object) -> NoReturn:
    raise ArgumentTypeError(
        f"a worker process cannot write to the batch ({what!r}): it would be lost. Return the value "
        'and store it in post=, use apply_parallel, or write target="threads"'
    )


class _OneItem:
    """Holds the values of one item, as a batch does."""

    def __init__(self, components: tuple[str, ...], values: list[Any]) -> None:
        self.components = components
        for name, value in zip(components, values, strict=True):
            setattr(self, name, None if value is None else _FixedList([value]))

    def __repr__(self) -> str:
        return "<a batch in a worker process>"


def _lone_item(components: tuple[str, ...], values: list[Any]) -> Item:
    return Item(_OneItem(components, values), 0)  # type: ignore[arg-type]


# ---- errors on their way


def _sent_or_failed(outcome: Any) -> Any:
    try:
        _dumps(outcome)
    except Exception as error:
        kind = type(outcome).__name__
        return Failed(ArgumentTypeError(f"the result, a {kind}, cannot be sent back: {error}"))
    return outcome


def _sendable(error: Exception) -> Exception:
    """Make an error that arrives as what it is; where that cannot be, one that has its text."""
    text = "".join(traceback.format_exception(error)).rstrip()
    add_note_once(error, f"in a worker process:\n{text}")
    for form in (error, _Bare(error)):
        try:
            pickle.loads(_dumps(form))
        except Exception:
            continue
        return form  # type: ignore[return-value]
    plain = BatchflowError(f"{type(error).__name__}: {error} (which cannot be sent as it is)")
    plain.add_note(error.__notes__[-1])
    return plain


class _Bare:
    """Unpacks as an error that its own constructor cannot make from its `args`."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __reduce__(self) -> tuple[Any, ...]:
        error = self._error
        return _rebuilt, (type(error), error.args, error.__dict__)


def _rebuilt(kind: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error
