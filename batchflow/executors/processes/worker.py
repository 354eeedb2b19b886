"""A worker process from inside: it takes jobs and tasks from a socket, one task at a time.

    socket ---> reader thread ---> queue ---> main thread: function(item) ---> socket

Guarantees:
    - What a task raises, `SystemExit` and `KeyboardInterrupt` as well, goes back as its error.
    - The number of the task at work stands in memory that the main process sees, so that it knows
      whom to blame, however this process ends.
    - When the main process has ended, this one ends, even in the middle of a task.
    - A process that a task forks neither holds the connection nor goes on with tasks.
    - A job that is forgotten keeps no memory here.
"""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import pickle
import queue
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn

from batchflow.allocator import give_back, keep_memory_in_worker
from batchflow.executors.item_threads import mark_worker
from batchflow.executors.processes.channel import (
    COPY,
    OWN,
    READ,
    Frame,
    Message,
    Receiver,
    frame,
    map_file,
    send,
)
from batchflow.executors.processes.shared_memory import PLACES, SegmentPool
from batchflow.executors.serialization.pickling import (
    Classes,
    Opened,
    packed_apart,
    packed_error,
    unpacked_call,
    unpacked_item,
)

# What a frame says. To a worker:
SETTING, JOB, TASK, FORGET = 1, 2, 3, 4
# From a worker:
READY, DONE, FAILED, FORGOTTEN = 11, 12, 13, 14

TIDY_SECONDS = 1.0  # of idleness after a job, then garbage is collected
STATUS_SIZE = 4096
HUNG_UP = 113  # the exit code that says that the connection was closed over here
PR_SET_PDEATHSIG = 1


def main(connection: int, status: int, errors: int) -> NoReturn:
    """Work until the main process hangs up.

    Args:
        connection: The descriptor of the socket.
        status: That of the memory in which the number of the task at work stands.
        errors: That of what will be the standard error; -1 for none. Until now it is a file, in
            which the main process finds why a worker cannot begin.
    """
    with suppress(ValueError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the main process
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    _die_with_parent()
    mark_worker()
    keep_memory_in_worker()
    worker = _Worker(socket.socket(fileno=connection), map_file(status, STATUS_SIZE, OWN))
    os.close(status)
    _switch_errors(errors)
    worker.work()


def _die_with_parent() -> None:
    """Let the system kill this process with its parent, in the middle of foreign code as well.

    Where it cannot, the reader thread ends the process as soon as it gets its turn.
    """
    with suppress(Exception):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _switch_errors(errors: int) -> None:
    sys.stderr.flush()
    if errors >= 0:
        with suppress(OSError):
            os.lseek(2, 0, os.SEEK_SET)
            said = os.read(2, 1 << 16)
            os.write(errors, said)
        os.dup2(errors, 2)
        os.close(errors)


class _Job:
    """A function as it has arrived; unpacked for its first task."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        self.classes = Classes()  # those that the main process has as well

    @functools.cached_property
    def _opened(self) -> Opened:
        return self._frame.open(READ)

    @functools.cached_property
    def function(self) -> Callable[[Any], Any]:
        """The function. What is raised here (no such module, ...) is the task's error."""
        function, self.classes = unpacked_call(self._opened.payload, self._opened.buffers)
        del self._opened
        return function


class _Worker:
    """The loop of a worker; `status` is memory that the main process sees."""

    def __init__(self, connection: socket.socket, status: memoryview) -> None:
        self._connection = connection
        self._status, flags = divided(status)
        self._lender = SegmentPool(flags)
        self._pid = os.getpid()
        self._inode = os.fstat(connection.fileno()).st_ino
        # While a thread waits for a socket, the system keeps it open even if a task closes it.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 1, 0))
        self._frames: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._jobs: dict[int, _Job] = {}
        self._ended: set[int] = set()  # jobs whose tasks are not begun any more
        os.register_at_fork(after_in_child=connection.close)

    def work(self) -> NoReturn:
        """Take frames from the queue, for ever."""
        threading.Thread(target=self._read, name="batchflow-reader", daemon=True).start()
        self._send(READY)
        is_tidy = True
        while True:
            try:
                received = self._frames.get(timeout=None if is_tidy else TIDY_SECONDS)
            except queue.Empty:
                gc.collect()
                give_back()
                is_tidy = True
                continue
            self._take(received)
            is_tidy = is_tidy and received.kind != FORGET
            del received

    def _read(self) -> NoReturn:
        """Put frames into the queue; end the process when the connection ends."""
        try:
            receiver = Receiver(self._connection)
            while True:
                for received in self._received(receiver):
                    if received.kind == FORGET:
                        self._ended.add(received.job)
                    self._frames.put(received)
                    del received
        except OSError:
            self._check()
        finally:
            os._exit(0)

    def _received(self, receiver: Receiver) -> list[Frame]:
        try:
            return receiver.receive()
        except BlockingIOError:  # nothing came for a while
            self._check()
            return []

    def _check(self) -> None:
        """End the process if a task has closed its connection."""
        try:
            is_mine = os.fstat(self._connection.fileno()).st_ino == self._inode
        except OSError:
            is_mine = False
        if not is_mine:  # and what else has its number now would be written to
            os._exit(HUNG_UP)

    def _take(self, received: Frame) -> None:
        if received.kind == SETTING:
            _settle(received.body)
        elif received.kind == JOB:
            self._jobs[received.job] = _Job(received)
        elif received.kind == FORGET:
            del self._jobs[received.job]
            self._lender.forget()
            self._ended.discard(received.job)
            self._send(FORGOTTEN, job=received.job)
        elif received.job in self._ended:
            received.close()
        else:
            self._status[0] = received.number
            self._send(*self._outcome(received), number=received.number)
            self._status[0] = 0

    def _outcome(self, received: Frame) -> tuple[int, Message, float]:
        job, start = self._jobs[received.job], time.perf_counter()
        try:
            try:
                result = job.function(unpacked_item(received.open(COPY)))
            finally:
                if os.getpid() != self._pid:  # the task has forked, and this is not the worker
                    os._exit(1)  # before it touches memory that is lent
            kind = DONE
            message = self._lender.message(*packed_apart(result, job.classes, "the result"))
        except BaseException as error:
            kind, message = FAILED, Message.of(packed_error(error, job.classes))
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        return kind, message, time.perf_counter() - start

    def _send(
        self,
        kind: int,
        message: Message | None = None,
        seconds: float = 0.0,
        *,
        number: int = 0,
        job: int = 0,
    ) -> None:
        data, fds = frame(kind, number, job, seconds=seconds, message=message)
        self._check()
        try:
            while data:
                data, fds = data[send(self._connection, data, fds) :], []
        except OSError:  # the main process has ended
            os._exit(0)


def divided(status: memoryview) -> tuple[memoryview, memoryview]:
    """Return the parts of memory that both sides see: the task at work, flags of lent memory."""
    return status[:8].cast("Q"), status[64 : 64 + PLACES]


def _settle(body: bytes) -> None:
    """Take over path, folder and environment of the main process, as the job was opened."""
    path, folder, environment = pickle.loads(body)
    sys.path[:] = path
    with suppress(OSError):
        if os.getcwd() != folder:
            os.chdir(folder)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    for name, value in environment.items():
        if os.environ.get(name) != value:
            os.environ[name] = value
