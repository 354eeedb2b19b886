"""What can go wrong, and the two signals that are not errors.

Every error that batchflow raises by itself is a `BatchflowError` and also an instance of the
built-in exception that fits (`TypeError`, `ValueError`, ...). An exception that was raised by a
user's code is never wrapped: it arrives as it is, with notes that say where it happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = [
    "ActionResultError",
    "ArgumentTypeError",
    "ArgumentValueError",
    "BatchflowError",
    "ItemTimeoutError",
    "MissingPackageError",
    "ModelDefinitionError",
    "RunClosedError",
    "SkipBatch",
    "StopPipeline",
    "UnknownAttributeError",
    "UnknownNameError",
    "WorkerDiedError",
    "add_note_once",
]


class BatchflowError(Exception):
    """The root of the errors that are raised by batchflow itself."""


class ArgumentTypeError(BatchflowError, TypeError):
    """An argument has the wrong type, is missing or is not known."""


class ArgumentValueError(BatchflowError, ValueError):
    """An argument has a value that makes no sense here."""


class UnknownAttributeError(BatchflowError, AttributeError):
    """A pipeline was asked for an action, or an item for a component, that does not exist."""


class UnknownNameError(BatchflowError, KeyError):
    """A variable, model or item id does not exist."""

    def __str__(self) -> str:
        # KeyError shows the repr of its message, which makes a sentence hard to read.
        return str(self.args[0]) if self.args else ""


class ActionResultError(BatchflowError, TypeError):
    """An action did not return a batch."""


class ModelDefinitionError(BatchflowError, TypeError):
    """A model definition is declared or used in a way that cannot work."""


class MissingPackageError(BatchflowError, ModuleNotFoundError):
    """What was asked for needs a package that is not installed; the message says which."""


class RunClosedError(BatchflowError, RuntimeError):
    """A run that has ended was asked for another batch."""


class ItemTimeoutError(BatchflowError, TimeoutError):
    """Per-item work took longer than its `timeout`.

    Attributes:
        unfinished: The positions that were not finished.
    """

    def __init__(self, message: str, unfinished: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.unfinished = tuple(unfinished)


class WorkerDiedError(BatchflowError, RuntimeError):
    """Worker processes died again and again while they worked on one batch, or one chunk of items.

    Attributes:
        position: The position of the chunk, in per-item work.
        number: The number of the batch; None in per-item work.
        indices: The ids of its items.
        attempts: How many times it was tried.
        cause: How the last worker ended, in words.
    """

    def __init__(
        self, message: str, position: int = 0, *, attempts: int = 0, cause: str = ""
    ) -> None:
        super().__init__(message)
        self.position = position
        self.number: int | None = None
        self.indices: tuple[Any, ...] = ()
        self.attempts = attempts
        self.cause = cause

    @classmethod
    def after(cls, attempts: int, cause: str) -> WorkerDiedError:
        """Make the error of who has killed every worker, not yet knowing which batch it is."""
        text = (
            f"a worker process died at this in each of {attempts} attempts; the last time {cause}"
        )
        return cls(text, attempts=attempts, cause=cause)

    def name_batch(self, number: int | None, indices: Sequence[Any], facts: str, hint: str) -> None:
        """Say which batch it is. A second call does nothing.

        Args:
            number: Of the batch.
            indices: The ids of its items.
            facts: Both in words, in front of the message.
            hint: What to do about it, behind the message.
        """
        if self.number is None:
            self.number, self.indices = number, tuple(indices)
            self.args = (f"{facts}: {self.args[0]}; {hint}",)


class SkipBatch(Exception):  # noqa: N818  a signal, not an error
    """Raised in an action: this batch ends here and is not delivered."""


class StopPipeline(Exception):  # noqa: N818  a signal, not an error
    """Raised in an action: the run ends before this batch, as if the data had ended."""


def did_you_mean(word: object, known: Iterable[str], *, only_near: bool = False) -> str:
    """Make the end of an error message: the nearest known words, or all of them.

    Args:
        word: What was typed.
        known: The words that would have been right.
        only_near: Say nothing where no known word is near: the message lists them already.

    Returns:
        A sentence with a leading space, ready to be appended; empty if nothing is known.
    """
    import difflib  # only where there is an error to explain

    words = sorted(set(known))
    if not words:
        return ""
    near = difflib.get_close_matches(str(word), words, n=1, cutoff=0.6)
    if near:
        return f" Did you mean {near[0]!r}?"
    if only_near:
        return ""
    listed = ", ".join(repr(w) for w in words[:12])
    return f" Known: {listed}{', ...' if len(words) > 12 else ''}."


def add_note_once(error: BaseException, note: str) -> None:
    """Add a note to an exception, unless it is there (an object may be raised several times)."""
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
