"""Checkpoints of runs: folders that are whole, found again, and read without executing code.

    given.py    the options of a run, checked
    options.py  Checkpoint and Keep: when to save, and what to keep
    timer.py    when the next one is due
    values.py   values of Python as JSON and arrays
    npz.py      arrays in files, beside other threads
    copies.py   copies of a state in memory, until they are written
    contents.py what is in a checkpoint of ours, taken and written
    store.py    one directory of checkpoints: written, checked, found, thrown away
    ranks.py    several of them, of runs that share an epoch
    lock.py     one writer at a time

Knows nothing of batches, pipelines or models: what is in a checkpoint is files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from batchflow.checkpoints.options import Checkpoint, Keep, Preempted

__all__ = ["Checkpoint", "Keep", "Preempted"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from batchflow.checkpoints import options  # on use, for a light import

    return getattr(options, name)
