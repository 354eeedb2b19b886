"""The meaning of a name in a chain: an action, a built-in step, a dataset's method, a function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import wraps
from inspect import Parameter, Signature
from typing import Any, Literal, TypeVar, cast

from batchflow.batch import Batch
from batchflow.batch.actions import RESERVED, Action, ActionSpec
from batchflow.batch.directory import ModelDirectory
from batchflow.batch.items.parallel import per_item_signature
from batchflow.errors import UnknownNameError, did_you_mean
from batchflow.plan.builtin import BUILTINS, Builtin
from batchflow.plan.declared import DeclaredModel
from batchflow.plan.steps import Chance, Step, Where
from batchflow.records import Record

Method = TypeVar("Method", bound=Callable[..., Any])

_BY_POSITION = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_OF_DATASETS_ONLY = RESERVED | {"p"}


class Names(Record):
    """The meaning of the names in a chain. The first in this list that has a name wins.

    Attributes:
        batch_class: The class whose actions they are; beside them, the built-in steps.
        dataset: The dataset whose public methods they are, or None.
        namespaces: Modules and other objects whose functions they are.
        models: The models that the chain declares.
        ahead: The classes of the batches ahead of a step that gave those of another class.
    """

    batch_class: type[Batch]
    dataset: Any = None
    namespaces: tuple[Any, ...] = ()
    models: tuple[DeclaredModel, ...] = ()
    ahead: tuple[type[Batch], ...] = ()

    def find(self, name: str) -> tuple[Action, Builtin | None] | None:
        """Return the action or function of a name, and its kind unless it is an action."""
        action = self.batch_class._actions.get(name)
        if action is not None:
            return action, None
        builtin = BUILTINS.get(name)
        if builtin is None:
            function = self._function(name)
            if function is None:
                return None
            builtin = Builtin(without_batch(function), joined_at=0)
        return Action(name, builtin.function, ActionSpec()), builtin

    def behind(self, *steps: Step | Chance) -> Names:
        """Return what names mean behind some steps, which may give batches of another class."""
        names = self
        for step in steps:
            action = names.batch_class._actions.get(step.name)
            if action is not None and action.spec.gives is not None:
                ahead = (*names.ahead, names.batch_class)
                names = names._replace(batch_class=action.spec.gives, ahead=ahead)
        return names

    def signature(
        self, action: Action, builtin: Builtin | None, n_joined: int, returns: type
    ) -> Signature:
        """Return how a step is called in a chain: without its batch, its model and joined batches.

        Args:
            action: The action that `find` has returned.
            builtin: The built-in step that it has returned.
            n_joined: How many batches a `join` ahead of it passes to it.
            returns: The type that the call returns.
        """
        function = action.function
        signature = per_item_signature(function, self.batch_class) or inspect.signature(function)
        given = 1 + (action.spec.model is not None) + n_joined
        if function is Batch.load:
            given = 1 + (n_joined > 0)  # joined batches are its source
        elif builtin is not None:
            given = int(builtin.kind != "stream")
        parameters = signature.parameters
        own = [
            p for i, p in enumerate(parameters.values()) if i >= given or p.kind not in _BY_POSITION
        ]
        if builtin is not None and builtin.kind == "value" and "save_to" not in parameters:
            place = len(own) - (bool(own) and own[-1].kind is Parameter.VAR_KEYWORD)
            own.insert(place, Parameter("save_to", Parameter.KEYWORD_ONLY, default=None))
        return Signature(own, return_annotation=returns)

    def document(
        self, chained: Any, action: Action, builtin: Builtin | None, n_joined: int, returns: type
    ) -> None:
        """Let a function that chains a step show the step's docstring and `signature`."""
        chained.__doc__, chained.__module__ = action.function.__doc__, action.function.__module__
        chained.__signature__ = self.signature(action, builtin, n_joined, returns)

    def known(self) -> Iterable[str]:
        """Return all names that mean something here, without those of namespaces."""
        return {*BUILTINS, *self.batch_class._actions, *self._dataset_methods()}

    def has_model(self, name: str) -> bool:
        """Check whether the chain declares a model, or the batch class defines it."""
        return name in self._of_classes or any(model.name == name for model in self.models)

    @property
    def _of_classes(self) -> ModelDirectory:
        return self.batch_class.models.beside(*[cls.models for cls in reversed(self.ahead)])

    def model_mode(self, name: str, needed_by: str) -> Literal["static", "dynamic"]:
        """Return when a model is made. The chain's declarations come before those of the class."""
        for model in self.models:
            if model.name == name:
                return model.mode
        of_class = self._of_classes
        if name in of_class:
            return of_class.definition(name).mode
        known = (*of_class.names, *(model.name for model in self.models))
        raise UnknownNameError(
            f"{self.batch_class.__name__} has no model {name!r}, which {needed_by} needs."
            f"{did_you_mean(name, known)} Define it with @model() in the class, or declare it "
            f"before this step: .init_model({name!r}, ...)"
        )

    def _function(self, name: str) -> Any:
        if name in self._dataset_methods():
            return getattr(self.dataset, name)
        for namespace in reversed(self.namespaces):
            function = getattr(namespace, name, None)
            if callable(function):
                return function
        return None

    def _dataset_methods(self) -> set[str]:
        if self.dataset is None:
            return set()
        members = inspect.getmembers_static(type(self.dataset))
        methods = (name for name, value in members if inspect.isfunction(value))
        return {n for n in methods if not n.startswith("_") and n not in _OF_DATASETS_ONLY}


def overridable_by_action(method: Method) -> Method:
    """Let an action of the batch class with the same name take the place of a chain's method."""
    name = method.__name__

    @wraps(method)
    def chained(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self._has_action(name):
            return self._with_step(Step(name, args, kwargs, Where.of_caller(1)))
        return method(self, *args, **kwargs)

    return cast(Method, chained)


def without_batch(function: Any) -> Any:
    """Make a step of a function that does not know of batches."""

    def call(batch: Batch, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
        return function(*args, **kwargs)

    async def call_async(batch: Batch, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
        return await function(*args, **kwargs)

    if inspect.iscoroutinefunction(function):
        call = call_async
    call.__doc__ = function.__doc__
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # a function in C that does not tell
        return call
    batch = Parameter("batch", Parameter.POSITIONAL_ONLY)
    own = signature.parameters.values()
    with suppress(ValueError):  # it may have a parameter `batch`, too
        call.__signature__ = signature.replace(parameters=[batch, *own])  # type: ignore[attr-defined]
    return call
