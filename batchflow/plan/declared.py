"""The declaration of a model in a chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.plan.expressions import Expression
from batchflow.plan.leaves import ConfigValue
from batchflow.plan.values import same_value

__all__ = ["DeclaredModel"]


@dataclass(frozen=True, eq=False, repr=False)
class DeclaredModel:
    """A model as a chain declares it: each pipeline value makes its own from it.

    Attributes:
        name: Its name.
        builder: What makes it: a class or a function; or the model itself; or the entry of the
            config that holds one of these.
        mode: `"static"`: made before the first batch; `"dynamic"`: from the first batch.
        config: The arguments of the builder, in which expressions may stand; or an expression.
        imported_from: The pipeline whose model of this name it is, or None.
    """

    name: str
    builder: Any = None
    mode: Literal["static", "dynamic"] = "static"
    config: Any = field(default=None)
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
        object.__setattr__(self, "config", _own(self.config))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, DeclaredModel):
            return NotImplemented
        return same_value(self._parts(), other._parts())

    def __hash__(self) -> int:
        return hash(self.name)

    def _parts(self) -> tuple[Any, ...]:
        return self.name, self.builder, self.mode, self.config, self.imported_from


def _own(config: Any) -> Any:
    """Copy the containers of a config, so that what is changed in it later changes nothing here."""
    if type(config) in (list, tuple):
        return type(config)(map(_own, config))
    if isinstance(config, dict):
        return {key: _own(value) for key, value in config.items()}
    return config
