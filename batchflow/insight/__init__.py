"""What happened: progress."""

from batchflow.insight.progress import ProgressBar

__all__ = ["ProgressBar"]
