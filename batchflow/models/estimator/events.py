"""Event files for TensorBoard, written by its own package on every backend."""

from __future__ import annotations

import importlib
import importlib.util
import os
import socket
import time
from collections.abc import Mapping
from typing import Any

import numpy as np


def has_tensorboard() -> bool:
    """Check whether the package that writes summaries is installed."""
    return importlib.util.find_spec("tensorboard") is not None


class EventFile:
    """An event file for TensorBoard, open only while it is written to.

    Args:
        folder: The folder of the file. It is made by the first `write`.
    """

    def __init__(self, folder: str) -> None:
        # TensorBoard reads files in the order of their names, hence the fractions of seconds.
        unique = f"{time.time():.6f}.{socket.gethostname()}.{os.getpid()}.{os.urandom(3).hex()}"
        self._folder = folder
        self._path = os.path.join(folder, f"events.out.tfevents.{unique}")

    def write(
        self, step: int, scalars: Mapping[str, Any], histograms: Mapping[str, Any] | None = None
    ) -> None:
        """Add the values of one step, by their tags."""
        event_pb2 = importlib.import_module("tensorboard.compat.proto.event_pb2")
        records = importlib.import_module("tensorboard.summary.writer.record_writer")
        plugins = "tensorboard.plugins"
        make_scalar = importlib.import_module(f"{plugins}.scalar.summary_v2").scalar_pb
        make_histogram = importlib.import_module(f"{plugins}.histogram.summary_v2").histogram_pb
        summaries = [make_scalar(tag, float(value)) for tag, value in scalars.items()]
        summaries += [
            make_histogram(tag, np.asarray(value, "float64").ravel())
            for tag, value in (histograms or {}).items()
        ]
        os.makedirs(self._folder, exist_ok=True)
        is_new = not os.path.exists(self._path)
        with open(self._path, "ab") as stream:
            writer = records.RecordWriter(stream)
            if is_new:
                first = event_pb2.Event(wall_time=time.time(), file_version="brain.Event:2")
                writer.write(first.SerializeToString())
            for summary in summaries:
                event = event_pb2.Event(wall_time=time.time(), step=step, summary=summary)
                writer.write(event.SerializeToString())
            writer.flush()


def write_results(folder: str, results: Mapping[str, Any]) -> None:
    """Write the results of an evaluation, at their global step."""
    scalars = {
        name: value
        for name, value in results.items()
        if name != "global_step" and np.ndim(value) == 0
    }
    EventFile(folder).write(results["global_step"], scalars)
