"""The batches of a feed by index, epoch by epoch, for loops that read in an order of their own.

    begin_epoch() ... read(0), read(1), ... ---> a run of one epoch, made ahead
                      read(any other)       ---> a run of that batch alone

Guarantees:
    - What is read is a function of (seed, epoch, index): the values that iterating over the feed
      gives there, whatever was read before, and in whichever threads.
    - The epoch of a read is the first one, and as many more as were begun before, less one.
      Batches that follow one another in order belong to the epoch in which index 0 was read, also
      where the reader begins another one in between (`steps_per_epoch` of Keras).
    - Batches read in order are made ahead: at most `prefetch` are begun and not read. The run ends
      with the last batch of its epoch, an error, or `close`.
    - What is read after `close` is made for that read alone, until an epoch begins: TensorFlow goes
      on reading for a moment when its loop has been left, and nothing may be begun for that.
    - The first two batches that are read before the first epoch is begun, as Keras does to see what
      they are, are not made again for it.
    - An exception of an action arrives as the same object, with its notes.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from batchflow.batch import Batch
from batchflow.engine import Program, Run, RunOptions
from batchflow.engine.orders import with_drawn
from batchflow.errors import ActionResultError, ArgumentValueError
from batchflow.insight import open_run
from batchflow.interop.streamed import ReadFeed
from batchflow.plan import BoundPlan, BoundRegrouping
from batchflow.plan.builtin import discard_batch, filter_items

_LOOKS = 2  # batches that Keras reads before the first epoch, to see what they are


class IndexedFeed(ReadFeed):
    """Reads the batches of one epoch after another by index.

    Args:
        program: The pipeline, whose last step is that of `feeding`.
        options: Those of its runs. How many epochs there are is up to the reader.
        first_epoch: The first epoch.
    """

    def __init__(self, program: Program, options: RunOptions, first_epoch: int = 0) -> None:
        for what, where in _obstacles(program.plan):
            raise ArgumentValueError(
                f"to_keras: Keras reads batches by index, and {where} {what}. Loop over the feed "
                "itself, feed from a pipeline without that step, or, where it is not ordered, let "
                "Keras count steps: to_keras(stream=True), and fit(..., steps_per_epoch=n)"
            )
        if options.n_iters is not None:
            raise ArgumentValueError(
                "to_keras: n_iters counts batches through all epochs; leave it out, and give "
                "steps_per_epoch to fit"
            )
        super().__init__(program, first_epoch)
        self._given = options
        self._settle(options)
        source: Any = program.source
        self._n_batches = options.counted_schedule(source).batches_per_epoch
        self._start = self._next_start = 0  # where the current epoch begins, and the next one
        self._read_in = 0  # how many epochs were begun at the latest read
        self._n_read = 0  # how many batches were read of the epoch of that read
        self._is_closed = False  # since the last epoch was begun
        self._next: int | None = None  # the number of the batch that comes next in order
        self._looked_at: dict[int, tuple[Any, ...]] = {}  # read before an epoch was begun

    def _settle(self, options: RunOptions) -> None:
        """Settle the seed and the order."""
        self.seed, shuffle = options.seeds()
        # One epoch, the default, says nothing about how many Keras will read.
        n_epochs = None if options.n_epochs == 1 else options.n_epochs
        options = options.settled(self.seed, shuffle)._replace(n_epochs=n_epochs)
        source: Any = self._program.source
        self._options = options.with_kept_order(source)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return self._n_batches

    def begin_epoch(self) -> None:
        """Let the reads that follow be those of the next epoch."""
        self._n_begun += 1
        self._start, self._next_start = self._next_start, 0
        self._is_closed = False

    def go_to(self, epoch: int, index: int, drawn: Mapping[str, Any]) -> None:
        """Let the next epoch that is begun be another one, read from a batch in it on.

        Args:
            epoch: Its number.
            index: The index of the batch.
            drawn: The seed and the order that were drawn for the feed that this one goes on with.
        """
        self.close()
        with self._guard:
            self._settle(with_drawn(self._given, drawn))
            self._first_epoch, self._next_start = epoch - self._n_begun, index
            self._looked_at.clear()

    @property
    def epoch(self) -> int:
        """The epoch of what is read."""
        return self._first_epoch + max(self._n_begun - 1, 0)

    @property
    def next_epoch(self) -> int:
        """The epoch that is begun next."""
        return self._first_epoch + self._n_begun

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What makes the batches, as a mapping for JSON: see `Run.state_dict`."""
        with self._runs(range(1)) as run:
            found: dict[str, Any] = run.state_dict()["fingerprint"]
        return found

    def read(self, index: int) -> tuple[Any, ...]:
        """Return the values of a batch. For any thread.

        Raises:
            IndexError: An epoch has no batch of this index.
            ActionResultError: An action skipped the batch or stopped the run.
            BaseException: An action raised it.
        """
        index = operator.index(index)
        if not 0 <= index < self._n_batches:
            raise IndexError(f"an epoch has {self._n_batches} batches, got the index {index}")
        with self._guard:
            self._is_closed &= index > 0
            n_begun = self._n_begun
            epoch = self.epoch
            if self._read_in < n_begun and not self._goes_on(index):  # the first read of an epoch
                self._end()
                self._next = epoch * self._n_batches + index if index == self._start else None
                self._n_read = 0
            self._read_in = n_begun
            self._n_read += 1
            is_next = self._next is not None and self._next % self._n_batches == index
            number = epoch * self._n_batches + index
            if n_begun == 1 and index in self._looked_at and self._run is None:
                if is_next:
                    self._next = number + 1 if index + 1 < self._n_batches else None
                return self._looked_at.pop(index)
            if is_next:
                return self._read_next(self._next)  # type: ignore[arg-type]
            alone = self._runs(range(number, number + 1))
        with alone:
            values = _values(alone, number, index)
        if n_begun == 0 and index < _LOOKS:
            self._keep(index, values)
        return values

    def _keep(self, index: int, values: tuple[Any, ...]) -> None:
        """Keep what was read before the first epoch, so that it is not made twice."""
        with suppress(Exception):  # what has no copy is made again
            self._looked_at[index] = copy.deepcopy(values)  # the reader's own may be written to

    def _goes_on(self, index: int) -> bool:
        """Check whether a reader has begun an epoch in the middle of the batches of the last one.

        It does with Keras's `steps_per_epoch`.
        """
        return (
            index > 0
            and self._n_read < self._n_batches
            and self._next is not None
            and self._next % self._n_batches == index
        )

    def close(self) -> None:
        """End the run that is under way, if there is one. Later reads return the same values."""
        with self._guard:
            self._is_closed = True
            if self._n_begun:  # Keras ends an epoch when it has looked
                self._looked_at.clear()
            self._end()

    def end_epoch(self) -> None:
        """End an epoch of the reader: nothing of the next one is made ahead."""
        self.close()

    def _read_next(self, number: int) -> tuple[Any, ...]:
        epoch, index = divmod(number, self._n_batches)
        if self._run is None:
            end = number + 1 if self._is_closed else (epoch + 1) * self._n_batches
            self._run = self._runs(range(number, end))
        self._next = None
        try:
            values = _values(self._run, number, index)
        except BaseException:
            self._end()
            raise
        if index + 1 < self._n_batches:
            self._next = number + 1
        if self._next is None or self._is_closed:
            self._end()
        return values

    def _runs(self, numbers: range) -> Run:
        """Make a run of some batches. Several are made ahead."""
        options = self._options
        if len(numbers) == 1:
            options = options._replace(prefetch=0)
        elif options.profile:  # of what is made ahead: Keras's own bar tells the rest
            options = options._replace(bar=False, track=None)
            return self._context.copy().run(open_run, self._program, options, None, numbers)
        return self._context.copy().run(Run, self._program, options, None, numbers)


def _values(run: Run, number: int, index: int) -> tuple[Any, ...]:
    batch: Batch | None = next(run, None)
    if batch is None or batch.number != number:
        raise ActionResultError(
            f"batch {number} (index {index} of its epoch) was skipped, or the run stopped there: "
            "an action raised SkipBatch or StopPipeline. Keras reads batches by index, so none may "
            "be missing; loop over the feed itself"
        )
    values: tuple[Any, ...] = batch._fed
    return values


def _obstacles(plan: BoundPlan) -> Iterator[tuple[str, str]]:
    """Go through the steps that do not let batches be made by index: what they do, and where."""
    for moment in ("before", "after"):
        for hook in getattr(plan.hooks, moment):
            yield f"is taken once in a run ({moment})", _shown(hook)
    for step, is_ordered in zip(plan.steps, plan.ordered, strict=True):
        if isinstance(step, BoundRegrouping):
            yield "makes other batches out of a stream of them", _shown(step)
        elif is_ordered:
            yield "takes one batch at a time, in order", _shown(step)
        for leaf in step.leaves:
            if leaf.function in (discard_batch, filter_items):
                yield "may skip batches", _shown(leaf)
            for joined in leaf.joined:
                inner: Any = joined._bound_plan()
                yield from _obstacles(inner)


def _shown(bound: Any) -> str:
    return f"the step {bound.step}, chained at {bound.step.where},"
