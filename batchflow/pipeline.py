"""The pipeline: a chain that runs, with its variables and models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, Unpack, cast, overload

from batchflow import legacy, one_pass
from batchflow.batch.preloaded import check_batch_class
from batchflow.batch.typevars import BatchT_co, OtherT
from batchflow.engine import (
    PipelineModels,
    Run,
    RunKeywords,
    Source,
    is_source,
    shows_options,
)
from batchflow.errors import ArgumentTypeError
from batchflow.insight import checked_bar, open_run
from batchflow.inspected import InspectedChain
from batchflow.old_words import knows_old_options
from batchflow.plan import B, Where
from batchflow.plan.names import overridable_by_action

if TYPE_CHECKING:
    from batchflow.interop import Feed


class Pipeline(InspectedChain[BatchT_co]):
    """A lazy chain of actions over a dataset.

    A pipeline is a value: each action that is chained gives a new pipeline and leaves this one as
    it is, so a common beginning can be shared. Nothing runs before `run`, `gen_batch` or
    `next_batch`. Actions and their arguments are checked when they are chained, or, in a pipeline
    without a dataset, when it gets one.

    A value owns its variables and dynamic models: they are made when they are first needed, and
    pipelines chained from it make their own.

    Args:
        source: The dataset; None: a piece to be put over datasets later (`dataset >> pipeline`).
        config: Settings that `C("name")` reads.

    Example:
        >>> from batchflow import ArrayBatch, Dataset, Pipeline, action
        >>> class Numbers(ArrayBatch):
        ...     @action
        ...     def add(self, value):
        ...         self.data = self.data + value
        ...         return self
        >>> dataset = Dataset.from_arrays(Numbers, data=[1, 2, 3, 4])
        >>> twice = Pipeline().add(10).add(value=100)
        >>> [batch.data.tolist() for batch in (dataset >> twice).gen_batch(2, prefetch=2)]
        [[111, 112], [113, 114]]
    """

    __slots__ = ()
    to_arrays = one_pass.to_arrays

    if TYPE_CHECKING:  # older words, which `__getattr__` finds
        run_now = legacy.run_now
        get_variable = legacy.get_variable
        set_v = legacy.set_v
        init_variables = legacy.init_variables
        delete_variables = legacy.delete_variables

    # ---- over another dataset, with another config

    @overload
    def __lshift__(self, source: Mapping[str, Any]) -> Self: ...
    @overload
    def __lshift__(self, source: Source[OtherT]) -> Pipeline[OtherT]: ...
    def __lshift__(self, source: Source[Any] | Mapping[str, Any]) -> Any:
        """Return this chain over a dataset, or with a config.

        `pipeline << dataset` is `dataset >> pipeline`. The entries of a config take the place of
        entries of the same names.
        """
        if isinstance(source, Mapping):
            plan = self._plan._replace(config=self._plan.config | source)
            return self._of(self._source, plan, self._ahead)
        if not is_source(source):
            return NotImplemented
        self._plan.bind(source.batch_class, source)
        return self._of(source, self._plan, self._ahead)

    def __rrshift__(self, config: Mapping[str, Any]) -> Self:
        """Return this chain with a config: `config >> pipeline`."""
        return self << config if isinstance(config, Mapping) else NotImplemented

    @overridable_by_action
    def gives(self, batch_class: type[OtherT]) -> Pipeline[OtherT]:
        """Tell type checkers the class of the batches behind a step with `@action(gives=...)`.

        They know the class of a dataset's batches, and no step by its name: what is chained is
        taken for a step of that class. This adds no step, and is checked.

        Args:
            batch_class: The class of the batches.

        Returns:
            This pipeline.

        Raises:
            ArgumentTypeError: The steps give batches of another class.

        Example:
            >>> from batchflow import ArrayBatch, Dataset, Pipeline, action
            >>> class Patches(ArrayBatch):
            ...     pass
            >>> class Images(ArrayBatch):
            ...     @action(expands=2, gives=Patches)
            ...     def patches(self) -> Patches:
            ...         return self.repeat(2, Patches)
            >>> images = Dataset.from_arrays(Images, data=[1, 2])
            >>> pipeline: Pipeline[Patches] = images.p.patches().gives(Patches)
        """
        check_batch_class(batch_class)
        found = batch_class if self._source is None else self._names().batch_class
        if not issubclass(found, batch_class):
            raise ArgumentTypeError(
                f"gives({batch_class.__name__}): the batches here are of {found.__name__}; a step "
                "that gives others says so, @action(gives=...)"
            )
        return cast("Pipeline[OtherT]", self)

    # ---- running

    @shows_options()
    def run(
        self, batch_size: int | None = None, *, lazy: bool = False, **options: Unpack[RunKeywords]
    ) -> Self:
        """Run the pipeline to its end.

        Args:
            batch_size: Items in a batch.
            lazy: Run later instead: see `run_later`.
            options: See `RunOptions`: `shuffle`, `n_epochs`, `prefetch`, `executor`, `seed`, ...

        Returns:
            This pipeline, whose variables and models hold the results.

        Raises:
            ArgumentTypeError: An option is not known, or of the wrong type.
            ArgumentValueError: An option has an impossible value.
            Exception: Whatever an action raises, with notes that say where.
        """
        if lazy:
            return self.run_later(batch_size, **options)
        with self.gen_batch(batch_size, **options) as batches:
            batches._exhaust()
        return self

    @shows_options()
    def gen_batch(
        self, batch_size: int | None = None, **options: Unpack[RunKeywords]
    ) -> Run[BatchT_co]:
        """Start a run and give its batches one by one.

        Takes the arguments of `run`. They are checked now; work starts with the first batch.

        Returns:
            A `Run`: an iterator and a context manager. Leaving its loop early ends it.
        """
        return self._open(self._options(batch_size, options, endless=False))

    @shows_options(n_epochs=None)
    def next_batch(
        self, batch_size: int | None = None, **options: Unpack[RunKeywords]
    ) -> BatchT_co:
        """Return the next batch of a run that this pipeline keeps open.

        Takes the arguments of `run` at its first call; goes on for ever unless `n_epochs` or
        `n_iters` is given. `reset("iter")` ends it, so that the next call starts anew.

        Raises:
            ArgumentValueError: The arguments differ from those of the first call.
            StopIteration: The run has ended.
        """
        reader = self._state.reader
        if reader is not None and batch_size is None:
            if not options:
                return next(reader[1])
            batch_size = reader[0].batch_size
        chosen = self._options(batch_size, options, endless=True)
        return next(self._state.open_reader(chosen, lambda: self._open(chosen)))

    @shows_options()
    def feed(
        self,
        batch_size: int | None = None,
        x: Any = B.images,
        y: Any = None,
        sample_weight: Any = None,
        **options: Unpack[RunKeywords],
    ) -> Feed:
        """Return tuples of values instead of batches, for training loops and Keras.

        Takes the arguments of `run`. They are checked now; nothing runs yet.

        Args:
            batch_size: Items in a batch.
            x: What a model gets: an expression, or a tuple, list or dictionary of them.
            y: What it should give, alike; None: there is none, and the tuples are `(x,)`.
            sample_weight: How much each item counts, alike; goes with `y`.
            options: As for `run`.

        Returns:
            A `Feed`: each loop over it is a run that begins at `feed.epoch`, and moves that on, so
            that a loop for each epoch shows another one each time; `to_keras()` is for `fit`,
            `evaluate` and `predict`.

        Example:
            >>> from batchflow import ArrayBatch, B, Dataset
            >>> class Pairs(ArrayBatch):
            ...     components = "a", "b"
            >>> feed = Dataset.from_arrays(Pairs, a=[1, 2, 3], b=[4, 5, 6]).p.feed(2, B.a, B.b)
            >>> [(x.tolist(), y.tolist()) for x, y in feed]
            [([1, 2], [4, 5]), ([3], [6])]
        """
        from batchflow.interop import Feed, feeding  # on use, for a light import

        chosen = self._options(batch_size, options, endless=False)
        program = feeding(self._program(), x, y, sample_weight, Where.of_caller(1))
        checked_bar(program, chosen)
        return Feed(program, chosen, open_run)

    def reset(self, *what: str) -> Self:
        """Forget what runs have left.

        Args:
            what: `"iter"`: the open run of `next_batch`; `"variables"` (or `"vars"`): the values of
                the variables; `"models"`: the dynamic models; `"all"`.

        Returns:
            This pipeline.
        """
        self._state.reset(what)
        return self

    # ---- variables, models, data

    def v(self, name: str) -> Any:
        """Return the value of a variable: the initial one before the first run.

        Raises:
            UnknownNameError: (a `KeyError`) It is not declared.
        """
        return self._state.get(name)

    @knows_old_options("variable", most=2, then="mode")
    def set_variable(self, name: str, value: Any) -> None:
        """Set the value of a variable.

        Raises:
            UnknownNameError: (a `KeyError`) It is not declared.
        """
        self._state.set(name, value)

    def has_variable(self, name: str) -> bool:
        """Check whether a variable is declared."""
        return self._state.has(name)

    @property
    def models(self) -> PipelineModels:
        """The models by name: the static ones of the batch class, and this pipeline's own."""
        if self._source is None and self._plan.models:
            return self._models()
        return self._models(*self._bound_plan().batch_classes)

    def m(self, name: str) -> Any:
        """Return a model: the same as `models[name]`.

        Raises:
            UnknownNameError: (a `KeyError`) There is none of this name, or it is dynamic and no
                batch has reached it yet.
        """
        return self.models[name]

    @property
    def seed(self) -> int | None:
        """The seed of the latest run of this pipeline, or None."""
        return self._state.seed

    def __iter__(self) -> Run[BatchT_co]:
        """Run with the options that `run_later` has set."""
        return self.gen_batch()
