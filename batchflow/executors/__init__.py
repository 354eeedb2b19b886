"""The ground: where work runs."""

from batchflow.executors.threads import ThreadExecutor

__all__ = ["ThreadExecutor"]
