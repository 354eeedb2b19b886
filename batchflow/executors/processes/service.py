"""The thread that hands tasks to worker processes and receives their results.

    post(...) from any thread ---> the service thread <=== sockets ===> worker processes

Guarantees:
    - Only the service thread touches workers and jobs, so an interrupt of another thread breaks
      nothing. It unpickles nothing and never waits for a task.
    - The tasks of a job begin in order, at most `n_workers` at once; jobs take turns.
    - A task whose process died runs again before all others: `ATTEMPTS` times in all. Those that
      waited in that process, or whose process was killed on purpose, go elsewhere free of charge.
    - Every future gets a result or an exception, even if this code fails.
    - The thread ends with the last job and the last worker; idle workers are ended by it.
    - When the program ends, all jobs are closed: whoever closes one later waits for nobody.
"""

from __future__ import annotations

import heapq
import selectors
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from batchflow.errors import BatchflowError, WorkerDiedError
from batchflow.executors.futures import ATTEMPTS
from batchflow.executors.processes.channel import Frame, Message
from batchflow.executors.processes.event_thread import EventLoopThread
from batchflow.executors.processes.handle import Handle, JobState, Task, program_ends
from batchflow.executors.processes.worker import (
    DONE,
    FAILED,
    FORGET,
    FORGOTTEN,
    JOB,
    READY,
    SETTING,
    TASK,
)
from batchflow.executors.serialization.pickling import Opened
from batchflow.executors.waiting import WAKE_UP

RETURNS = 30  # deaths of a worker in which a task was not to blame; a bound, never met
START_ATTEMPTS = 3
START_SECONDS = 120.0
START_PAUSE = 10.0  # after failures to start more workers, where there are some
IDLE_SECONDS = 300.0
DEPTH = 2  # tasks in a worker, where they are short: one at work and one at hand
LOOK_AGAIN = 0.02  # seconds


class Service(EventLoopThread):
    """Workers and jobs, and the thread that has them."""

    def __init__(self) -> None:
        super().__init__("batchflow-processes")
        self._workers: list[Handle] = []
        self._leaving: list[Handle] = []
        self._jobs: dict[int, JobState] = {}
        self._closing: dict[int, JobState] = {}
        self._failed_starts = 0
        self._next_start = 0.0
        self._next_look = 0.0
        self._is_over = False

    # ---- for other threads

    @property
    def has_jobs(self) -> bool:
        """Whether jobs are open."""
        return bool(self._jobs)

    @property
    def is_over(self) -> bool:
        """Whether the program ends: nothing is begun, and the thread may be there no more."""
        return self._is_over or sys.is_finalizing()

    def abandon(self) -> None:
        """Close files that a forked process has inherited."""
        for worker in (*self._workers, *self._leaving):
            worker.abandon()
        super().abandon()

    # ---- posted functions

    def add_job(self, job: JobState) -> None:
        """Add a job."""
        if self._is_over:
            job.is_closed.set()
        else:
            self._jobs[job.number] = job

    def add_task(self, task: Task) -> None:
        """Add a task of an open job."""
        if self._is_over:
            task.fail(program_ends())
        elif task.job.deadline is not None:
            task.drop()
        else:
            heapq.heappush(task.job.queue, task)

    def close_job(self, job: JobState, grace: float) -> None:
        """Begin no more tasks of a job; tasks at work have `grace` seconds."""
        if self._is_over or job.deadline is not None:
            return
        job.deadline = time.monotonic() + grace
        self._jobs.pop(job.number, None)
        self._closing[job.number] = job
        for task in job.queue:
            task.drop()
        job.queue.clear()
        job.message = job.setting = Message(b"")  # memory that is sent is held by what is sent
        for worker in self._workers:
            if job.number in worker.jobs:
                worker.send(FORGET, job=job.number)
        self._next_look = 0.0

    def kill_workers(self, done: threading.Event) -> None:
        """Kill all workers. What was at work begins again in others."""
        for worker in (*self._workers, *self._leaving):
            worker.kill()
        while self._workers:
            self._on_worker_death(self._workers[-1], is_free=True)
        while self._leaving:
            self._leaving.pop().end()
        done.set()

    def end(self, done: threading.Event) -> None:
        """Kill all workers, for good, and close all jobs."""
        self._is_over = True
        self._fail_all(BatchflowError("the program ends: work in processes has been broken off"))
        self._close_all()
        self.kill_workers(done)

    # ---- the turns of the thread

    def _turn(self) -> float:
        self._assign_tasks()
        now = time.monotonic()
        if now >= self._next_look:
            self._look_around(now)
            return 0.0  # there may be tasks to share out again
        return self._next_look - now

    def _heard(self, held: Handle, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            held.flush()
            self._watch(held.connection, also_room=held.has_mail)
        if events & selectors.EVENT_READ:
            self._read(held)

    def _is_done(self) -> bool:
        return not (self._workers or self._leaving or self._jobs or self._closing)

    def _collapse(self, error: BaseException, posted: Sequence[Any]) -> None:
        """End everything, because of a mistake in this code."""
        failure = BatchflowError(f"work in processes has broken down: {error!r}")
        failure.__cause__ = error
        for value in posted:
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
        self._workers.clear()
        self._leaving.clear()
        self._close_all()

    # ---- tasks to workers

    def _assign_tasks(self) -> None:
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
            # A second task waits behind the first, though another worker may be free before: that
            # pays where both are so short that the hand-over between them is felt.
            is_felt = job.is_short and all(task.job.is_short for task in best.tasks)
            return best if is_felt else None
        return best

    def _hand_over(self, task: Task, worker: Handle) -> None:
        job = task.job
        if job.number not in worker.jobs:
            worker.jobs.add(job.number)
            worker.send(SETTING, message=job.setting)
            worker.send(JOB, job=job.number, message=job.message)
        worker.tasks.append(task)
        worker.send(TASK, task.number, job.number, task.message)
        self._watch(worker.connection, also_room=worker.has_mail)

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

    def _close_all(self) -> None:
        for jobs in (self._jobs, self._closing):
            for job in jobs.values():
                job.is_closed.set()
            jobs.clear()

    # ---- answers of workers

    def _read(self, worker: Handle) -> None:
        try:
            frames = worker.receive()
        except EOFError:
            if worker in self._workers:
                self._on_worker_death(worker)
            return
        for received in frames:
            self._take(received, worker)

    def _take(self, received: Frame, worker: Handle) -> None:
        if received.kind == READY:
            self._failed_starts = 0
            worker.ready()
        elif received.kind == FORGOTTEN:
            worker.jobs.discard(received.job)
            worker.reader.forget()
            for task in [task for task in worker.tasks if task.job.number == received.job]:
                worker.tasks.remove(task)
                task.drop()
            self._next_look = 0.0
        elif received.kind in (DONE, FAILED):
            answered = next((t for t in worker.tasks if t.number == received.number), None)
            outcome = worker.opened(received, is_error=received.kind == FAILED)
            if answered is not None:  # or it has been given up
                worker.tasks.remove(answered)
                worker.since = time.monotonic()
                self._settle(answered, received.seconds, outcome)

    def _settle(self, task: Task, seconds: float, outcome: Opened | Exception) -> None:
        task.message.close()
        task.job.took(seconds)
        if task.job.deadline is not None:
            self._next_look = 0.0
        if isinstance(outcome, Opened):
            task.future.set_result(outcome)
        else:
            task.future.set_exception(outcome)

    # ---- deadlines and deaths

    def _look_around(self, now: float) -> None:
        """Look for what no socket tells: deadlines, dead processes, idle ones."""
        self._next_look = now + WAKE_UP
        for worker in list(self._workers):
            if worker.is_over:
                # A process that it has forked holds its socket open; its last answers come first.
                with suppress(EOFError):
                    while frames := worker.receive():
                        for received in frames:
                            self._take(received, worker)
                self._on_worker_death(worker)
            elif not worker.is_ready and now > worker.since + START_SECONDS:
                worker.kill()
                self._on_worker_death(worker)
            elif worker.is_ready and not worker.tasks and now > worker.since + IDLE_SECONDS:
                self._retire(worker)
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
            self._on_worker_death(worker, is_free=True)
            return
        for task in tasks:  # the worker has been told not to begin them
            worker.tasks.remove(task)
            task.drop()

    def _retire(self, worker: Handle) -> None:
        self._workers.remove(worker)
        self._selector.unregister(worker.connection)  # before it is closed
        worker.connection.close()  # then the process ends by itself
        self._leaving.append(worker)

    def _on_worker_death(self, worker: Handle, *, is_free: bool = False) -> None:
        """Remove a worker that has died. Its tasks run again, or fail.

        Args:
            worker: The worker.
            is_free: It was killed on purpose, so no task is to blame.
        """
        self._workers.remove(worker)
        self._selector.unregister(worker.connection)  # before it is closed
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
            attempts = task.deaths if task.deaths == ATTEMPTS else task.returns
            task.fail(WorkerDiedError.after(attempts, cause))
        else:
            heapq.heappush(task.job.queue, task)
