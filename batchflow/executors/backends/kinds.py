"""Which backend works with an executor: `backend_of`, and `worker_count` before anything starts."""

from __future__ import annotations

import functools
import sys
from concurrent.futures.process import ProcessPoolExecutor
from typing import Any

from batchflow.errors import ArgumentTypeError
from batchflow.executors.backends.base import Backend
from batchflow.executors.backends.dask import DaskCluster
from batchflow.executors.backends.pools import LokyPool, StandardPool, refuse_fork
from batchflow.executors.backends.ray import RayCluster, cpus_of

__all__ = ["backend_of", "refuse_fork", "worker_count"]

_KINDS: dict[str, type[Backend]] = {
    "concurrent": StandardPool,
    "loky": LokyPool,
    "distributed": DaskCluster,
}


def backend_of(executor: Any) -> Backend:
    """Return the backend for an executor, for a function that makes one, or for `"ray"`.

    Raises:
        ArgumentTypeError: The function makes no executor.
        ArgumentValueError: The executor forks this process.
        BatchflowError: Ray is not installed.
    """
    if executor == "ray":
        return RayCluster()
    remake = None
    if not _is_executor(executor):
        make, remake = executor, functools.partial(backend_of, executor)
        executor = make()
        if not _is_executor(executor):
            raise ArgumentTypeError(
                f"the function given as executor must make a concurrent.futures.Executor, got "
                f"{type(executor).__name__} {executor!r:.60}"
            )
    refuse_fork(executor)
    return _kind_of(executor)(executor, remake, is_ours=remake is not None)


def worker_count(executor: Any) -> int | None:
    """Return on how many tasks an executor works at once; None: it does not say.

    Nothing is started: of `"ray"` it is known if Ray runs already.

    Args:
        executor: The executor, its name, or a function that makes one, which is not called.
    """
    if executor == "ray":
        ray = sys.modules.get("ray")
        return cpus_of(ray) if ray is not None and ray.is_initialized() else None
    return _kind_of(executor)(executor).n_workers if _is_executor(executor) else None


def _is_executor(value: Any) -> bool:
    """Check whether a value works like an executor, and is no function that makes one."""
    return not isinstance(value, type) and callable(getattr(value, "submit", None))


def _kind_of(executor: Any) -> type[Backend]:
    for cls in type(executor).__mro__:
        kind = _KINDS.get(cls.__module__.partition(".")[0])
        if kind is not None:
            is_pool = kind is not StandardPool or isinstance(executor, ProcessPoolExecutor)
            return kind if is_pool else Backend
    return Backend
