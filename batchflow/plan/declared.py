"""The declaration of a model in a chain."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownNameError, did_you_mean
from batchflow.models.build import build
from batchflow.plan.expressions import Expression
from batchflow.plan.leaves import ConfigValue
from batchflow.plan.older_calls import refuse_bare_functions
from batchflow.plan.values import Value


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
