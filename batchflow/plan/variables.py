"""Variables as a chain declares them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from batchflow.errors import ArgumentTypeError, add_note_once
from batchflow.plan.expressions import Expression
from batchflow.plan.leaves import F, L
from batchflow.plan.values import Value

__all__ = ["Variable", "parse_variable", "parse_variables"]

_ARGUMENTS = {"default", "init", "init_on_each_run"}


@dataclass(frozen=True, eq=False, repr=False)
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
        object.__setattr__(self, "default", copied)
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
    """Make a variable of the arguments of `init_variable`.

    Raises:
        ArgumentTypeError: They do not go together, or one is of the wrong type.
    """
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
    """Make variables of the argument of `init_variables`.

    Raises:
        ArgumentTypeError: As `parse_variable`.
    """
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
