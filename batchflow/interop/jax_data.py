"""The batches of a feed as arrays of JAX, on their devices. JAX is imported on use.

    feed -> host arrays -> device_put, `depth` batches at most -> the consumer

Guarantees:
    - The order, the values and the dtypes are those of a loop over the feed. JAX keeps 32 bits of
      a number where `jax_enable_x64` is off: whole numbers come so where each of them fits, and
      wider floats are refused, unless they are asked for as narrower ones.
    - An array of JAX never shares memory with one of the batch.
    - An error comes at its turn, behind the batches before it.
    - Nothing ordered runs ahead of the batch in the consumer's hands: where the pipeline has
      ordered steps, or steps behind its last batch, only that batch is on the device.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Generator, Iterator
from typing import Any

import numpy as np

from batchflow.arrays import is_sparse, is_table
from batchflow.errors import ArgumentTypeError, ArgumentValueError, add_note_once
from batchflow.extras import imported
from batchflow.interop.loops import FeedData, Here
from batchflow.interop.order import has_order

_NARROWER = {"f8": "f4", "c16": "c8", "i8": "i4", "u8": "u4"}
_SHORT = (
    "batchflow: where a sharding divides the batches among devices, each batch has to divide; "
    "drop_last=True leaves out a last batch that is shorter"
)


class JaxFeed(FeedData):
    """The batches of a feed on the devices of JAX. Made by `Feed.to_jax`.

    Args:
        feed: The `Feed`.
        first_epoch: The epoch at which the first loop begins; None: that of the feed's options.
        sharding: Where the arrays are put: a device or a sharding of JAX; None: JAX's default.
        depth: How many batches are on the device at most, the consumer's included.
        narrow: Whether floats of 64 bits are made narrower where JAX works in 32.

    Raises:
        MissingPackageError: JAX is not installed.
    """

    def __init__(
        self, feed: Any, first_epoch: int | None, sharding: Any, depth: int, *, narrow: bool
    ) -> None:
        super().__init__(feed, "to_jax", first_epoch)
        jax = imported("jax", "to_jax")
        self._depth = 1 if has_order(self._plan) else depth
        self._put = functools.partial(_put, jax=jax, sharding=sharding, narrow=narrow)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Begin a loop: a run of the pipeline."""
        self._forget()
        return self._ahead(self._begin(self._put))

    def _ahead(self, loop: Generator[Any, None, None]) -> Iterator[tuple[Any, ...]]:
        """Yield the batches of a loop, with as many ahead as may be."""
        made: deque[tuple[Any, Here | None]] = deque()
        error: Exception | None = None
        is_over = False
        try:
            while True:
                while not is_over and len(made) < self._depth:
                    try:
                        made.append((next(loop), self._here))
                    except StopIteration:
                        is_over = True
                    except Exception as late:  # noqa: BLE001  at its turn
                        is_over, error = True, late
                if not made:
                    break
                values, self._consumer = made.popleft()
                yield values
                del values
            if error is not None:
                raise error
            self._forget()
        finally:
            error = None  # it would hold this frame, and this frame it
            loop.close()


def _put(value: Any, what: str, *, jax: Any, sharding: Any, narrow: bool) -> Any:
    """Return an array on the device; what is none stays what it is."""
    if isinstance(value, jax.Array):
        return jax.device_put(value, sharding)
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        if is_table(value) or is_sparse(value):
            raise ArgumentTypeError(_refusal(what, f"it is a {type(value).__name__}"))
        return value
    is_masked = isinstance(value, np.ma.MaskedArray)
    is_of_jax = value.dtype.type.__module__ == "ml_dtypes"
    if is_masked or not (value.dtype.kind in "biufc" or is_of_jax):
        kind = "a masked array" if is_masked else "an array"
        raise ArgumentTypeError(_refusal(what, f"it is {kind} of {value.dtype}"))
    if not value.dtype.isnative:
        value = value.astype(value.dtype.newbyteorder("="))
    if not jax.config.jax_enable_x64 and not is_of_jax:
        value = _narrowed(value, what, asked=narrow)
    try:
        return jax.device_put(value, sharding, may_alias=False)
    except ValueError as error:
        if sharding is not None and value.ndim:
            add_note_once(error, _SHORT)
        raise
    except TypeError:  # of a width that JAX does not have
        raise ArgumentTypeError(_refusal(what, f"it is an array of {value.dtype}")) from None


def _narrowed(value: Any, what: str, *, asked: bool) -> Any:
    """Return an array in the 32 bits that JAX keeps of its numbers.

    Raises:
        ArgumentTypeError: It has floats, and nobody has asked for narrower ones.
        ArgumentValueError: A number does not fit.
    """
    narrower = _NARROWER.get(value.dtype.str[1:])
    if narrower is None:
        return value
    if value.dtype.kind in "fc" and not asked:
        raise ArgumentTypeError(
            f"feed: {what} is an array of {value.dtype}, of which JAX keeps 32 bits: write "
            f'.astype("{np.dtype(narrower)}") in the chain, or to_jax(narrow=True); or let JAX '
            'work in 64: jax.config.update("jax_enable_x64", True)'
        )
    try:
        with np.errstate(over="raise"):
            narrow = value.astype(narrower)
    except FloatingPointError:
        narrow = None
    if narrow is None or (value.dtype.kind in "iu" and not np.array_equal(narrow, value)):
        raise ArgumentValueError(
            f"feed: {what} has numbers beyond {np.dtype(narrower)}, in which JAX works: let it "
            'work in 64 bits: jax.config.update("jax_enable_x64", True)'
        )
    return narrow


def _refusal(what: str, reason: str) -> str:
    return (
        f"feed: {what} cannot become an array of JAX: {reason}. Make numbers of one shape of it in "
        "an action"
    )
