"""The epochs of one run, each an iterator of its batches.

Guarantees:
    - An epoch ends with its last batch, also where that was skipped or filtered away. Nothing of
      the next one that is ordered has run then: it begins when its first batch is asked for.
    - One that is left early leaves the rest of its batches unmade; what was made ahead is thrown
      away. The next one begins at its own first batch.
    - What comes out is what the run would give, less what was left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, Protocol

from batchflow.batch import Batch
from batchflow.batch.typevars import BatchT_co
from batchflow.engine.source import EpochEnd
from batchflow.errors import RunClosedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self


class Reading(Protocol[BatchT_co]):
    """A run that tells where its epochs end: see the methods of `Run`."""

    _end: str | None

    def _take(self) -> BatchT_co | EpochEnd: ...

    def _leave(self, epoch: int) -> None: ...


class Epoch(Generic[BatchT_co]):
    """The batches of one epoch of a run: an iterator. Made by `run.epochs()`.

    Attributes:
        number: The number of the epoch.
    """

    def __init__(self, number: int, take: Callable[[], BatchT_co | EpochEnd]) -> None:
        self.number = number
        self._take = take
        self._end: str | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> BatchT_co:
        if self._end == "left":
            raise RunClosedError(
                f"epoch {self.number} of this run has been left, as the next one has begun"
            )
        if self._end is None:
            self._end = "ended"  # also if the run fails, or has no more batches
            item = self._take()
            if isinstance(item, Batch):
                if not item._closes:
                    self._end = None
                return item
        raise StopIteration

    def __getstate__(self) -> dict[str, Any]:
        # Pickled with the variables of a notebook, as dill does to save an object whose class is
        # defined there; the run stays.
        return {"number": self.number, "_take": None, "_end": self._end or "left"}

    def __repr__(self) -> str:
        return f"<Epoch {self.number} of a run{f', {self._end}' if self._end else ''}>"


class Epochs(Generic[BatchT_co]):
    """Goes through the epochs of a run. Made by `run.epochs()`."""

    def __init__(self, run: Reading[BatchT_co], first: int, n_epochs: int | None) -> None:
        self._run = run
        self._next = first
        self._behind = None if n_epochs is None else first + n_epochs
        self._current: Epoch[BatchT_co] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Epoch[BatchT_co]:
        if self._current is not None and self._current._end is None:
            self._current._end = "left"
            self._run._leave(self._next)
        if self._run._end == "ended":
            raise StopIteration
        if self._run._end is not None or self._next == self._behind:
            self._run._take()  # raises what there is to say, and takes the last steps
            raise StopIteration
        self._current = Epoch(self._next, self._run._take)
        self._next += 1
        return self._current
