"""Frozen values with fields: what frozen dataclasses are, at a tenth of their price at import.

A dataclass compiles its methods when its class is made, half a millisecond for each: together they
were a sixth of `import batchflow`.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn, Self, dataclass_transform


class _Shown:
    """The signature of a class of records, for `help` and completion: its fields and defaults."""

    def __get__(self, record: Any, kind: type[Record]) -> Any:
        if record is not None:
            raise AttributeError("__signature__")
        from inspect import Parameter, Signature  # on use, for a light import

        word = Parameter.POSITIONAL_OR_KEYWORD
        fields = {name: getattr(kind, name, Parameter.empty) for name in kind._fields}
        types = kind.__annotations__
        return Signature(
            [Parameter(n, word, default=fields[n], annotation=types[n]) for n in fields]
        )


@dataclass_transform(frozen_default=True, eq_default=False)
class Record:
    """A frozen value. The annotations in a class are its fields, its attributes their defaults.

    Raises:
        TypeError: A field is missing, given twice or not known.
    """

    _fields: ClassVar[tuple[str, ...]] = ()
    __signature__ = _Shown()

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(cls.__annotations__)

    def __init__(self, *args: Any, **named: Any) -> None:
        given = dict(zip(self._fields, args, strict=False), **named)
        values = {n: given[n] if n in given else getattr(type(self), n, self) for n in self._fields}
        is_missing = any(value is self for value in values.values())
        if is_missing or len(given) < len(args) + len(named) or not values.keys() >= given.keys():
            raise TypeError(f"{type(self).__name__} takes {', '.join(self._fields)}; got {given}")
        self.__dict__.update(values)
        self.__post_init__()

    def __post_init__(self) -> None:
        """Check the fields."""

    def _replace(self, **changes: Any) -> Self:
        """Return the same value with other fields."""
        return type(self)(**{**self._asdict(), **changes})

    def _asdict(self) -> dict[str, Any]:
        return {name: self.__dict__[name] for name in self._fields}

    def __getstate__(self) -> dict[str, Any]:
        return self._asdict()  # not what is cached

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is frozen: {name!r} cannot be assigned")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is frozen: {name!r} cannot be deleted")

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self._asdict().items())
        return f"{type(self).__name__}({shown})"
