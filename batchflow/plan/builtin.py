"""Steps that every batch class has: what they do to one batch.

Each is a function of the batch and the step's arguments. What it returns is not a batch but a
value, which `save_to` can store; the batch goes on. An action of the batch class with the same name
takes the place of the built-in step.
"""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any, NamedTuple

from batchflow.batch import Batch
from batchflow.errors import ArgumentTypeError, SkipBatch

__all__ = ["BUILTINS", "Builtin"]


def update(batch: Batch, target: Any, value: Any, /) -> None:
    """Store a value: `update(V("loss", mode="a"), B.loss)`, `update(B.images, B.images / 255)`.

    Args:
        batch: The batch.
        target: Where: `V("name", mode=...)`, `B.name` or `B.name[item]`.
        value: What.
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
    return function(*args, **kwargs)


def print_values(batch: Batch, *values: Any, **options: Any) -> None:
    """Print values, or the batch: `print("loss", V("loss"))`.

    Args:
        batch: The batch.
        values: What to print.
        options: The options of Python's `print`.
    """
    builtins.print(*(values or (batch,)), **options)  # noqa: T201  it is asked for


def do_nothing(batch: Batch, *args: Any, **kwargs: Any) -> None:
    """Do nothing, with any arguments."""


def discard_batch(batch: Batch) -> None:  # noqa: ARG001
    """End this batch here: it is not delivered."""
    raise SkipBatch


class Builtin(NamedTuple):
    """A built-in step.

    Attributes:
        function: What it does to a batch.
        stores: Whether its first argument says where to store, and so is not resolved.
    """

    function: Callable[..., Any]
    stores: bool = False


BUILTINS = {
    "update": Builtin(update, stores=True),
    "call": Builtin(call),
    "print": Builtin(print_values),
    "do_nothing": Builtin(do_nothing),
    "discard_batch": Builtin(discard_batch),
}
