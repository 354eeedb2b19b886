"""The live program of an Estimator, and the loop that trains it.

    first batch -> the program, made or restored -> step, step, ... -> checkpoints

The steps are those of a loop (`run`), or a row of single ones (`step` ... `end_steps`), which a
pipeline does.

Guarantees:
    - A row of steps is a loop over the same batches: it calls the same hooks at the same moments,
      logs the same steps, and saves the same checkpoints.
    - One program lives from call to call: it is restored from a file only when the folder has a
      newest checkpoint that this program has not written or read.
    - `step` and `position` always belong to the weights: each checkpoint is one consistent state.
    - An error in a step, a hook or the input leaves no half-done state: the next call begins from
      the newest checkpoint. An error in a row undoes no step of it; the next step begins a new row.
"""

from __future__ import annotations

import itertools
import logging
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from batchflow.errors import ArgumentValueError, StopPipeline
from batchflow.models.estimator.batches import Batch, Signature
from batchflow.models.estimator.checkpoints import Checkpoints, Live, Progress, Saved
from batchflow.models.estimator.config import RunConfig
from batchflow.models.estimator.hooks import Hooks
from batchflow.models.estimator.inputs import Epoch
from batchflow.models.estimator.program import Program
from batchflow.models.keras_state import assign_state, state_arrays, state_variables

_log = logging.getLogger("batchflow")

BuildProgram = Callable[[Signature], Program]
OpenInput = Callable[[int, Epoch], Iterator[Batch]]


class Trainer:
    """Trains the live program.

    Args:
        build: The function that makes a program for the batches of a signature.
        checkpoints: The checkpoints of the program.
        config: The settings, which say when to save.

    Attributes:
        lock: To be held while anything is called here.
        n_steps: How many single steps have been done here.
    """

    def __init__(self, build: BuildProgram, checkpoints: Checkpoints, config: RunConfig) -> None:
        self.lock = threading.RLock()
        self._build = build
        self._checkpoints = checkpoints
        self._config = config
        self._program: Program | None = None
        self._progress = Progress()
        self._file: str | None = None  # the checkpoint last restored or saved
        self._is_ahead = False  # of that file
        self._saved_at = time.monotonic()
        self._row: _Row | None = None  # of single steps
        self._version = 0  # of the state of the live program
        self.n_steps = 0

    def progress(self) -> Progress:
        """Return the progress of the live program, or else of the newest checkpoint."""
        latest = self._checkpoints.latest()
        if self._program is not None and latest == self._file:
            return self._progress
        return Progress() if latest is None else Saved.at(latest).progress

    def run(
        self, open_input: OpenInput, until: int | None, hooks: Sequence[Any], *, resumes: bool
    ) -> None:
        """Train until the step `until` or the end of the input, and save.

        Args:
            open_input: Returns the batches of the input, without some first ones; those of a feed
                from an epoch on.
            until: The global step to stop at, or None.
            hooks: The hooks of this call.
            resumes: Whether to go on in the input where the last such call has stopped.

        Raises:
            ArgumentValueError: (a `ValueError`) There is no batch.
        """
        self.end_steps()
        self.save_if_ahead()  # an error in this call undoes the call, and no step before it
        before = self.progress()
        position = before.position if resumes else 0
        epoch = Epoch(before.epoch)
        batches = open_input(position, epoch)
        first = next(batches, None)
        if first is None and position and before.is_under_way:
            # The call was killed after its last step, and is repeated: it ends here.
            self._checkpoints.begin_input_anew()
            self.forget()
            return
        if first is None and position:  # the whole input had been read: it begins anew
            position = 0
            batches = open_input(0, epoch)
            first = next(batches, None)
        if first is None:
            raise ArgumentValueError("train: the input is empty")
        with closing(batches):  # type: ignore[type-var]
            program = self._ready(first)
            self._progress = replace(self._progress, position=position, epoch=epoch.number)
            try:
                own = program.spec.training_hooks
                row = self._row_of(program, [*own, *hooks], until, counts=resumes)
                with row.hooks.around():
                    has_ended = self._loop(itertools.chain((first,), batches), row)
            except BaseException:
                self._program = None
                raise
        position = 0 if has_ended else self._progress.position
        self._progress = replace(self._progress, position=position, is_under_way=False)
        self.save()

    def step(self, batch: Batch) -> dict[str, Any]:
        """Do one step of a row, with the hooks of the spec. The first one begins the row.

        Raises:
            StopPipeline: A hook has asked to stop, in the step before. The row has ended.
        """
        row = self._row
        if row is not None and row.hooks.wants_stop:
            self.end_steps()
            raise StopPipeline("a hook of the EstimatorSpec has asked to stop the training")
        program = self._ready(batch)
        try:
            if row is None:
                self._row = row = self._row_of(program, program.spec.training_hooks)
                row.hooks.begin()
            elif row.program is not program:
                row.follow(program)
            logs = self._one(program, batch, row)
        except BaseException:
            self._row = None
            raise
        self.n_steps += 1
        self._save_if_due()
        return logs

    def end_steps(self, *, failed: bool = False) -> None:
        """End the row of steps, if there is one: as `run` ends, with hooks and a checkpoint.

        With `failed` it ends as `run` does after an error: nothing is called or saved.
        """
        row, self._row = self._row, None
        if row is not None and not failed:
            row.hooks.end()
            self.save_if_ahead()

    def live(self) -> Live | None:
        """Return the state in memory; None if there is none, or a newer one in the folder."""
        if self._program is None or self._checkpoints.latest() != self._file:
            return None
        return Live(self._program, self._progress, self._version, self.lock)

    def save(self) -> str | None:
        """Save the live program, if there is one. Return the newest checkpoint."""
        if self._program is not None:
            self._file = self._checkpoints.save(self._program, self._progress)
            self._is_ahead = False
            self._saved_at = time.monotonic()
        return self._checkpoints.latest()

    def save_if_ahead(self) -> str | None:
        """Save the live program if no checkpoint has its state. Return the newest checkpoint."""
        latest = self._checkpoints.latest()
        return self.save() if self._is_ahead and latest == self._file else latest

    def snapshot(self, path: str | os.PathLike[str]) -> None:
        """Save the state that the next step begins from to one file, as `Checkpoints.pack` does."""
        parent = os.path.dirname(os.path.abspath(path))
        with self.lock, tempfile.TemporaryDirectory(dir=parent) as folder:
            checkpoints = self._checkpoints
            if self._program is not None and self.live() is not None:
                checkpoints = Checkpoints(folder, None)
                checkpoints.save(self._program, self._progress)
            checkpoints.pack(path)

    def forget(self) -> None:
        """Make the next call begin from the newest checkpoint."""
        self._program = None

    # ---- one step

    def _ready(self, batch: Batch) -> Program:
        """Return a program that takes a batch, with the newest state."""
        latest = self._checkpoints.latest()
        if self._program is not None and latest != self._file:
            self._program = None  # another process has trained on, or cleared the folder
        if self._program is None:
            program = self._build(Signature.of(batch))
            saved = None if latest is None else Saved.at(latest)
            if saved is not None:
                saved.restore_all(program)
            self._progress = Progress() if saved is None else saved.progress
            self._file, self._is_ahead = latest, False
            self._program = program
            self._version += 1
        elif not self._program.signature.takes(batch):
            self._program = self._widened(self._program, batch)
        return self._program

    def _widened(self, program: Program, batch: Batch) -> Program:
        """Return a program that also takes a batch of other shapes, in the state of this one."""
        other = self._build(program.signature.widened(batch))
        arrays = state_arrays(state_variables(program.model))
        copies = {name: np.array(array) for name, array in arrays.items()}
        assign_state(other.model, state_variables(other.model), copies)
        return other

    def _row_of(
        self,
        program: Program,
        hooks: Sequence[Any],
        until: int | None = None,
        *,
        counts: bool = False,
    ) -> _Row:
        told = Hooks(hooks, program.model, "train", until)
        pace = _Pace(self._config.log_step_count_steps, self._progress.step)
        return _Row(program, told, pace, until, counts)

    def _one(self, program: Program, batch: Batch, row: _Row) -> dict[str, Any]:
        """Do one step, call the hooks around it, and log it."""
        program.batch = batch
        progress = self._progress
        row.hooks.before(progress.step)
        self._is_ahead = True
        self._version += 1
        logs = program.train(batch)
        self._progress = row.behind(progress)  # hooks may save
        row.hooks.after(progress.step, logs)
        row.pace.log(progress.step + 1, logs)
        program.batch = None
        return logs

    # ---- the loop

    def _loop(self, batches: Iterator[Batch], row: _Row) -> bool:
        """Train. Return whether the input has ended."""
        for batch in batches:
            program = self._program
            if program is None or not program.signature.takes(batch):
                program = self._ready(batch)
                row.follow(program)
            self._one(program, batch, row)
            is_last = row.is_last(self._progress)
            if is_last:
                self._progress = replace(self._progress, is_under_way=False)
            self._save_if_due()
            if is_last:
                return False
        return True

    def _save_if_due(self) -> None:
        config = self._config
        steps, seconds = config.save_checkpoints_steps, config.save_checkpoints_secs
        is_due = (
            self._progress.step % steps == 0
            if steps is not None
            else seconds is not None and time.monotonic() - self._saved_at >= seconds
        )
        if is_due:
            self.save()


@dataclass
class _Row:
    """Steps in a row.

    Attributes:
        program: The program that does them.
        hooks: Their hooks.
        pace: Their log.
        until: The global step to stop at, or None.
        counts: Whether their places in the input are kept.
    """

    program: Program
    hooks: Hooks
    pace: _Pace
    until: int | None
    counts: bool

    def follow(self, program: Program) -> None:
        """Go on with another program, which has replaced the first one."""
        self.program = program
        self.hooks.follow(program.model)

    def behind(self, before: Progress) -> Progress:
        """Return the progress behind one more step."""
        step = before.step + 1
        if not self.counts:
            return Progress(step)
        is_under_way = self.until is None or step < self.until
        return Progress(step, before.position + 1, is_under_way, before.epoch)

    def is_last(self, progress: Progress) -> bool:
        """Check whether the step that led here was the last one."""
        return self.hooks.wants_stop or (self.until is not None and progress.step >= self.until)


class _Pace:
    """The log of the loss and the speed."""

    def __init__(self, every: int | None, step: int) -> None:
        self._every = every
        self._step = step
        self._time = time.monotonic()

    def log(self, step: int, logs: dict[str, Any]) -> None:
        if not self._every or step % self._every or not _log.isEnabledFor(logging.INFO):
            return
        now = time.monotonic()
        speed = (step - self._step) / max(now - self._time, 1e-9)
        _log.info("step %d: loss %.6g, %.1f steps/s", step, float(logs["loss"]), speed)
        self._step, self._time = step, now
