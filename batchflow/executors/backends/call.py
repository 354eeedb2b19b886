"""What a worker of somebody else's executor does: `remote_call`, once for each item.

Guarantees:
    - Nothing is raised here: an answer is a number and some bytes, which every executor can carry.
    - A function is unpacked once by each thread that works with it. Its big arrays lie in memory
      once for all threads of a worker, and cannot be written to.
    - A worker keeps the `MAX_FUNCTIONS` functions that it has used last, and none of a job of which
      a later job of the same program has said that it has ended.
"""

from __future__ import annotations

import functools
import os
import platform
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from batchflow.allocator import keep_memory_in_worker
from batchflow.errors import ArgumentValueError
from batchflow.executors.item_threads import mark_worker
from batchflow.executors.serialization.pickling import (
    Classes,
    Opened,
    PackedCall,
    packed_error,
    packed_whole,
    unpacked_call,
    unpacked_item,
)

MAX_FUNCTIONS = 4

# What an answer is.
DONE, FAILED, MISSING = 1, 2, 3


class FunctionKey(NamedTuple):
    """What a function is known by.

    Attributes:
        name: No other function has it.
        node: The machine that it comes from.
        process: The process there.
    """

    name: str
    node: str
    process: int

    @classmethod
    def of(cls, name: str) -> FunctionKey:
        """Make the key of a function of this process."""
        return cls(name, platform.node(), os.getpid())


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
        """Make it of a packed function. Its arrays are copied."""
        return cls(packed.payload, [np.frombuffer(bytes(b.raw()), "u1") for b in packed.buffers])

    @property
    def n_bytes(self) -> int:
        """The size of it all."""
        return len(self.payload) + sum(int(buffer.nbytes) for buffer in self.buffers)


class _HeldFunction:
    """A function that has arrived."""

    def __init__(self, sent: SentFunction) -> None:
        self._sent = sent.payload, [memoryview(buffer).toreadonly() for buffer in sent.buffers]
        # What the steps of a run have of their own, such as an event loop, is for one thread.
        self._of_thread = threading.local()

    def call(self) -> tuple[Callable[[Any], Any], Classes]:
        """Return the function of this thread, and the classes that the other side has as well."""
        if not hasattr(self._of_thread, "call"):
            self._of_thread.call = unpacked_call(*self._sent)
        return self._of_thread.call  # type: ignore[no-any-return]


_functions: OrderedDict[str, _HeldFunction] = OrderedDict()
_guard = threading.Lock()


def remote_call(
    key: FunctionKey, sent: SentFunction | None, item: bytes, ended: Sequence[str]
) -> tuple[int, bytes]:
    """Call a function with an item.

    Args:
        key: That of the function.
        sent: The function; None: this worker should have it already.
        item: The item, packed.
        ended: The names of functions that nobody needs any more.

    Returns:
        `DONE` and the packed result; `FAILED` and the packed error; or `MISSING`: the function is
        not here.
    """
    held = _held(key.name, sent, ended)
    if held is None:
        return MISSING, b""
    classes = Classes()
    try:
        # To unpack a class where it already is would write to it.
        if key.process == os.getpid() and key.node == platform.node():
            raise ArgumentValueError(
                "this executor works in threads of this process: to work in threads, leave it out, "
                "or pass a ThreadPoolExecutor"
            )
        _begin()
        function, classes = held.call()
        return DONE, packed_whole(function(unpacked_item(Opened(item))), classes, "the result")
    except BaseException as error:
        return FAILED, packed_error(error, classes)


@functools.cache
def _begin() -> None:
    """Make this process a worker, the first time that it works for us."""
    mark_worker()
    keep_memory_in_worker()


def _held(name: str, sent: SentFunction | None, ended: Sequence[str]) -> _HeldFunction | None:
    with _guard:
        for over in ended:
            _functions.pop(over, None)
        if name not in _functions:
            if sent is None:
                return None
            _functions[name] = _HeldFunction(sent)
        _functions.move_to_end(name)
        while len(_functions) > MAX_FUNCTIONS:
            _functions.popitem(last=False)
        return _functions[name]
