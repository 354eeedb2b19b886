"""A cluster of Ray: `executor="ray"`.

Guarantees:
    - A Ray that is running is joined: one that this program has initialised, or the one at
      `RAY_ADDRESS`. Otherwise one is started on this machine: it listens on loopback only, and
      without a dashboard, or it is an error.
    - It is begun with the first run, once for the program. `batchflow.shutdown()` and the exit end
      it, or leave it, if it was begun here.
    - Ray itself tries nothing again: the death of a worker is the error of its task.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any

from batchflow.errors import BatchflowError
from batchflow.executors.backends.base import Backend
from batchflow.executors.backends.call import SentFunction, remote_call
from batchflow.executors.item_threads import at_shutdown, cpu_count
from batchflow.extras import imported

# Ray reads it when it decides which address a node of its has: "0" is loopback, on every system.
_LOOPBACK_SWITCH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
_LOOPBACK = ("127.0.0.1", "::1")

_guard = threading.Lock()


class RayCluster(Backend):
    """The CPUs of Ray, each of which does one task at a time."""

    may_kill = True

    def __init__(self) -> None:
        self._ray = imported("ray", 'executor="ray"')
        self._remote: Any = None
        super().__init__(self._ray)

    def begin(self) -> None:
        """Join Ray, or start it, if this has not been done.

        Raises:
            BatchflowError: It cannot be started on loopback.
        """
        _begin(self._ray)

    @property
    def n_workers(self) -> int | None:
        """The number of CPUs of the cluster."""
        return cpus_of(self._ray)

    def submit(self, *args: Any) -> Future[Any]:
        """Let a worker call `remote_call`."""
        if self._remote is None:
            self._remote = self._ray.remote(max_retries=0, num_cpus=1)(remote_call)
        return _RayFuture(self._ray, self._remote.remote(*args))

    def share(self, function: SentFunction) -> Any:
        """Put a function where all workers find it."""
        return self._ray.put(function)

    def stop(self, futures: Iterable[Future[Any]]) -> None:
        """Do nothing: Ray does not tell which of them have begun."""

    def kill(self, future: Any) -> None:
        """End the worker that works on a task."""
        future.break_off(force=True)


def cpus_of(ray: Any) -> int:
    """Return the number of CPUs of the cluster that Ray is connected to."""
    return max(1, int(ray.cluster_resources().get("CPU", 1)))


class _RayFuture(Future[Any]):
    """The future of a task of Ray; `ref` is Ray's reference to its result."""

    def __init__(self, ray: Any, ref: Any) -> None:
        super().__init__()
        self._ray = ray
        self._ref = ref
        ref.future().add_done_callback(self._settle)

    def cancel(self) -> bool:
        """Cancel the task, wherever it is."""
        is_cancelled = super().cancel()
        if is_cancelled:
            self.break_off(force=False)
        return is_cancelled

    def break_off(self, *, force: bool) -> None:
        """Let Ray cancel the task; by `force` the worker that works on it ends."""
        with suppress(Exception):  # it has ended
            self._ray.cancel(self._ref, force=force)

    def _settle(self, done: Future[Any]) -> None:
        if self.set_running_or_notify_cancel():
            error = done.exception()
            if error is None:
                self.set_result(done.result())
            else:
                self.set_exception(error)
        self._ref = None  # Ray may forget the result


def _begin(ray: Any) -> None:
    """Join Ray, or start it, if neither has been done.

    The system kills what Ray starts when the *thread* that started it ends. So it is the main
    thread that does it, or one that waits for the end of Ray.
    """
    if ray.is_initialized():
        return
    with _guard:
        if ray.is_initialized():
            return
        begun = _Begun(ray)
        if threading.current_thread() is threading.main_thread():
            begun.begin()
        else:
            threading.Thread(target=begun.hold, name="batchflow-ray", daemon=True).start()
        begun.address.result()
        at_shutdown(begun.end)


class _Begun:
    """A Ray that was begun here.

    Attributes:
        address: The future of the address by which it is known.
    """

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._is_over = threading.Event()
        self.address: Future[str] = Future()

    def begin(self) -> None:
        """Join it, or start it."""
        try:
            if os.environ.get("RAY_ADDRESS"):
                self._ray.init(logging_level="warning")
            else:
                _start(self._ray)
            self.address.set_result(self._ray.get_runtime_context().gcs_address)
        except BaseException as error:
            self.address.set_exception(error)

    def hold(self) -> None:
        """The same, and wait for its end."""
        self.begin()
        if self.address.exception() is None:
            self._is_over.wait()

    def end(self) -> None:
        """End it, or leave it, if it is still there. At exit Ray does so by itself."""
        ray = self._ray
        if ray.is_initialized() and ray.get_runtime_context().gcs_address == self.address.result():
            ray.shutdown()
        self._is_over.set()


def _start(ray: Any) -> None:
    with _on_loopback():
        ray.init(
            address="local",
            num_cpus=cpu_count(),
            include_dashboard=False,
            logging_level="warning",
        )
        address = ray.util.get_node_ip_address()
    if address not in _LOOPBACK:
        ray.shutdown()
        raise BatchflowError(
            f"Ray would listen on {address}, where others can reach it, and not on loopback: start "
            "it yourself, as your network allows, with ray.init(...) or RAY_ADDRESS"
        )


@contextmanager
def _on_loopback() -> Iterator[None]:
    """Let Ray, which may have read its settings already, take loopback as its address.

    Its workers are to find the modules that this process finds.
    """
    from ray._private import ray_constants

    settings = {
        _LOOPBACK_SWITCH: "0",
        "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry),
    }
    before = {name: os.environ.get(name) for name in settings}
    was_open = ray_constants.ENABLE_RAY_CLUSTER
    os.environ.update(settings)
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = was_open
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
