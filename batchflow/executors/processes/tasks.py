"""Tasks and jobs of worker processes, as the service thread sees them: see service.py."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from batchflow.errors import BatchflowError
from batchflow.executors.futures import Promise
from batchflow.executors.processes.channel import Message

__all__ = ["JobState", "Task", "program_ends"]

SHORT_SECONDS = 0.02


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


def program_ends() -> BatchflowError:
    """Make the error of work that comes while the program ends."""
    return BatchflowError("the program ends: no work is begun in processes any more")
