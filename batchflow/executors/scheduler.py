"""A job on an executor of somebody else's: any `concurrent.futures.Executor`, Dask, or Ray.

    submit(item) ---> the scheduler, a thread ---> executor.submit(remote_call, ...) ---> future
                          ^-------------- answers, deaths of workers -------------+

Guarantees:
    - Only the scheduler touches the executor: callbacks come from threads that hold its locks, so
      they post and do nothing else.
    - Tasks are handed over in order.
    - The function travels about once to each worker: a small one with each task; a big one at the
      beginning and when a worker has missed it, with so few tasks that each worker gets one.
    - When a worker dies, all tasks at work are suspects: they are tried alone, one by one. A task
      whose worker dies then is to blame. One that loses `ATTEMPTS` workers so fails, and no other
      does. (If the user gives the executor other work at the same time, its deaths are taken for
      those of the task that is tried.)
    - Every future gets a result or an exception, even if this code fails.
"""

from __future__ import annotations

import heapq
import itertools
import sys
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any

from batchflow.errors import BatchflowError, WorkerDiedError
from batchflow.executors.backends.base import Backend, n_deaths
from batchflow.executors.backends.call import FAILED, MISSING, FunctionKey, SentFunction
from batchflow.executors.backends.kinds import backend_of
from batchflow.executors.futures import ATTEMPTS, Job, Promise, ResultFuture
from batchflow.executors.serialization.pickling import Opened, PackedCall, packed_whole

MOST_RENEWALS = 5  # of an executor, in a row, none of which has given one answer
SMALL = 64 * 1024  # bytes of a function that travels with each task
KILL_SECONDS = 2.0
END_SECONDS = 5.0  # for the executor, if it is ended
LAST_SECONDS = 1.0  # from a pool's first refusal to its last future
CANCELLED = "the executor has cancelled this task, which nobody here has asked for"

_numbers = itertools.count(1)
_ended: deque[str] = deque(maxlen=8)  # names of functions that workers may forget


@dataclass(eq=False)
class Task(Promise):
    """One item.

    Attributes:
        item: The item, packed.
        inner: The executor's future of it, while it is there.
        brings: Whether the function has gone with it.
        deaths: How many workers have died while it was at work alone.
        losses: How often the executor has lost it without a death.
    """

    item: bytes
    future: Future[Any]
    number: int = field(default_factory=_numbers.__next__)
    inner: Future[Any] | None = None
    brings: bool = False
    deaths: int = 0
    losses: int = 0


class ScheduledJob(Job):
    """A function in the workers of an executor, and the thread that hands its tasks over.

    Arguments and errors as of `open_job`.
    """

    def __init__(self, executor: Any, packed: PackedCall, n_workers: int) -> None:
        super().__init__(packed)
        self._backend = backend_of(executor)
        self._backend.begin()
        self._function = SentFunction.of(packed)
        self._key = FunctionKey.of(uuid.uuid4().hex)
        self._is_big = self._function.n_bytes > SMALL
        self._shared: Any = None
        self._n_workers = n_workers
        self._limit: float | None = None
        self._is_bringing = True  # whether the function goes along: some worker does not have it
        self._n_renewals = 0
        self._posted: SimpleQueue[tuple[Callable[..., None], tuple[Any, ...]]] = SimpleQueue()
        self._waiting: list[Task] = []  # a heap
        self._suspects: list[Task] = []  # in order; to be tried alone
        self._alone: Task | None = None
        self._at_work: dict[Task, None] = {}
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._serve, name="batchflow-executor", daemon=True)
        self._thread.start()

    def _post(self, item: Any, future: ResultFuture) -> None:
        task = Task(packed_whole(item, self._packed.classes, "the item"), future)
        self._posted.put((self._add, (task,)))

    def _end(self, grace: float) -> None:
        if sys.is_finalizing():
            return
        self._posted.put((self._close, (time.monotonic() + grace,)))
        if self._thread is not threading.current_thread():
            self._thread.join(grace + KILL_SECONDS + END_SECONDS)

    # ---- the thread: all below is called there, but `_post_end`

    def _serve(self) -> None:
        """Call posted functions until the job is closed."""
        try:
            while self._deadline is None:
                function, args = self._posted.get()
                function(*args)
                del function, args
                if self._deadline is None:
                    self._hand_over_what_may_go()
            self._wind_up(self._deadline)
        except BaseException as error:  # a mistake in here must not leave anybody waiting
            failure = BatchflowError(f"work on the executor has broken down: {error!r}")
            failure.__cause__ = error
            self._collapse(failure)

    # ---- posted functions

    def _add(self, task: Task) -> None:
        if self._deadline is None:
            heapq.heappush(self._waiting, task)
        else:
            task.drop()

    def _close(self, deadline: float) -> None:
        """Begin nothing any more."""
        self._deadline = deadline
        for task in (*self._waiting, *self._suspects):
            task.drop()
        self._waiting.clear()
        self._suspects.clear()
        self._backend.stop([task.inner for task in self._at_work if task.inner is not None])

    def _take(self, task: Task, inner: Future[Any], cause: str, suspects: Sequence[Task]) -> None:
        """Settle a task that has ended on the executor, or let it run again.

        If a worker has died, `cause` says how, and `suspects` are the tasks that were at work.
        """
        if task.inner is not inner:
            return  # it was taken back, with its executor, before this was posted
        is_lost = inner.cancelled()  # such as when data that it needs was lost
        error = BatchflowError(CANCELLED) if is_lost else inner.exception()
        was_alone = self._alone is task
        died = 0 if error is None or self._deadline is not None else n_deaths(error)
        if error is not None and died:
            self._blame(died, cause, suspects, was_alone=was_alone)
            if isinstance(error, BrokenExecutor):
                self._renew(error)
            return
        self._take_back(task)
        if error is None:
            self._n_renewals = 0
            self._settle(task, *inner.result(), was_alone=was_alone)
        elif self._deadline is not None:
            task.drop()
        elif is_lost and task.losses < ATTEMPTS:
            task.losses += 1
            self._shared = None  # the function may be what was lost
            self._put_back(task, was_alone=was_alone)
        else:
            error.add_note(
                "the executor has raised this, before the work on the task or after it: its "
                "workers need batchflow and the modules of this program"
            )
            task.fail(error)

    def _settle(self, task: Task, kind: int, answer: bytes, *, was_alone: bool) -> None:
        if kind == MISSING:
            self._is_bringing = True
            self._put_back(task, was_alone=was_alone)
            return
        if task.brings:
            self._is_bringing = False
        if not task.future.cancelled():
            task.future.set_result(Opened(answer, (), kind == FAILED))

    # ---- to the executor

    def _hand_over_what_may_go(self) -> None:
        while (task := self._next()) is not None:
            is_alone = self._alone is task
            if not task.begin():
                self._take_back(task)
                continue
            try:
                self._submit(task)
            except BrokenExecutor as error:
                self._take_back(task)
                self._put_back(task, was_alone=is_alone)
                self._await_deaths(self._backend, error)
            except Exception as error:
                self._take_back(task)
                error.add_note(f"the executor {self._backend.executor!r:.80} did not take the task")
                task.fail(error)

    def _next(self) -> Task | None:
        """Return the next task that may be handed over, if any may."""
        if self._suspects and not self._at_work:
            self._alone = self._suspects.pop(0)
            return self._alone
        if self._suspects or self._alone is not None or len(self._at_work) >= self._most():
            return None
        return heapq.heappop(self._waiting) if self._waiting else None

    def _most(self) -> float:
        """Return how many tasks may be at work: few, if they are to bring a big function."""
        if self._is_big and self._is_bringing:
            return self._n_workers
        if self._limit is None:
            count = self._backend.n_workers
            is_narrower = count is not None and self._n_workers < count
            self._limit = self._n_workers if is_narrower else float("inf")
        return self._limit

    def _submit(self, task: Task) -> None:
        function: Any = None
        task.brings = self._is_bringing
        if not self._is_big:
            function = self._function
        elif task.brings:
            if self._shared is None:
                self._shared = self._backend.share(self._function)
            function = self._shared
        backend = self._backend  # the one of this future, whichever there is when it ends
        task.inner = inner = backend.submit(self._key, function, task.item, tuple(_ended))
        self._at_work[task] = None
        inner.add_done_callback(lambda inner: self._post_end(task, inner, backend))

    def _post_end(self, task: Task, inner: Future[Any], backend: Backend) -> None:
        """Post that a task has ended on the executor. In any thread.

        The first task to end by a death sees which others were at work, and how the worker died. A
        moment later a broken pool has ended all futures and all processes.
        """
        cause, suspects = "", [task]
        error = None if inner.cancelled() else inner.exception()
        if error is not None and n_deaths(error):
            if isinstance(error, BrokenExecutor):
                for other in list(self._at_work):
                    theirs = other.inner
                    if other is not task and theirs is not None and theirs.running():
                        suspects.append(other)
            cause = backend.cause(error)
        self._posted.put((self._take, (task, inner, cause, suspects)))

    # ---- deaths

    def _blame(self, died: int, cause: str, suspects: Sequence[Task], *, was_alone: bool) -> None:
        """Let the suspects of a death be tried alone, or fail the task that is to blame."""
        # One that has been taken back since, with another executor, has its turn already.
        for one in [one for one in suspects if one in self._at_work]:
            self._take_back(one)
            one.deaths += died if was_alone else 0
            if one.deaths >= ATTEMPTS:
                self._n_renewals = 0
                one.fail(WorkerDiedError.after(one.deaths, cause))
            else:
                self._suspects.append(one)
        self._suspects.sort()

    def _await_deaths(self, broken: Backend, error: BaseException) -> None:
        """Go on with another executor, when the tasks of the broken one have ended.

        A pool refuses tasks a moment before the futures of tasks at work end. Only these tell which
        tasks were at work when it broke.
        """
        end = time.monotonic() + LAST_SECONDS
        while self._backend is broken and self._at_work and self._deadline is None:
            try:
                function, args = self._posted.get(timeout=max(0.0, end - time.monotonic()))
            except Empty:
                break
            function(*args)
        if self._backend is broken and self._deadline is None:
            self._renew(error)

    def _renew(self, error: BaseException) -> None:
        """Go on with another executor: this one is broken. Its tasks are taken back."""
        for task in list(self._at_work):
            self._take_back(task)
            heapq.heappush(self._waiting, task)
        self._n_renewals += 1
        try:
            if self._n_renewals > MOST_RENEWALS:
                raise BatchflowError(
                    f"the executor {self._backend.executor!r:.80} has broken down {MOST_RENEWALS} "
                    f"times in a row before it gave one answer: {error}"
                )
            broken, self._backend = self._backend, self._backend.renewed()
        except Exception as failure:
            self._fail_all(failure, error)
            return
        broken.end(is_busy=True)
        self._shared, self._limit, self._is_bringing = None, None, True

    def _take_back(self, task: Task) -> None:
        """Note that the executor does not have a task any more."""
        self._at_work.pop(task, None)
        task.inner = None
        if self._alone is task:
            self._alone = None

    def _put_back(self, task: Task, *, was_alone: bool) -> None:
        """Let a task wait for its turn again."""
        if was_alone:
            self._suspects.insert(0, task)
        else:
            heapq.heappush(self._waiting, task)

    def _fail_all(self, failure: BaseException, cause: BaseException | None) -> None:
        if failure.__cause__ is None and cause is not failure:
            failure.__cause__ = cause
        for task in (*self._waiting, *self._suspects, *self._at_work):
            task.inner = None
            task.fail(failure)
        self._waiting.clear()
        self._suspects.clear()
        self._at_work.clear()

    # ---- the end

    def _wind_up(self, deadline: float) -> None:
        """Wait for tasks at work, break off those that can be, end the executor if it is ours."""
        self._wait_until(deadline)
        is_busy = bool(self._at_work)
        for task in self._at_work:
            if task.inner is not None:
                self._backend.kill(task.inner)
        self._backend.end(is_busy=is_busy)
        self._wait_until(time.monotonic() + (KILL_SECONDS if self._backend.may_kill else 0.0))
        for task in self._at_work:
            task.drop()
        _ended.append(self._key.name)
        self._shared = None

    def _wait_until(self, deadline: float) -> None:
        while self._at_work and (left := deadline - time.monotonic()) > 0:
            with suppress(Empty):
                function, args = self._posted.get(timeout=left)
                function(*args)

    def _collapse(self, failure: BatchflowError) -> None:
        self._fail_all(failure, None)
        while self._deadline is None:
            function, args = self._posted.get()
            if function == self._add:
                args[0].fail(failure)
            elif function == self._close:
                self._deadline = args[0]
