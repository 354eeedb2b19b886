"""A chain that can be looked into: what would happen in a run, and where its time goes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack, cast

from batchflow.batch import Batch
from batchflow.batch.typevars import BatchT_co, OtherT
from batchflow.chain import Chain
from batchflow.engine import (
    PipelineModels,
    PipelineState,
    Program,
    Run,
    RunKeywords,
    RunOptions,
    shows_options,
)
from batchflow.errors import ArgumentTypeError
from batchflow.insight import open_run
from batchflow.plan import HookName, Plan
from batchflow.plan.names import overridable_by_action

if TYPE_CHECKING:
    from batchflow.insight.profile import Profile
    from batchflow.inspection.report import Report


class InspectedChain(Chain[BatchT_co]):
    """A chain with a state of its own, which can be looked into; as a `Pipeline` it runs.

    Args:
        source: The dataset; None: a piece to be put over datasets later.
        config: Settings that `C("name")` reads.
    """

    __slots__ = ("_state",)
    _state: PipelineState[BatchT_co]

    def _set(self, source: Any, plan: Plan, ahead: Any = None, moment: Any = None) -> None:
        super()._set(source, plan, ahead, moment)
        object.__setattr__(self, "_state", PipelineState(plan.variables))

    def _at(self, moment: HookName | None) -> Self:
        same = super()._at(moment)
        object.__setattr__(same, "_state", self._state)  # it is this pipeline
        return same

    # ---- looking into it

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
        from batchflow.inspection import debugging  # on use, for a light import

        chosen = self._options(batch_size, options, endless=True)
        batch: BatchT_co | None = debugging.replay(self._program(), chosen, number)
        return batch

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
        from batchflow.inspection import debugging  # on use, for a light import

        is_alone = batch_number is not None
        chosen = self._options(batch_size, options, endless=is_alone, is_serial=True)
        program = self._program()
        if batch_number is None:
            return debugging.debug_run(lambda: open_run(program, chosen))
        batch: BatchT_co | None = debugging.debug_batch(program, chosen, batch_number)
        return batch

    def check(self, n_items: int = 2, *, seed: int | None = None) -> Report:
        """Take a few items through the steps before a long run, and report what each step does.

        What it changes in the batch, whether it can travel to worker processes, whether it draws
        from global random generators (not from those that a layer or an object has for itself),
        models that are trained outside of an ordered step, and page faults.

        Variables and models stay as they are: steps work on copies of them. A step with a model
        that has no sure copy (a Keras model, a session, functions) is not run, but for
        `predict_model`; what fails behind it is told as not checked. What actions do outside of the
        batch they do here, too (again, where page faults matter). Steps of `.after` are not taken.

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
        from batchflow.inspection.check import check_program  # on use, for a light import

        twin = self._of(self._source, self._plan)
        return check_program(twin._program(), n_items, seed, made=self._state)

    @overridable_by_action
    @shows_options(n_epochs=None)
    def profile(
        self, n_batches: int = 50, batch_size: int | None = None, **options: Unpack[RunKeywords]
    ) -> Profile:
        """Run for some batches and tell where the time goes: see the how-to of it.

        It is a run as any other: variables are written and models are trained.

        Args:
            n_batches: The number of batches; fewer, where `n_epochs` ends before.
            batch_size: Items in a batch.
            options: As for `run`.

        Returns:
            A `Profile` to print; its `verdict` names the bottleneck.
        """
        from batchflow.insight.profiling import profiled  # on use, for a light import

        return profiled(self, n_batches, batch_size, options)

    @property
    def last_profile(self) -> Profile | None:
        """The profile of the latest run with `profile=True`, so far; None: there was none."""
        if self._has_action("last_profile"):
            return cast(Any, self.__getattr__("last_profile"))  # type: ignore[no-any-return]
        profiler = self._state.profiler
        return None if profiler is None else profiler.profile

    @overridable_by_action
    def to_mermaid(self, profile: Profile | None = None) -> str:
        """Return a flowchart in the language of Mermaid, which Markdown pages and notebooks draw.

        It shows the steps, the ordered section, regroupings, models, and pipelines inside of this.

        Args:
            profile: What `pipeline.profile(...)` has returned: steps are coloured by their shares.

        Raises:
            ArgumentTypeError: The pipeline has no dataset.

        Example:
            >>> from batchflow import Dataset
            >>> print(Dataset(4).p.do_nothing().rebatch(2).to_mermaid())
            flowchart TD
                source(["Batch: source batches"])
                s0["do_nothing()"]
                source --> s0
                s1{{"rebatch(2)"}}
                s0 --> s1
                s1 --> out(["your loop"])
        """
        from batchflow.pictures import mermaid  # on use, for a light import

        plan = self._bound_plan()
        return mermaid(plan, None if profile is None else _shares(plan, profile))

    def _repr_html_(self) -> str:
        from batchflow.pictures import of_pipeline

        return of_pipeline(self)

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
        from batchflow.inspection import debugging  # on use, for a light import

        return debugging.execute_for(self._program, batch, seed)

    # ---- inside

    def _options(
        self,
        batch_size: int | None,
        options: RunKeywords,
        *,
        endless: bool,
        is_serial: bool = False,
    ) -> RunOptions:
        ahead_size, ahead_options = self._ahead or (None, {})
        size = ahead_size if batch_size is None else batch_size
        given: dict[str, Any] = {**ahead_options, **options}
        if is_serial:  # whatever is said of where it works
            places = ("target", "executor", "prefetch", "n_workers")
            given = {n: value for n, value in given.items() if n not in places}
            given["executor"] = "serial"
        return RunOptions.parse(size, given, endless=endless)

    def _open(self, options: RunOptions) -> Run[BatchT_co]:
        return open_run(self._program(), options)

    def _program(self, batch_class: type[Batch] | None = None) -> Program:
        """Return what a run is made of; without a dataset, over a batch class."""
        if self._source is None and batch_class is not None:
            plan = self._plan.bind_whole(batch_class)
        else:
            plan = self._bound_plan()
        return Program(plan, self._source, self._state, self._models(*plan.batch_classes), self)

    def _models(self, *classes: type[Batch]) -> PipelineModels:
        first, *others = [cls.models for cls in classes or (Batch,)]
        directory = first.beside(*others)
        return PipelineModels(directory, self._plan.models, self._state, self)


def _shares(plan: Any, profile: Profile) -> dict[int, float]:
    """Return the share of each step, by its place in the chain, out of a profile."""
    from batchflow.insight.profile import Profile  # on use, for a light import

    if not isinstance(profile, Profile):
        raise ArgumentTypeError(
            f"to_mermaid: profile is what pipeline.profile(...) returns, got {profile!r:.60}"
        )
    by_name: dict[str, list[float]] = {}
    for step in profile.to_dict()["steps"]:
        by_name.setdefault(step["name"], []).append(step["share"])
    shares = {}
    for place, bound in enumerate(plan.steps):
        waiting = by_name.get(bound.step.name)
        if waiting:
            shares[place] = waiting.pop(0)
    return shares
