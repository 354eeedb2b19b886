"""One worker process, its tasks and their jobs, as the service thread sees them: see service.py.

Guarantees:
    - Nothing here waits: what cannot be sent yet is kept until the socket takes it.
    - However the process ended, it can be described, and the task at work is known.
    - After `end` it has neither process nor open file.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from batchflow.errors import BatchflowError
from batchflow.executors.exceptions import describe_exit
from batchflow.executors.futures import Promise
from batchflow.executors.processes.channel import (
    OWN,
    Frame,
    Message,
    Receiver,
    frame,
    map_file,
    memory_file,
    send,
)
from batchflow.executors.processes.shared_memory import SegmentReader
from batchflow.executors.processes.worker import HUNG_UP, STATUS_SIZE, divided
from batchflow.executors.serialization.pickling import Opened

SHORT_SECONDS = 0.02
EXIT_SECONDS = 0.2  # that a process has to end by itself after it hung up
KILL_SECONDS = 5.0
TAIL = 2000  # characters of its standard error


@dataclass(eq=False)
class Task(Promise):
    """One item of a job.

    Attributes:
        deaths: How many workers it has killed.
        returns: How many workers have died while they had it, whether it was to blame or not.
    """

    number: int
    job: JobState
    future: Future[Any]
    message: Message
    deaths: int = 0
    returns: int = 0


@dataclass(eq=False)
class JobState:
    """A job.

    Attributes:
        message: Its function.
        setting: What workers take over from the main process for it.
        queue: The tasks that no worker has, a heap.
        seconds: How long its tasks take: the recent ones count most. None: not known yet.
        deadline: When workers that are still at it are killed, once it is being closed.
        is_closed: Set when nothing of it is at work.
    """

    number: int
    message: Message
    setting: Message
    n_workers: int
    queue: list[Task] = field(default_factory=list)
    seconds: float | None = None
    deadline: float | None = None
    is_closed: threading.Event = field(default_factory=threading.Event)

    @property
    def is_short(self) -> bool:
        """Whether a hand-over between two of its tasks is felt."""
        return self.seconds is not None and self.seconds < SHORT_SECONDS

    def took(self, seconds: float) -> None:
        """Record how long a task took."""
        before = seconds if self.seconds is None else self.seconds
        self.seconds = 0.75 * before + 0.25 * seconds


class Handle:
    """Starts a worker; holds its process, socket and tasks.

    Attributes:
        tasks: The tasks that it has and has not answered, in their order.
        jobs: The numbers of the jobs that it knows.
        is_ready: Whether it has begun to take tasks.
        since: When it was started, or last had nothing to do.
        reader: Opens the shared memory that it sends.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self) -> None:
        self.tasks: list[Task] = []
        self.jobs: set[int] = set()
        self.is_ready = False
        self.since = time.monotonic()
        self._is_killed = False
        self._outbox: deque[tuple[memoryview, list[int], Message | None]] = deque()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  closed by `end`
        self.connection, theirs = socket.socketpair()
        status = memory_file(STATUS_SIZE)
        try:
            self._status, flags = divided(map_file(status, STATUS_SIZE, OWN))
            self.reader = SegmentReader(flags)
            self._process = _started(theirs.fileno(), status, self._errors)
        except BaseException:
            self.connection.close()
            self._errors.close()
            raise
        finally:
            os.close(status)
            theirs.close()
        self.connection.setblocking(False)
        self._receiver = Receiver(self.connection)

    @property
    def status(self) -> int:
        """The number of the task that it is at; 0 between tasks."""
        return self._status[0]

    @property
    def is_over(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    @property
    def has_mail(self) -> bool:
        """Whether frames wait until the socket takes them."""
        return bool(self._outbox)

    def send(
        self, kind: int, number: int = 0, job: int = 0, message: Message | None = None
    ) -> None:
        """Send a frame, now or when the socket takes it."""
        self._outbox.append((*frame(kind, number, job, message=message), message))
        self.flush()

    def flush(self) -> None:
        """Send as much as the socket takes."""
        with suppress(OSError):  # it is full, or broken, which will be seen when it is read
            while self._outbox:
                data, fds, message = self._outbox[0]
                data = data[send(self.connection, data, fds) :]
                if data:
                    self._outbox[0] = (data, [], message)
                else:
                    self._outbox.popleft()

    def receive(self) -> list[Frame]:
        """Return the frames that have arrived.

        Raises:
            EOFError: The worker has hung up.
        """
        try:
            return self._receiver.receive()
        except BlockingIOError:
            return []
        except OSError as error:
            raise EOFError from error

    def opened(self, received: Frame, *, is_error: bool) -> Opened | Exception:
        """Open an answer; return the error if that fails."""
        try:
            opened = self.reader.open(received)
        except (OSError, BatchflowError) as error:
            return error
        opened.is_error = is_error
        return opened

    def ready(self) -> None:
        """Mark it as ready for tasks."""
        self.is_ready = True
        self.since = time.monotonic()
        self._errors.close()

    def kill(self) -> None:
        """Kill the process. It is still to be ended."""
        self._is_killed = True
        self._process.kill()

    def end(self) -> str:
        """Close everything, wait for the process, and return how it ended, in words."""
        self._close()
        code = self._code()
        has_hung_up = code == HUNG_UP
        how = "it closed its connection to the main process" if has_hung_up else describe_exit(code)
        words = how + self._said()
        self._errors.close()
        return words

    def abandon(self) -> None:
        """Close everything in a forked process, which is not the worker's parent."""
        self._close()
        self._errors.close()
        self._process.returncode = 0  # or it would be warned of, and waited for

    def _close(self) -> None:
        self.connection.close()
        self._receiver.close()
        self._outbox.clear()

    def _code(self) -> int:
        try:
            return self._process.wait(KILL_SECONDS if self._is_killed else EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
        with suppress(subprocess.TimeoutExpired):  # the system does not let go of it
            self._process.wait(KILL_SECONDS)
        return -signal.SIGKILL if self._is_killed else HUNG_UP

    def _said(self) -> str:
        if self.is_ready or self._errors.closed:
            return ""
        self._errors.seek(0)
        text = self._errors.read().decode(errors="replace").strip()
        return f"\nIt said:\n{text[-TAIL:]}" if text else ""


def _started(connection: int, status: int, errors: Any) -> subprocess.Popen[bytes]:
    if not sys.executable:
        raise BatchflowError("worker processes need sys.executable: this program has none")
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    path = [entry for entry in sys.path if isinstance(entry, str)]
    try:
        shown = os.dup(2)
    except OSError:  # this process has no standard error
        shown = -1
    code = (
        f"import sys; sys.path[:] = {path!r}; "
        "from batchflow.executors.processes.worker import main; "
        f"main({connection}, {status}, {shown})"
    )
    passed = [fd for fd in (connection, status, shown) if fd >= 0]
    try:
        return subprocess.Popen(
            [sys.executable, *flags, "-c", code],
            stdin=subprocess.DEVNULL,
            stderr=errors,
            pass_fds=passed,
        )
    finally:
        if shown >= 0:
            os.close(shown)


def program_ends() -> BatchflowError:
    """Make the error of work that comes while the program ends."""
    return BatchflowError("the program ends: no work is begun in processes any more")
