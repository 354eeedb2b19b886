"""The order of a run: what `shuffle` means for one source, for its shards, for pipelines inside."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from batchflow.engine.source import Source
from batchflow.errors import ArgumentValueError
from batchflow.index.order import CustomOrder, DescribedOrder, Order, derived_seed, make_order

OptionsT = TypeVar("OptionsT", bound=Any)  # RunOptions, which are made of what is here


def order_of(
    source: Source, batch_size: int, seed: int, shuffle: Any
) -> tuple[Order, int, bool, int]:
    """Return the order of the items of a source.

    Args:
        source: The source; of a shard, what it reads.
        batch_size: Items in a batch.
        seed: The seed of the run.
        shuffle: What the order is made from: None, a seed, a function or a description.

    Returns:
        The order, how many items an epoch has, whether one may come twice in it, and how many
        blocks of the source are read together.
    """
    order: Order
    shard, n_items, repeats, window = source.shard_spec, len(source), False, 0
    bound = source._own_order(seed, shuffle)
    if bound is None and isinstance(shuffle, DescribedOrder):
        bound = shuffle.bound(source, batch_size, seed)
    if bound is not None:
        order = bound
        n_items, repeats, window = bound.n_places, bound.repeats, bound.window
        shard = shard and shard.cutting(n_items)
    else:
        order = make_order(shard.n_items if shard else n_items, shuffle, seed)
    if shard is None:
        return order, n_items, repeats, window
    from batchflow.index.shard import ShardOrder  # on use, for a light import

    return ShardOrder(order, shard), shard.size, repeats, window


def refuse_drawn_order(shuffle: Any, *, draws_seed: bool) -> None:
    """Refuse an order that each of several shards would draw for itself.

    Args:
        shuffle: The option.
        draws_seed: Whether the run was given no seed.
    """
    drawn = isinstance(shuffle, (np.random.Generator, np.random.RandomState))
    described = isinstance(shuffle, DescribedOrder) and shuffle.seed is None
    if drawn or ((described or shuffle is True) and draws_seed):
        raise ArgumentValueError(
            "a shuffled shard needs a number as its seed, the same for all shards, which "
            "are cut out of one order: shuffle=True, seed=1 or shuffle=1"
        )


def with_drawn(options: OptionsT, drawn: Mapping[str, Any]) -> OptionsT:
    """Return the options of a run with what was drawn for the one that it goes on with.

    Args:
        options: The options.
        drawn: The `seed` of that run, and its `shuffle`.
    """
    given, shuffle = options, options.shuffle
    if isinstance(shuffle, (np.random.Generator, np.random.RandomState)):
        options = options._replace(shuffle=drawn["shuffle"])
    is_number = isinstance(shuffle, int) and not isinstance(shuffle, bool)
    if given.draws_seed and not is_number and getattr(shuffle, "seed", None) is None:
        options = options._replace(seed=drawn["seed"])
    return options


def nested_shuffle(shuffle: Any, number: int) -> Any:
    """Return what a pipeline inside of another takes over of its order.

    Args:
        shuffle: The settled option of the other.
        number: Which of the pipelines inside of it this one is.

    Raises:
        ArgumentValueError: It is of the other's items, or cannot be copied.
    """
    if isinstance(shuffle, CustomOrder):
        shuffle = shuffle.function
    if isinstance(shuffle, DescribedOrder):
        return _fitting(shuffle)
    if isinstance(shuffle, int) and not isinstance(shuffle, bool):
        return derived_seed(shuffle, number)
    # What a function counts, it counts for this pipeline alone.
    return _copied(shuffle) if callable(shuffle) else shuffle


def _fitting(order: DescribedOrder) -> DescribedOrder:
    if order.fits_any:
        return order
    raise ArgumentValueError(
        f"shuffle={order!r} is of the items of one dataset, and this pipeline reads another; give "
        "it an order of its own: pipeline.run_later(shuffle=...)"
    )


def _copied(function: Any) -> Any:
    """Return an order with the state of `function` now, and no part in what it becomes."""
    try:
        return copy.deepcopy(function)
    except Exception as error:
        raise ArgumentValueError(
            f"shuffle={function!r:.60} is for the pipelines inside of this one, too, and cannot be "
            f"copied ({error}); give each its own: pipeline.run_later(shuffle=...)"
        ) from error
