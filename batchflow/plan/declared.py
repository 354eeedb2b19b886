"""What a chain declares: variables and models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Literal

from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    UnknownNameError,
    add_note_once,
    did_you_mean,
)
from batchflow.models.build import build
from batchflow.plan.expressions import Expression
from batchflow.plan.leaves import ConfigValue, F, L
from batchflow.plan.older_calls import refuse_bare_functions
from batchflow.plan.values import Value

_ARGUMENTS = {"default", "init", "init_on_each_run"}


class Variable(Value):
    """A variable as it was declared: each pipeline value makes its own from it.

    Attributes:
        name: Its name.
        default: The initial value; each pipeline gets a copy.
        init: A function without arguments that makes the initial value, or None.
        on_each_run: Whether every run starts with the initial value again.
    """

    name: str
    default: Any = None
    init: Callable[[], Any] | None = None
    on_each_run: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ArgumentTypeError(f"a variable's name is a string, got {self.name!r:.60}")
        if self.init is not None and not callable(self.init):
            raise ArgumentTypeError(
                f"init_variable({self.name!r}, init=...) takes a function such as list, got "
                f"{self.init!r:.60}; write default={self.init!r:.60} for a value"
            )
        if isinstance(self.default, type):
            raise ArgumentTypeError(
                f"init_variable({self.name!r}): the default is the class {self.default.__name__} "
                f"itself; for a new one in each pipeline write init={self.default.__name__}"
            )
        try:
            copied = copy.deepcopy(self.default)  # nobody else's from now
        except Exception as error:
            add_note_once(
                error,
                f"init_variable({self.name!r}): each pipeline gets a copy of the default. Of what "
                f"cannot be copied, such as a session, give the object itself: "
                f"init_variable({self.name!r}, init=lambda: session)",
            )
            raise
        self.__dict__["default"] = copied
        if self.init is not None and self.default is not None:
            raise ArgumentTypeError(
                f"init_variable({self.name!r}): give a default or init, not both"
            )

    def initial_value(self) -> Any:
        """Make a new initial value."""
        return copy.deepcopy(self.default) if self.init is None else self.init()


def parse_variable(
    name: str,
    default: Any = None,
    init: Callable[[], Any] | None = None,
    init_on_each_run: bool | Callable[[], Any] = False,
) -> Variable:
    """Make a variable of the arguments of `init_variable`."""
    default, init = _without_expressions(name, default, init)
    _, init_on_each_run = _without_expressions(name, None, init_on_each_run)
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
    return Variable(name, default, init, init_on_each_run)


def parse_variables(given: Mapping[str, Any] | Iterable[str]) -> Iterator[Variable]:
    """Make variables of the argument of `init_variables`."""
    names = [given] if isinstance(given, str) else given
    values = names if isinstance(names, Mapping) else dict.fromkeys(names)
    for name, value in values.items():
        if isinstance(value, Mapping) and value and set(value) <= _ARGUMENTS:
            yield parse_variable(name, **value)
        else:
            yield parse_variable(name, value)


def _without_expressions(name: str, default: Any, init: Any) -> tuple[Any, Any]:
    """Return a default and a function that makes it, with a function in place of an expression."""
    if isinstance(init, Expression):
        init = init._value if isinstance(init, (F, L)) else init.get
    if isinstance(default, Expression):
        if init is not None:
            raise ArgumentTypeError(f"init_variable({name!r}): give a default or init, not both")
        default, init = None, default._value if isinstance(default, (F, L)) else default.get
    return default, init


class DeclaredModel(Value):
    """A model as a chain declares it: each pipeline value makes its own from it.

    Attributes:
        name: Its name.
        builder: The class or function that makes it; or the model itself; or the entry of the
            config that holds one of these.
        mode: `"static"`: made before the first batch; `"dynamic"`: from the first batch.
        config: The arguments of the builder, in which expressions may stand; or an expression.
        imported_from: The pipeline whose model of this name it is, or None.
    """

    name: str
    builder: Any = None
    mode: Literal["static", "dynamic"] = "static"
    config: Any = None
    imported_from: Any = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ArgumentTypeError(f"a model's name is a string, got {self.name!r:.60}")
        if self.mode not in ("static", "dynamic"):
            raise ArgumentValueError(
                f'init_model({self.name!r}): mode is "static" or "dynamic", got {self.mode!r:.60}'
            )
        if self.config is not None and not (
            isinstance(self.config, Mapping) or hasattr(self.config, "_resolve")
        ):
            raise ArgumentTypeError(
                f"init_model({self.name!r}): config is a mapping, got {self.config!r:.60}"
            )
        if self.builder is None and self.imported_from is None:
            raise ArgumentTypeError(
                f"init_model({self.name!r}): give what makes the model: a class or a function"
            )
        if isinstance(self.builder, Expression) and not isinstance(self.builder, ConfigValue):
            raise ArgumentTypeError(
                f"init_model({self.name!r}): {self.builder!r} is not known before a batch is "
                "there. What makes the model is a class or a function, or an entry of the config: "
                'C("model")'
            )
        refuse_bare_functions(self.config, f"init_model({self.name!r}, config=...)")
        self.__dict__["config"] = _own(self.config)

    @classmethod
    def imported(cls, name: str, pipeline: Any) -> DeclaredModel:
        """Declare the model of another pipeline."""
        if isinstance(pipeline, type) or not hasattr(pipeline, "_bound_plan"):
            raise ArgumentTypeError(
                f"import_model({name!r}): expected a pipeline, got {pipeline!r:.60}"
            )
        if pipeline.dataset is not None and name not in pipeline.models:
            raise UnknownNameError(
                f"import_model: {pipeline!r:.60} has no model {name!r}."
                f"{did_you_mean(name, pipeline.models.names)}"
            )
        return cls(name, imported_from=pipeline)

    @classmethod
    def of_file(
        cls, name: str, path: Any, model_class: Any, mode: Literal["static", "dynamic"], trust: bool
    ) -> DeclaredModel:
        """Declare a model that is read from a file: see `Chain.load_model`."""
        if isinstance(model_class, Expression):
            raise ArgumentTypeError(
                f"load_model({name!r}): the class of the model is a class, got {model_class!r}. "
                f"Declare it, init_model({name!r}, C(...)), and load into it: "
                f"load_model({name!r}, path)"
            )
        return cls(name, partial(_load, path, model_class, trust), mode)


def _load(path: Any, model_class: Any, trust: bool, batch: Any = None) -> Any:
    from batchflow.models.checkpoint import load  # on use: reading takes some imports

    builder = model_class
    if builder is not None and batch is not None:
        builder = partial(build, model_class, None, batch)
    return load(path, builder=builder, trust=trust)


def _own(config: Any) -> Any:
    """Copy the containers of a config, so that later changes of it change nothing here."""
    if type(config) in (list, tuple):
        return type(config)(map(_own, config))
    if isinstance(config, dict):
        return {key: _own(value) for key, value in config.items()}
    return config
