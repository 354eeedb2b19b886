"""Late values: written in a chain, resolved for each batch.

`B.images.mean() * V("scale")` is a frozen tree. A leaf (leaves.py) names where a value comes from;
an `Operation` applies a function to the values of its parts. Everything that a leaf needs is
reached from the batch, so an expression resolves the same way in every thread.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from batchflow.batch.writes import written
from batchflow.errors import ArgumentTypeError

if TYPE_CHECKING:
    from batchflow.batch import Batch

_Str = str  # within the class, `str` is a method
_Binary = Callable[["Expression", Any], "Operation"]


def _operator(function: Callable[[Any, Any], Any], symbol: _Str) -> tuple[_Binary, _Binary]:
    """Return the method of an operator, and that of the operator with its sides swapped."""

    def straight(self: Expression, other: Any) -> Operation:
        return Operation(function, symbol, (self, other))

    def swapped(self: Expression, other: Any) -> Operation:
        return Operation(function, symbol, (other, self))

    return straight, swapped


def _unary(function: Callable[[Any], Any], symbol: _Str) -> Callable[[Expression], Operation]:
    def single(self: Expression) -> Operation:
        return Operation(function, symbol, (self,))

    return single


class Expression:
    """A value that is not there yet. Operators, attributes, items and calls make others of it.

    Expressions are frozen. They have no truth value, cannot be iterated over and contain nothing:
    what they stand for is known only when a batch is there.
    """

    __slots__ = ()
    _has_late_parts = True
    __array_ufunc__ = None  # an array on the left leaves the operation to the expression

    def get(self, batch: Batch | None = None) -> Any:
        """Return the value for a batch.

        Args:
            batch: The batch; not needed where the expression uses none.
        """
        return self._resolve(batch)  # type: ignore[arg-type]

    def set(self, value: Any, batch: Batch | None = None) -> None:
        """Store a value where the expression reads it.

        Args:
            value: The value.
            batch: The batch.

        Raises:
            ArgumentTypeError: The expression is no place, such as `B.x + 1`.
        """
        self._store(batch, value)  # type: ignore[arg-type]

    def str(self) -> Operation:
        """Make the expression of the value as a string."""
        return Operation(str, "str", (self,))

    def format(self, template: Any) -> Operation:
        """Make the expression of the value put into a template: `B.number.format("{:05d}")`."""
        return Operation(_format, "format", (self, template))

    def _resolve(self, batch: Batch) -> Any:
        raise NotImplementedError

    def _store(self, batch: Batch, value: Any) -> None:  # noqa: ARG002  places override it
        raise ArgumentTypeError(
            f"{self!r} is no place to store a value; use V('name'), B.name or B.name[item]"
        )

    def _parts(self) -> tuple[Any, ...]:
        """Return the parts of the expression. They and its type are compared."""
        raise NotImplementedError

    # ---- what makes other expressions

    def __getattr__(self, name: _Str) -> Expression:
        if name.startswith("_"):
            raise AttributeError(f"an expression has no attribute {name!r}")
        return Operation(getattr, ".", (self, name))

    def __getitem__(self, item: Any) -> Operation:
        return Operation(operator.getitem, "[]", (self, item))

    def __call__(self, *args: Any, **kwargs: Any) -> Expression:
        """Make the expression of a call of the value."""
        return Operation(call, "()", (self, *args), kwargs)

    def __eq__(self, other: object) -> Operation:  # type: ignore[override]
        return Operation(operator.eq, "==", (self, other))

    def __ne__(self, other: object) -> Operation:  # type: ignore[override]
        return Operation(operator.ne, "!=", (self, other))

    __add__, __radd__ = _operator(operator.add, "+")
    __sub__, __rsub__ = _operator(operator.sub, "-")
    __mul__, __rmul__ = _operator(operator.mul, "*")
    __truediv__, __rtruediv__ = _operator(operator.truediv, "/")
    __floordiv__, __rfloordiv__ = _operator(operator.floordiv, "//")
    __mod__, __rmod__ = _operator(operator.mod, "%")
    __pow__, __rpow__ = _operator(operator.pow, "**")
    __matmul__, __rmatmul__ = _operator(operator.matmul, "@")
    __and__, __rand__ = _operator(operator.and_, "&")
    __or__, __ror__ = _operator(operator.or_, "|")
    __xor__, __rxor__ = _operator(operator.xor, "^")
    __lshift__, __rlshift__ = _operator(operator.lshift, "<<")
    __rshift__, __rrshift__ = _operator(operator.rshift, ">>")
    __lt__ = _operator(operator.lt, "<")[0]
    __le__ = _operator(operator.le, "<=")[0]
    __gt__ = _operator(operator.gt, ">")[0]
    __ge__ = _operator(operator.ge, ">=")[0]
    __neg__ = _unary(operator.neg, "-")
    __pos__ = _unary(operator.pos, "+")
    __invert__ = _unary(operator.invert, "~")
    __abs__ = _unary(abs, "abs")

    __hash__ = object.__hash__

    # ---- what only a value can answer

    def __bool__(self) -> NoReturn:
        raise ArgumentTypeError(
            f"{self!r} has no truth value before a batch is there; for 'and', 'or' and 'not' write "
            "&, | and ~, and for conditions a function: F(function)(...)"
        )

    def __iter__(self) -> Iterator[Any]:
        raise ArgumentTypeError(f"{self!r} cannot be iterated over before a batch is there")

    def __contains__(self, item: object) -> bool:
        raise ArgumentTypeError(f"what {self!r} contains is not known before a batch is there")

    def __len__(self) -> int:
        raise ArgumentTypeError(f"{self!r} has no length before a batch is there: F(len)({self!r})")

    # ---- being a value

    def __setattr__(self, name: _Str, value: Any) -> NoReturn:
        raise AttributeError(f"an expression is frozen: {name!r} cannot be assigned")

    def __copy__(self) -> Expression:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Expression:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._parts()


def freeze(expression: Expression, **values: Any) -> None:
    """Set the fields of an expression, once, in its constructor."""
    for name, value in values.items():
        object.__setattr__(expression, name, value)


class Operation(Expression):
    """A function applied to values, some of which are late.

    Args:
        function: The function.
        symbol: How it is shown: an operator, `.`, `[]`, `()` or a name.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
    """

    __slots__ = ("_args", "_function", "_kwargs", "_symbol")
    _function: Callable[..., Any]
    _symbol: Any
    _args: tuple[Any, ...]
    _kwargs: dict[Any, Any]

    def __init__(
        self, function: Callable[..., Any], symbol: Any, args: Any, kwargs: Any = None
    ) -> None:
        freeze(self, _function=function, _symbol=symbol, _args=args, _kwargs=kwargs or {})

    def _resolve(self, batch: Batch) -> Any:
        if self._symbol == ".":  # the most frequent: an attribute of something late
            return getattr(self._args[0]._resolve(batch), self._args[1])
        args = [resolved(value, batch) for value in self._args]
        if not self._kwargs:
            return self._function(*args)
        return self._function(*args, **{k: resolved(v, batch) for k, v in self._kwargs.items()})

    def _store(self, batch: Batch, value: Any) -> None:
        if self._symbol not in (".", "[]"):
            super()._store(batch, value)
        owner, place = (resolved(part, batch) for part in self._args)
        if self._symbol == ".":
            setattr(owner, place, value)
        elif not isinstance(owner, np.ndarray):
            owner[place] = value
        else:
            new = written(owner, place, value, repr(self._args[0]))
            if new is not owner:  # it had to become wider
                self._args[0]._store(batch, new)

    def _parts(self) -> tuple[Any, ...]:
        return self._function, self._symbol, self._args, self._kwargs

    def __repr__(self) -> Any:
        first, *others = (shown(value) for value in self._args)
        if self._symbol == ".":
            return f"{first}.{self._args[1]}"
        if self._symbol == "[]":
            return f"{first}[{others[0]}]"
        named = [f"{key}={shown(value)}" for key, value in self._kwargs.items()]
        if self._symbol == "()":
            return f"{first}({', '.join([*others, *named])})"
        if len(self._args) == 1 and not self._symbol.isalpha():
            return f"{self._symbol}{first}"
        if self._symbol.isalpha():
            return f"{self._symbol}({', '.join([first, *others, *named])})"
        return f"({first} {self._symbol} {others[0]})"


def _format(value: Any, template: Any) -> Any:
    return template.format(value)


def call(function: Any, *args: Any, **kwargs: Any) -> Any:
    """Call a function: the function of an operation that is a call."""
    return function(*args, **kwargs)


def resolved(value: Any, batch: Batch) -> Any:
    """Return a value with the expressions in it resolved, in lists and dictionaries as well."""
    if isinstance(value, Expression):
        return value._resolve(batch)
    kind = type(value)
    if kind is list:
        return [resolved(part, batch) for part in value]
    if kind is dict:
        return {key: resolved(part, batch) for key, part in value.items()}
    if isinstance(value, tuple):
        parts = [resolved(part, batch) for part in value]
        return kind._make(parts) if hasattr(kind, "_make") else tuple(parts)
    return value


def expressions_in(value: Any) -> Iterator[Expression]:
    """Go through the expressions in a value, those inside of others included."""
    if isinstance(value, Expression):
        yield value
        if value._has_late_parts:
            for part in value._parts():
                yield from expressions_in(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from expressions_in(part)
    elif type(value) is dict:
        for part in value.values():
            yield from expressions_in(part)


def shown(value: Any) -> Any:
    """Show an argument on one line, in at most 60 characters."""
    if isinstance(value, np.ndarray):
        return f"<array {value.shape} {value.dtype}>"
    if not isinstance(value, Expression) and callable(value) and hasattr(value, "__qualname__"):
        return value.__qualname__
    try:
        text = " ".join(repr(value).split())
    except Exception:  # noqa: BLE001  of the user's; what is shown may be an error
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 60 else f"{text[:57]}..."
