"""Tasks and jobs of worker processes, as the service thread sees them: see process_service.py."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from batchflow.errors import RunClosedError
from batchflow.executors.transport import Opened, Parcel

__all__ = ["Arrived", "JobState", "Task"]

SHORT_SECONDS = 0.02


@dataclass(eq=False)
class Arrived:
    """What the future of a task holds: packed still.

    Attributes:
        opened: The result, or the error.
        is_error: Which of the two.
    """

    opened: Opened
    is_error: bool


@dataclass(eq=False)
class Task:
    """One item of a job, on its way.

    Attributes:
        deaths: How many workers it has killed.
        returns: In how many that died it was.
    """

    number: int
    job: JobState
    future: Future[Any]
    parcel: Parcel
    deaths: int = 0
    returns: int = 0

    def __lt__(self, other: Task) -> bool:
        return self.number < other.number

    def begin(self) -> bool:
        """Take note that it will be sent. Returns False if it has been cancelled."""
        return self.future.running() or self.future.set_running_or_notify_cancel()

    def drop(self) -> None:
        """Cancel it, or, if it was begun, say that its job was closed."""
        if self.future.running():
            self.fail(RunClosedError("the job was closed before this task was finished"))
        elif self.future.cancel():
            self.future.set_running_or_notify_cancel()  # wakes up those who wait for several

    def fail(self, error: BaseException) -> None:
        """End it with an error."""
        if not self.future.cancelled() and self.begin():
            self.future.set_exception(error)


@dataclass(eq=False)
class JobState:
    """A job.

    Attributes:
        parcel: Its function.
        setting: What workers take over from the main process for it.
        queue: The tasks that no worker has, a heap.
        seconds: How long its tasks take: the recent ones count most. None: not known yet.
        deadline: When workers that are still at it are killed, once it is being closed.
        is_closed: Set when nothing of it is at work.
    """

    number: int
    parcel: Parcel
    setting: Parcel
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
        """Take note of how long a task took."""
        before = seconds if self.seconds is None else self.seconds
        self.seconds = 0.75 * before + 0.25 * seconds
