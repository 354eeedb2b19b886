"""Late values: written in a chain, resolved for each batch.

`B.images.mean() * V("scale")` is a frozen tree. A leaf names where a value comes from (the batch, a
variable, the config, ...); an `Operation` applies a function to the values of its parts. Everything
that a leaf needs is reached from the batch, so an expression resolves the same way in every thread.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from batchflow.errors import ArgumentTypeError, ArgumentValueError

if TYPE_CHECKING:
    from batchflow.batch import Batch

__all__ = [
    "B",
    "BatchValue",
    "C",
    "ConfigValue",
    "D",
    "DatasetValue",
    "Expression",
    "F",
    "I",
    "IterationValue",
    "Operation",
    "R",
    "RandomValue",
    "V",
    "W",
]

_Str = str  # within the class, `str` is a method

_MODES = {
    "w": "w",
    "write": "w",
    "a": "a",
    "append": "a",
    "e": "e",
    "extend": "e",
    "u": "u",
    "update": "u",
}


class Expression:
    """A value that is not there yet. Operators, attributes, items and calls make others of it.

    Expressions are frozen. They have no truth value, cannot be iterated over and contain nothing:
    what they stand for is known only when a batch is there.
    """

    __slots__ = ()

    def get(self, batch: Batch | None = None) -> Any:
        """Give the value for a batch.

        Args:
            batch: The batch; not needed where the expression uses none.
        """
        return self._resolve(batch)  # type: ignore[arg-type]

    def set(self, value: Any, batch: Batch | None = None) -> None:
        """Store a value where the expression reads it.

        Args:
            value: What to store.
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

    def _store(self, batch: Batch, value: Any) -> None:  # noqa: ARG002  for those that can
        raise ArgumentTypeError(
            f"{self!r} is no place to store a value; use V('name'), B.name or B.name[item]"
        )

    def _parts(self) -> tuple[Any, ...]:
        """What the expression is made of: with the type, what it is compared by."""
        raise NotImplementedError

    # ---- what makes other expressions

    def __getattr__(self, name: _Str) -> Operation:
        if name.startswith("_"):
            raise AttributeError(f"an expression has no attribute {name!r}")
        return Operation(getattr, ".", (self, name))

    def __getitem__(self, item: Any) -> Operation:
        return Operation(operator.getitem, "[]", (self, item))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make the expression of a call of the value."""
        return Operation(_call, "()", (self, *args), kwargs)

    def __eq__(self, other: object) -> Operation:  # type: ignore[override]
        return Operation(operator.eq, "==", (self, other))

    def __ne__(self, other: object) -> Operation:  # type: ignore[override]
        return Operation(operator.ne, "!=", (self, other))

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
        return _restore, (type(self), self._parts())


def _restore(kind: type[Expression], parts: tuple[Any, ...]) -> Expression:
    return kind(*parts)


def _freeze(expression: Expression, **values: Any) -> None:
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
        _freeze(self, _function=function, _symbol=symbol, _args=args, _kwargs=kwargs or {})

    def _resolve(self, batch: Batch) -> Any:
        if self._symbol == ".":  # the most frequent: an attribute of something late
            return getattr(self._args[0]._resolve(batch), self._args[1])
        args = [resolved(value, batch) for value in self._args]
        if not self._kwargs:
            return self._function(*args)
        return self._function(*args, **{k: resolved(v, batch) for k, v in self._kwargs.items()})

    def _store(self, batch: Batch, value: Any) -> None:
        setters: dict[Any, Callable[..., None]] = {".": setattr, "[]": operator.setitem}
        if self._symbol not in setters:
            super()._store(batch, value)
        owner, place = (resolved(part, batch) for part in self._args)
        setters[self._symbol](owner, place, value)

    def _parts(self) -> tuple[Any, ...]:
        return self._function, self._symbol, self._args, self._kwargs

    def __repr__(self) -> Any:
        first, *others = (_shown(value) for value in self._args)
        if self._symbol == ".":
            return f"{first}.{self._args[1]}"
        if self._symbol == "[]":
            return f"{first}[{others[0]}]"
        named = [f"{key}={_shown(value)}" for key, value in self._kwargs.items()]
        if self._symbol == "()":
            return f"{first}({', '.join([*others, *named])})"
        if len(self._args) == 1 and not self._symbol.isalpha():
            return f"{self._symbol}{first}"
        if self._symbol.isalpha():
            return f"{self._symbol}({', '.join([first, *others, *named])})"
        return f"({first} {self._symbol} {others[0]})"


def _format(value: Any, template: Any) -> Any:
    return template.format(value)


def _call(function: Any, *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def _swapped(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Operation]:
    def swapped(self: Expression, other: Any) -> Operation:
        return Operation(function, _SYMBOLS[function], (other, self))

    return swapped


def _straight(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Operation]:
    def straight(self: Expression, other: Any) -> Operation:
        return Operation(function, _SYMBOLS[function], (self, other))

    return straight


def _single(function: Callable[[Any], Any], symbol: Any) -> Callable[[Any], Operation]:
    def single(self: Expression) -> Operation:
        return Operation(function, symbol, (self,))

    return single


_SYMBOLS: dict[Callable[..., Any], Any] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.floordiv: "//",
    operator.mod: "%",
    operator.pow: "**",
    operator.matmul: "@",
    operator.and_: "&",
    operator.or_: "|",
    operator.xor: "^",
    operator.lshift: "<<",
    operator.rshift: ">>",
}
_COMPARED: dict[Callable[..., Any], Any] = {
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
}
for _function in _SYMBOLS:
    _name = _function.__name__.strip("_")
    setattr(Expression, f"__{_name}__", _straight(_function))
    setattr(Expression, f"__r{_name}__", _swapped(_function))
_SYMBOLS.update(_COMPARED)
for _function in _COMPARED:
    setattr(Expression, f"__{_function.__name__}__", _straight(_function))
for _function, _symbol in ((operator.neg, "-"), (operator.pos, "+"), (operator.invert, "~")):
    setattr(Expression, f"__{_function.__name__}__", _single(_function, _symbol))
setattr(Expression, "__abs__", _single(abs, "abs"))  # noqa: B010  beside its kind


class _Place(Expression):
    """A leaf that stands for one object, whose attributes are the values of interest."""

    __slots__ = ()
    _letter = ""

    def __call__(self, *names: Any, **kwargs: Any) -> Any:
        """Give the expression of an attribute by its name, or, without one, of the object."""
        if kwargs or len(names) > 1 or not all(isinstance(name, str) for name in names):
            raise ArgumentTypeError(
                f"{self._letter}() takes the name of an attribute: {self._letter}('name')"
            )
        return getattr(self, names[0]) if names else self

    def _parts(self) -> tuple[Any, ...]:
        return ()

    def __repr__(self) -> Any:
        return self._letter


class BatchValue(_Place):
    """`B.images` or `B("images")`: an attribute of the batch. `B()`: the batch itself."""

    __slots__ = ()
    _letter = "B"

    def _resolve(self, batch: Batch) -> Any:
        return _needed(batch, self)


class DatasetValue(_Place):
    """`D.name` or `D("name")`: an attribute of the dataset. `D()`: the dataset itself."""

    __slots__ = ()
    _letter = "D"

    def _resolve(self, batch: Batch) -> Any:
        return _needed(batch, self).dataset


class RandomValue(_Place):
    """`R.normal(0, 1, size=3)` or `R("choice", [..])`: a draw from the batch's generator."""

    __slots__ = ()
    _letter = "R"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Give the expression of a draw: the name of a method of `Generator` and its arguments."""
        if not args or not isinstance(args[0], str):
            raise ArgumentTypeError('R() takes the name of a distribution: R("normal", 0, 1)')
        return getattr(self, args[0])(*args[1:], **kwargs)

    def _resolve(self, batch: Batch) -> Any:
        return _needed(batch, self).rng


class IterationValue(_Place):
    """`I.current`, `I.max`, `I.ratio`, `I.epoch`: how far the run is.

    `current` counts the source batches from 1 on, `max` is their number (None in an endless run),
    `ratio` is `current / max`, and `epoch` counts from 0 on.
    """

    __slots__ = ()
    _letter = "I"
    _names = {"c": "current", "m": "max", "r": "ratio", "e": "epoch"}  # noqa: RUF012  constant

    def __getattr__(self, name: str) -> Operation:
        full = self._names.get(name, name)
        if full not in self._names.values():
            raise AttributeError(f"I has current, max, ratio and epoch, not {name!r}")
        return Operation(getattr, ".", (self, full))

    def _resolve(self, batch: Batch) -> Any:
        return _Iteration(_needed(batch, self))


class _Iteration:
    def __init__(self, batch: Batch) -> None:
        if batch.number is None:
            raise ArgumentValueError("I is known in a run only: this batch belongs to none")
        self.current = batch.number + 1
        self.epoch = batch.epoch
        self.max = batch._n_batches

    @property
    def ratio(self) -> float:
        if self.max is None:
            raise ArgumentValueError("I.ratio is not known in an endless run; give n_epochs")
        return self.current / self.max


class V(Expression):
    """`V("loss")`: a variable of the pipeline. Stored to, `mode` says how.

    Args:
        name: The name of the variable.
        mode: `"w"` writes, `"a"` appends to the list that it holds, `"e"` extends that list, `"u"`
            updates the dictionary or set that it holds.
    """

    __slots__ = ("_mode", "_name")
    _name: Any
    _mode: Any

    def __init__(self, name: Any, mode: Any = "w") -> None:
        if not isinstance(name, str):
            raise ArgumentTypeError(f"V() takes the name of a variable, got {name!r:.60}")
        if mode not in _MODES:
            raise ArgumentValueError(
                f"V({name!r}, mode={mode!r}): the modes are w (write), a (append), e (extend) and "
                "u (update)"
            )
        _freeze(self, _name=name, _mode=_MODES[mode])

    def _resolve(self, batch: Batch) -> Any:
        return _pipeline_of(batch, self).v(self._name)

    def _store(self, batch: Batch, value: Any) -> None:
        pipeline = _pipeline_of(batch, self)
        if self._mode == "w":
            pipeline.set_variable(self._name, value)
            return
        method = {"a": "append", "e": "extend", "u": "update"}[self._mode]
        held = pipeline.v(self._name)
        if held is None:
            held = {} if self._mode == "u" else []
            pipeline.set_variable(self._name, held)
        if not hasattr(held, method):
            raise ArgumentTypeError(
                f"{self!r}: the variable holds a {type(held).__name__}, which has no {method}()"
            )
        getattr(held, method)(value)

    def _parts(self) -> tuple[Any, ...]:
        return self._name, self._mode

    def __repr__(self) -> Any:
        return f"V({self._name!r})" if self._mode == "w" else f"V({self._name!r}, {self._mode!r})"


class ConfigValue(Expression):
    """`C("model/units", default=64)`: an entry of the pipeline's config. `C()`: all of it."""

    __slots__ = ("_default", "_name")
    _name: Any
    _default: Any

    def __init__(self, name: Any = None, default: Any = None) -> None:
        _freeze(self, _name=name, _default=default)

    def __call__(self, name: Any = None, **default: Any) -> Any:
        """Give the expression of an entry, with a default where it may be missing."""
        if name is not None and not isinstance(name, str):
            raise ArgumentTypeError(f"C() takes the name of an entry, got {name!r:.60}")
        if default and set(default) != {"default"}:
            raise ArgumentTypeError(f"C({name!r}) takes default=..., got {[*default]}")
        return ConfigValue(name, (default["default"],) if default else None)

    def __getattr__(self, name: str) -> Any:
        if self._name is None and not name.startswith("_"):
            return ConfigValue(name)
        return super().__getattr__(name)

    def _resolve(self, batch: Batch) -> Any:
        config = _pipeline_of(batch, self).config
        if self._name is None:
            return config
        return config.get(self._name, *(self._default or ()), strict=self._default is None)

    def _parts(self) -> tuple[Any, ...]:
        return self._name, self._default

    def __repr__(self) -> Any:
        return "C" if self._name is None else f"C({self._name!r})"


class _Wrapped(Expression):
    """A leaf that holds a value."""

    __slots__ = ("_value",)
    _value: Any
    _letter = ""

    def __init__(self, value: Any) -> None:
        _freeze(self, _value=value)

    def _resolve(self, batch: Batch) -> Any:  # noqa: ARG002  it has its value
        return self._value

    def _parts(self) -> tuple[Any, ...]:
        return (self._value,)

    def __repr__(self) -> Any:
        return f"{self._letter}({_shown(self._value)})"


class F(_Wrapped):
    """`F(function)(B.images, 3)`: a call with expressions resolved. `F(function)`: the function."""

    __slots__ = ()
    _letter = "F"

    def __init__(self, function: Any) -> None:
        if not callable(function):
            raise ArgumentTypeError(f"F() takes a function, got {function!r:.60}")
        super().__init__(function)


class W(_Wrapped):
    """`W(B.images)`: passes an expression on as it is, unresolved."""

    __slots__ = ()
    _letter = "W"


B = BatchValue()
C = ConfigValue()
D = DatasetValue()
I = IterationValue()  # noqa: E741  the field's letter
R = RandomValue()


def _needed(batch: Batch | None, expression: Expression) -> Batch:
    if batch is None:
        raise ArgumentTypeError(f"{expression!r} needs a batch: {expression!r}.get(batch=...)")
    return batch


def _pipeline_of(batch: Batch | None, expression: Expression) -> Any:
    pipeline = _needed(batch, expression).pipeline
    if pipeline is None:
        raise ArgumentValueError(f"{expression!r} needs a pipeline, and the batch belongs to none")
    return pipeline


def resolved(value: Any, batch: Batch) -> Any:
    """Give a value with the expressions in it resolved, lists, tuples and dictionaries included."""
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
        if not isinstance(value, _Wrapped):
            for part in value._parts():
                yield from expressions_in(part)
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from expressions_in(part)
    elif type(value) is dict:
        for part in value.values():
            yield from expressions_in(part)


def _shown(value: Any) -> Any:
    if not isinstance(value, Expression) and callable(value) and hasattr(value, "__qualname__"):
        return value.__qualname__
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."
