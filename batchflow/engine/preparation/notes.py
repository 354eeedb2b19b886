"""Notes that tell how to make a batch again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from batchflow.engine.options import RunOptions
from batchflow.engine.source import Source
from batchflow.errors import ArgumentTypeError
from batchflow.index.order import DescribedOrder
from batchflow.records import Record

_MOST = 3  # calls in a note


class _NamedAlike:
    """Stands for a function in another process, where its name is all that is needed."""

    def __init__(self, function: Any) -> None:
        self.__name__ = getattr(function, "__name__", "")

    def __call__(self, positions: Any) -> Any:  # noqa: ARG002  refused
        raise ArgumentTypeError(f"the function {self.__name__!r} is not here")


class _ShownAlike:
    """Stands for a described order in another process, where how it is shown is needed."""

    def __init__(self, order: Any) -> None:
        self._shown = repr(order)

    def __repr__(self) -> str:
        return self._shown


class ReplayNotes(Record):
    """Makes the notes of one pipeline in one run.

    Attributes:
        options: The options of the run; None where no batches are read.
        seed: Its seed.
        shuffle: The option from which its order is made.
        source: The source of its batches.
        is_nested: Whether the pipeline is inside of another.
    """

    options: RunOptions | None
    seed: int
    shuffle: Any
    source: Source | None
    is_nested: bool

    def __getstate__(self) -> dict[str, Any]:
        # The user's order need not travel.
        shuffle = _NamedAlike(self.shuffle) if callable(self.shuffle) else self.shuffle
        shuffle = _ShownAlike(shuffle) if isinstance(shuffle, DescribedOrder) else shuffle
        return {**self._asdict(), "shuffle": shuffle}

    def ahead(self, numbers: Sequence[int]) -> str:
        """Return how to make source batches again that failed ahead of the ordered section."""
        return f"make this batch again: {self._calls(numbers)}"

    def in_section(self, numbers: Sequence[int]) -> str:
        """Return how to make source batches again that failed in the section or behind it."""
        return f"make the batch that came to the ordered section: {self._calls(numbers)}"

    def _calls(self, numbers: Sequence[int]) -> str:
        if self.options is None and self.is_nested:
            return f"by the batch that it was joined to (it is of {self.source!r})"
        if self.options is None:
            return "pipeline.execute_for(batch)"
        calls = [self.options.replay_call(n, self.seed, self.shuffle) for n in numbers[:_MOST]]
        dots = "; ..." if len(numbers) > _MOST else ""
        of = f" (pipeline: the one over {self.source!r} inside of it)" if self.is_nested else ""
        return "; ".join(calls) + dots + of
