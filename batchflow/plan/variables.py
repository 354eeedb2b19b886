"""The declaration of a pipeline variable."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from batchflow.errors import ArgumentTypeError
from batchflow.plan.values import same_value

__all__ = ["Variable"]


@dataclass(frozen=True, eq=False, repr=False)
class Variable:
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
        object.__setattr__(self, "default", copy.deepcopy(self.default))  # nobody else's from now
        if self.init is not None and self.default is not None:
            raise ArgumentTypeError(
                f"init_variable({self.name!r}): give a default or init, not both"
            )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Variable):
            return NotImplemented
        mine = (self.name, self.default, self.init, self.on_each_run)
        return same_value(mine, (other.name, other.default, other.init, other.on_each_run))

    def __hash__(self) -> int:
        return hash(self.name)

    def initial_value(self) -> Any:
        """Make a new initial value."""
        return copy.deepcopy(self.default) if self.init is None else self.init()
