"""A job in worker processes, and both ends of a future whose result comes from there.

    a pool's thread: Promise ---> Opened, packed ---> whoever asks: ResultFuture.result()

Guarantees:
    - A result is unpacked once, by the thread that asks for it first: the pool's thread never does.
    - A small array of a result that is kept keeps nothing else: below `SMALL` bytes, or one of
      `PARTS` parts of the result, it is copied out of the memory in which the result has come.
    - A task that is given up says so to all who wait for it, whether it was begun or not.
"""

from __future__ import annotations

import pickle
import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future
from typing import Any

from batchflow.errors import BatchflowError, RunClosedError
from batchflow.executors.serialization.pickling import Opened, PackedCall

ATTEMPTS = 3  # at a task that kills its workers
PARTS = 4
SMALL = 128 * 1024  # bytes up to which a copy costs less than the memory's way there and back


class Job(ABC):
    """A function in worker processes. Get it by `open_job`.

    Args:
        packed: The function.
    """

    def __init__(self, packed: PackedCall) -> None:
        self._packed = packed
        self._is_closed = False

    def submit(self, item: Any) -> Future[Any]:
        """Let a worker call the function with an item. Never waits.

        The item is packed here and now: what happens to it later does not matter.

        Returns:
            The future of what the function returns. It is unpacked by the thread that asks for it.

        Raises:
            ArgumentTypeError: The item cannot be packed; the message says which part of it.
            RunClosedError: The job is closed.
        """
        if self._is_closed:
            raise RunClosedError("this job is closed: it takes no more items")
        future = ResultFuture(self._packed)
        self._post(item, future)
        return future

    def close(self, grace: float) -> None:
        """End the job. A second call does nothing.

        Tasks that wait are cancelled at once. Tasks at work are broken off, with a
        `RunClosedError`; in an executor of the user's, other than Ray, they go on to their end, and
        nobody waits for them.

        Args:
            grace: Seconds that tasks at work have.
        """
        if not self._is_closed:
            self._is_closed = True
            self._end(grace)

    @abstractmethod
    def _post(self, item: Any, future: ResultFuture) -> None:
        """Pack an item, and post the task."""

    @abstractmethod
    def _end(self, grace: float) -> None:
        """Close the job. While the interpreter ends nobody is waited for: threads stand still."""


class Promise:
    """What all tasks of pools have: a turn, and a future that has to end.

    Attributes:
        number: Where its turn is.
        future: The consumer's.
    """

    number: int
    future: Future[Any]

    def __lt__(self, other: Promise) -> bool:
        return self.number < other.number

    def begin(self) -> bool:
        """Mark it as handed over. Return False if it has been cancelled."""
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def fail(self, error: BaseException) -> None:
        """End it with an error."""
        if not self.future.cancelled() and self.begin():
            self.future.set_exception(error)

    def drop(self) -> None:
        """Cancel it, or, if it was begun, say that its job was closed."""
        if self.future.running():
            self.fail(RunClosedError("the job was closed before this task was finished"))
        elif self.future.cancel():
            self.future.set_running_or_notify_cancel()  # wakes up those who wait for several


class ResultFuture(Future[Any]):
    """A future whose result arrives packed; the first thread that asks for it unpacks it."""

    def __init__(self, packed: PackedCall) -> None:
        super().__init__()
        self._packed: PackedCall | None = packed  # keeps the classes of the result alive
        self._unpacking = threading.Lock()
        self._value: Any = None
        self._error: BaseException | None = None

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result, and return it; see `concurrent.futures.Future`."""
        opened = super().result(timeout)
        if self._packed is not None:
            self._unpack(opened)
        try:
            if self._error is not None:
                raise self._error
            return self._value
        finally:
            del self  # or the error would hold this frame, which holds the error

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end, and return the error, or None."""
        error = super().exception(timeout)
        if error is not None:
            return error
        if self._packed is not None:
            self._unpack(super().result(timeout))
        return self._error

    def _unpack(self, opened: Any) -> None:
        with self._unpacking:
            if self._packed is not None:  # no other thread was quicker
                self._value, self._error = _unpacked(opened)
                self._packed = self._result = None


def _own_arrays(opened: Opened) -> list[memoryview]:
    """Return the buffers, which all lie in one piece of memory: small ones copied out of it."""
    least = len(opened.payload)
    for buffer in opened.buffers:
        least += buffer.nbytes
    least = max(SMALL, least // PARTS)
    buffers = []
    for buffer in opened.buffers:
        buffers.append(buffer if buffer.nbytes >= least else memoryview(bytearray(buffer)))
    return buffers


def _unpacked(opened: Opened) -> tuple[Any, BaseException | None]:
    """Return a result and no error, or an error."""
    try:
        value = pickle.loads(opened.payload, buffers=_own_arrays(opened) if opened.buffers else ())
    except Exception as error:
        failure = BatchflowError(f"what a worker sent cannot be unpacked here: {error!r}")
        failure.__cause__ = error
        return None, failure
    if not opened.is_error:
        return value, None
    said, packed = value
    try:
        return None, pickle.loads(packed)
    except Exception as error:
        return None, BatchflowError(f"{said} (it cannot be unpacked here: {error!r})")
