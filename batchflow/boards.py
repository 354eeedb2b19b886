"""Boards: the values of a run, written behind each batch.

    run(..., track="runs/a.jsonl")             JSON lines
    run(..., track=TensorBoard("runs/a"))      for TensorBoard
    run(..., track=anything)                   with log(step, values) and close()

Written are the variables of the pipeline that are numbers; of a list its last element. A run that
is gone on with (`checkpoint=`) writes from the step on at which it was saved. What an earlier
process has written behind that is cut from JSON lines; a board with a method `resume(step)` is told
of it.
"""

from __future__ import annotations

import contextlib
import json
import math
import numbers
import os
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

import numpy as np

from batchflow.batch import Batch
from batchflow.counts import checked_count
from batchflow.errors import ArgumentValueError

__all__ = ["JsonLines", "TensorBoard"]

T = TypeVar("T")


class JsonLines:
    """A file with a line of JSON for each step: `{"step": 1, "loss": 0.5}`.

    Args:
        path: The file. Lines are added; its folder is made if need be.
        every: Write each so many steps.

    Raises:
        ArgumentTypeError: `every` is no whole number.
        ArgumentValueError: It is below 1; or the path is that of a folder.
    """

    def __init__(self, path: str | os.PathLike[str], every: int = 1) -> None:
        self.path = os.fspath(path)
        if os.path.isdir(self.path):
            raise ArgumentValueError(f"{self.path} is a folder: give the path of a file")
        self._every = checked_count("every", every)
        self._stream: Any = None

    def resume(self, step: int) -> None:
        """Cut what was written behind a step: it comes again."""
        if not os.path.exists(self.path):
            return
        end = 0
        with open(self.path, "rb") as stream:
            for line in stream:
                if not line.endswith(b"\n") or _step_of(line) > step:
                    break
                end += len(line)
        os.truncate(self.path, end)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write a line."""
        if step % self._every:
            return
        if self._stream is None:
            os.makedirs(os.path.dirname(os.path.abspath(self.path)), exist_ok=True)
            self._stream = open(self.path, "a", encoding="utf-8")  # noqa: SIM115  until close
        finite = {name: v if math.isfinite(v) else repr(v) for name, v in values.items()}
        self._stream.write(json.dumps({"step": step, **finite}) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class TensorBoard:
    """An event file for TensorBoard. Needs the package `tensorboard`.

    Args:
        folder: Its folder.
        every: Write each so many steps.

    Raises:
        MissingPackageError: TensorBoard is not installed.
    """

    def __init__(self, folder: str | os.PathLike[str], every: int = 1) -> None:
        from batchflow.extras import imported
        from batchflow.models.estimator.events import EventFile

        imported("tensorboard", "TensorBoard")
        self._file = EventFile(os.fspath(folder))
        self._every = checked_count("every", every)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a step."""
        if values and not step % self._every:
            self._file.write(step, values)

    def close(self) -> None:
        """Do nothing: the file is open only while it is written to."""


class Several:
    """Several observers of one run."""

    def __init__(self, *observers: Any) -> None:
        self._observers = observers
        self.recorder = next((o.recorder for o in observers if o.recorder is not None), None)

    def watch(self, made: Iterator[T]) -> Iterator[T]:
        """Let all of them stand between the parallel steps and the rest."""
        for observer in self._observers:
            made = observer.watch(made)
        return made

    def delivered(self, batch: Batch) -> None:
        """Tell all of them of a batch."""
        for observer in self._observers:
            observer.delivered(batch)

    def closed(self) -> None:
        """Tell all of them of the end, whatever one of them raises."""
        with contextlib.ExitStack() as stack:
            for observer in reversed(self._observers):
                stack.callback(observer.closed)


class Tracking:
    """Watches a run, and writes its variables.

    Args:
        board: Where: see `RunOptions.track`.
        state: The variables.
    """

    recorder: Any = None  # nothing is measured

    def __init__(self, board: Any, state: Any) -> None:
        self._board = JsonLines(board) if isinstance(board, (str, os.PathLike)) else board
        self._state = state
        self._step = 0

    def open(self, run: Any) -> None:
        """Begin: behind the step at which a run that goes on was saved."""
        self._step = run.first_step
        resume = getattr(self._board, "resume", None)
        if self._step and callable(resume):
            resume(self._step)

    def watch(self, made: Iterator[T]) -> Iterator[T]:
        """Return the batches."""
        return made

    def delivered(self, batch: Batch) -> None:  # noqa: ARG002  as every observer
        """Write the values behind a batch."""
        self._step += 1
        self._board.log(self._step, numbers_in(self._state))

    def closed(self) -> None:
        """Close the board."""
        self._board.close()


def numbers_in(state: Any) -> dict[str, float]:
    """Return the variables of a pipeline that are numbers, or lists whose last element is one."""
    found = {}
    for name in sorted(state.names):
        value = state.get(name)
        if isinstance(value, (list, tuple)):
            value = value[-1] if value else None
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        if isinstance(value, numbers.Real) and not isinstance(value, bool):
            with contextlib.suppress(OverflowError):  # a whole number that no float can hold
                found[name] = float(value)
    return found


def _step_of(line: bytes) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, LookupError, TypeError):
        return math.inf
