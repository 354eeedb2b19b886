"""When a run is saved, and which of its checkpoints stay."""

from __future__ import annotations

import math
import os
import signal
from typing import Any

from batchflow.counts import checked_count
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.records import Record

USUAL_SECONDS = 60.0  # between two checkpoints, where nothing is said


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ArgumentTypeError(f"{name} is a number, got {value!r:.60}")
    if not 0 < value < math.inf:
        raise ArgumentValueError(f"{name} must be above 0, got {value!r}")
    return float(value)


class Preempted(SystemExit):
    """The end of a run that was saved after a signal.

    A program that lets it through ends in status 143, as one that SIGTERM ends does.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(143)
        self.add_note(message)


class _Options(Record):
    """A record that is equal to another with equal fields: `next_batch` compares its arguments."""

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and repr(self) == repr(other)

    def __hash__(self) -> int:
        return hash(repr(self))


class Keep(_Options):
    """Which checkpoints stay: the others are thrown away when a new one is there.

    Args:
        last: The newest ones, so many.
        every: Also the first one of every so many steps; None: none.
        best: Also the best ones by a variable: `("val_loss", "min", 2)` or `("score", "max", 1)`.
            Of a list its last element counts.

    Raises:
        ArgumentTypeError: A field is of the wrong type.
        ArgumentValueError: A number is below 1, or the direction is not known.
    """

    last: int = 3
    every: int | None = None
    best: tuple[str, str, int] | None = None

    def __post_init__(self) -> None:
        checked_count("Keep: last", self.last)
        if self.every is not None:
            checked_count("Keep: every", self.every)
        if self.best is None:
            return
        best = self.best
        if not isinstance(best, tuple) or len(best) != 3 or not isinstance(best[0], str):
            raise ArgumentTypeError(
                f'Keep: best is (variable, "min" or "max", how many), got {best!r:.60}'
            )
        if best[1] not in ("min", "max"):
            raise ArgumentValueError(f'Keep: best is by "min" or "max", got {best[1]!r:.60}')
        checked_count("Keep: best, how many", best[2])


_KEEP = Keep()


class Checkpoint(_Options):
    """Where and when a run is saved: `run(..., checkpoint=Checkpoint("runs/a", every_seconds=30))`.

    If none of the `every_...` and no `overhead` is given, a run is saved every 60 seconds and at
    the end of each epoch; and always at its end.

    Args:
        directory: The folder of the checkpoints. It is made if need be. One run writes to it at a
            time.
        every_n_batches: Save behind every so many batches.
        every_seconds: Save when so many seconds have passed since the last time.
        overhead: The share of the run's time that saving may take: 0.01 waits 100 times as long as
            the last saving took: what it has held the run up, and the CPU's time for writing it.
        keep: Which checkpoints stay.
        signals: The names of signals at which the run is saved when its batch is done, and ended by
            `Preempted`. Only in the main thread.
        interrupt: Whether Ctrl-C lets the batch end, saves and then is `KeyboardInterrupt`. A
            second one is that at once.
        changed: `"refuse"`: a run that differs from the saved one is an error; `"allow"`: it goes
            on.
        trust: Whether values that only a pickle can hold are saved and read as pickles. Reading one
            executes what its writer put into it.

    Raises:
        ArgumentTypeError: A field is of the wrong type.
        ArgumentValueError: It has an impossible value.
    """

    directory: str | os.PathLike[str]
    every_n_batches: int | None = None
    every_seconds: float | None = None
    overhead: float | None = None
    keep: Keep = _KEEP
    signals: tuple[str, ...] = ("SIGTERM",)
    interrupt: bool = True
    changed: str = "refuse"
    trust: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.directory, (str, os.PathLike)):
            raise ArgumentTypeError(
                f"Checkpoint: directory is the path of a folder, got {self.directory!r:.60}"
            )
        if self.every_n_batches is not None:
            checked_count("Checkpoint: every_n_batches", self.every_n_batches)
        if self.every_seconds is not None:
            _positive("Checkpoint: every_seconds", self.every_seconds)
        if self.overhead is not None and _positive("Checkpoint: overhead", self.overhead) >= 1:
            raise ArgumentValueError(
                f"Checkpoint: overhead is a share of the time, below 1, got {self.overhead!r}"
            )
        if not isinstance(self.keep, Keep):
            raise ArgumentTypeError(f"Checkpoint: keep is Keep(...), got {self.keep!r:.60}")
        if self.changed not in ("refuse", "allow"):
            raise ArgumentValueError(
                f'Checkpoint: changed is "refuse" or "allow", got {self.changed!r:.60}'
            )
        if isinstance(self.signals, str) or not all(
            isinstance(getattr(signal, str(name), None), signal.Signals) for name in self.signals
        ):
            raise ArgumentValueError(
                f'Checkpoint: signals are names, such as ("SIGTERM",), got {self.signals!r:.60}'
            )

    @property
    def at_epoch_ends(self) -> bool:
        """Whether the ends of epochs are moments to save, as nothing else was said."""
        given = (self.every_n_batches, self.every_seconds, self.overhead)
        return all(value is None for value in given)

    @property
    def seconds(self) -> float:
        """How many seconds lie between two checkpoints; infinite: these are not counted."""
        if self.every_seconds is not None:
            return float(self.every_seconds)
        return USUAL_SECONDS if self.at_epoch_ends else math.inf


def checked_checkpoint(given: Any) -> Checkpoint | None:
    """Return the description of checkpoints that an option is: a directory is enough."""
    if given is None or isinstance(given, Checkpoint):
        return given
    if isinstance(given, (str, os.PathLike)):
        return Checkpoint(given)
    raise ArgumentTypeError(
        f"checkpoint is a directory or a Checkpoint(directory, ...), got {given!r:.60}"
    )
