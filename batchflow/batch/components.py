"""The names of the components of a batch class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from batchflow.batch.actions import RESERVED
from batchflow.errors import ArgumentTypeError, ArgumentValueError

if TYPE_CHECKING:
    from batchflow.batch.batch import Batch

__all__ = ["checked_components"]


def checked_components(cls: type[Batch], taken: frozenset[str]) -> tuple[str, ...]:
    """Give the names of the components that a batch class declares, as a tuple.

    Args:
        cls: The class.
        taken: Names that no component may have, beside the reserved ones.

    Raises:
        ArgumentTypeError: They are no names of attributes.
        ArgumentValueError: One is taken, or is there twice.
    """
    declared: Sequence[str] = cls.components
    if not isinstance(declared, (str, tuple, list)):
        raise ArgumentTypeError(
            f"{cls.__name__}.components is a tuple of attribute names, got {declared!r:.60}"
        )
    names = (declared,) if isinstance(declared, str) else tuple(declared)
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            raise ArgumentTypeError(
                f"{cls.__name__}.components is a tuple of attribute names, got {name!r}"
            )
        if name in RESERVED or name in taken or name.startswith("_"):
            raise ArgumentValueError(
                f"{cls.__name__}: a component cannot be called {name!r}, a name that every batch "
                "has already (or that starts with an underscore)"
            )
    if len(set(names)) < len(names):
        raise ArgumentValueError(f"{cls.__name__}.components names one twice: {names}")
    return names
