"""The common case of per-item work: an element of a component in, a new one out.

Guarantees:
    - The function sees its own arguments and nothing else.
    - An element is one argument, whatever it is: a list of tokens is not spread.
    - Components are written after all items have succeeded, or not at all.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from batchflow.arrays import exact_array, object_array
from batchflow.batch.actions import action
from batchflow.batch.items.arguments import (
    PER_ITEM,
    action_signature,
    class_attribute,
    elements,
    ids_of_calls,
    post_function,
    with_arguments,
)
from batchflow.errors import (
    ActionResultError,
    ArgumentTypeError,
    UnknownNameError,
    did_you_mean,
)

if TYPE_CHECKING:
    from batchflow.batch.core import BaseBatch
    from batchflow.batch.items.calls import Call, ItemCalls, Target  # at run time on use: law 9

__all__ = ["apply_parallel", "apply_to_items"]


class _Options(NamedTuple):
    """The options of `apply_parallel` beside the function's own arguments."""

    src: Any = None
    dst: Any = None
    post: Any = None
    target: Any = "threads"
    n_workers: Any = None
    timeout: Any = None

    @property
    def where(self) -> Target:
        from batchflow.batch.items.calls import Target

        return Target(self.target, self.n_workers, self.timeout)


@overload
def apply_parallel(method: Callable[..., Any], /) -> Callable[..., Any]: ...
@overload
def apply_parallel(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]: ...
def apply_parallel(method: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make an action of a method that takes an element of a component and returns a new one.

    Args:
        method: The method, when the decorator is used without parentheses.
        options: `src`, `dst`, `target`, `n_workers`, `timeout` and `post`: see `apply_to_items`.
            They are defaults: the call of the action can give others.

    Returns:
        The action: it takes what the method takes after the element, and the options. A method
        whose name begins with an underscore stays a method.

    Raises:
        ArgumentTypeError: There is no such option, or what is decorated is no method.
        ArgumentValueError: An option makes no sense.

    Example:
        >>> from batchflow import ArrayBatch, Dataset
        >>> class Images(ArrayBatch):
        ...     components = "images", "masks"
        ...
        ...     @apply_parallel(src="images")
        ...     def shift(self, image, by):
        ...         return np.roll(image, by)
        >>> dataset = Dataset.from_arrays(Images, images=[[1, 2, 3]], masks=[[0, 0, 1]])
        >>> batch = dataset.p.shift(1).shift(1, src="masks").next_batch(1)
        >>> batch.images.tolist(), batch.masks.tolist()
        ([[3, 1, 2]], [[1, 0, 0]])
    """
    unknown = [name for name in options if name not in _Options._fields]
    if unknown:
        hint = did_you_mean(unknown[0], _Options._fields)
        raise ArgumentTypeError(f"@apply_parallel has no option {unknown[0]!r}.{hint}")
    defaults = _Options(**options)
    sources, _ = _names(defaults.src), _names(defaults.dst)

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.isfunction(method):
            raise ArgumentTypeError(f"@apply_parallel decorates a method, got {method!r:.60}")

        @functools.wraps(method)
        def per_item(self: BaseBatch, *args: Any, **kwargs: Any) -> Any:
            given = {name: kwargs.pop(name) for name in _Options._fields if name in kwargs}
            from batchflow.batch.items.calls import ItemCalls

            calls = ItemCalls(self, method.__name__, method, wrapper=per_item)
            return _apply(calls, defaults._replace(**given), args, kwargs)

        signature = action_signature(method, len(sources) or None, _Options._fields)
        is_async = defaults.where.for_function(method).kind == "async"
        marks = {"__signature__": signature, "is_async": is_async, PER_ITEM: defaults}
        per_item.__dict__.update(marks)
        return per_item if method.__name__.startswith("_") else action(per_item)

    return decorate if method is None else decorate(method)


def apply_to_items(
    batch: BaseBatch,
    function: Any,
    *args: Any,
    src: Any = None,
    dst: Any = None,
    post: Any = None,
    target: str = "threads",
    n_workers: int | None = None,
    timeout: float | None = None,
    **kwargs: Any,
) -> Any:
    """Apply a function to each element of a component; what it returns is the new component.

    Args:
        batch: The batch.
        function: Takes an element of each component in `src`, then `args` and `kwargs`. Or the name
            of a method of the batch, which takes the same after `self`.
        args: More arguments of the function; a `PerItem` has one for each item.
        src: The name of a component, or of several in a list. None: the data of a batch without
            components; else the items, as iterating the batch gives them.
        dst: Where the results go: the name of a component, or several names, and the function
            returns a tuple of as many. By default `src`.
        post: Gets the results instead, as in `inbatch_parallel`.
        target: See `inbatch_parallel`.
        n_workers: The most calls at work at once.
        timeout: Seconds for all calls together.
        kwargs: More keyword arguments of the function.

    Returns:
        The batch; or what `post` returns.

    Raises:
        UnknownNameError: (a `KeyError`) There is no such component or method.
        ArgumentTypeError: `function` is no function.
        ActionResultError: The function does not return what `dst` needs.
        ItemTimeoutError: (a `TimeoutError`) The calls were not finished in time.

    Example:
        >>> from batchflow import ArrayBatch
        >>> batch = ArrayBatch(2)
        >>> batch.data = [[1, 4], [9, 16]]
        >>> apply_to_items(batch, np.sqrt).data.tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    from batchflow.batch.items.calls import ItemCalls

    options = _Options(src, dst, post, target, n_workers, timeout)
    if isinstance(function, str):
        method = class_attribute(type(batch), function, f"apply_parallel({function!r})")
        calls = ItemCalls(batch, function, method)
        if hasattr(method, PER_ITEM):  # meant is the method for one item
            calls.function, calls.wrapper = method.__wrapped__, method
    elif callable(function):
        name = getattr(function, "__name__", None) or type(function).__name__
        calls = ItemCalls(batch, name, function, takes_batch=False)
    else:
        raise ArgumentTypeError(
            "apply_parallel takes a function or the name of a method of the batch, got "
            f"{function!r:.60}"
        )
    return _apply(calls, options, args, kwargs)


def _apply(
    calls: ItemCalls, options: _Options, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    from batchflow.batch.items.targets import make_calls

    batch = calls.batch
    target = options.where.for_function(calls.function)
    post = post_function(type(batch), options.post, calls.name)
    sources = _names(options.src) or (() if batch.components else ("data",))
    targets = _names(options.dst) or sources
    known = batch.components or ("data",)
    for component in (*sources, *targets):
        if component not in known:
            raise UnknownNameError(
                f"{calls.name}(): a {type(batch).__name__} has no component {component!r}."
                f"{did_you_mean(component, known)}"
            )
    parts = [elements(batch, name) for name in sources] or [list(batch)]
    first: list[Call] = [(own, {}) for own in zip(*parts, strict=True)]
    calls.gives_items = not sources
    calls.calls = with_arguments(first, args, kwargs, calls.name)
    calls.ids = ids_of_calls(batch, len(first))
    outcomes = make_calls(calls, target)
    if post is not None:
        return post(batch, calls.results_and_errors(outcomes), *args, **kwargs)
    _store(calls, sources, targets, calls.results(outcomes))
    return batch


def _names(given: Any) -> tuple[str, ...]:
    names = () if given is None else (given,) if isinstance(given, str) else given
    if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
        raise ArgumentTypeError(
            f"src and dst are names of components, or lists of names, got {given!r:.60}"
        )
    return tuple(names)


def _store(
    calls: ItemCalls, sources: tuple[str, ...], targets: tuple[str, ...], results: list[Any]
) -> None:
    """Make components of the results."""
    n_targets = len(targets)
    columns = [results]
    if n_targets != 1:
        for position, result in enumerate(results):
            if n_targets and isinstance(result, (tuple, list)) and len(result) == n_targets:
                continue
            if n_targets or result is not None:
                raise calls.explained(position, _wrong_result(calls.name, targets, result))
        columns = [[result[place] for result in results] for place in range(n_targets)]
    batch = calls.batch
    origins = [getattr(batch, name) for name in sources] or [None]
    new = [_like(origins[min(i, len(origins) - 1)], column) for i, column in enumerate(columns)]
    for name, column in zip(targets, new, strict=True):
        setattr(batch, name, column)


def _wrong_result(name: str, targets: tuple[str, ...], result: Any) -> ActionResultError:
    if targets:
        return ActionResultError(
            f"{name}() must return a tuple of {len(targets)} for the components "
            f"{', '.join(targets)}, and returned {result!r:.60}"
        )
    return ActionResultError(
        f"{name}() was given the items themselves and returned {result!r:.60}: say by dst= which "
        "component that is for; or change the item and return nothing"
    )


def _like(origin: Any, values: list[Any]) -> Any:
    """Make an array of values that came from one, if they are arrays or numbers of one shape."""
    if not isinstance(origin, np.ndarray):
        return values
    are_lists = any(isinstance(value, (list, tuple)) for value in values)
    array = object_array(values) if are_lists else exact_array(values)
    if origin.dtype.hasobject:
        # Arrays out of objects stay objects: in another batch their shapes may differ.
        return array if array.ndim == 1 else object_array(values)
    return values if array.dtype.hasobject else array
