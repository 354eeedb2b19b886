"""The `@action` mark, and how a batch class collects what was marked.

The decorator puts one frozen `ActionSpec` on the function and returns that function: an action
stays a plain method, which a unit test calls directly.
"""

from __future__ import annotations

import inspect
import operator
import sys
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, TypeVar, overload

from batchflow.batch.direct import plain, with_model
from batchflow.errors import ArgumentTypeError, ArgumentValueError, did_you_mean
from batchflow.old_words import knows_old_options, old_word

F = TypeVar("F", bound=Callable[..., Any])
_MARK = "_batchflow_action"

# The names that steer a run. They mean the same for every batch class, so no action may take them.
RESERVED = frozenset(
    [
        "run",
        "run_now",
        "run_later",
        "gen_batch",
        "next_batch",
        "execute_for",
        "reset",
        "v",
        "m",
        "get_variable",
        "set_variable",
        "init_variable",
        "init_variables",
        "delete_variable",
        "has_variable",
        "init_model",
        "dataset",
        "config",
        "models",
        "seed",
        "before",
        "after",
        "main",
        "feed",
        "check",
        "debug",
        "replay",
        "pipeline",
        "index",
        "indices",
        "rng",
    ]
)


class ActionSpec(NamedTuple):
    """The arguments of `@action`.

    Attributes:
        model: The name of the model whose descriptor comes first after `self`, or None.
        singleton: Whether the action takes one batch at a time, in the order of the batches.
        expands: How many items it makes of each; True: that is not known; None: as many as it gets.
        gives: The class of the batches that it returns; None: that of those it gets.
    """

    model: str | None = None
    singleton: bool = False
    expands: int | Literal[True] | None = None
    gives: type | None = None


class Action(NamedTuple):
    """An action of a batch class: its name, its function and what the decorator was told."""

    name: str
    function: Callable[..., Any]
    spec: ActionSpec

    def has_parameter(self, name: str) -> bool:
        """Check whether the function has a parameter of this name."""
        return name in inspect.signature(self.function).parameters

    def check_call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], where: object) -> None:
        """Check that the action can be called with these arguments.

        Args:
            args: The positional arguments.
            kwargs: The keyword arguments.
            where: The place of the call, for the message.

        Raises:
            ArgumentTypeError: It cannot; the message shows how it is declared.
        """
        signature = inspect.signature(self.function)
        injected = 1 + (self.spec.model is not None)
        try:
            signature.bind(*[None] * injected, *args, **kwargs)
        except TypeError as error:
            own = list(signature.parameters.values())[injected:]
            names = [p.name for p in own]
            unknown = [key for key in kwargs if key not in names]
            problem = f"{error}."
            if unknown and not any(p.kind is p.VAR_KEYWORD for p in own):
                hint = old_word(unknown[0], "step") or did_you_mean(unknown[0], names)
                problem = f"no argument {unknown[0]!r}.{hint}"
            own_words = [p.replace(annotation=p.empty) for p in signature.parameters.values()]
            signature = inspect.Signature(own_words)
            given = f", where the model {self.spec.model!r} is given" if self.spec.model else ""
            raise ArgumentTypeError(
                f"{self.name}(): {problem} Declared as {self.name}{signature}{given}; "
                f"chained at {where}"
            ) from None


@overload
def action(function: F, /) -> F: ...
@overload
def action(
    *,
    model: str | None = None,
    singleton: bool = False,
    expands: bool | int = False,
    gives: type | None = None,
) -> Callable[[F], F]: ...
@knows_old_options("action")
def action(
    function: Callable[..., Any] | None = None,
    /,
    *,
    model: str | None = None,
    singleton: bool = False,
    expands: bool | int = False,
    gives: type | None = None,
) -> Any:
    """Mark a method of a batch class as an action: a step that pipelines can chain.

    An action gets the batch as `self`, works on it in place or makes another batch, and returns
    the batch. Actions run for many batches at once, unless they are singletons.

    Args:
        function: The method, when the decorator is used without parentheses.
        model: The name of a model definition (see `model`); its descriptor is passed as the first
            argument after `self`.
        singleton: The action takes one batch at a time, in the order of the batches, whatever
            runs in parallel around it.
        expands: The batch may come back with another number of items (True), or with `k` for each
            of its items. `self.repeat(k, name=rows, ...)` makes it, and keeps where items come
            from; so does a batch of your own making with `expands=k`, whose items are in the order
            of those that they come from.
        gives: The batch class of what the action returns, if it is another one: its actions are
            those that can be chained behind this one.

    Returns:
        The method itself, marked. With `model`: one that gets the model also where it is called on
        a batch or by `super()`, without it.

    Raises:
        ArgumentTypeError: What is decorated is not a function, `model` is not a name, `expands` no
            number, or `gives` no batch class.
        ArgumentValueError: `expands` is less than 1.

    Example:
        >>> from batchflow import ArrayBatch, Dataset, action
        >>> class Numbers(ArrayBatch):
        ...     @action
        ...     def add(self, value):
        ...         self.data = self.data + value
        ...         return self
        >>> pipeline = Dataset.from_arrays(Numbers, data=[1, 2, 3]).p.add(10)
        >>> [batch.data.tolist() for batch in pipeline.gen_batch(2)]
        [[11, 12], [13]]
    """
    if model is not None and not isinstance(model, str):
        raise ArgumentTypeError(
            f"@action(model=...) takes the name of a model definition, got {model!r:.60}"
        )
    if gives is not None and not (isinstance(gives, type) and hasattr(gives, "_actions")):
        raise ArgumentTypeError(f"@action(gives=...) takes a subclass of Batch, got {gives!r:.60}")
    spec = ActionSpec(model, bool(singleton), _growth(expands), gives)

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.isfunction(function):
            raise ArgumentTypeError(
                f"@action marks a method, got {function!r:.60}. Write @action, or "
                '@action(model="name", singleton=True), above a def'
            )
        setattr(function, _MARK, spec)
        return function if model is None else with_model(function, model, singleton=spec.singleton)

    return mark if function is None else mark(function)


def _growth(expands: Any) -> int | Literal[True] | None:
    if expands is None or isinstance(expands, bool):
        return True if expands else None
    if not hasattr(expands, "__index__"):
        raise ArgumentTypeError(
            f"@action(expands=...) takes True, or how many items it makes of each, got "
            f"{expands!r:.60}"
        )
    if expands < 1:
        raise ArgumentValueError(
            f"@action(expands={expands!r}): it is the number of items that are made of each, from "
            "1 on; True: any number"
        )
    return operator.index(expands)


def spec_of(member: Any) -> ActionSpec | None:
    """Return the spec that `@action` put on a member of a class; None if it is not marked."""
    spec: ActionSpec | None = getattr(member, _MARK, None)
    return spec


def is_outdated(cls: type) -> bool:
    """Check whether the name of a class means another one now: a notebook has defined it anew."""
    found: Any = sys.modules.get(cls.__module__)
    for part in cls.__qualname__.split("."):
        found = getattr(found, part, None)
    return isinstance(found, type) and found is not cls


def collect_actions(cls: type, taken: frozenset[str]) -> dict[str, Action]:
    """Gather the actions of a class: those marked in its own body and in its parents'.

    A method that overrides an action without a mark of its own keeps the parent's mark.

    Args:
        cls: The class.
        taken: Names of the batch that no action can have, beside the reserved ones.
    """
    actions: dict[str, Action] = {}
    for owner in reversed(cls.__mro__):
        for name, value in list(vars(owner).items()):
            spec = getattr(value, _MARK, None)
            if spec is None and name in actions and inspect.isfunction(value):
                spec = actions[name].spec
                if spec.model is not None:
                    value = with_model(value, spec.model, singleton=spec.singleton)
                    setattr(owner, name, value)
            actions.pop(name, None)
            if spec is None:
                continue
            if name.startswith("_"):
                raise ArgumentValueError(
                    f"{owner.__name__}.{name}: an action is called from pipelines, so its name "
                    f"cannot begin with an underscore; call it {name.strip('_')}"
                )
            if name in RESERVED or name in taken:
                whose = "every pipeline" if name in RESERVED else "every batch of this class"
                raise ArgumentValueError(
                    f"{owner.__name__}.{name}: an action cannot be called {name!r}, which is a "
                    f"name of {whose}; call it {name}_batch, for instance"
                )
            actions[name] = Action(name, plain(value), spec)
    return actions
