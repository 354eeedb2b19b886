"""Observers of a run: progress."""

from batchflow.insight.progress import ProgressBar, checked_bar, open_run

__all__ = ["ProgressBar", "checked_bar", "open_run"]
