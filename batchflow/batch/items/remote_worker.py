"""Calls for items in worker processes, seen from a worker: see remote.py.

Guarantees:
    - A call that misses something leaves no outcome, even if its code catches every exception.
    - What is sent once for all calls of a chunk cannot be written to.
"""

from __future__ import annotations

import contextvars
import functools
import pickle
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from batchflow.batch.items.calls import Failed
from batchflow.batch.items.packing import FixedList, packed, refuse_writing, sendable
from batchflow.batch.items.streams import ItemStreams
from batchflow.errors import ArgumentTypeError
from batchflow.executors.item_threads import unpacking
from batchflow.generators import GeneratorWatch

__all__ = ["SEED", "Answer", "Far", "Key", "Task", "work"]

# What a call can ask for: ("rng",), ("images",), ("pipeline", "config"), and what a method gives:
# ("pipeline", "v", ("name",), ()).
Key = tuple[Any, ...]
SEED: Key = ("rng",)


@dataclass
class Task:
    """What a worker gets beside the arguments of its calls.

    Attributes:
        function: The function, or what it is the `__wrapped__` of.
        is_wrapped: Which of the two.
        batch_class: The class of `self`; None if the function gets no batch.
        names: The attributes of the batch that can be asked for.
        held: What is sent of them.
        keeps_results: Whether anybody wants what the function returns.
        is_watched: Whether to tell of draws from global random generators.
    """

    function: Any
    is_wrapped: bool
    batch_class: Any
    names: frozenset[str]
    held: dict[Key, Any]
    keeps_results: bool
    is_watched: bool = False


@dataclass
class Answer:
    """What a worker gives back.

    Attributes:
        outcomes: Those of the first calls of the chunk.
        missed: What the next call asked for and was not sent; None if all calls are made.
        drew: Whether a call has drawn random numbers.
        problem: Why no call could be made, or None.
        drawn: The global random generators that a call has drawn from, where that is watched.
    """

    outcomes: list[Any]
    missed: Key | None = None
    drew: bool = False
    problem: str | None = None
    drawn: list[str] = field(default_factory=list)


def work(task: bytes, calls: bytes) -> bytes:
    """Make the calls of a chunk.

    Args:
        task: A packed `Task`.
        calls: Packed: for each call its position, positional and keyword arguments.

    Returns:
        A packed `Answer`.
    """
    try:
        with unpacking:
            outpost, chunk = _Outpost(pickle.loads(task)), pickle.loads(calls)
    except Exception as error:  # noqa: BLE001  the main process raises it
        return packed(Answer([], problem=f"{type(error).__name__}: {error}"))
    return contextvars.copy_context().run(outpost.work, chunk)


def _packable(outcome: Any) -> Any:
    try:
        packed(outcome)
    except Exception as error:  # noqa: BLE001  the outcome of this call
        kind = type(outcome).__name__
        return Failed(ArgumentTypeError(f"the result, a {kind}, cannot be sent back: {error}"))
    return outcome


class _Missed(BaseException):
    """Breaks off a call that needs what was not sent. Not an `Exception`: nobody handles it."""


class _Outpost:
    """Where the calls of a chunk are made, and ask for what the batch holds."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._missed: Key | None = None
        self._drew = False

    def work(self, calls: list[tuple[int, Any, Any]]) -> bytes:
        """Make the calls, until one misses something, and pack the answer."""
        _outpost.set(self)
        drawn: list[str] = []
        if self._task.is_watched:
            with GeneratorWatch() as watch:
                states = watch.states()
                outcomes = self._outcomes(calls)
                drawn = watch.drawn(states)
        else:
            outcomes = self._outcomes(calls)
        answer = Answer(outcomes, self._missed, self._drew, drawn=drawn)
        try:
            return packed(answer)
        except Exception:  # noqa: BLE001  one of the outcomes: which?
            answer.outcomes = [_packable(outcome) for outcome in answer.outcomes]
            return packed(answer)

    def _outcomes(self, calls: list[tuple[int, Any, Any]]) -> list[Any]:
        function, batch_class = self._task.function, self._task.batch_class
        if self._task.is_wrapped:
            function = function.__wrapped__
        first = [] if batch_class is None else [object.__new__(_far_class(batch_class))]
        streams = _FarStreams(*first) if first else None
        outcomes = []
        for position, args, kwargs in calls:
            if streams is not None:
                streams.enter(position)
            outcome = self._outcome(function, *first, *args, **kwargs)
            if self._missed is not None:
                break
            outcomes.append(outcome)
        return outcomes

    def _outcome(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        try:
            result = function(*args, **kwargs)
        except _Missed:
            return None
        except Exception as error:  # noqa: BLE001  the outcome
            return Failed(sendable(error))
        return result if self._task.keeps_results else None

    def has(self, name: str) -> bool:
        """Tell whether the batch holds such an attribute."""
        return name in self._task.names

    def ask(self, key: Key) -> Any:
        """Give what was sent under this key, or break off the call."""
        if key not in self._task.held:
            self._missed = self._missed or key
            raise _Missed
        value = self._task.held[key]
        if isinstance(value, Failed):
            raise value.error
        self._drew |= key == SEED
        if type(value) is list:
            return FixedList(value)
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
        return value


_outpost: contextvars.ContextVar[_Outpost] = contextvars.ContextVar("outpost")


class _FarBatch:
    """What stands for a batch: the first parent of the class of `self`, before the batch's."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Do nothing: the class has been checked at home."""

    def __getattribute__(self, name: str) -> Any:
        outpost = _outpost.get()
        return outpost.ask((name,)) if outpost.has(name) else super().__getattribute__(name)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        refuse_writing(name)

    def __setitem__(self, item_id: Any, value: Any) -> NoReturn:
        refuse_writing(item_id)

    def __reduce__(self) -> NoReturn:
        raise TypeError("self stays in the worker process; return what was computed")


@functools.lru_cache(maxsize=32)
def _far_class(cls: Any) -> Any:
    return type(cls.__name__, (_FarBatch, cls), {"__module__": cls.__module__})


class _FarStreams(ItemStreams):
    """The random streams of the items, with the seed from home."""

    def seed(self) -> int:
        seed: int = _outpost.get().ask(SEED)
        return seed


class Far:
    """Stands for the pipeline or the dataset, or for a method of one, which is called at home."""

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

    def __bool__(self) -> bool:
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        return Far, (self._key,)

    def _called(self, method: Key, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        key = (*method, args, tuple((kwargs or {}).items()))
        try:
            hash(key)
        except TypeError as error:
            raise ArgumentTypeError(
                f"self.{'.'.join(method)}() is called in the main process; from a worker process "
                f"it takes plain arguments only: {error}"
            ) from None
        return _outpost.get().ask(key)
