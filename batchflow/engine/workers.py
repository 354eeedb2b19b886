"""The workers of a run, which all its parallel segments share.

A chain that regroups batches before its ordered section has several parallel segments, and so has
one that merges other pipelines.

Guarantees:
    - All segments together have at most `prefetch` batches begun and not taken: each segment has
      an equal part, the earlier ones what does not divide. A segment whose part is 0 works in the
      consumer's thread.
    - `close` ends every segment, the last one first, and what the run has begun elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from batchflow.engine.stream import in_turn, parallel

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from contextvars import Context

    from batchflow.engine.prefix import Prefix, Segment
    from batchflow.executors.threads import Borrowed, ThreadExecutor

# How many seconds the end of a run waits for actions under way. In threads, one that takes longer
# goes on to its end in a daemon thread, and nothing after it starts; in processes it is killed.
CLOSE_GRACE = 0.5


class Workers:
    """Spreads the work of a run: in the consumer's thread, or in threads.

    Args:
        executor: The threads; None: the consumer's alone. It is shut down by `close`.
        prefetch: How many batches may be begun and not taken.
        n_segments: Among how many segments they are divided.
        context: Each task runs in a copy of it.
    """

    def __init__(
        self,
        executor: ThreadExecutor | Borrowed | None,
        prefetch: int,
        n_segments: int,
        context: Context,
    ) -> None:
        whole, rest = divmod(prefetch, n_segments)
        self._shares = [whole + (i < rest) for i in range(n_segments)]
        self._parts = iter(self._shares)
        self._executor = executor
        self._context = context
        self._open: list[Generator[Any, None, None]] = []

    def start(self, prefixes: Sequence[Prefix]) -> None:
        """Begin, when the prefixes of the run are ready."""

    def spread(self, segment: Segment, items: Iterator[Any]) -> Iterator[Any]:
        """Work on tickets, or, for a segment behind a regrouping, on batches, in order."""
        ahead = next(self._parts)
        if ahead == 0:
            return self.also_close(in_turn(segment.work, items, self._context))
        return self.also_close(self._ahead(segment, items, ahead))

    def _ahead(
        self, segment: Segment, items: Iterator[Any], ahead: int
    ) -> Generator[Any, None, None]:
        """Work on up to `ahead` items at once."""
        executor: Any = self._executor  # there is one where `prefetch` is not 0
        return parallel(segment.work, items, self._context, executor, ahead)

    def also_close(self, stage: Generator[Any, None, None]) -> Iterator[Any]:
        """Let `close` end a generator."""
        self._open.append(stage)
        return stage

    def restart(self) -> None:
        """End all segments, so that others can begin. What they have made is thrown away."""
        while self._open:
            self._open.pop().close()
        self._parts = iter(self._shares)

    def close(self) -> None:
        """End all segments. Nothing starts afterwards."""
        try:
            self.restart()
        finally:
            if self._executor is not None:
                self._executor.shutdown(wait=False, cancel_futures=True)

    def join(self, grace: float) -> None:
        """Wait for actions under way, at most `grace` seconds."""
        if self._executor is not None:
            self._executor.join(grace)
