"""What a worker of somebody else's executor does: `remote_call`, once for each item.

Guarantees:
    - Nothing is raised here: an answer is a number and some bytes, which every executor can carry.
    - A plan is unpacked once by each thread that works with it. Its big arrays lie in memory once
      for all threads of a worker, and cannot be written to.
    - A worker keeps the `MAX_FUNCTIONS` plans that it has used last, and none of a job of which a
      later job of the same program has said that it has ended.
"""

from __future__ import annotations

import os
import pickle
import platform
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from batchflow.errors import ArgumentValueError
from batchflow.executors.backends.board import Address, noted
from batchflow.executors.item_threads import mark_worker, unpacking
from batchflow.executors.serialization.pickling import (
    Classes,
    PackedCall,
    packed_error,
    packed_whole,
    unpacked_call,
)

__all__ = ["DONE", "FAILED", "MISSING", "SentFunction", "FunctionKey", "remote_call"]

MAX_FUNCTIONS = 4

# What an answer is.
DONE, FAILED, MISSING = 1, 2, 3


class FunctionKey(NamedTuple):
    """What a plan is known by.

    Attributes:
        name: No other plan has it.
        node: The machine that it comes from.
        process: The process there.
        board: Where workers note what they are at, if they do.
    """

    name: str
    node: str
    process: int
    board: Address | None = None

    @classmethod
    def of(cls, name: str, board: Address | None) -> FunctionKey:
        """Make the key of a plan of this process."""
        return cls(name, platform.node(), os.getpid(), board)

    def refuse_here(self) -> None:
        """Refuse to work in the process that the plan comes from.

        Unpacking a class where it already is would write to it.

        Raises:
            ArgumentValueError: This is that process.
        """
        if self.process == os.getpid() and self.node == platform.node():
            raise ArgumentValueError(
                "this executor works in threads of this process: to work in threads, leave it out, "
                "or pass a ThreadPoolExecutor"
            )


class SentFunction(NamedTuple):
    """A function on its way.

    Attributes:
        payload: Its pickle.
        buffers: The big arrays in it, as arrays of bytes.
    """

    payload: bytes
    buffers: list[Any]

    @classmethod
    def of(cls, packed: PackedCall) -> SentFunction:
        """Make what travels of a packed function. Its arrays are copied."""
        return cls(packed.payload, [np.frombuffer(bytes(b.raw()), "u1") for b in packed.buffers])

    @property
    def n_bytes(self) -> int:
        """How much travels."""
        return len(self.payload) + sum(int(buffer.nbytes) for buffer in self.buffers)


class _HeldFunction:
    """A plan that has arrived.

    Args:
        plan: The plan.
    """

    def __init__(self, plan: SentFunction) -> None:
        self._payload = plan.payload
        self._buffers = [memoryview(buffer).toreadonly() for buffer in plan.buffers]
        # By thread: what the steps of a plan have of their own, such as an event loop, is not
        # made for several threads.
        self._calls: weakref.WeakKeyDictionary[
            threading.Thread, tuple[Callable[[Any], Any], Classes]
        ] = weakref.WeakKeyDictionary()

    def call(self) -> tuple[Callable[[Any], Any], Classes]:
        """Give the function of this thread, and the classes that the other side has as well."""
        thread = threading.current_thread()
        if thread not in self._calls:
            try:
                with unpacking:
                    self._calls[thread] = unpacked_call(self._payload, self._buffers)
            except BaseException as error:
                error.add_note("while the function was unpacked in a worker process")
                raise
        return self._calls[thread]


_plans: OrderedDict[str, _HeldFunction] = OrderedDict()
_guard = threading.Lock()


def remote_call(
    key: FunctionKey, plan: SentFunction | None, item: bytes, ended: Sequence[str], number: int = 0
) -> tuple[int, bytes]:
    """Call the function of a plan with an item.

    Args:
        key: Of the plan.
        plan: The plan; None: this worker should have it already.
        item: The item, packed.
        ended: The names of plans that nobody needs any more.
        number: Of the item.

    Returns:
        `DONE` and the packed result; `FAILED` and the packed error; or `MISSING`: the plan is not
        here.
    """
    held = _held(key.name, plan, ended)
    if held is None:
        return MISSING, b""
    classes = Classes()
    try:
        key.refuse_here()
        mark_worker()
        function, classes = held.call()
        with noted(key.board, number):
            return DONE, packed_whole(function(_unpacked(item)), classes, "the result")
    except BaseException as error:
        if error.__traceback__ is not None:
            error.__traceback__ = error.__traceback__.tb_next or error.__traceback__
        return FAILED, packed_error(error, classes)


def _unpacked(item: bytes) -> Any:
    with unpacking:
        return pickle.loads(item)


def _held(name: str, plan: SentFunction | None, ended: Sequence[str]) -> _HeldFunction | None:
    with _guard:
        for over in ended:
            _plans.pop(over, None)
        if name not in _plans:
            if plan is None:
                return None
            _plans[name] = _HeldFunction(plan)
        _plans.move_to_end(name)
        while len(_plans) > MAX_FUNCTIONS:
            _plans.popitem(last=False)
        return _plans[name]
