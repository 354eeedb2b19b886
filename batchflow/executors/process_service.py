"""The thread that deals out tasks to worker processes and receives what they give back.

    post(...) from any thread ---> the service thread <=== sockets ===> worker processes

Guarantees:
    - Only the service thread touches workers and jobs, so an interrupt of another thread breaks
      nothing. It unpickles nothing and never waits for a task.
    - The tasks of a job begin in order, at most `n_workers` at once; jobs take turns.
    - A task whose process died runs again before all others: `ATTEMPTS` times in all. Those that
      waited in that process, or whose process was killed on purpose, go elsewhere free of charge.
    - Every future gets a result or an exception, even if this code fails.
    - The thread ends with the last job and the last worker; idle workers are ended by it.
"""

from __future__ import annotations

import heapq
import selectors
import signal
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from batchflow.errors import BatchflowError, RunClosedError, WorkerDiedError
from batchflow.executors.pool import WAKE_UP
from batchflow.executors.process_handle import Handle
from batchflow.executors.process_worker import (
    DONE,
    FAILED,
    FORGET,
    FORGOTTEN,
    JOB,
    READY,
    SETTING,
    TASK,
)
from batchflow.executors.transport import OWN, Frame, Opened, Parcel

__all__ = ["Arrived", "JobState", "Service", "Task"]

ATTEMPTS = 3
RETURNS = 30  # deaths of a worker in which a task was not to blame; a bound, never met
START_ATTEMPTS = 3
START_SECONDS = 120.0
START_PAUSE = 10.0  # after failures to start more workers, where there are some
IDLE_SECONDS = 300.0
DEPTH = 2  # tasks in a worker, one at work and one at hand ...
SHORT_SECONDS = 0.02  # ... where tasks are shorter than this, and a hand-over is felt
LOOK_AGAIN = 0.02  # seconds


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
    """One item of a job, on its way."""

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
        """Cancel it, or say that its job was closed."""
        if self.future.running():
            self.fail(RunClosedError("the job was closed before this task was finished"))
        elif self.future.cancel():
            self.future.set_running_or_notify_cancel()  # wakes up those who wait for several

    def fail(self, error: BaseException) -> None:
        """End it with an error."""
        if self.begin():
            self.future.set_exception(error)


@dataclass(eq=False)
class JobState:
    """A job, as the service thread sees it.

    Attributes:
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


class Service:
    """The thread, its workers and its jobs."""

    def __init__(self) -> None:
        self._workers: list[Handle] = []
        self._leaving: list[Handle] = []
        self._jobs: dict[int, JobState] = {}
        self._closing: dict[int, JobState] = {}
        self._posted: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        # Reentrant: the collector may finalize a run, which posts, in a thread that is posting.
        self._guard = threading.RLock()
        self._thread: threading.Thread | None = None
        self._is_awake = False
        self._failed_starts = 0
        self._next_start = 0.0
        self._next_look = 0.0
        self._is_over = False

    # ---- for other threads

    @property
    def is_idle(self) -> bool:
        """Whether the thread does not run: nothing is there."""
        return self._thread is None

    @property
    def has_jobs(self) -> bool:
        """Whether jobs are open."""
        return bool(self._jobs)

    def post(self, function: Callable[..., None], *args: Any) -> None:
        """Let the thread call a function. It is started if it does not run."""
        with self._guard:
            self._posted.append((function, args))
            if self._thread is None:
                self._selector = selectors.DefaultSelector()
                self._bell, self._rope = socket.socketpair()
                self._bell.setblocking(False)
                self._rope.setblocking(False)
                self._selector.register(self._bell, selectors.EVENT_READ)
                self._is_awake = True
                self._thread = threading.Thread(
                    target=self._serve, name="batchflow-processes", daemon=True
                )
                self._thread.start()
            elif not self._is_awake:
                self._is_awake = True
                with suppress(OSError):
                    self._rope.send(b"!")

    def wait_for(self, event: threading.Event, seconds: float) -> None:
        """Wait for what the thread will do, unless this is the thread."""
        if self._thread is not threading.current_thread():
            event.wait(seconds)

    def join(self, seconds: float) -> None:
        """Wait until the thread has ended, unless this is the thread."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(seconds)

    def abandon(self) -> None:
        """Close what a forked process has inherited. The thread is not there."""
        for worker in (*self._workers, *self._leaving):
            worker.abandon()
        if self._thread is not None:
            self._selector.close()
            self._bell.close()
            self._rope.close()

    # ---- what is posted

    def add_job(self, job: JobState) -> None:
        """Take a job."""
        self._jobs[job.number] = job

    def add_task(self, task: Task) -> None:
        """Take a task of an open job."""
        if self._is_over:
            task.fail(BatchflowError("the program ends: no work is begun in processes any more"))
        elif task.job.deadline is not None:
            task.drop()
        else:
            heapq.heappush(task.job.queue, task)

    def close_job(self, job: JobState, grace: float) -> None:
        """Begin nothing of a job any more; what is at work has `grace` seconds."""
        if job.deadline is not None:
            return
        job.deadline = time.monotonic() + grace
        self._jobs.pop(job.number, None)
        self._closing[job.number] = job
        for task in job.queue:
            task.drop()
        job.queue.clear()
        job.parcel = job.setting = Parcel(b"")  # memory that is sent is held by what is sent
        for worker in self._workers:
            if job.number in worker.jobs:
                worker.send(FORGET, job=job.number)
        self._next_look = 0.0

    def kill_workers(self, done: threading.Event) -> None:
        """Kill all workers. What was at work begins again in others."""
        for worker in (*self._workers, *self._leaving):
            worker.kill()
        while self._workers:
            self._bury(self._workers[-1], is_free=True)
        while self._leaving:
            self._leaving.pop().end()
        done.set()

    def end(self, done: threading.Event) -> None:
        """Kill all workers, for good."""
        self._is_over = True
        self._fail_all(BatchflowError("the program ends: work in processes has been broken off"))
        self.kill_workers(done)

    # ---- the thread

    def _serve(self) -> None:
        # Workers are started by this thread and inherit its mask: no moment in which a Ctrl-C,
        # which the terminal sends to all processes of a program, would end one.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            while not self._is_done():
                self._turn()
        except BaseException as error:  # a mistake in here must not leave anybody waiting
            self._collapse(error)

    def _turn(self) -> None:
        while self._posted:
            function, args = self._posted.popleft()
            function(*args)
            del function, args
        self._share_out()
        now = time.monotonic()
        if now >= self._next_look:
            self._look_after(now)
            return  # there may be tasks to share out again
        self._is_awake = False
        seconds = 0.0 if self._posted else self._next_look - now
        for key, events in self._selector.select(seconds):
            if key.data is None:
                with suppress(BlockingIOError):
                    self._bell.recv(4096)
                continue
            if events & selectors.EVENT_WRITE:
                key.data.flush()
                self._watch(key.data)
            if events & selectors.EVENT_READ:
                self._read(key.data)
        self._is_awake = True

    def _is_done(self) -> bool:
        """End the thread if there is nothing left to do."""
        with self._guard:
            if self._workers or self._leaving or self._jobs or self._closing or self._posted:
                return False
            self._close_files()
            return True

    def _close_files(self) -> None:
        self._thread = None
        self._selector.close()
        self._bell.close()
        self._rope.close()

    def _collapse(self, error: BaseException) -> None:
        failure = BatchflowError(f"work in processes has broken down: {error!r}")
        failure.__cause__ = error
        with self._guard:
            posted, self._posted = self._posted, deque()
            for _, args in posted:
                for value in args:
                    if isinstance(value, Task):
                        value.fail(failure)
                    elif isinstance(value, JobState):
                        value.is_closed.set()
                    elif isinstance(value, threading.Event):
                        value.set()
            self._fail_all(failure)
            for worker in (*self._workers, *self._leaving):
                worker.kill()
                worker.end()
            for job in (*self._jobs.values(), *self._closing.values()):
                job.is_closed.set()
            for held in (self._workers, self._leaving, self._jobs, self._closing):
                held.clear()
            self._close_files()

    # ---- tasks to workers

    def _share_out(self) -> None:
        turns = deque(job for job in self._jobs.values() if job.queue)
        while turns:
            job = turns.popleft()
            worker = self._room_for(job)
            if worker is not None:
                task = heapq.heappop(job.queue)
                if task.begin():
                    self._hand_over(task, worker)
                    self._jobs[job.number] = self._jobs.pop(job.number)  # others first, next time
                if job.queue:
                    turns.append(job)
        self._start_workers()

    def _room_for(self, job: JobState) -> Handle | None:
        """Find a worker for the next task of a job: idle if possible, one that knows the job."""
        mine = [w for w in self._workers if any(task.job is job for task in w.tasks)]
        best, least = None, (DEPTH, False)
        for worker in self._workers if len(mine) < job.n_workers else mine:
            rank = (len(worker.tasks), job.number not in worker.jobs)
            if worker.is_ready and rank < least:
                best, least = worker, rank
        if best is not None and best.tasks:
            is_felt = job.is_short and all(task.job.is_short for task in best.tasks)
            return best if is_felt else None
        return best

    def _hand_over(self, task: Task, worker: Handle) -> None:
        job = task.job
        if job.number not in worker.jobs:
            worker.jobs.add(job.number)
            worker.send(SETTING, parcel=job.setting)
            worker.send(JOB, job=job.number, parcel=job.parcel)
        worker.tasks.append(task)
        worker.send(TASK, task.number, job.number, task.parcel)
        self._watch(worker)

    def _watch(self, worker: Handle) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.has_mail else 0)
        if self._selector.get_key(worker.connection).events != events:
            self._selector.modify(worker.connection, events, worker)

    def _start_workers(self) -> None:
        busy = [job for job in self._jobs.values() if job.queue]
        if not busy or time.monotonic() < self._next_start:
            return
        at_work: dict[int, int] = {}
        for worker in self._workers:
            for task in worker.tasks:
                at_work[task.job.number] = at_work.get(task.job.number, 0) + 1
        n_tasks = sum(at_work.values()) + sum(len(job.queue) for job in busy)
        n_wanted = min(max(job.n_workers for job in busy), n_tasks)
        while len(self._workers) < n_wanted:
            try:
                worker = Handle()
            except (OSError, BatchflowError) as error:
                if self._start_has_failed(str(error)):
                    return
                continue
            self._workers.append(worker)
            self._selector.register(worker.connection, selectors.EVENT_READ, worker)
            self._next_look = min(self._next_look, time.monotonic() + WAKE_UP)

    def _start_has_failed(self, cause: str) -> bool:
        self._failed_starts += 1
        if self._failed_starts < START_ATTEMPTS:
            return False
        self._failed_starts = 0
        if any(worker.is_ready for worker in self._workers):
            self._next_start = time.monotonic() + START_PAUSE  # fewer will do
        else:
            text = f"no worker process could be started in {START_ATTEMPTS} attempts: {cause}"
            self._fail_all(BatchflowError(text))
        return True

    def _fail_all(self, error: BatchflowError) -> None:
        for job in self._jobs.values():
            for task in job.queue:
                task.fail(error)
            job.queue.clear()
        for worker in self._workers:
            for task in worker.tasks:
                task.fail(error)
            worker.tasks.clear()

    # ---- what workers say

    def _read(self, worker: Handle) -> None:
        try:
            frames = worker.receive()
        except EOFError:
            if worker in self._workers:
                self._bury(worker)
            return
        for received in frames:
            self._take(received, worker)

    def _take(self, received: Frame, worker: Handle) -> None:
        if received.kind == READY:
            self._failed_starts = 0
            worker.ready()
        elif received.kind == FORGOTTEN:
            worker.jobs.discard(received.job)
            for task in [task for task in worker.tasks if task.job.number == received.job]:
                worker.tasks.remove(task)
                task.drop()
            self._next_look = 0.0
        elif received.kind in (DONE, FAILED):
            answered = next((t for t in worker.tasks if t.number == received.number), None)
            if answered is None:  # it has been given up
                received.close()
                return
            worker.tasks.remove(answered)
            worker.since = time.monotonic()
            self._settle(answered, received)

    def _settle(self, task: Task, received: Frame) -> None:
        task.parcel.close()
        job = task.job
        before = received.seconds if job.seconds is None else job.seconds
        job.seconds = 0.75 * before + 0.25 * received.seconds
        if job.deadline is not None:
            self._next_look = 0.0
        try:
            arrived = Arrived(received.open(OWN), received.kind == FAILED)
        except (OSError, BatchflowError) as error:
            task.future.set_exception(error)
        else:
            task.future.set_result(arrived)

    # ---- what ends

    def _look_after(self, now: float) -> None:
        """See what nobody tells: deadlines, dead processes, idle ones."""
        self._next_look = now + WAKE_UP
        for worker in list(self._workers):
            if worker.is_over:
                # Something that it has forked holds its socket; what it has sent comes first.
                with suppress(EOFError):
                    while frames := worker.receive():
                        for received in frames:
                            self._take(received, worker)
                self._bury(worker)
            elif not worker.is_ready and now > worker.since + START_SECONDS:
                worker.kill()
                self._bury(worker)
            elif worker.is_ready and not worker.tasks and now > worker.since + IDLE_SECONDS:
                self._dismiss(worker)
        for worker in list(self._leaving):
            if worker.is_over:
                self._leaving.remove(worker)
                worker.end()
        for job in list(self._closing.values()):
            self._look_at_closing(job, now)

    def _look_at_closing(self, job: JobState, now: float) -> None:
        assert job.deadline is not None  # noqa: S101
        for worker in list(self._workers):
            mine = [task for task in worker.tasks if task.job is job]
            if mine and now >= job.deadline:
                self._break_off(worker, mine)
        if any(task.job is job for worker in self._workers for task in worker.tasks):
            self._next_look = min(self._next_look, max(job.deadline, now + LOOK_AGAIN))
        else:
            del self._closing[job.number]
            job.is_closed.set()

    def _break_off(self, worker: Handle, tasks: list[Task]) -> None:
        if any(task.number == worker.status for task in tasks):
            worker.kill()
            self._bury(worker, is_free=True)
            return
        for task in tasks:  # the worker has been told not to begin them
            worker.tasks.remove(task)
            task.drop()

    def _dismiss(self, worker: Handle) -> None:
        self._workers.remove(worker)
        self._selector.unregister(worker.connection)
        worker.hang_up()
        self._leaving.append(worker)

    def _bury(self, worker: Handle, *, is_free: bool = False) -> None:
        """Take leave of a worker that has died, and see what becomes of its tasks."""
        self._workers.remove(worker)
        self._selector.unregister(worker.connection)
        blamed = 0 if is_free else worker.status
        cause = worker.end()
        for task in worker.tasks:
            self._try_again(task, task.number == blamed, cause)
        worker.tasks.clear()
        self._next_look = 0.0
        if not worker.is_ready and not is_free:
            self._start_has_failed(cause)

    def _try_again(self, task: Task, is_blamed: bool, cause: str) -> None:
        task.deaths += is_blamed
        task.returns += 1
        if task.job.deadline is not None:
            task.drop()
        elif task.deaths == ATTEMPTS or task.returns == RETURNS:
            task.fail(
                WorkerDiedError(
                    f"a worker process died at this in each of {task.returns} attempts; "
                    f"the last time {cause}"
                )
            )
        else:
            heapq.heappush(task.job.queue, task)
