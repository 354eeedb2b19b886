"""Steps that every batch class has.

Most are functions of one batch and the step's arguments. Such a function returns a value, which
`save_to` can store, and the batch goes on; or it returns the batch that goes on, as an action does.
The others, such as `merge`, are no work on one batch: their functions check the arguments.

An action of the batch class with the same name takes the place of the built-in step.
"""

from __future__ import annotations

import builtins
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from batchflow.batch import Batch
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


def train_model(
    batch: Batch,
    model: Any,
    *args: Any,
    fetches: Any = None,
    steps_per_call: int = 1,  # noqa: ARG001  the engine gives the groups
    **kwargs: Any,
) -> Any:
    """Train a model with this batch: `train_model("net", B.images, B.labels, save_to=...)`.

    One batch at a time, in order.

    Args:
        batch: The batch.
        model: The model; in a chain, its name.
        args: For a Keras model `x, y, sample_weight`; otherwise what its `train` takes. A
            classifier of scikit-learn gets the classes of the dataset's labels.
        fetches: What to return: `"loss"`, the name of a metric, or a list of them.
        steps_per_call: So many batches of an epoch in a row are trained on in one call, step by
            step: the same weights, and a value for each batch. Those that are left over at the end
            of an epoch take single steps. Batches are delivered, and `StopPipeline` ends the run,
            when their group has been trained on.
        kwargs: More arguments.

    Returns:
        The loss or metrics that `fetches` names.
    """
    if hasattr(type(model), "partial_fit"):
        from batchflow.plan.classes import train_in_parts

        return train_in_parts(batch, model, args, kwargs, fetches)
    from batchflow.models import calls  # on use: with what knows the frameworks

    return calls.train(model, args, kwargs, fetches)


def train_model_several(
    model: Any, arguments: Sequence[tuple[Sequence[Any], Mapping[str, Any]]]
) -> list[Any] | None:
    """Train a model with several batches in one call, with the arguments of `train_model` for each.

    Returns:
        What `train_model` returns for each; None, and nothing is done, if the model cannot be
        trained so.
    """
    from batchflow.models import calls  # on use: with what knows the frameworks

    if not calls.trains_several(model):
        return None
    plain = [
        (args, {name: value for name, value in kwargs.items() if name != "fetches"})
        for args, kwargs in arguments
    ]
    return calls.train_several(model, plain, [kwargs.get("fetches") for _, kwargs in arguments])


def predict_model(batch: Batch, model: Any, *args: Any, fetches: Any = None, **kwargs: Any) -> Any:  # noqa: ARG001
    """Make predictions with a model: `predict_model("net", B.images, save_to=B.predictions)`.

    Args:
        batch: The batch.
        model: The model; in a chain, its name.
        args: For a Keras model `x`; otherwise what its `predict` takes.
        fetches: The outputs to return, where there are several.
        kwargs: More arguments.

    Returns:
        The predictions.
    """
    from batchflow.models import calls

    return calls.predict(model, args, kwargs, fetches)


def evaluate_model(batch: Batch, model: Any, *args: Any, fetches: Any = None, **kwargs: Any) -> Any:  # noqa: ARG001
    """Test a model on this batch: `evaluate_model("net", B.images, B.labels, save_to=...)`.

    One batch at a time, in order: the metrics of a model are a part of its state.

    Args:
        batch: The batch.
        model: The model; in a chain, its name.
        args: For a Keras model `x, y, sample_weight`; otherwise what its `evaluate` takes.
        fetches: What to return: `"loss"`, the name of a metric, or a list of them.
        kwargs: More arguments.

    Returns:
        The loss and the metrics by name, of a model of a framework; or what `fetches` names.
    """
    from batchflow.models import calls

    return calls.evaluate(model, args, kwargs, fetches)


def save_model(batch: Batch, model: Any, path: Any) -> None:  # noqa: ARG001
    """Save a model: `pipeline.after.save_model("net", "net.npz")`.

    Args:
        batch: The batch.
        model: The model; in a chain, its name.
        path: The file.
    """
    from batchflow.models import checkpoint  # on use: reading and writing takes some imports

    checkpoint.save(model, path)


def load_model(batch: Batch, model: Any, path: Any, *, trust: bool = False) -> None:  # noqa: ARG001
    """Load what `save_model` saved into a model: `pipeline.before.load_model("net", "net.npz")`.

    Args:
        batch: The batch.
        model: The model; in a chain, its name.
        path: The file.
        trust: Whether the file may execute code.
    """
    from batchflow.models import checkpoint

    loaded = checkpoint.load(path, into=model, trust=trust)
    if loaded is not model:
        raise ArgumentTypeError(
            f"load_model: {path} holds a {type(loaded).__name__} of its own, which cannot be put "
            "into a model that is there. Let the chain make the model of it: "
            "load_model(name, path) for a name that is not declared"
        )


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
    """

    function: Callable[..., Any]
    kind: Literal["value", "batch", "stream"] = "value"
    stores: bool = False
    model: Literal["used", "evaluated", "trained"] | None = None
    needs_batch: bool = False
    joined_at: int | None = None
    several: Callable[..., list[Any] | None] | None = None


BUILTINS = {
    "update": Builtin(update, stores=True),
    "call": Builtin(call, joined_at=1),
    "print": Builtin(print_values, joined_at=0),
    "do_nothing": Builtin(do_nothing, joined_at=0),
    "discard_batch": Builtin(discard_batch, needs_batch=True),
    "map": Builtin(map_items, "batch", needs_batch=True),
    "filter": Builtin(filter_items, "batch", needs_batch=True),
    "join": Builtin(several.join, "stream"),
    "merge": Builtin(several.merge, "stream"),
    "concat": Builtin(several.concat, "stream"),
    "rebatch": Builtin(several.rebatch, "stream"),
    "train_model": Builtin(
        train_model, model="trained", needs_batch=True, several=train_model_several
    ),
    "predict_model": Builtin(predict_model, model="used", needs_batch=True),
    "evaluate_model": Builtin(evaluate_model, model="evaluated", needs_batch=True),
    "save_model": Builtin(save_model, model="used"),
    "load_model": Builtin(load_model, model="used"),
}
