"""Checkpoints of runs: folders that are whole, found again, and read without executing code.

    options.py  Checkpoint and Keep: when to save, and what to keep
    values.py   values of Python as JSON and arrays
    copies.py   copies of a state in memory, until they are written
    store.py    one directory of checkpoints: written, checked, found, thrown away
    lock.py     one writer at a time

Knows nothing of batches, pipelines or models: what is in a checkpoint is files.
"""

from batchflow.checkpoints.options import Checkpoint, Keep, Preempted

__all__ = ["Checkpoint", "Keep", "Preempted"]
