"""The chain: actions in a row over a dataset, a value. How it runs is in pipeline.py."""

from __future__ import annotations

import operator
import os
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from types import MethodType
from typing import Any, Generic, Literal, Self, Unpack, cast

from batchflow.batch import Batch
from batchflow.batch.typevars import BatchT_co
from batchflow.engine import RunKeywords, RunOptions, Source, is_source, shows_options
from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownAttributeError
from batchflow.legacy import OF_PIPELINES
from batchflow.old_words import knows_old_options, knows_old_order, warn_of_old_word
from batchflow.plan import BoundPlan, Config, DeclaredModel, HookName, Plan, Step, Where
from batchflow.plan.binding import unknown_action
from batchflow.plan.builtin import BUILTINS
from batchflow.plan.declared import parse_variable
from batchflow.plan.names import Names, overridable_by_action
from batchflow.plan.values import same_value

_FIELDS = ("_source", "_plan", "_ahead", "_moment", "_bound")


class Chain(Generic[BatchT_co]):
    """A frozen chain of steps, with a dataset or without: a value that cannot run.

    A `Pipeline` is a chain that runs. Each word gives a new chain and leaves this one as it is.

    Args:
        source: The dataset; None: a piece to be put over datasets later (`dataset >> pipeline`).
        config: Settings that `C("name")` reads.
    """

    __slots__ = ("__weakref__", *_FIELDS)
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
        self._set(source, Plan(config=Config(config)))

    def _set(self, source: Any, plan: Plan, ahead: Any = None, moment: Any = None) -> None:
        for name, value in zip(_FIELDS, (source, plan, ahead, moment, None), strict=True):
            object.__setattr__(self, name, value)

    @classmethod
    def _of(cls, source: Any, plan: Plan, ahead: Any = None, moment: Any = None) -> Self:
        chain = cls.__new__(cls)
        chain._set(source, plan, ahead, moment)
        return chain

    def _with(self, plan: Plan) -> Self:
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
        """Return the function that chains the step called `name`, or an older word."""
        if name.startswith("_"):
            raise AttributeError(f"Pipeline has no attribute {name!r}")
        where = Where.of_caller(1)
        if (older := OF_PIPELINES.get(name)) is not None and not self._has_action(name):
            return cast("Callable[..., Self]", MethodType(older, self))
        names = self._names()
        found = names.find(name)
        if found is None and self._source is not None:
            own = (name for name in self._words() if not name.startswith("_"))
            raise UnknownAttributeError(unknown_action(name, names, where, own))

        def chain(*args: Any, **kwargs: Any) -> Any:
            if found is None:
                warn_of_old_word(name, Batch)
            return self._with_step(Step(name, args, kwargs, Where.of_caller(1)))

        chain.__name__ = chain.__qualname__ = name
        if found is not None:
            names.document(chain, *found, self._plan.n_joined(names), type(self))
        return chain

    def _has_action(self, name: str) -> bool:
        return self._source is not None and name in self._names().batch_class._actions

    def _words(self) -> set[str]:
        return {*super().__dir__(), *OF_PIPELINES}

    def _names(self) -> Names:
        """Return what names mean; without a dataset, those that every batch class has."""
        source, plan = self._source, self._plan
        if source is None:
            return plan.names(Batch)
        return plan.names(source.batch_class, source).behind(*plan.steps)

    def _with_step(self, step: Step, moment: HookName | None = None) -> Self:
        moment = moment or self._moment
        if self._source is not None:
            self._plan.check_step(step, self._names(), moment)
        return self._with(self._plan.with_step(step, moment))

    def _at(self, moment: HookName | None) -> Self:
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
        if self._has_action("once"):
            return cast(Self, self.__getattr__("once"))
        return self._at("once")

    @property
    def main(self) -> Self:
        """Let the next steps be those of the batches again, after `before`, `after` or `once`."""
        return self._at(None)

    def __enter__(self) -> Self:
        """Return the pipeline, for `with Pipeline() as p:`."""
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
        return self._of(self._source, self._plan * times, self._ahead)

    def __matmul__(self, probability: float) -> Self:
        """Go through the steps with a probability: `pipeline @ 0.5`.

        The coin is thrown once for each batch, by the batch's own generator.
        """
        if isinstance(probability, bool) or not isinstance(probability, (int, float)):
            return NotImplemented
        plan = self._plan.with_chance(probability, Where.of_caller(1))
        return self._of(self._source, plan, self._ahead)

    # ---- what is declared, and set ahead

    @knows_old_options("variable")
    def init_variable(
        self,
        name: str,
        default: Any = None,
        init: Callable[[], Any] | None = None,
        init_on_each_run: bool | Callable[[], Any] = False,
    ) -> Self:
        """Declare a variable.

        Args:
            name: Its name; `batch.pipeline.v(name)` gives its value in singleton actions.
            default: Its initial value. Each pipeline has a copy of its own. Of an expression, which
                must need no batch (`L(open, "log.txt", "w")`), what it gives; of `F(function)`,
                what the function gives.
            init: A function that makes the initial value, instead of `default`: `init=list`.
            init_on_each_run: Whether every run starts with the initial value again; or a function
                that makes it.

        Returns:
            A new pipeline.
        """
        variable = parse_variable(name, default, init, init_on_each_run)
        return self._with(self._plan.with_variable(variable))

    def delete_variable(self, name: str) -> Self:
        """Take a variable's declaration back.

        Raises:
            UnknownNameError: (a `KeyError`) It is not declared.
        """
        return self._with(self._plan.without_variables([name]))

    @knows_old_order
    def init_model(
        self,
        name: str,
        builder: Any,
        mode: Literal["static", "dynamic"] = "static",
        config: Any = None,
    ) -> Self:
        """Declare a model of this pipeline.

        Args:
            name: Its name: for `train_model`, `m(name)` and `@action(model=name)`.
            builder: A class or function that makes it, the model itself, or `C("model")` for one.
            mode: `"static"`: it is made before the first batch. `"dynamic"`: it is made when the
                first batch reaches a step with it; a builder with a parameter `batch` gets that.
            config: A mapping: the builder's parameter `config` if it has one, otherwise its
                arguments by name. Expressions in it are resolved when the model is made.

        Returns:
            A new pipeline.
        """
        return self._with(self._plan.with_model(DeclaredModel(name, builder, mode, config)))

    @overridable_by_action
    def import_model(self, name: str, pipeline: Chain[Any]) -> Self:
        """Use a model of another pipeline, under its name there.

        Args:
            name: Its name.
            pipeline: The pipeline whose model it is; it must have run if the model is dynamic.

        Returns:
            A new pipeline.
        """
        return self._with(self._plan.with_model(DeclaredModel.imported(name, pipeline)))

    @overridable_by_action
    def load_model(
        self,
        name: str,
        model_class: Any = None,
        mode: Literal["static", "dynamic"] = "static",
        path: Any = None,
        *,
        trust: bool = False,
    ) -> Self:
        """Load a model, once: at the start of this pipeline's first run.

        A model that is declared (`init_model`, `@model()`) gets what `save_model` saved; a name
        that is not declared yet becomes a model that is read from the file, if a step needs it (in
        a piece without a dataset, if its class is given).

        Args:
            name: Its name.
            model_class: Its class, where the file does not tell; or the path.
            mode: As for `init_model`.
            path: The file.
            trust: Whether the file may execute code.

        Returns:
            A new pipeline.
        """
        if isinstance(model_class, (str, os.PathLike)) and path is None:
            model_class, path = None, model_class
        if path is None:
            raise ArgumentTypeError(f"load_model({name!r}): the path of the file is missing")
        is_there = self._moment or self._source is None or self._names().has_model(name)
        if model_class is None and is_there:
            step = Step("load_model", (name, path), {"trust": trust}, Where.of_caller(2))
            return self._with_step(step, self._moment or "once")
        model = DeclaredModel.of_file(name, path, model_class, mode, trust)
        return self._with(self._plan.with_model(model))

    @overridable_by_action
    def concat(self, *others: Any) -> Self:
        """Let the batches of other pipelines follow, or append steps.

        Args:
            others: Datasets, or pipelines over one, whose batches follow in each epoch; or
                pipelines without a dataset, whose steps follow, as with `+`.

        Returns:
            A new pipeline.
        """
        pieces = [isinstance(x, Chain) and x._source is None for x in others]
        if others and all(pieces):
            return reduce(operator.add, others, self)
        return self._with_step(Step("concat", others, {}, Where.of_caller(2)))

    @overridable_by_action
    def add_namespace(self, *namespaces: Any) -> Self:
        """Let functions of modules, or of other objects, be steps: `add_namespace(np)`.

        They are called with their arguments resolved, without the batch. Actions, built-in steps
        and methods of the dataset with the same name come first.

        Args:
            namespaces: Modules or other objects; or names of modules, which are imported.

        Returns:
            A new pipeline.
        """
        return self._with(self._plan.with_namespaces(namespaces))

    @shows_options()
    def run_later(self, batch_size: int | None = None, **options: Unpack[RunKeywords]) -> Self:
        """Set the options of later runs, as for `run`: `gen_batch()` and `next_batch()` use them.

        Returns:
            A new pipeline.
        """
        RunOptions.parse(1 if batch_size is None else batch_size, options, endless=False)
        return self._of(self._source, self._plan, (batch_size, options))

    # ---- being a value

    def __len__(self) -> int:
        """Return the number of items of the dataset; it is an error where there is none."""
        if self._source is None:
            raise ArgumentTypeError("a pipeline without a dataset has no length")
        return len(self.dataset)

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
        actions = self._names().batch_class._actions
        return sorted({*self._words(), *BUILTINS, *actions})

    def __repr__(self) -> str:
        source, plan = self._source, self._plan
        shown = plan if source is None else plan.bind(source.batch_class, source)
        variables = ", ".join(variable.name for variable in plan.variables)
        over = "no dataset" if source is None else repr(source)
        head = f"<Pipeline over {over}{f'; variables {variables}' if variables else ''}>"
        return f"{head}\n{shown.describe()}".rstrip()

    # ---- inside

    def _bound_plan(self) -> BoundPlan:
        if self._source is None:
            raise ArgumentTypeError(
                "this pipeline has no dataset to run over; give it one: dataset >> pipeline"
            )
        if (plan := self._bound) is None:
            plan = self._plan.bind_whole(self._source.batch_class, self._source)
            object.__setattr__(self, "_bound", plan)
        return plan
