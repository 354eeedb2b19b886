"""Observers of a run: progress."""

from batchflow.insight.progress import ProgressBar

__all__ = ["ProgressBar"]
