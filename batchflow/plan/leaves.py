"""Where late values come from: the batch, variables, the config, the dataset, chance, functions."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING, Any

from batchflow.batch.items.arguments import PerItem
from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownAttributeError
from batchflow.index.labels import by_label
from batchflow.old_words import old_word
from batchflow.plan.expressions import Expression, Operation, call, freeze, resolved, shown
from batchflow.plan.variable_leaf import V, needed, pipeline_of

if TYPE_CHECKING:
    from batchflow.batch import Batch

__all__ = ["PP", "B", "C", "D", "F", "I", "L", "P", "R", "V", "W"]


class _Place(Expression):
    """A leaf that stands for one object, whose attributes are the values of interest."""

    __slots__ = ()
    _letter = ""

    def __call__(self, *names: Any, **kwargs: Any) -> Expression:
        """Return the expression of an attribute by its name, or, without one, of the object."""
        if self is B and [*kwargs] == ["copy"]:
            raise ArgumentTypeError("B() takes no copy=. Instead: B().deepcopy()")
        if kwargs or len(names) > 1 or not all(isinstance(name, str) for name in names):
            raise ArgumentTypeError(
                f"{self._letter}() takes the name of an attribute: {self._letter}('name')"
            )
        return self._attribute(names[0]) if names else self

    def _attribute(self, name: Any) -> Operation:
        return Operation(getattr, ".", (self, name))

    def _parts(self) -> tuple[Any, ...]:
        return ()

    def __repr__(self) -> Any:
        return self._letter


class BatchValue(_Place):
    """`B.images` or `B("images")`: an attribute of the batch. `B()`: the batch itself."""

    __slots__ = ()
    _letter = "B"

    def _resolve(self, batch: Batch) -> Any:
        return needed(batch, self)


class DatasetValue(_Place):
    """`D.name` or `D("name")`: an attribute of the dataset. `D()`: the dataset itself."""

    __slots__ = ()
    _letter = "D"

    def _resolve(self, batch: Batch) -> Any:
        return needed(batch, self).dataset


class RandomValue(_Place):
    """`R.normal(0, 1, size=3)` or `R("choice", [..])`: a draw from the batch's generator."""

    __slots__ = ()
    _letter = "R"

    def __call__(self, *args: Any, **kwargs: Any) -> Expression:
        """Return the expression of a draw: the name of a method of `Generator` and its arguments.

        A list instead of a name is chosen from.
        """
        if args and isinstance(args[0], (list, tuple)):
            args = ("choice", *args)
        if not args or not isinstance(args[0], str):
            raise ArgumentTypeError('R() takes the name of a distribution: R("normal", 0, 1)')
        return self._attribute(args[0])(*args[1:], **kwargs)

    def __getattr__(self, name: str) -> Expression:
        return self._attribute(name) if not name.startswith("_") else super().__getattr__(name)

    def _attribute(self, name: Any) -> Operation:
        if hint := old_word(name, "random"):
            raise UnknownAttributeError(
                f"R has no {name!r}: its names are those of Generator.{hint}"
            )
        return _Draw(getattr, ".", (self, name))

    def _resolve(self, batch: Batch) -> Any:
        return needed(batch, self).rng


class _Draw(Operation):
    """A method of the generator."""

    __slots__ = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Expression:
        """Make the expression of a draw."""
        if "seed" in kwargs:
            raise ArgumentTypeError(f"{self!r}() takes no seed.{old_word('seed', 'random')}")
        return super().__call__(*args, **kwargs)


class IterationValue(_Place):
    """`I.current`, `I.max`, `I.ratio`, `I.epoch`: how far the run is.

    `current` counts the source batches from 1 on, `max` is their number (None in an endless run),
    `ratio` is `current / max`, and `epoch` counts from 0 on.
    """

    __slots__ = ()
    _letter = "I"
    _names = {"c": "current", "m": "max", "r": "ratio", "e": "epoch"}  # noqa: RUF012  constant

    def __getattr__(self, name: str) -> Operation:
        return self._attribute(name)

    def _attribute(self, name: Any) -> Operation:
        full = self._names.get(name, name)
        if full not in self._names.values():
            raise AttributeError(f"I has current, max, ratio and epoch, not {name!r}")
        return Operation(getattr, ".", (self, full))

    def _resolve(self, batch: Batch) -> Any:
        return _Iteration(needed(batch, self))


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


class ConfigValue(Expression):
    """`C("model/units", default=64)`: an entry of the pipeline's config. `C()`: all of it."""

    __slots__ = ("_default", "_name")
    _name: Any
    _default: Any

    def __init__(self, name: Any = None, default: Any = None) -> None:
        freeze(self, _name=name, _default=default)

    def __call__(self, name: Any = None, **default: Any) -> Expression:
        """Return the expression of an entry, with a default where it may be missing."""
        if name is not None and not isinstance(name, str):
            raise ArgumentTypeError(f"C() takes the name of an entry, got {name!r:.60}")
        if default and set(default) != {"default"}:
            raise ArgumentTypeError(f"C({name!r}) takes default=..., got {[*default]}")
        return ConfigValue(name, (default["default"],) if default else None)

    def __getattr__(self, name: str) -> Expression:
        if self._name is None and not name.startswith("_"):
            return ConfigValue(name)
        return super().__getattr__(name)

    def _resolve(self, batch: Batch) -> Any:
        config = pipeline_of(batch, self).config
        if self._name is None:
            return config
        return config.get(self._name, *(self._default or ()), strict=self._default is None)

    def _parts(self) -> tuple[Any, ...]:
        return self._name, self._default

    def __repr__(self) -> Any:
        return "C" if self._name is None else f"C({self._name!r})"


class _Wrapped(Expression):
    """A leaf that holds a value, which is not looked into."""

    __slots__ = ("_value",)
    _has_late_parts = False
    _value: Any
    _letter = ""

    def __init__(self, value: Any) -> None:
        freeze(self, _value=value)

    def _resolve(self, batch: Batch) -> Any:  # noqa: ARG002  it has its value
        return self._value

    def _parts(self) -> tuple[Any, ...]:
        return (self._value,)

    def __repr__(self) -> Any:
        return f"{self._letter}({shown(self._value)})"


class F(_Wrapped):
    """`F(function)(B.images, 3)`: a call with expressions resolved. `F(function)`: the function."""

    __slots__ = ()
    _letter = "F"

    def __init__(self, function: Any) -> None:
        if not callable(function):
            raise ArgumentTypeError(f"F() takes a function, got {function!r:.60}")
        super().__init__(function)


class L(_Wrapped):
    """`L(function)(...)` or `L(function, ...)`: a call, whose result may be called again.

    The arguments are resolved: `L(Counter)(B.labels).most_common(3)`, `L(time.time) - B.started`.
    Without a call, `L(function, ...)` is what the function gives for these arguments.
    """

    __slots__ = ()
    _letter = "L"

    def __new__(cls, function: Any, *args: Any, **kwargs: Any) -> Expression:  # type: ignore[misc]
        """Make the function's leaf, or the expression of its call with the arguments."""
        if not callable(function):
            hint = ""
            if isinstance(function, str):
                hint = f". For the objects of a component: L(lambda objects: ..., B.{function})"
            raise ArgumentTypeError(f"L() takes a function, got {function!r:.60}{hint}")
        leaf = object.__new__(cls)
        freeze(leaf, _value=function)
        return Operation(call, "()", (leaf, *args), kwargs) if args or kwargs else leaf

    def __init__(self, function: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `__new__` has set the fields, or made another expression."""


class P(_Wrapped):
    """`P(value)`: to each item of a per-item action its own value.

    `P(R.normal(0, 1))` draws for each item; `P("normal", 0, 1)` is short for it. Anything else is
    resolved once and must have one element for each item: `P(B.angles)`. A sampler (see
    `batchflow.samplers`) gives a point for each item, drawn with the batch's generator.

    In an action that is not per item, it is the list of the values.

    Args:
        value: An expression, or a sequence with one element for each item; or a distribution's
            name.
        args: The arguments of the distribution.
        kwargs: The same.
    """

    __slots__ = ()
    _has_late_parts = True
    _letter = "P"

    def __init__(self, value: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(value, str):
            value = R(value, *args, **kwargs)
        elif args or kwargs:
            raise ArgumentTypeError(
                f"{self._letter}() takes one value; arguments go with the name of a distribution: "
                f'{self._letter}("normal", 0, 1)'
            )
        super().__init__(value)

    def _resolve(self, batch: Batch) -> Any:
        n_items = len(needed(batch, self))
        if _is_sampler(self._value):
            points = self._value.sample(n_items, batch.rng)
            return PerItem(points[:, 0] if points.shape[1] == 1 else points)
        if self._is_anew():
            return PerItem(resolved(self._value, batch) for _ in range(n_items))
        values = by_label(resolved(self._value, batch), batch.index, repr(self))
        if isinstance(values, (str, bytes, Mapping, Set)):
            raise ArgumentTypeError(
                f"{self!r}: expected values in an order, one for each item, got a "
                f"{type(values).__name__}"
            )
        if not hasattr(values, "__len__") or len(values) != n_items:
            has = f"{len(values)} elements" if hasattr(values, "__len__") else "no elements"
            raise ArgumentValueError(
                f"{self!r}: expected one value for each of {n_items} items, got "
                f"{type(values).__name__} with {has}; write PP(...) to resolve it for each item"
            )
        return PerItem(values)

    def _is_anew(self) -> bool:
        """Check whether the value is resolved for each item: whether it is a draw."""
        value = self._value
        if not isinstance(value, Operation) or value._symbol != "()":
            return False
        drawn = value._args[0]
        return isinstance(drawn, Operation) and isinstance(drawn._args[0], RandomValue)


def _is_sampler(value: Any) -> bool:
    """Check whether a value is a distribution of `batchflow.samplers`, which is loaded then."""
    samplers = sys.modules.get("batchflow.samplers")
    return samplers is not None and isinstance(value, samplers.Sampler)


class PP(P):
    """`PP(expression)`: as `P`, with the expression resolved anew for each item."""

    __slots__ = ()
    _letter = "PP"

    def _is_anew(self) -> bool:
        return True


class W(_Wrapped):
    """`W(B.images)`: passes an expression on as it is, unresolved."""

    __slots__ = ()
    _letter = "W"


B = BatchValue()
C = ConfigValue()
D = DatasetValue()
I = IterationValue()  # noqa: E741  the field's letter
R = RandomValue()
