"""Worker processes for functions of one item: a pool that lasts, results through shared memory.

    pack(function) ---> pool.open(packed, n_workers) ---> job.submit(item) ---> future
                                                          job.close(grace)

Workers are fresh interpreters: nothing is forked, and the main script is not imported in them.

Guarantees:
    - A function is unpacked once by each worker that takes part in its job; the big arrays in it
      lie in memory once for all of them, where they cannot be written to.
    - The arrays of a result are ordinary writable arrays which nobody else writes to. (A process
      that is forked later shares them, as it shares all shared memory.)
    - A future gets the result or the error of its item exactly once, whatever dies.
    - After `close` nothing of a job runs. After `shutdown` nothing of the pool is left: no process,
      thread, file or memory. The pool never holds up the exit; nothing outlives this process.
    - Workers stay for later jobs, and end by themselves when nobody needs them for a while; or when
      a module of yours has been loaded anew, as notebooks do.

See service.py for the thread that deals out tasks, worker.py for the worker's side.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import pickle
import sys
import sysconfig
import threading
from concurrent.futures import Future
from typing import Any

from batchflow.errors import ArgumentValueError, BatchflowError, RunClosedError
from batchflow.executors.futures import ResultFuture
from batchflow.executors.item_threads import at_shutdown
from batchflow.executors.processes.channel import Message
from batchflow.executors.processes.service import Service
from batchflow.executors.processes.tasks import JobState, Task, program_ends
from batchflow.executors.serialization.pickling import PackedCall, needs_cloudpickle, packed_apart

__all__ = ["Job", "ProcessPool", "process_pool"]

END_SECONDS = 5.0  # for the service thread, which waits for nothing long

_numbers = itertools.count(1)


class ProcessPool:
    """The worker processes of this program. Get it by `process_pool()`."""

    def __init__(self) -> None:
        self._service = Service()
        self._modules = _Modules()

    def open(self, packed: PackedCall, n_workers: int) -> Job:
        """Begin a job: a function, of which items will be submitted.

        Args:
            packed: The function, packed by `pack`.
            n_workers: The most worker processes that work for it at once.

        Raises:
            ArgumentValueError: `n_workers` is less than 1.
        """
        if n_workers < 1:
            raise ArgumentValueError(f"n_workers={n_workers} must be 1 or more")
        if self._modules.have_changed() and not self._service.has_jobs:
            self.shutdown()  # workers have the modules as they were
        return Job(self._service, packed, n_workers)

    def shutdown(self) -> None:
        """Kill the workers. Jobs that are open go on in new ones."""
        self._end(self._service.kill_workers)

    def _exit(self) -> None:
        if self._service.thread.is_running:
            self._end(self._service.end)
        else:
            self._service.end(threading.Event())

    def _end(self, how: Any) -> None:
        service = self._service
        if not service.thread.is_running:
            return
        done = threading.Event()
        service.thread.post(how, done)
        service.thread.wait_for(done, END_SECONDS)
        if not service.has_jobs:
            service.thread.join(END_SECONDS)

    def _forget(self) -> None:
        global _guard
        _guard = threading.Lock()
        self._service.abandon()
        self._service = Service()


class _Modules:
    """Notices when a module of the user has been loaded anew: `reload` gives it another spec."""

    def __init__(self) -> None:
        self._specs: dict[str, Any] = {}
        self._installed: set[str] = set()  # these are not looked at again

    def have_changed(self) -> bool:
        """Check whether one has been, since this was asked before."""
        changed = False
        for name in [*sys.modules.keys() - self._installed]:
            spec = getattr(sys.modules.get(name), "__spec__", None)
            origin = getattr(spec, "origin", None)
            if origin is None or name.startswith("batchflow.") or _is_installed(origin):
                self._installed.add(name)
                continue
            changed |= self._specs.get(name, spec) is not spec
            self._specs[name] = spec
        return changed


def _is_installed(origin: str) -> bool:
    return (
        "-packages" in origin
        or origin in ("built-in", "frozen")
        or origin.startswith(_standard_library())
    )


@functools.cache
def _standard_library() -> tuple[str, str]:
    return sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")


class Job:
    """A function in the worker processes. Get it by `ProcessPool.open`.

    Args:
        service: The thread that serves it.
        packed: The function.
        n_workers: The most workers at once.
    """

    def __init__(self, service: Service, packed: PackedCall, n_workers: int) -> None:
        self._service = service
        self._packed = packed
        self._is_closed = False
        message = Message.of(packed.payload, packed.buffers)
        self._state = JobState(next(_numbers), message, Message(_setting()), n_workers)
        if not service.is_over:
            service.thread.post(service.add_job, self._state)

    def submit(self, item: Any) -> Future[Any]:
        """Let a worker call the function with an item. Never waits.

        The item is packed here and now: what happens to it later does not matter.

        Returns:
            The future of what the function returns. It is unpacked by the thread that asks for it.

        Raises:
            ArgumentTypeError: The item cannot be packed; the message says what in it.
            RunClosedError: The job is closed.
        """
        if self._is_closed:
            raise RunClosedError("this job is closed: it takes no more items")
        message = Message.of(*packed_apart(item, self._packed.classes, "the item"))
        future = ResultFuture(self._packed)
        task = Task(next(_numbers), self._state, future, message)
        if self._service.is_over:
            task.fail(program_ends())
        else:
            self._service.thread.post(self._service.add_task, task)
        return future

    def close(self, grace: float) -> None:
        """End the job. A second call does nothing.

        What waits is cancelled; the futures of what is broken off get a `RunClosedError`. While the
        interpreter ends nobody is waited for: the pool has ended, and its thread stands still.

        Args:
            grace: Seconds that tasks at work have. Then their workers are killed.
        """
        if not self._is_closed:
            self._is_closed = True
            if self._service.is_over:
                return
            self._service.thread.post(self._service.close_job, self._state, grace)
            self._service.thread.wait_for(self._state.is_closed, grace + END_SECONDS)


def _setting() -> bytes:
    """Pack path, folder and environment, which workers take over for a job."""
    path = [entry for entry in sys.path if isinstance(entry, str)]
    try:
        folder = os.getcwd()
    except OSError:  # it is gone
        folder = "/"
    return pickle.dumps((path, folder, dict(os.environ)))


_pool: ProcessPool | None = None
_guard = threading.Lock()


def process_pool() -> ProcessPool:
    """Return the pool of this program.

    Raises:
        BatchflowError: The system has no such processes, or the extra `processes` is missing.
    """
    global _pool
    if os.name != "posix":
        raise BatchflowError(
            "worker processes of batchflow need Linux or macOS. Elsewhere pass an executor that "
            "has processes of its own, such as loky's: "
            "executor=loky.get_reusable_executor(max_workers=4)"
        )
    needs_cloudpickle()
    with _guard:
        if _pool is None:
            _pool = ProcessPool()
            at_shutdown(_pool.shutdown)
            os.register_at_fork(after_in_child=_pool._forget)
            atexit.register(_pool._exit)
        return _pool
