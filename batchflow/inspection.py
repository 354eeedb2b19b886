"""Looking into a pipeline: batches taken through its steps in this thread, one at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, Self, Unpack, cast

from batchflow.batch import Batch
from batchflow.batch.typevars import BatchT_co, OtherT
from batchflow.engine import Program, Run, RunGraph, RunKeywords, RunOptions, Source, shows_options
from batchflow.engine.options import checked_seed
from batchflow.engine.steps import keeps_batch
from batchflow.engine.stream import NEVER
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.plan import Plan

if TYPE_CHECKING:
    from batchflow.engine.state import PipelineState
    from batchflow.insight.check import Report
    from batchflow.plan import HookName

__all__ = ["Inspection"]


class Inspection(Generic[BatchT_co]):
    """What a pipeline does to find out what its steps do."""

    __slots__ = ()

    if TYPE_CHECKING:
        _source: Source[BatchT_co] | None
        _plan: Plan
        _ahead: tuple[int | None, RunKeywords] | None
        _state: PipelineState[BatchT_co]

        @classmethod
        def _of(
            cls,
            source: Source[BatchT_co] | None,
            plan: Plan,
            ahead: Any = None,
            moment: HookName | None = None,
        ) -> Self: ...
        def _options(
            self, batch_size: int | None, options: RunKeywords, *, endless: bool
        ) -> RunOptions: ...
        def _open(
            self, options: RunOptions, program: Program | None = None, length: Any = None
        ) -> Run[BatchT_co]: ...
        def _program(self, batch_class: type[Batch] | None = None) -> Program: ...

    @shows_options(n_epochs=None)
    def replay(
        self, number: int, batch_size: int | None = None, **options: Unpack[RunKeywords]
    ) -> BatchT_co | None:
        """Make one source batch of a run again, in this thread, up to the ordered section.

        The notes of an error show the call to make: the same actions raise the same error again,
        where a debugger can watch.

        Args:
            number: The number of the batch.
            batch_size: As in the run.
            options: As in the run; `seed` is what `Run.seed` or the error's note told.

        Returns:
            The batch as it comes to the ordered section; None if an action skips it or stops.
        """
        chosen = self._options(batch_size, options, endless=True)
        program = self._program()
        machine = RunGraph(program, chosen)
        ticket = machine.schedule.ticket(number)
        machine.prefix.marks_epochs = False
        batch = machine.alone(lambda: machine.prefix.work(ticket, NEVER))
        if not isinstance(batch, Batch):
            return None
        batch.pipeline = program.pipeline
        return cast("BatchT_co", batch)

    @shows_options()
    def debug(
        self,
        batch_number: int | None = None,
        batch_size: int | None = None,
        **options: Unpack[RunKeywords],
    ) -> BatchT_co | None:
        """Run serially, in this thread, where breakpoints work; stop at the first error.

        An error has the batch as it was then, as its attribute `batch`: in a notebook look at it by
        `%debug`, or by `sys.last_exc.batch`.

        Args:
            batch_number: The one source batch to take through all steps, ordered ones included:
                with models and variables as they are, as `execute_for` does. None: all batches, in
                a run of its own.
            batch_size: As for `run`.
            options: As for `run`. `executor` and `prefetch` are not looked at.

        Returns:
            The last batch; None if there was none, or a step skipped it.

        Raises:
            ArgumentValueError: One batch cannot be taken alone, as a step regroups them.
            Exception: Whatever an action raises, with notes that say where.
        """
        size, ahead = self._ahead or (None, {})
        alone = {
            name: value
            for name, value in {**ahead, **options}.items()
            if name not in ("target", "executor", "prefetch", "n_workers")
        }
        chosen = RunOptions.parse(
            size if batch_size is None else batch_size,
            {**alone, "executor": "serial"},
            endless=batch_number is not None,
        )
        program = self._program()
        last: BatchT_co | None = None
        keeping = keeps_batch.set([])
        try:
            if batch_number is not None:
                _refuse_regrouping("debug", program)
                machine, number = RunGraph(program, chosen), batch_number
                batch = _through(machine, lambda: machine.source_batch(number), program.pipeline)
                return cast("BatchT_co | None", batch)
            with self._open(chosen) as run:
                for last in run:  # noqa: B007  it is given
                    pass
        finally:
            keeps_batch.reset(keeping)
        return last

    def check(self, n_items: int = 2, *, seed: int | None = None) -> Report:
        """Take a few items through the steps before a long run, and tell what each step does.

        What it changes in the batch, whether it can travel to worker processes, whether it draws
        from global random generators, and models that are trained outside of an ordered step.

        Variables and models stay as they are: steps work on copies of them. A step with a model
        that has no sure copy (a Keras model, a session, functions) is not run, but for
        `predict_model`; what fails behind it is told as not checked. What actions do outside of the
        batch, such as writing a file, they do here, too. The steps of `.after` are not taken.

        Args:
            n_items: The number of items; all there are, if that is fewer.
            seed: What their randomness is derived from; None: something new.

        Returns:
            A report to print: `report.problems` lists what to mend, `report.look_at` what only you
            can judge.

        Raises:
            ArgumentValueError: The dataset has no items.
            Exception: Whatever a step of `.before`, or the making of the batch, raises.
        """
        from batchflow.insight.check import check_program  # on use

        twin = self._of(self._source, self._plan, None)
        return check_program(twin._program(), n_items, seed, made=self._state)

    def execute_for(self, batch: OtherT, *, seed: int | None = None) -> OtherT | None:
        """Take one given batch through the steps, in this thread.

        The batch is changed as in a run; variables and models are used as they are, and the steps
        before and after the batches are not taken. Without a dataset, the pipeline's steps are
        those of the batch's class.

        Args:
            batch: The batch.
            seed: What its randomness is derived from; None: it keeps its own.

        Returns:
            The batch that the last step gives; None if a step skips it or stops.

        Raises:
            ArgumentValueError: A step regroups batches.
        """
        if not isinstance(batch, Batch):
            raise ArgumentTypeError(f"execute_for takes a batch, got {batch!r:.60}")
        program = self._program(type(batch))
        _refuse_regrouping("execute_for", program)
        seed = checked_seed(seed)
        if seed is not None:
            batch._rng, batch._rng_key = None, (seed, 0, 0)
        machine = RunGraph(program, None, seed=seed)
        try:
            return _through(machine, lambda: batch, program.pipeline)
        finally:
            batch.pipeline = program.pipeline  # also where it was dropped before the last step


def _through(machine: RunGraph, make: Callable[[], OtherT], pipeline: Any) -> OtherT | None:
    """Take one batch through all steps; None if one drops it."""
    done: OtherT | None = machine.alone(lambda: machine.through(make(), pipeline))
    return done


def _refuse_regrouping(method: str, program: Program) -> None:
    if program.plan.regroupings:
        raise ArgumentValueError(
            f"{method}: {program.plan.regroupings[0].step} makes other batches out of a stream of "
            "them; run the pipeline instead"
        )
