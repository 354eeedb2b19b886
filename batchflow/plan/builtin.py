"""Steps that every batch class has.

Most are functions of one batch and the step's arguments. Such a function returns a value, which
`save_to` can store, and the batch goes on; or it returns the batch that goes on, as an action does.
The others, such as `merge`, are no work on one batch: their functions check the arguments.

An action of the batch class with the same name takes the place of the built-in step.
"""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from batchflow.batch import Batch
from batchflow.batch.cropping import check_pad, crop, n_pieces, pad
from batchflow.batch.items.parallel import apply_to_items
from batchflow.batch.items.places import Together
from batchflow.batch.regroup import part
from batchflow.errors import (
    ActionResultError,
    ArgumentTypeError,
    ArgumentValueError,
    SkipBatch,
    add_note_once,
)
from batchflow.index.labels import by_label
from batchflow.plan import several
from batchflow.plan.model_steps import (
    evaluate_model,
    load_model,
    predict_model,
    save_model,
    train_model,
    train_model_several,
)
from batchflow.records import Record


def update(batch: Batch, target: Any, value: Any, /) -> None:
    """Store a value: `update(V("loss", mode="a"), B.loss)`, `update(B.images, B.images / 255)`.

    Args:
        batch: The batch.
        target: Where: `V("name", mode=...)`, `B.name` or `B.name[item]`.
        value: The value.
    """
    target._store(batch, value)


def call(batch: Batch, function: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: ARG001
    """Call a function: `call(np.mean, B.images, save_to=V("mean"))`.

    Args:
        batch: The batch, which the function does not get unless `B()` is among the arguments.
        function: The function.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Returns:
        What the function returns.
    """
    if not callable(function):
        raise ArgumentTypeError(f"call: the first argument is a function, got {function!r:.60}")
    try:
        return function(*args, **kwargs)
    except TypeError as error:
        if not args and not kwargs and error.__traceback__.tb_next is None:  # type: ignore[union-attr]
            add_note_once(error, "call gives no batch to a function; to give it: call(f, B())")
        raise


def print_values(batch: Batch, *values: Any, **options: Any) -> None:
    """Print values, or the batch: `print("loss", V("loss"))`.

    Args:
        batch: The batch.
        values: The values.
        options: The options of Python's `print`.
    """
    builtins.print(*(values or (batch,)), **options)  # noqa: T201  it is asked for


def do_nothing(batch: Batch, *args: Any, **kwargs: Any) -> None:
    """Do nothing, with any arguments."""


def discard_batch(batch: Batch) -> None:  # noqa: ARG001
    """End this batch here: it is not delivered."""
    raise SkipBatch


def map_items(
    batch: Batch,
    function: Any,
    *,
    src: Any = None,
    dst: Any = None,
    over: Literal["items", "batches"] = "items",
) -> Any:
    """Put every item, or the batch, through a function: `map(np.sqrt, src="images")`.

    Args:
        batch: The batch.
        function: A function of an item, or of the batch. The latter returns a batch.
        src: The components whose elements the function gets. None: the data of a batch without
            components; else the items as iterating the batch gives them, which it changes.
        dst: The components that get what it returns; None: `src`.
        over: `"items"` or `"batches"`.

    Returns:
        The batch, or what a function of the batch returns.
    """
    if not callable(function):
        raise ArgumentTypeError(f"map: the first argument is a function, got {function!r:.60}")
    if _is_over_items("map", over):
        try:
            return apply_to_items(batch, function, src=Together.of(src), dst=dst, target="for")
        except (TypeError, AttributeError) as error:
            if src is None and batch.components:
                name = batch.components[0]
                add_note_once(
                    error,
                    "without src= the function gets each item, which has the components as "
                    f"attributes (item.{name}); for one of them alone: map(f, src={name!r})",
                )
            raise
    if src is not None or dst is not None:
        raise ArgumentTypeError(
            'map: src and dst go with over="items"; a function over batches gets the batch'
        )
    return function(batch)


def filter_items(
    batch: Batch, predicate: Any, *, src: Any = None, over: Literal["items", "batches"] = "items"
) -> Batch:
    """Keep some items, or the batch: `filter(B.labels == 3)`, `filter(lambda item: item.label)`.

    A batch of which nothing is kept is skipped.

    Args:
        batch: The batch.
        predicate: A function from an item to whether it is kept; or, of shape `(n_items,)`, one
            bool for each item. Over batches: a function of the batch, or a bool.
        src: The components whose elements the function gets; None: as for `map`.
        over: `"items"` or `"batches"`.

    Returns:
        A batch of the items that are kept, or this one if all are.
    """
    if not _is_over_items("filter", over):
        if src is not None:
            raise ArgumentTypeError(
                'filter: src goes with over="items"; a function over batches gets the batch'
            )
        keeps = predicate(batch) if callable(predicate) else predicate
        if inspect.iscoroutine(keeps):
            keeps.close()
            raise ActionResultError("filter: the function gave a coroutine, which nobody awaits")
        if not keeps:
            raise SkipBatch
        return batch
    kept: list[Any] = []
    if callable(predicate):
        post = _keep_in(kept)
        apply_to_items(batch, predicate, src=Together.of(src), post=post, target="for")
    else:
        predicate = by_label(predicate, batch.index, "filter")
        flags = np.asarray(np.ma.filled(predicate, False))  # what is masked is not kept
        if flags.shape != (len(batch),) or flags.dtype != bool:
            raise ArgumentValueError(
                f"filter: expected a function of an item, or one bool for each of {len(batch)} "
                f"items, got {flags.dtype} of shape {flags.shape}"
            )
        kept = flags.tolist()
    if not any(kept):
        raise SkipBatch
    return batch if all(kept) else part(batch, np.flatnonzero(kept))


def _keep_in(kept: list[Any]) -> Callable[[Batch, list[Any]], None]:
    def post(batch: Batch, results: list[Any]) -> None:  # noqa: ARG001
        for result in results:
            if isinstance(result, BaseException):
                try:
                    raise result
                finally:
                    results, result = [], None  # they hold this frame: no circle
            kept.append(bool(result))

    return post


def _is_over_items(name: str, over: Any) -> bool:
    if over not in ("items", "batches"):
        raise ArgumentValueError(f'{name}: over is "items" or "batches", got {over!r:.60}')
    return bool(over == "items")


class Builtin(Record):
    """A built-in step.

    Attributes:
        function: The function of a batch and the step's arguments.
        kind: `"value"`: the function gives a value; `"batch"`: it gives the batch that goes on;
            `"stream"`: the step is no work on one batch: the function checks its arguments and
            gives a `Join` or a regrouping.
        stores: Whether its first argument says where to store, and so is not resolved.
        model: Whether its first argument is the name of a model: `"used"`, or `"evaluated"` or
            `"trained"`, which make it a singleton.
        needs_batch: Whether it makes no sense before the first batch and after the last.
        joined_at: The place among its arguments where joined batches go; None: it takes none.
        several: Does it for several batches in one call, if `steps_per_call` says so: gets
            the model, and the arguments for each batch.
        expands: Returns, for the step's arguments, how many items it makes of each: see
            `ActionSpec`. It may refuse arguments.
    """

    function: Callable[..., Any]
    kind: Literal["value", "batch", "stream"] = "value"
    stores: bool = False
    model: Literal["used", "evaluated", "trained"] | None = None
    needs_batch: bool = False
    joined_at: int | None = None
    several: Callable[..., list[Any] | None] | None = None
    expands: Callable[..., Any] | None = None


BUILTINS = {
    "update": Builtin(update, stores=True),
    "call": Builtin(call, joined_at=1),
    "print": Builtin(print_values, joined_at=0),
    "do_nothing": Builtin(do_nothing, joined_at=0),
    "discard_batch": Builtin(discard_batch, needs_batch=True),
    "map": Builtin(map_items, "batch", needs_batch=True),
    "crop": Builtin(crop, "batch", needs_batch=True, expands=n_pieces),
    "pad": Builtin(pad, "batch", needs_batch=True, expands=check_pad),
    "filter": Builtin(filter_items, "batch", needs_batch=True),
    "join": Builtin(several.join, "stream"),
    "merge": Builtin(several.merge, "stream"),
    "concat": Builtin(several.concat, "stream"),
    "rebatch": Builtin(several.rebatch, "stream"),
    "mix_rows": Builtin(several.mix_rows, "stream"),
    "pack": Builtin(several.pack, "stream"),
    "train_model": Builtin(
        train_model, model="trained", needs_batch=True, several=train_model_several
    ),
    "predict_model": Builtin(predict_model, model="used", needs_batch=True),
    "evaluate_model": Builtin(evaluate_model, model="evaluated", needs_batch=True),
    "save_model": Builtin(save_model, model="used"),
    "load_model": Builtin(load_model, model="used"),
}
