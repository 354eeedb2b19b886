"""The errors of batchflow, and two signals that are not errors.

Every error that batchflow raises itself is a `BatchflowError`, and also an instance of the built-in
exception that fits (`TypeError`, `ValueError`, ...). An exception from a user's code is never
wrapped: it arrives as it is, with notes that say where it happened.
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
    """The base class of the errors that batchflow raises itself."""


class ArgumentTypeError(BatchflowError, TypeError):
    """An argument has the wrong type, is missing or is not known."""


class ArgumentValueError(BatchflowError, ValueError):
    """An argument has a value that is not allowed."""


class UnknownAttributeError(BatchflowError, AttributeError):
    """A pipeline has no action, or an item no component, of that name."""


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
    """A feature needs a package that is not installed. The message names it."""


class RunClosedError(BatchflowError, RuntimeError):
    """A run that has ended was asked for another batch."""


class ItemTimeoutError(BatchflowError, TimeoutError):
    """Per-item work took longer than its `timeout`.

    Attributes:
        unfinished: The positions of the items that were not finished.
    """

    def __init__(self, message: str, unfinished: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.unfinished = tuple(unfinished)


class WorkerDiedError(BatchflowError, RuntimeError):
    """Worker processes died again and again while they worked on one batch, or one chunk of items.

    Attributes:
        position: The position of the chunk, in per-item work.
        number: The number of the batch; None in per-item work.
        indices: The ids of the items.
        attempts: The number of attempts.
        cause: The end of the last worker, in words.
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
        """Return the error of a task that has ended every worker, not yet with its batch."""
        text = (
            f"a worker process died at this in each of {attempts} attempts; the last time {cause}"
        )
        return cls(text, attempts=attempts, cause=cause)

    def name_batch(self, number: int | None, indices: Sequence[Any], facts: str, hint: str) -> None:
        """Put the batch into the error. A second call does nothing.

        Args:
            number: The number of the batch.
            indices: The ids of its items.
            facts: Both in words, for the begin of the message.
            hint: Advice, for the end of the message.
        """
        if self.number is None:
            self.number, self.indices = number, tuple(indices)
            self.args = (f"{facts}: {self.args[0]}; {hint}",)


class SkipBatch(Exception):  # noqa: N818  a signal, not an error
    """Raised in an action to end this batch here: it is not delivered."""


class StopPipeline(Exception):  # noqa: N818  a signal, not an error
    """Raised in an action to end the run before this batch, as if the data had ended."""


def did_you_mean(word: object, known: Iterable[str], *, only_near: bool = False) -> str:
    """Return the end of an error message: the nearest known word, or all of them.

    Args:
        word: The unknown word.
        known: The known words.
        only_near: Whether to return nothing if no known word is near, as the message lists all.

    Returns:
        A sentence with a leading space, to be appended; an empty text if no word is known.
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
    """Add a note to an exception once, even if the same object is raised several times."""
    if note not in getattr(error, "__notes__", ()):
        error.add_note(note)
