"""A feed as a `torch.utils.data.IterableDataset`. torch is imported on use.

Guarantees:
    - `DataLoader(data, batch_size=None)` gives what a loop over the feed gives, in its order, as
      tensors of the same dtypes. They share the memory of the batch's arrays, which nobody else
      has; arrays that torch cannot take as they lie in memory are copied.
    - Worker processes of a `DataLoader` are refused: each would give all batches once more. The
      pipeline has workers of its own.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np

from batchflow.arrays import is_sparse, is_table
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.extras import imported
from batchflow.interop.loops import FeedData

_WORKERS = (
    "to_torch: each worker process of a DataLoader would give all batches once more. Leave "
    "num_workers at 0, and let the pipeline read ahead: feed(prefetch=4) in threads, "
    'feed(executor="processes", n_workers=4) in processes'
)
_COLLATING = (
    "to_torch: the feed makes the batches, and a DataLoader with a batch_size of its own would "
    "put them into batches once more: DataLoader(data, batch_size=None)"
)


class TorchFeed(FeedData):
    """A `torch.utils.data.IterableDataset` of the batches of a feed. Made by `Feed.to_torch`.

    Args:
        feed: The `Feed`.
        first_epoch: The epoch at which the first loop begins; None: that of the feed's options.
        keeps_others: Whether values that no tensor can hold come as they are.
    """

    def __init__(self, feed: Any, first_epoch: int | None, *, keeps_others: bool) -> None:
        super().__init__(feed, "to_torch", first_epoch)
        self._keeps_others = keeps_others

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Begin a loop: a run of the pipeline.

        Raises:
            ArgumentValueError: A worker process of a `DataLoader` asks, or one that collates.
        """
        torch: Any = sys.modules["torch"]
        if torch.utils.data.get_worker_info() is not None:
            raise ArgumentValueError(_WORKERS)
        caller = sys._getframe(1)
        if caller.f_locals.get("auto_collation") and "torch" in caller.f_globals["__name__"]:
            raise ArgumentValueError(_COLLATING)
        convert = functools.partial(_tensor, torch=torch, keeps_others=self._keeps_others)
        return self._begin(convert)

    def __reduce__(self) -> NoReturn:
        """Refuse to travel to the worker processes of a `DataLoader`."""
        raise ArgumentValueError(_WORKERS)


@functools.cache
def dataset_class() -> type[TorchFeed]:
    """Return the class of the data of torch.

    Raises:
        MissingPackageError: torch is not installed.
    """
    data: Any = imported("torch.utils.data", "to_torch")

    class FeedDataset(TorchFeed, data.IterableDataset):  # type: ignore[misc]
        """The batches of a feed: see `TorchFeed`."""

    return FeedDataset


def _tensor(value: Any, what: str, *, torch: Any, keeps_others: bool) -> Any:
    """Return an array as a tensor of its dtype; what is none stays what it is."""
    if isinstance(value, np.generic):
        value = np.asarray(value)
    if not isinstance(value, np.ndarray):
        if not keeps_others and (is_table(value) or is_sparse(value)):
            raise ArgumentTypeError(_refusal(what, f"it is a {type(value).__name__}"))
        return value
    if isinstance(value, np.ma.MaskedArray) or value.dtype.kind not in "biufc":
        if keeps_others:
            return value
        kind = "a masked array" if isinstance(value, np.ma.MaskedArray) else "an array"
        raise ArgumentTypeError(_refusal(what, f"it is {kind} of {value.dtype}"))
    if not value.dtype.isnative:
        value = value.astype(value.dtype.newbyteorder("="))
    is_odd = any(step < 0 or step % value.itemsize for step in value.strides)
    if is_odd or not value.flags.writeable:
        value = value.copy(order="C")
    try:
        return torch.from_numpy(value)
    except TypeError:  # of a width that torch does not have
        raise ArgumentTypeError(_refusal(what, f"it is an array of {value.dtype}")) from None


def _refusal(what: str, reason: str) -> str:
    return (
        f"feed: {what} cannot become a tensor: {reason}. Make numbers of one shape of it in an "
        "action, or let it come as it is: to_torch(keep_others=True)"
    )
