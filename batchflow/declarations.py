"""What a chain declares: variables, models, namespaces."""

from __future__ import annotations

import importlib
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial, reduce, wraps
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, cast

from batchflow.errors import ArgumentTypeError, UnknownNameError, did_you_mean
from batchflow.models.build import build
from batchflow.old_words import knows_old_options, knows_old_order
from batchflow.plan import DeclaredModel, F, L, Plan, Step, Variable, Where
from batchflow.plan.expressions import Expression

if TYPE_CHECKING:
    from batchflow.engine import PipelineModels, Source
    from batchflow.plan import HookName

__all__ = ["Declarations", "overridable_by_action"]

Method = TypeVar("Method", bound=Callable[..., Any])
_INIT_ARGUMENTS = {"default", "init", "init_on_each_run"}


def _load_model(path: Any, model_class: Any, trust: bool, batch: Any = None) -> Any:
    """Make a model of a file: what `load_model` declares."""
    from batchflow.models.checkpoint import load  # on use: reading takes some imports

    builder = model_class
    if builder is not None and batch is not None:
        builder = partial(build, model_class, None, batch)
    return load(path, builder=builder, trust=trust)


def _made_by_expression(name: str, default: Any, init: Any) -> tuple[Any, Any]:
    """Make functions of expressions that stand for an initial value, or for what makes it."""
    if isinstance(init, Expression):
        init = init._value if isinstance(init, (F, L)) else init.get
    if isinstance(default, Expression):
        if init is not None:
            raise ArgumentTypeError(f"init_variable({name!r}): give a default or init, not both")
        default, init = None, default._value if isinstance(default, (F, L)) else default.get
    return default, init


def overridable_by_action(method: Method) -> Method:
    """Let an action of the batch class with the same name take the place of a method."""
    name = method.__name__

    @wraps(method)
    def chained(self: Declarations, *args: Any, **kwargs: Any) -> Any:
        if self._source is not None and name in self._source.batch_class._actions:
            return self._with_step(Step(name, args, kwargs, Where.of_caller(1)))
        return method(self, *args, **kwargs)

    return cast(Method, chained)


class Declarations:
    """The words of a chain that are no steps. Each gives a new chain."""

    __slots__ = ()

    if TYPE_CHECKING:
        _source: Source[Any] | None
        _plan: Plan
        _ahead: Any
        _moment: HookName | None

        @property
        def models(self) -> PipelineModels:
            """The models of the pipeline."""

        def _with(self, plan: Plan) -> Self: ...
        def _with_step(self, step: Step, moment: HookName | None = None) -> Self: ...

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
        default, init = _made_by_expression(name, default, init)
        _, init_on_each_run = _made_by_expression(name, None, init_on_each_run)
        if callable(init_on_each_run):
            if init is not None:
                raise ArgumentTypeError(
                    f"init_variable({name!r}): give one function, init or init_on_each_run"
                )
            init, init_on_each_run = init_on_each_run, True
        if not isinstance(init_on_each_run, bool):
            raise ArgumentTypeError(
                f"init_variable({name!r}): init_on_each_run is True, False or a function, got "
                f"{init_on_each_run!r:.60}; for a value write default=..., init_on_each_run=True"
            )
        variable = Variable(name, default, init, bool(init_on_each_run))
        return self._with(self._plan.with_variable(variable))

    def init_variables(self, variables: Mapping[str, Any] | Iterable[str]) -> Self:
        """Declare several variables.

        Args:
            variables: Names; or a mapping from names to initial values, or to dictionaries of the
                arguments of `init_variable`: `{"loss": {"init": list}, "step": 0}`.

        Returns:
            A new pipeline.
        """
        if isinstance(variables, str):
            variables = [variables]
        given = variables if isinstance(variables, Mapping) else dict.fromkeys(variables)
        chain = self
        for name, value in given.items():
            arguments: Mapping[str, Any] = {"default": value}
            if isinstance(value, Mapping) and value and set(value) <= _INIT_ARGUMENTS:
                arguments = value
            chain = chain.init_variable(name, **arguments)
        return chain

    def delete_variable(self, name: str) -> Self:
        """Take a variable's declaration back; gives a new pipeline.

        Raises:
            UnknownNameError: (a `KeyError`) It is not declared.
        """
        return self.delete_variables([name])

    @overridable_by_action
    def delete_variables(self, names: Iterable[str] | None = None) -> Self:
        """Take the declarations of some variables back, or of all; gives a new pipeline.

        Raises:
            UnknownNameError: (a `KeyError`) One is not declared.
        """
        if names is None:
            names = [variable.name for variable in self._plan.variables]
        names = [names] if isinstance(names, str) else list(names)
        return self._with(self._plan.without_variables(names))

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
            builder: A class or function that makes it; or the model itself; or `C("model")`, the
                entry of the config that holds one of these.
            mode: `"static"`: it is made before the first batch. `"dynamic"`: it is made when the
                first batch reaches a step with it; a builder with a parameter `batch` gets that.
            config: A mapping: the builder's parameter `config` if it has one, otherwise its
                arguments by name. Expressions in it are resolved when the model is made.

        Returns:
            A new pipeline.
        """
        model = DeclaredModel(name, builder, mode, config)
        return self._with(self._plan.with_model(model))

    @overridable_by_action
    def import_model(self, name: str, pipeline: Declarations) -> Self:
        """Use a model of another pipeline, under its name there.

        Args:
            name: Its name.
            pipeline: The pipeline whose model it is; it must have run if the model is dynamic.

        Returns:
            A new pipeline.
        """
        if not isinstance(pipeline, Declarations):
            raise ArgumentTypeError(
                f"import_model({name!r}): expected a pipeline, got {pipeline!r:.60}"
            )
        if pipeline._source is not None and name not in pipeline.models:
            raise UnknownNameError(
                f"import_model: {pipeline!r:.60} has no model {name!r}."
                f"{did_you_mean(name, pipeline.models.names)}"
            )
        model = DeclaredModel(name, imported_from=pipeline)
        return self._with(self._plan.with_model(model))

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
        if isinstance(model_class, Expression):
            raise ArgumentTypeError(
                f"load_model({name!r}): the class of the model is a class, got {model_class!r}. "
                f"Declare it, init_model({name!r}, C(...)), and load into it: "
                f"load_model({name!r}, path)"
            )
        if model_class is None and (self._moment or self._source is None or self._knows(name)):
            step = Step("load_model", (name, path), {"trust": trust}, Where.of_caller(2))
            return self._with_step(step, self._moment or "once")
        return self.init_model(name, partial(_load_model, path, model_class, trust), mode)

    def _knows(self, name: str) -> bool:
        """Tell whether the chain or the batch class has a model of this name."""
        source: Any = self._source
        declared = {model.name for model in self._plan.models}
        return name in declared or name in source.batch_class.models

    @overridable_by_action
    def concat(self, *others: Any) -> Self:
        """Let the batches of other pipelines follow, or append steps.

        Args:
            others: Datasets, or pipelines over one: in each epoch their batches follow this
                pipeline's. Pipelines without a dataset: their steps follow, as with `+`.

        Returns:
            A new pipeline.
        """
        pieces = [isinstance(x, Declarations) and x._source is None for x in others]
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
        found = [importlib.import_module(n) if isinstance(n, str) else n for n in namespaces]
        new = [n for n in found if n not in self._plan.namespaces]
        plan = replace(self._plan, namespaces=(*self._plan.namespaces, *new))
        return self._with(plan)
