"""The batches of a feed as one stream through its epochs, for loops that count steps.

    read(0), read(1), ... ---> a run without end, made ahead

Guarantees:
    - A loop has the batches of one long run, one after the other, from the first batch of an epoch
      on: the first epoch, and as many more as the reader has begun before.
    - Reading batch 0 begins a loop. What a reader looks at before its loop changes nothing.
    - An exception of an action arrives as the same object, with its notes.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Mapping
from typing import Any

from batchflow.engine import Program, Run, RunOptions
from batchflow.errors import ActionResultError, ArgumentValueError
from batchflow.insight import open_run
from batchflow.interop.order import has_order


class ReadFeed:
    """Reads batches of a feed, in the threads of a reader.

    Args:
        program: The pipeline, whose last step is that of `feeding`.
        first_epoch: The first epoch.
    """

    def __init__(self, program: Program, first_epoch: int) -> None:
        self._program, self._first_epoch = program, first_epoch
        self._context = contextvars.copy_context()  # readers' threads have none of the user's
        self._guard = threading.Lock()
        self._n_begun = 0
        self._run: Run | None = None

    @property
    def given(self) -> Mapping[str, Any]:
        """The expressions of the feed: `x`, `y` and `sample_weight`."""
        step: Any = self._program.plan.steps[-1].step
        given: Mapping[str, Any] = step.kwargs
        return given

    def _end(self) -> None:
        run, self._run = self._run, None
        if run is not None:
            run.close()


class StreamedFeed(ReadFeed):
    """Reads the batches of a feed in order, through its epochs.

    Args:
        program: The pipeline, whose last step is that of `feeding`.
        options: Those of its runs.
        first_epoch: The first epoch.

    Raises:
        ArgumentValueError: The pipeline has ordered steps, or steps before or behind its batches.
    """

    def __init__(self, program: Program, options: RunOptions, first_epoch: int = 0) -> None:
        plan = program.plan
        if has_order(plan) or plan.hooks.before or plan.hooks.once:
            raise ArgumentValueError(
                "to_keras: Keras reads ahead of its training, and steps that take one batch at a "
                "time, in order, or are taken once in a run would run ahead with it. Loop over the "
                "feed itself, or feed from a pipeline without them"
            )
        self.seed, shuffle = options.seeds()
        source: Any = program.source
        settled = options.settled(self.seed, shuffle)._replace(n_epochs=None, n_iters=None)
        settled = settled._replace(bar=False, track=None)  # Keras has its own
        self._options = settled.with_kept_order(source)
        super().__init__(program, first_epoch)
        self._next = 0

    def begin_epoch(self) -> None:
        """Count an epoch of the reader."""
        self._n_begun += 1

    def end_epoch(self) -> None:
        """End an epoch of the reader: the stream goes on in the next one."""

    def read(self, index: int) -> tuple[Any, ...]:
        """Return the values of a batch: the first one of a new loop, or the one that comes next.

        Raises:
            ActionResultError: The run has ended, as an action has raised StopPipeline.
            ArgumentValueError: It is another one, or the stream has been closed.
            BaseException: An action raised it.
        """
        with self._guard:
            if index == 0:
                self._end()
                epoch = self._first_epoch + max(self._n_begun - 1, 0)
                options = self._options._replace(first_epoch=epoch)
                self._run = self._context.copy().run(open_run, self._program, options)
                self._next = 0
            if self._run is None or index != self._next:
                raise ArgumentValueError(
                    f"to_keras(stream=True): batches come in order, one for one reader, and batch "
                    f"{index} was asked for where {self._next} is next; leave Keras's workers at 1"
                )
            try:
                batch = next(self._run, None)
            except BaseException:
                self._end()
                raise
            self._next += 1
        if batch is None:
            raise ActionResultError("the stream has ended: an action raised StopPipeline")
        values: tuple[Any, ...] = batch._fed
        return values

    def close(self) -> None:
        """End the run that is under way, if there is one."""
        with self._guard:
            self._end()
