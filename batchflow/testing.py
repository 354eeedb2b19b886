"""Helpers for tests of pipelines.

Example:
    >>> from batchflow import ArrayBatch, Dataset, action
    >>> from batchflow.testing import digest, hand_over_every_batch, nothing_left
    >>> class Noisy(ArrayBatch):
    ...     @action
    ...     def add_noise(self):
    ...         self.data = self.data + self.rng.normal(size=len(self))
    ...         return self
    >>> pipeline = Dataset.from_arrays(Noisy, data=[1.0, 2.0, 3.0, 4.0]).p.add_noise()
    >>> def result(prefetch):
    ...     batches = pipeline.gen_batch(2, seed=7, prefetch=prefetch)
    ...     return digest(*(batch.data for batch in batches))
    >>> with hand_over_every_batch(), nothing_left():
    ...     result(prefetch=0) == result(prefetch=4)
    True
"""

from __future__ import annotations

import gc
import hashlib
import os
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from batchflow.engine import pace
from batchflow.executors.item_threads import shutdown

__all__ = ["digest", "hand_over_every_batch", "nothing_left"]

_FILES = Path("/proc/self/fd")


def digest(*values: Any) -> str:
    """Return a fingerprint of values. Fingerprints are equal if the values are, to the last bit.

    Args:
        values: Arrays, compared by shape, dtype and bytes, and any values that can be pickled.
    """
    sha = hashlib.sha256()
    for value in values:
        if isinstance(value, np.ndarray):
            sha.update(f"{value.shape} {value.dtype.str}".encode())
            whole = value.dtype.hasobject or value.dtype.kind == "T"
            sha.update(pickle.dumps(value.tolist()) if whole else value.tobytes())
        else:
            sha.update(pickle.dumps(value))
    return sha.hexdigest()


@contextmanager
def hand_over_every_batch() -> Iterator[None]:
    """Make runs with `prefetch` hand every batch to a worker, no matter how small it is.

    Otherwise runs make very small batches in the consumer's thread. That is faster, but hides
    mistakes such as an action that keeps state outside of the batch.
    """
    before, pace.always_hand_over = pace.always_hand_over, True
    try:
        yield
    finally:
        pace.always_hand_over = before


@contextmanager
def nothing_left(timeout: float = 5.0) -> Iterator[None]:
    """Check that the code inside leaves no thread and no open file behind.

    Args:
        timeout: The number of seconds in which threads must end.

    Raises:
        AssertionError: Something is left.
    """
    gc.collect()
    threads, files = _threads(), _open_files()
    yield
    shutdown()  # the pool of per-item work may stay, idle
    end = time.monotonic() + timeout
    while (left := _threads() - threads) and time.monotonic() < end:
        gc.collect()
        for thread in left:
            thread.join(0.05)
    if left:
        raise AssertionError(f"threads are left: {sorted(thread.name for thread in left)}")
    gc.collect()
    if (now := _open_files()) > files:
        raise AssertionError(f"{now - files} files are left open")


def _threads() -> set[threading.Thread]:
    """Return the threads that Python has started, without those of TensorFlow and the like."""
    return {t for t in threading.enumerate() if not isinstance(t, threading._DummyThread)}


def _open_files() -> int:
    return len(os.listdir(_FILES)) if _FILES.exists() else 0
