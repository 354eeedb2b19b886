"""The common case of per-item work: an element of a component in, a new one out.

Guarantees:
    - The function sees its own arguments and nothing else.
    - An element is one argument, whatever it is: a list of tokens is not spread.
    - Components are written after all items have succeeded, or not at all.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from batchflow.arrays import exact_array, object_array
from batchflow.batch.actions import action
from batchflow.batch.components import set_component
from batchflow.batch.items.arguments import (
    PER_ITEM,
    action_signature,
    asked_places,
    class_attribute,
    elements,
    first_arguments,
    ids_of_calls,
    post_function,
    with_arguments,
)
from batchflow.batch.items.places import Way, drawn_share, names_in, refuse_default, ways
from batchflow.errors import (
    ActionResultError,
    ArgumentTypeError,
    ArgumentValueError,
    add_note_once,
    did_you_mean,
)
from batchflow.old_words import old_word

if TYPE_CHECKING:
    from batchflow.batch.core import BaseBatch
    from batchflow.batch.items.calls import Call, ItemCalls, Target  # at run time on use: law 9

_REPEATED = "a list of src calls the function once for each; a tuple gives it several arguments"


class _Options(NamedTuple):
    """The options of `apply_parallel` beside the function's own arguments."""

    src: Any = None
    dst: Any = None
    init: Any = None
    post: Any = None
    p: Any = None
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
        options: `src`, `dst`, `p`, `init`, `post`, `target`, `n_workers` and `timeout`: see
            `apply_to_items`. They are defaults: the call of the action can give others. So are
            arguments of the method: `@apply_parallel(src="images", angle=90)`.

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

    def decorate(method: Callable[..., Any]) -> Callable[..., Any]:
        if not inspect.isfunction(method):
            raise ArgumentTypeError(f"@apply_parallel decorates a method, got {method!r:.60}")
        words = _option_names(method)
        own_defaults = {n: value for n, value in options.items() if n not in words}
        _refuse_unknown(own_defaults, method)
        defaults = _Options(**{n: value for n, value in options.items() if n in words})
        first_source = defaults.src[0] if _repeats(defaults.src) else defaults.src
        n_sources = len(names_in(first_source)) if defaults.init is None else 0

        @functools.wraps(method)
        def per_item(self: BaseBatch, *args: Any, **kwargs: Any) -> Any:
            given = {name: kwargs.pop(name) for name in words if name in kwargs}
            refuse_default(method, given.get("src"), method.__name__, is_method=True)
            from batchflow.batch.items.calls import ItemCalls

            calls = ItemCalls(self, method.__name__, method, wrapper=per_item)
            options = defaults._replace(**given) if given else defaults
            return _apply(calls, options, args, {**own_defaults, **kwargs})

        signature = action_signature(method, n_sources or None, words, own_defaults)
        is_async = defaults.where.for_function(method).kind == "async"
        marks = {"__signature__": signature, "is_async": is_async, PER_ITEM: defaults}
        per_item.__dict__.update(marks)
        return per_item if method.__name__.startswith("_") else action(per_item)

    return decorate if method is None else decorate(method)


def _option_names(function: Callable[..., Any]) -> tuple[str, ...]:
    """Return the names of the options: without those of words that the function has itself."""
    own = {"init", "p"} & inspect.signature(function).parameters.keys()
    return tuple(name for name in _Options._fields if name not in own)


def _refuse_unknown(options: Mapping[str, Any], method: Callable[..., Any]) -> None:
    """Refuse what is neither an option nor an argument of the method.

    Raises:
        ArgumentTypeError: Something is neither.
    """
    parameters = inspect.signature(method).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in options:
        if name in parameters:
            continue
        near = did_you_mean(name, _Options._fields, only_near=True)
        hint = old_word(name, "apply_parallel") or near
        if hint or not takes_any:
            hint = hint or did_you_mean(name, _Options._fields)
            raise ArgumentTypeError(f"@apply_parallel has no option {name!r}.{hint}")


def apply_to_items(
    batch: BaseBatch,
    function: Any,
    *args: Any,
    src: Any = None,
    dst: Any = None,
    init: Any = None,
    post: Any = None,
    p: Any = None,
    target: str = "threads",
    n_workers: int | None = None,
    timeout: float | None = None,
    **kwargs: Any,
) -> Any:
    """Apply a function to each element of a component; what it returns is the new component.

    A function that itself has a parameter `p` or `init` gets that.

    Args:
        batch: The batch.
        function: Takes an element of each component in `src`, then `args` and `kwargs`. Or the name
            of a method of the batch, which takes the same after `self`.
        args: More arguments of the function; a `PerItem` has one for each item.
        src: The name of a component. A tuple of names: the function gets an element of each. A
            list: it is called for each of them in turn. None: the data of a batch without
            components; else the items, as iterating the batch gives them.
        dst: Where the results go: a component, or a new one; for a function that returns a tuple,
            several; a list for a list in `src`. By default `src`.
        init: What gives the first arguments of each call instead of `src`, as in
            `inbatch_parallel`; a method with parameters `src` and `dst` gets these.
        post: Gets the results instead, as in `inbatch_parallel`; `src` and `dst` as well, if it has
            parameters of these names.
        p: The probability that the function is called for an item, which otherwise keeps what `src`
            has. It is drawn by the batch's generator, once for all components.
        target: See `inbatch_parallel`.
        n_workers: The most calls at work at once.
        timeout: Seconds for all calls together.
        kwargs: More keyword arguments of the function.

    Returns:
        The batch; or what `post` returns.

    Raises:
        UnknownNameError: (a `KeyError`) There is no such component or method.
        ArgumentTypeError: `function` is no function, or `src` gives it more than it can take.
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
    if p is not None or init is not None:
        with suppress(TypeError, ValueError):  # functions in C may not tell
            own = inspect.signature(calls.function).parameters
            if "p" in own:
                kwargs["p"], p = p, None
            if "init" in own:
                kwargs["init"], init = init, None
    refuse_default(calls.function, src, calls.name, is_method=calls.takes_batch)
    options = _Options(src, dst, init, post, p, target, n_workers, timeout)
    return _apply(calls, options, args, kwargs)


def _apply(
    calls: ItemCalls, options: _Options, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    batch = calls.batch
    target = options.where.for_function(calls.function)
    post = post_function(type(batch), options.post, calls.name)
    rounds = ways(batch, options.src, options.dst, calls.name)
    chosen = drawn_share(batch, options.p, calls.name)
    answer: Any = batch
    results = []
    for way in rounds:
        outcomes = _outcomes(calls, way, chosen, target, options, args, kwargs)
        if post is None:
            try:
                values = calls.results(outcomes)
                results.append(values if calls.stacked is None else calls.stacked.taken(values))
            except TypeError as error:
                if _repeats(options.src) and "missing" in str(error):
                    add_note_once(error, f"{_REPEATED}: src={tuple(options.src)}")
                raise
            continue
        places = asked_places(post, kwargs, src=_one(way.sources), dst=_one(way.targets))
        # This frame keeps no list of errors: they hold it, and so would keep the batch.
        answer = post(batch, calls.results_and_errors(outcomes), *args, **kwargs, **places)
    for way, values in zip(rounds, results, strict=False):
        _store(calls, way.sources, way.targets, values)
    return answer


def _outcomes(
    calls: ItemCalls,
    way: Way,
    chosen: list[bool] | None,
    target: Target,
    options: _Options,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> list[Any]:
    """Make the calls of one round, for the items that are chosen; others keep what they have."""
    from batchflow.batch.items.stacked import Stacked
    from batchflow.batch.items.targets import make_calls

    batch, init, has_post = calls.batch, options.init, options.post is not None
    parts = [elements(batch, name) for name in way.sources] or [list(batch)]
    first: list[Call] = [(own, {}) for own in zip(*parts, strict=True)]
    if init is not None:
        places = {"src": _one(way.sources), "dst": _one(way.targets)}
        first = first_arguments(batch, init, calls.name, args, kwargs, places)
    calls.gives_items = not way.sources and init is None
    all_calls = with_arguments(first, args, kwargs, calls.name)
    ids = ids_of_calls(batch, len(first))
    calls.calls, calls.ids = all_calls, ids
    if chosen is None:
        will_be_array = not has_post and _becomes_array(batch, way)
        calls.stacked = Stacked(len(all_calls)) if will_be_array else None
        return make_calls(calls, target)
    _check_share(calls, way, len(all_calls), has_post=has_post)
    called = [place for place, is_chosen in enumerate(chosen) if is_chosen]
    calls.calls = [all_calls[place] for place in called]
    calls.ids = ids and [ids[place] for place in called]
    new = make_calls(calls, target) if called else []
    kept = parts[0] if len(parts) == 1 else [*zip(*parts, strict=True)]
    outcomes: list[Any] = [None] * len(chosen) if not way.sources else kept
    for place in reversed(called):
        outcomes[place] = new.pop()  # errors hold this frame, which may hold none: Failed.taken
    calls.calls, calls.ids = all_calls, ids
    return outcomes


def _check_share(calls: ItemCalls, way: Way, n_calls: int, *, has_post: bool) -> None:
    if has_post and not way.sources:
        raise ArgumentValueError(
            f"{calls.name}(): with p=, post gets for items that are left alone what src has: name "
            "the component, src=..."
        )
    if n_calls != len(calls.batch):
        raise ArgumentValueError(
            f"{calls.name}(): p is for items, and there are {n_calls} calls for "
            f"{len(calls.batch)} items"
        )
    if len(way.sources) != len(way.targets):
        raise ArgumentValueError(
            f"{calls.name}(): with p=, items that are left alone keep what src has, so dst has as "
            f"many components as src; got src={list(way.sources)}, dst={list(way.targets)}"
        )


def _repeats(src: Any) -> bool:
    return isinstance(src, list) and len(src) > 1


def _one(names: tuple[str, ...]) -> Any:
    """Return the only name, or all of them; None if there are none."""
    return names[0] if len(names) == 1 else names or None


def _becomes_array(batch: BaseBatch, way: Way) -> bool:
    """Check whether results that are arrays of one shape will be stacked."""
    if len(way.targets) != 1:
        return False
    origin = getattr(batch, way.sources[0]) if way.sources else None
    if isinstance(origin, np.ndarray):
        return not origin.dtype.hasobject
    return batch._holds_arrays


def _store(
    calls: ItemCalls, sources: tuple[str, ...], targets: tuple[str, ...], results: Any
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
        set_component(batch, name, column)


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


def _like(origin: Any, values: Any) -> Any:
    """Make an array of values that came from one, if they are arrays or numbers of one shape."""
    if isinstance(values, np.ndarray) or not isinstance(origin, np.ndarray):
        return values
    if any(isinstance(value, (list, tuple)) for value in values):
        return object_array(values) if origin.dtype.hasobject else values
    if origin.dtype.hasobject and any(isinstance(v, np.ndarray) and v.ndim for v in values):
        # Arrays out of objects stay objects: in another batch their shapes may differ.
        return object_array(values)
    array = exact_array(values)
    return array if origin.dtype.hasobject or not array.dtype.hasobject else values
