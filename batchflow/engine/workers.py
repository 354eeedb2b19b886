"""The workers of a run, which all its parallel segments share.

A chain that regroups batches before its ordered section has several parallel segments, and so has
one that merges other pipelines.

Guarantees:
    - All segments together have at most `prefetch` batches begun and not taken: each segment has
      an equal part, the earlier ones what does not divide. A segment whose part is 0 works in the
      consumer's thread.
    - `close` ends every segment, the last one first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchflow.engine.stream import in_turn, parallel

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from concurrent.futures import Executor
    from contextvars import Context

    from batchflow.engine.prefix import Segment

__all__ = ["Workers"]


class Workers:
    """Spreads the work of a run.

    Args:
        executor: Where work runs; None: in the consumer's thread.
        prefetch: How many batches may be begun and not taken.
        n_segments: Among how many segments they are divided.
        context: Each task runs in a copy of it.
    """

    def __init__(
        self, executor: Executor | None, prefetch: int, n_segments: int, context: Context
    ) -> None:
        whole, rest = divmod(prefetch, n_segments)
        self._parts = iter([whole + (i < rest) for i in range(n_segments)])
        self._executor = executor
        self._context = context
        self._open: list[Generator[Any, None, None]] = []

    def spread(self, segment: Segment, items: Iterator[Any]) -> Iterator[Any]:
        """Work on items, in order.

        Args:
            segment: What is done to each.
            items: Tickets, or, for a segment behind a regrouping, batches.
        """
        ahead = next(self._parts)
        made: Generator[Any, None, None]
        if self._executor is None or ahead == 0:
            made = in_turn(segment.work, items, self._context)
        else:
            made = parallel(
                segment.work,
                items,
                self._context,
                self._executor,
                ahead,
                is_staged=segment.place > 0,
            )
        self._open.append(made)
        return made

    def also_close(self, stage: Generator[Any, None, None]) -> Iterator[Any]:
        """Let `close` end another generator as well."""
        self._open.append(stage)
        return stage

    def close(self) -> None:
        """End all segments."""
        while self._open:
            self._open.pop().close()
