"""Process pools of loky."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

from batchflow.executors.backends.base import Backend

__all__ = ["LokyPool"]


class LokyPool(Backend):
    """A pool of loky. In place of the reusable one comes a pool of this job alone."""

    def _alike(self) -> Executor | None:
        import loky

        given: Any = self.executor
        return loky.ProcessPoolExecutor(  # type: ignore[no-any-return]
            given._max_workers,
            context=given._context,
            timeout=given._timeout,
            initializer=given._initializer,
            initargs=given._initargs,
            env=given._env,
        )

    def _end(self, is_busy: bool) -> None:
        self.executor.shutdown(wait=True, kill_workers=is_busy)
