"""Worker processes for functions of one item: a pool that lasts, results through shared memory.

Workers are fresh interpreters: nothing is forked, and the main script is not imported in them.

Guarantees:
    - A function is unpacked once by each worker that takes part in its job; the big arrays in it
      lie in memory once for all of them, where they cannot be written to.
    - The arrays of a result are ordinary writable arrays which nobody else writes to. (A process
      that is forked later shares them, as it shares all shared memory.)
    - After `shutdown` nothing of the pool is left: no process, thread, file or memory.
    - Workers stay for later jobs, and end by themselves when nobody needs them for a while; or when
      a module of yours has been loaded anew, as notebooks do.
"""

from __future__ import annotations

import atexit
import itertools
import os
import pickle
import sys
import sysconfig
import threading
from typing import Any

from batchflow.errors import ArgumentValueError, BatchflowError
from batchflow.executors.futures import Job, ResultFuture
from batchflow.executors.item_threads import at_shutdown
from batchflow.executors.processes.channel import Message
from batchflow.executors.processes.handle import JobState, Task, program_ends
from batchflow.executors.processes.service import Service
from batchflow.executors.serialization.pickling import PackedCall, needs_cloudpickle, packed_apart

END_SECONDS = 5.0  # for the service thread, which waits for nothing long

_STANDARD_LIBRARY = sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")
_numbers = itertools.count(1)


class ProcessPool:
    """The worker processes of this program. Get it by `process_pool()`."""

    def __init__(self) -> None:
        self._service = Service()
        self._modules = _Modules()

    def open(self, packed: PackedCall, n_workers: int) -> ProcessJob:
        """Begin a job; see `open_job`."""
        if n_workers < 1:
            raise ArgumentValueError(f"n_workers={n_workers} must be 1 or more")
        if self._modules.have_changed() and not self._service.has_jobs:
            self.shutdown()  # workers have the modules as they were
        return ProcessJob(self._service, packed, n_workers)

    def shutdown(self) -> None:
        """Kill the workers. Jobs that are open go on in new ones."""
        self._end(self._service.kill_workers)

    def _exit(self) -> None:
        if self._service.is_running:
            self._end(self._service.end)
        else:
            self._service.end(threading.Event())

    def _end(self, how: Any) -> None:
        service = self._service
        if not service.is_running:
            return
        done = threading.Event()
        service.post(how, done)
        service.wait_for(done, END_SECONDS)
        if not service.has_jobs:
            service.join(END_SECONDS)

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
        or origin.startswith(_STANDARD_LIBRARY)
    )


class ProcessJob(Job):
    """A function in the worker processes, which a service serves. See `ProcessPool.open`."""

    def __init__(self, service: Service, packed: PackedCall, n_workers: int) -> None:
        super().__init__(packed)
        self._service = service
        message = Message.of(packed.payload, packed.buffers)
        self._state = JobState(next(_numbers), message, Message(_setting()), n_workers)
        if not service.is_over:
            service.post(service.add_job, self._state)

    def _post(self, item: Any, future: ResultFuture) -> None:
        message = Message.of(*packed_apart(item, self._packed.classes, "the item"))
        task = Task(next(_numbers), self._state, future, message)
        if self._service.is_over:
            task.fail(program_ends())
        else:
            self._service.post(self._service.add_task, task)

    def _end(self, grace: float) -> None:
        if not self._service.is_over:
            self._service.post(self._service.close_job, self._state, grace)
            self._service.wait_for(self._state.is_closed, grace + END_SECONDS)


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
