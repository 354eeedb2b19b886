"""Actions that are written for one item: `inbatch_parallel`.

The decorator gives a plain function that takes the batch: `@action` can be put above it, and a unit
test can call it.

Guarantees:
    - The result depends neither on the target, nor on the number of workers, nor on the order in
      which they finish. (Writing to the batch is refused in a worker process.)
    - Without `post` the error of the first item that failed, in the order of the items, is raised,
      with a note that names the item.
    - `SkipBatch` and `StopPipeline` in an item skip the batch or stop the run.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from batchflow.batch.items.apply import apply_parallel, apply_to_items
from batchflow.batch.items.arguments import (
    INIT_WORDS,
    PER_ITEM,
    action_signature,
    check_init,
    first_arguments,
    ids_of_calls,
    post_function,
    with_arguments,
)
from batchflow.errors import ActionResultError, ArgumentTypeError
from batchflow.records import Record

if TYPE_CHECKING:
    from batchflow.batch.core import BaseBatch
    from batchflow.batch.items.calls import ItemCalls, Target  # at run time on use: law 9

__all__ = [
    "any_action_failed",
    "apply_parallel",
    "apply_to_items",
    "check_per_item",
    "inbatch_parallel",
    "per_item_signature",
]

_OPTIONS = ("target", "n_workers", "timeout")


def any_action_failed(results: Iterable[Any]) -> bool:
    """Check whether some of the results that `post` gets are exceptions."""
    return any(isinstance(result, Exception) for result in results)


class _Spec(Record):
    """The decorated method, and the arguments of `@inbatch_parallel`."""

    method: Callable[..., Any]
    init: str
    post: Any
    target: Target
    own: frozenset[str]  # the options in `_OPTIONS` that are parameters of the method itself
    makes_function: bool  # whether the method may return the function for the processes
    extra: dict[str, Any]

    @property
    def name(self) -> str:
        return self.method.__name__


def inbatch_parallel(
    init: str, post: Any = None, target: str = "threads", **extra: Any
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a method that is written for one item work on all items of a batch, in parallel.

    The method is called once for each element of what `init` names: with that element, then the
    arguments of the action. `self` is the batch, and the calls may write to their items' parts of
    it. `self.rng` is a generator of the item's own.

    Args:
        init: What the method is called for:

            - `"indices"`: each id;
            - `"items"`: each item, as iterating the batch gives them;
            - the name of a component: each of its elements;
            - `"run_once"`: nothing; it is called once;
            - the name of an own method, called with the arguments of the action and `extra` (or of
              an attribute): gives a sequence with an entry for each call. A tuple is its positional
              arguments, a dict its keyword arguments, a pair of a list (or tuple) and a dict both;
              anything else, a list as well, is its one argument.
        post: The name of a method, or a function with the batch first. It gets the list of all
            results, exceptions in the places of calls that failed, then the arguments of the action
            and `extra`; what it returns, the action returns. Without it results are dropped, an
            exception is raised, and the action returns the batch.
        target: `"threads"`, `"processes"`, `"async"` or `"for"` (in turn), or the first letter. A
            method written with `async def` is async in any case. `"mpc"` and `"m"` are processes as
            well; there a method that can be called without an item is called once, in the main
            process, and returns the function for the worker processes.
        extra: `n_workers`, the most calls at work at once, and `timeout`, seconds for all of them;
            anything else is passed to `init` and `post`. The call of the action can give `target`,
            `n_workers` and `timeout`, too, unless the method has a parameter of that name.

    Returns:
        A decorator. What it makes takes the arguments of the action.

    Raises:
        ArgumentTypeError: `init` is no name, or what is decorated is no method.
        ArgumentValueError: There is no such target.

    Example:
        >>> from batchflow import ArrayBatch, Dataset, action
        >>> class Numbers(ArrayBatch):
        ...     components = "values"
        ...
        ...     @action
        ...     @inbatch_parallel(init="values", post="store")
        ...     def add(self, value, other):
        ...         return value + other
        ...
        ...     def store(self, results, other):
        ...         self.values = results
        ...         return self
        >>> Dataset.from_arrays(Numbers, values=[1, 2, 3]).p.add(10).next_batch(3).values
        array([11, 12, 13])
    """
    if not isinstance(init, str):
        raise ArgumentTypeError(
            "@inbatch_parallel(init=...) takes a name: of a method, "
            f"{', '.join(INIT_WORDS)}; got {init!r:.60}"
        )
    from batchflow.batch.items.calls import Target

    given = Target(target, extra.pop("n_workers", None), extra.pop("timeout", None))

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.isfunction(method):
            raise ArgumentTypeError(f"@inbatch_parallel decorates a method, got {method!r:.60}")
        own = frozenset(_OPTIONS).intersection(inspect.signature(method).parameters)
        where, is_maker = given.for_function(method), target in ("mpc", "m")
        spec = _Spec(method, init, post, where, own, is_maker, extra)

        @functools.wraps(method)
        def per_item(self: BaseBatch, *args: Any, **kwargs: Any) -> Any:
            return _call(spec, per_item, self, args, kwargs)

        marks = {
            "__signature__": _signature(spec),
            "is_async": where.kind == "async",
            PER_ITEM: spec,
        }
        per_item.__dict__.update(marks)
        return per_item

    return decorate


def _signature(spec: _Spec, components: Iterable[str] = ()) -> inspect.Signature:
    n_given = dict.fromkeys(components, 1) | {"indices": 1, "items": 1, "run_once": 0}
    options = [name for name in _OPTIONS if name not in spec.own]
    return action_signature(
        spec.method, None if spec.makes_function else n_given.get(spec.init), options
    )


def per_item_signature(function: Any, cls: type[BaseBatch]) -> inspect.Signature | None:
    """Return the signature of an `inbatch_parallel` action of a batch class; None of others.

    Which names are components only the class knows: each call is given one element of them.
    """
    spec = getattr(function, PER_ITEM, None)
    return _signature(spec, cls.components) if isinstance(spec, _Spec) else None


def check_per_item(cls: type[BaseBatch]) -> None:
    """Check that a batch class has the attributes that its per-item methods name.

    Raises:
        UnknownNameError: (a `KeyError`) It has no such `init` or `post`.
    """
    for name in dir(cls):
        spec = getattr(inspect.getattr_static(cls, name), PER_ITEM, None)
        if isinstance(spec, _Spec):
            check_init(cls, spec.init, spec.name)
            post_function(cls, spec.post, spec.name)


def _call(
    spec: _Spec, wrapper: Any, batch: BaseBatch, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Make the calls of a per-item method."""
    from batchflow.batch.items.calls import ItemCalls
    from batchflow.batch.items.targets import make_calls

    target = spec.target
    given = {name: kwargs.pop(name) for name in _OPTIONS if name in kwargs and name not in spec.own}
    if given:
        kind = given.pop("target", target.kind)
        target = target._replace(kind=kind, **given).for_function(spec.method)
    post = post_function(type(batch), spec.post, spec.name)
    all_named = {**spec.extra, **kwargs}
    first = first_arguments(batch, spec.init, spec.name, args, all_named)
    calls = ItemCalls(
        batch,
        spec.name,
        spec.method,
        with_arguments(first, args, kwargs, spec.name),
        ids=None if spec.init == "run_once" else ids_of_calls(batch, len(first)),
        wrapper=wrapper,
        keeps_results=post is not None,
        gives_items=spec.init == "items",
    )
    if spec.makes_function and target.kind == "processes":
        _let_make_function(calls, args, kwargs)
    outcomes = make_calls(calls, target)
    if post is None:
        calls.results(outcomes)
        return batch
    return post(batch, calls.results_and_errors(outcomes), *args, **all_named)


def _let_make_function(calls: ItemCalls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Call a method that takes no item: it returns the function for the processes."""
    try:
        inspect.signature(calls.function).bind(calls.batch, *args, **kwargs)
    except TypeError:  # it needs the item: it is the function itself
        return
    made = calls.function(calls.batch, *args, **kwargs)
    if not callable(made):
        raise ActionResultError(
            f'{calls.name}(): with target="mpc" a method that can be called without an item '
            f"returns the function for the worker processes; this one returned {made!r:.60}. To "
            'run the method itself there, write target="processes"'
        )
    calls.function, calls.takes_batch, calls.wrapper = made, False, None
