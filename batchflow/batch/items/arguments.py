"""The parts of calls for items: elements of components, arguments of the action, names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from batchflow.batch.rows import n_rows, row_at
from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    UnknownNameError,
    did_you_mean,
)

if TYPE_CHECKING:
    from batchflow.batch.core import BaseBatch
    from batchflow.batch.items.calls import Call

# The attribute of a decorated method that holds the arguments of its decorator.
PER_ITEM = "_batchflow_per_item"
INIT_WORDS = ("a component", "'indices'", "'items'", "'run_once'")


class PerItem(list[Any]):
    """Argument values of a per-item action, one for each item; `P` and `PP` resolve to one."""


def elements(batch: BaseBatch, component: str) -> list[Any]:
    """Return the elements of a component, one for each item.

    Raises:
        ArgumentValueError: It has no data, or not as many elements as there are items.
    """
    values, n_items = getattr(batch, component), len(batch)
    shown = f"{type(batch).__name__}.{component}"
    if values is None:
        raise ArgumentValueError(f"{shown} has no data yet")
    has = n_rows(values)
    if has != n_items:
        raise ArgumentValueError(f"{shown}: expected {n_items} elements, it has {has or 'none'}")
    return [row_at(values, position) for position in range(n_items)]


def first_arguments(
    batch: BaseBatch,
    init: str,
    name: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    places: Mapping[str, Any] | None = None,
) -> list[Call]:
    """Return what each call gets before the arguments of the action.

    Args:
        batch: The batch.
        init: What gives it: see `inbatch_parallel`.
        name: What to call the action in messages.
        args: The arguments of the action.
        kwargs: The same by name.
        places: What a method gets in addition, if it has parameters of these names.
    """
    if init == "run_once":
        return [((), {})]
    if init == "indices":
        return [((item_id,), {}) for item_id in batch.indices.tolist()]
    if init == "items":
        return [((item,), {}) for item in batch]
    if init in batch.components:
        return [((element,), {}) for element in elements(batch, init)]
    if init not in batch.__dict__:
        check_init(type(batch), init, name)
    entries = getattr(batch, init)
    if callable(entries):
        entries = entries(*args, **kwargs, **asked_places(entries, kwargs, **(places or {})))
    if isinstance(entries, (str, bytes, Mapping)) or not hasattr(entries, "__getitem__"):
        raise ArgumentTypeError(
            f"{name}(): init={init!r} must give a list with an entry for each call, got "
            f"{type(entries).__name__} {entries!r:.60}"
        )
    return [_as_call(entry) for entry in entries]


def check_init(cls: type[BaseBatch], init: str, name: str) -> None:
    """Check that a batch class has what `init` names."""
    if init not in ("indices", "items", "run_once", *cls.components):
        class_attribute(cls, init, f"{name}(init={init!r})", INIT_WORDS)


def _as_call(entry: Any) -> Call:
    if isinstance(entry, dict):
        return (), entry
    if not isinstance(entry, tuple):
        return (entry,), {}
    if len(entry) == 2 and isinstance(entry[0], (list, tuple)) and isinstance(entry[1], dict):
        return entry
    return entry, {}


def asked_places(
    function: Callable[..., Any], kwargs: Mapping[str, Any], **places: Any
) -> dict[str, Any]:
    """Return those of `src` and `dst` that a function names among its parameters.

    Args:
        function: The function.
        kwargs: What it is given anyway.
        places: The values.
    """
    parameters = inspect.signature(function).parameters
    return {n: value for n, value in places.items() if n in parameters and n not in kwargs}


def with_arguments(
    first: list[Call], args: tuple[Any, ...], kwargs: dict[str, Any], name: str
) -> list[Call]:
    """Put the arguments of the action behind the first arguments of each call.

    Of a `PerItem` each call gets its own value.

    Raises:
        ArgumentValueError: A `PerItem` has another number of values.
    """
    lengths = {len(v) for v in (*args, *kwargs.values()) if isinstance(v, PerItem)}
    if not lengths:
        return [((*own, *args), {**named, **kwargs}) for own, named in first]
    if lengths != {len(first)}:
        raise ArgumentValueError(
            f"{name}(): a P() argument has one value for each item of the batch, here "
            f"{', '.join(map(str, sorted(lengths)))}, and there are {len(first)} calls"
        )

    def own_value(value: Any, place: int) -> Any:
        return value[place] if isinstance(value, PerItem) else value

    return [
        (
            (*own, *(own_value(value, i) for value in args)),
            {**named, **{key: own_value(value, i) for key, value in kwargs.items()}},
        )
        for i, (own, named) in enumerate(first)
    ]


def ids_of_calls(batch: BaseBatch, n_calls: int) -> list[Any] | None:
    """Return the ids of the items, if there is one call for each."""
    ids: list[Any] = batch.indices.tolist()
    return ids if len(ids) == n_calls else None


def class_attribute(
    cls: type[BaseBatch], wanted: str, asker: str, words: Iterable[str] = ()
) -> Any:
    """Return an attribute of a batch class, by the name that the `asker` gives.

    Raises:
        UnknownNameError: (a `KeyError`) There is none.
    """
    found = getattr(cls, wanted, None)
    if found is None:
        known = [name for name in (*cls.components, *dir(cls)) if not name.startswith("__")]
        listed = "".join(f", {word}" for word in words)
        raise UnknownNameError(
            f"{asker}: a {cls.__name__} has no {wanted!r}."
            f"{did_you_mean(wanted, [*known, *words], only_near=True)} Expected a method{listed}"
        )
    return found


def post_function(cls: type[BaseBatch], post: Any, name: str) -> Callable[..., Any] | None:
    """Return the function that gets the results, the batch first; None if there is none."""
    if post is not None and not isinstance(post, str) and not callable(post):
        raise ArgumentTypeError(
            f"{name}(): post is the name of a method or a function, got {post!r:.60}"
        )
    found: Callable[..., Any] | None = post
    if isinstance(post, str):
        found = class_attribute(cls, post, f"{name}(post={post!r})")
    return found


def action_signature(
    method: Callable[..., Any],
    n_given: int | None,
    options: Iterable[str],
    defaults: Mapping[str, Any] | None = None,
) -> inspect.Signature:
    """Return the signature of an action whose method is written for one item.

    Args:
        method: The method.
        n_given: How many positional arguments each call is given before those of the action; None
            if that is not known: the signature then takes any number.
        options: Keyword arguments that the action has beside the method's.
        defaults: Arguments of the method that the decorator gives: they may be left out.
    """
    kinds = inspect.Parameter
    itself, *parameters = inspect.signature(method).parameters.values()
    by_place = (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)
    if n_given is None:
        named = (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)
        own = [
            kinds("args", kinds.VAR_POSITIONAL),
            *(
                p.replace(kind=kinds.KEYWORD_ONLY, default=None)
                for p in parameters
                if p.kind in named
            ),
        ]
    else:
        placed = [p for p in parameters if p.kind in by_place]
        given = {p.name for p in placed[:n_given]}
        own = [p for p in parameters if p.name not in given and p.kind is not kinds.VAR_KEYWORD]
    if defaults:
        own = _with_defaults(own, defaults)
    added = [kinds(name, kinds.KEYWORD_ONLY, default=None) for name in options]
    rest = [p for p in parameters if p.kind is kinds.VAR_KEYWORD]
    known = {p.name for p in own}
    return inspect.Signature([itself, *own, *(p for p in added if p.name not in known), *rest])


def _with_defaults(
    parameters: Iterable[inspect.Parameter], defaults: Mapping[str, Any]
) -> list[inspect.Parameter]:
    """Give parameters these defaults; they go by name then, and so do all that follow."""
    result: list[inspect.Parameter] = []
    by_name = False
    for parameter in parameters:
        if parameter.name in defaults:
            by_name = True
            parameter = parameter.replace(default=defaults[parameter.name])
        if by_name and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            parameter = parameter.replace(kind=parameter.KEYWORD_ONLY)
        result.append(parameter)
    return sorted(result, key=lambda p: p.kind)
