"""The chain: actions in a row over a dataset, a value. How it runs is in pipeline.py."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Generic, Self, cast

from batchflow.batch import Batch
from batchflow.batch.typevars import BatchT_co
from batchflow.declarations import Declarations
from batchflow.engine import RunKeywords, Source
from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    UnknownAttributeError,
    did_you_mean,
)
from batchflow.old_words import old_word, warn_of_old_word
from batchflow.plan import BoundPlan, Config, HookName, Plan, Step, Where, check_plan
from batchflow.plan.binding import unknown_action
from batchflow.plan.builtin import BUILTINS
from batchflow.plan.names import Names
from batchflow.plan.values import same_value

__all__ = ["Chain", "is_source", "where_it_is"]


class Chain(Declarations, Generic[BatchT_co]):
    """A frozen chain of steps, with a dataset or without: what a `Pipeline` is as a value.

    Args:
        source: The dataset; None: a piece to be put over datasets later (`dataset >> pipeline`).
        config: Settings that `C("name")` reads.
    """

    __slots__ = ("__weakref__", "_ahead", "_bound", "_moment", "_plan", "_source")
    _source: Source[BatchT_co] | None
    _plan: Plan
    _ahead: tuple[int | None, RunKeywords] | None  # the options that `run_later` has set
    _bound: BoundPlan | None  # once it is asked for
    _moment: HookName | None  # where the next step goes, if not into the stream of batches

    def __init__(
        self, source: Source[BatchT_co] | None = None, config: Mapping[str, Any] | None = None
    ) -> None:
        if source is not None and not is_source(source):
            raise ArgumentTypeError(f"a pipeline is made over a dataset, got {source!r:.60}")
        self._set(source, Plan(config=Config(config)), None, None)

    def _set(
        self,
        source: Source[BatchT_co] | None,
        plan: Plan,
        ahead: Any,
        moment: HookName | None = None,
    ) -> None:
        fields = {
            "_source": source,
            "_plan": plan,
            "_ahead": ahead,
            "_moment": moment,
            "_bound": None,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)

    @classmethod
    def _of(
        cls,
        source: Source[BatchT_co] | None,
        plan: Plan,
        ahead: Any = None,
        moment: HookName | None = None,
    ) -> Self:
        chain = cls.__new__(cls)
        chain._set(source, plan, ahead, moment)
        return chain

    def _with(self, plan: Plan) -> Self:
        """Give the chain that goes on, at the same moment."""
        return self._of(self._source, plan, self._ahead, self._moment)

    @property
    def config(self) -> Config:
        """The settings that `C("name")` reads."""
        return self._plan.config

    @property
    def dataset(self) -> Any:
        """The dataset, or None."""
        return self._source

    # ---- chaining

    def __getattr__(self, name: str) -> Callable[..., Self]:
        """Give the function that chains the step called `name`."""
        if name.startswith("_"):
            raise AttributeError(f"Pipeline has no attribute {name!r}")
        where = Where.of_caller(1)
        names = self._names()
        found = names.find(name)
        if found is None and self._source is not None:
            own = (name for name in super().__dir__() if not name.startswith("_"))
            raise UnknownAttributeError(unknown_action(name, names, where, own))

        def chain(*args: Any, **kwargs: Any) -> Any:
            if found is None:
                warn_of_old_word(name, Batch)
            return self._with_step(Step(name, args, kwargs, Where.of_caller(1)))

        chain.__name__ = chain.__qualname__ = name
        if found is not None:
            function = found[0].function
            chain.__doc__, chain.__module__ = function.__doc__, function.__module__
            signature = names.signature(*found, self._plan.n_joined(names), type(self))
            chain.__signature__ = signature  # type: ignore[attr-defined]
        return chain

    def _names(self) -> Names:
        """Return what names mean; without a dataset, those that every batch class has."""
        source = self._source
        return self._plan.names(Batch if source is None else source.batch_class, source)

    def _with_step(self, step: Step, moment: HookName | None = None) -> Self:
        moment = moment or self._moment
        if self._source is not None:
            self._plan.check_step(step, self._names(), moment)
        return self._with(self._plan.with_step(step, moment))

    def _at(self, moment: HookName | None) -> Self:
        """Give this chain, with the next steps at another moment."""
        return self._of(self._source, self._plan, self._ahead, moment)

    @property
    def before(self) -> Self:
        """Let the next steps be taken at the start of every run, before its first batch.

        They have no batch: `call`, `update`, `print`, `load_model`, functions of namespaces, and
        methods of the dataset. `.main` leads back to the steps of the batches.
        """
        return self._at("before")

    @property
    def after(self) -> Self:
        """Let the next steps be taken at the end of every run, however it ends: see `before`."""
        return self._at("after")

    @property
    def once(self) -> Self:
        """Let the next steps be taken at the start of this pipeline's first run: see `before`."""
        if self._source is not None and "once" in self._source.batch_class._actions:
            return cast(Self, partial(self._action, "once"))
        return self._at("once")

    @property
    def main(self) -> Self:
        """Let the next steps be those of the batches again, after `before`, `after` or `once`."""
        return self._at(None)

    def _action(self, name: str, *args: Any, **kwargs: Any) -> Self:
        return self._with_step(Step(name, args, kwargs, Where.of_caller(1)))

    def __enter__(self) -> Self:
        """Give the pipeline, for `with Pipeline() as p:`."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Do nothing: a pipeline holds nothing open."""

    def __add__(self, other: Chain[Any]) -> Self:
        """Chain another pipeline's steps behind this one's.

        Raises:
            ArgumentValueError: They have different datasets.
        """
        if not isinstance(other, Chain):
            return NotImplemented
        mine, others = self._source, other._source
        if mine is not None and others is not None and mine is not others:
            raise ArgumentValueError(
                f"p + q: the pipelines have different datasets, {mine!r} and {others!r}; make one "
                "of them without a dataset: Pipeline().some_action()"
            )
        plan = self._plan + other._plan
        source = others if mine is None else mine
        if source is not None:
            plan.bind(source.batch_class, source)
        return self._of(source, plan, self._ahead or other._ahead)

    def __mul__(self, times: int) -> Self:
        """Repeat the steps: `pipeline * 3`."""
        if isinstance(times, bool) or not isinstance(times, int):
            return NotImplemented
        if times < 0:
            raise ArgumentValueError(f"pipeline * {times}: steps cannot be repeated {times} times")
        return self._of(self._source, self._plan * times, self._ahead)

    def __matmul__(self, probability: float) -> Self:
        """Go through the steps with a probability: `pipeline @ 0.5`.

        The coin is thrown once for each batch, by the batch's own generator.
        """
        if isinstance(probability, bool) or not isinstance(probability, (int, float)):
            return NotImplemented
        if not 0 <= probability <= 1:
            raise ArgumentValueError(
                f"pipeline @ {probability}: a probability is a number from 0 to 1"
            )
        plan = self._plan.with_chance(float(probability), Where.of_caller(1))
        return self._of(self._source, plan, self._ahead)

    # ---- being a value

    def __len__(self) -> int:
        """Return the number of items of the dataset: `next_batch(len(pipeline))` has them all.

        Raises:
            ArgumentTypeError: There is no dataset.
        """
        if self._source is None:
            raise ArgumentTypeError("a pipeline without a dataset has no length")
        dataset: Any = self._source
        return len(dataset)

    def __bool__(self) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Chain):
            return NotImplemented
        return (
            self._source is other._source
            and self._plan == other._plan
            and same_value(self._ahead, other._ahead)
        )

    def __hash__(self) -> int:
        return hash((id(self._source), self._plan))

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(
            f"a pipeline is a value: {name!r} cannot be assigned. Variables are declared with "
            "init_variable and assigned with set_variable"
        )

    def __copy__(self) -> Self:
        return self._with(self._plan)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self.__copy__()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self)._of, (self._source, self._plan, self._ahead, self._moment)

    def __dir__(self) -> Iterable[str]:
        actions = () if self._source is None else self._source.batch_class._actions
        return sorted({*super().__dir__(), *BUILTINS, *actions})

    def __repr__(self) -> str:
        over = "no dataset" if self._source is None else repr(self._source)
        plan = self._plan
        if self._source is not None:
            steps = plan.bind(self._source.batch_class, self._source).describe()
        else:
            steps = plan.describe()
        variables = ", ".join(variable.name for variable in plan.variables)
        head = f"<Pipeline over {over}{f'; variables {variables}' if variables else ''}>"
        return f"{head}\n{steps}" if steps else head

    # ---- inside

    def _bound_plan(self) -> BoundPlan:
        if self._source is None:
            raise ArgumentTypeError(
                "this pipeline has no dataset to run over; give it one: dataset >> pipeline"
            )
        if self._bound is None:
            plan = self._plan.bind(self._source.batch_class, self._source, end=True)
            check_plan(plan)
            object.__setattr__(self, "_bound", plan)
            return plan
        return self._bound


def is_source(value: Any) -> bool:
    """Tell whether a pipeline can be made over a value."""
    return not isinstance(value, (Chain, type)) and isinstance(
        getattr(value, "batch_class", None), type
    )


def where_it_is(dataset: Any, name: str) -> str:
    """Say that a dataset does not have an attribute, and what does: its batches, its pipelines."""
    lacks = f"a {type(dataset).__name__} has no {name!r}"
    if "batch_class" not in dataset.__dict__:  # not yet made
        return f"{lacks}."
    if old := old_word(name, "dataset"):
        return f"{lacks}.{old}"
    if name == "components" or name in dataset.batch_class.components:
        return f"{lacks}: its batches have, dataset.create_batch(ids).{name}"
    hint = did_you_mean(name, [n for n in dir(dataset) if n[0] != "_"], only_near=True)
    of_pipelines = dir(dataset.p)
    if name in of_pipelines or not hint:
        hint = did_you_mean(name, of_pipelines, only_near=True)
        hint = hint.replace("'", "dataset.p.", 1).replace("'", "")
    return f"{lacks}.{hint}"
