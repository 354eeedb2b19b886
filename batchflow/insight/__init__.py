"""What happens in a run: its progress, and where the time goes.

progress.py    the progress bar; opens the runs of pipelines
profiling.py   watches a run, and sums up what its steps cost
costs.py       what was measured, as figures
verdict.py     names the bottleneck
profile.py     `Profile`: what is found, as a table, a dictionary, HTML
trace.py       the file for the Perfetto viewer
"""

from batchflow.insight.progress import ProgressBar, checked_bar, open_run

__all__ = ["ProgressBar", "checked_bar", "open_run"]
