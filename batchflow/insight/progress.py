"""A progress bar that tells how long the consumer waited for data."""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from batchflow.batch import Batch
from batchflow.engine import Run
from batchflow.plan import V
from batchflow.plan.bound import variables_in
from batchflow.plan.expressions import Expression

if TYPE_CHECKING:
    from batchflow.engine import Length, Program, RunOptions

T = TypeVar("T")


class ProgressBar:
    """Watches a run and shows a tqdm bar.

    `waited 3%` means: three percent of the time so far the ordered steps and the consumer stood
    still because the next batch was not ready. With `prefetch=0` nothing is made ahead, so that
    is the share of the time which the parallel steps took.

    Args:
        shown: Expressions whose values are shown, for the batch that was delivered last; of a list
            the last element.
    """

    recorder: Any = None  # nothing is measured but the waiting

    def __init__(self, shown: Sequence[Expression] = ()) -> None:
        self._shown = shown
        self._values = ""
        self._bar: Any = None
        self._first = 0
        self._length: Any = None
        self._waited = 0.0
        self._start = 0.0

    def open(self, run: Run) -> None:
        """Show the empty bar of a run."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a notebook without widgets gets the bar in text
            from tqdm.auto import tqdm
        self._bar = tqdm(total=run.n_batches, unit="batch")
        self._first, self._length = run.first_number, run.length

    def watch(self, made: Iterator[T]) -> Iterator[T]:
        """Pass batches on, and measure how long each was waited for."""
        start = time.perf_counter()
        self._start = self._start or start
        for batch in made:
            self._waited += time.perf_counter() - start
            held = [batch]
            del batch
            yield held.pop()
            start = time.perf_counter()

    def delivered(self, batch: Batch) -> None:
        """Show the state after `batch`."""
        done = 1 + (batch.number or 0) - self._first - self._bar.n
        if self._length.changed_by is not None:
            self._bar.total, done = None, max(done, 1)
        if self._shown:
            like = copy.copy(batch)
            like.__dict__["_rng"] = copy.deepcopy(batch._rng)  # so that a draw changes no batch
            self._values = "".join(f"{_name(x)}={_short(x.get(like))}, " for x in self._shown)
        self._bar.set_postfix_str(self._values + self._share(), refresh=False)
        self._bar.update(done)

    def closed(self) -> None:
        """Leave the bar as it is."""
        if self._bar is not None:
            self._bar.set_postfix_str(self._values + self._share())
            self._bar.close()

    def _share(self) -> str:
        passed = time.perf_counter() - self._start
        return f"waited {self._waited / passed:.0%}" if passed > 0 and self._start else ""


def _name(expression: Expression) -> str:
    return expression._name if isinstance(expression, V) else repr(expression)


def _short(value: Any) -> str:
    if isinstance(value, list):
        value = value[-1] if value else None
    try:
        return f"{value:.4g}"
    except (TypeError, ValueError):
        return f"{value}"[:40]


def checked_bar(program: Program, options: RunOptions) -> tuple[Any, ...]:
    """Return what is shown in the progress bar of a run.

    Raises:
        UnknownNameError: (a `KeyError`) It has a variable that is not declared.
    """
    shown = options.bar if isinstance(options.bar, tuple) else ()
    for name in variables_in(shown):
        program.state.declaration(name)
    return shown


def open_run(
    program: Program,
    options: RunOptions,
    length: Length | None = None,
    numbers: range | None = None,
) -> Run[Any]:
    """Make a run of a pipeline, with all that watches it: a progress bar, a board, a profile.

    Args:
        program: The pipeline.
        options: Those of the run.
        length: Whether somebody counts on the number of batches.
        numbers: Of the source batches that are made; None: all that the options say.
    """
    from batchflow.engine.retraining import warn_of_repeated_training  # on use, for a light import

    shown = checked_bar(program, options)
    if options.checkpoint is None:  # else it goes on
        warn_of_repeated_training(program, options)
    observers: list[Any] = [ProgressBar(shown)] if options.bar else []
    if options.track is not None:
        from batchflow.boards import Tracking  # on use, for a light import

        observers.append(Tracking(options.track, program.state))
    if options.profile:
        from batchflow.insight.profiling import Profiler  # on use

        program.state.profiler = Profiler(options)
        observers.append(program.state.profiler)
    observer = observers[0] if observers else None
    if len(observers) > 1:
        from batchflow.boards import Several

        observer = Several(*observers)
    run: Run[Any] = Run(program, options, observer, numbers, length)
    for one in observers:
        one.open(run)
    return run
