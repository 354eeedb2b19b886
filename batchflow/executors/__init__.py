"""The ground: where work runs."""

from batchflow.executors.threads import Borrowed, ThreadExecutor

__all__ = ["Borrowed", "ThreadExecutor"]
