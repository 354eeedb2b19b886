"""The result of an input function as a stream of batches.

| returned | read as |
|---|---|
| an array, a dictionary of arrays, a tuple | one batch; again and again where steps are counted |
| a generator, an iterator | its batches, once |
| any iterable, such as `pipeline.feed(...)` or a `tf.data.Dataset` | one loop over it |
| a `keras.utils.PyDataset` | one epoch; where training steps are counted, epoch after epoch |

The input ends by itself, or by a `StopIteration` or TensorFlow's `OutOfRangeError`. Python turns a
`StopIteration` that leaves a generator into a `RuntimeError`. If that generator is the input, this
is its end, too.

Guarantees:
    - An iterator with a `close` (a generator, the loop over a feed) is closed however the loop over
      the stream ends.
    - A loop over a feed moves its epoch on. A stream that is resumed begins at the epoch at which
      it began before.
    - With `skipping` the stream begins behind so many batches. A `PyDataset` does not make them, a
      `tf.data.Dataset` skips them itself; other inputs make them in vain.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from batchflow.errors import ArgumentTypeError
from batchflow.models.estimator.batches import Batch, refuse_batch


@dataclass
class Epoch:
    """The epoch at which the loop over a feed begins. None: not known, or no feed."""

    number: int | None = None


def batches_of(
    input_fn: Any,
    *,
    what: str,
    is_counted: bool = False,
    n_epochs: int | None = 1,
    skipping: int = 0,
    epoch: Epoch | None = None,
    say: Callable[[str], object] = lambda _: None,
) -> Iterator[Batch]:
    """Call an input function, and return its batches.

    Args:
        input_fn: The function, without parameters; or its result.
        what: The name of the caller, for errors.
        is_counted: Whether the reader stops by itself. Then a single batch is repeated for ever.
        n_epochs: How often a `PyDataset` is read. None: for ever.
        skipping: How many batches are left out.
        epoch: The epoch of a feed. If batches are skipped, the feed begins there. If none are, the
            epoch at which it begins is stored here.
        say: Gets the fact that a function was called once and gave one batch, when that is read
            to its end or again.

    Raises:
        ArgumentTypeError: (a `TypeError`) Batches cannot be read from the input.
    """
    if input_fn is None:
        raise ArgumentTypeError(
            f"{what}: input_fn is missing: a function that returns (features, labels) or an "
            "iterable of such batches"
        )
    is_function = _is_function(input_fn)
    try:
        data = input_fn() if is_function else input_fn
    except BaseException as error:
        if is_end_of_input(error):
            return iter(())
        raise
    if isinstance(data, sys.modules["keras"].utils.PyDataset):
        return _of_py_dataset(data, n_epochs, skipping)
    if isinstance(data, tuple | Mapping) or _is_array(data):
        fact = _FACT.format(what=what, how=_HOW[what, is_counted])
        tell = say if is_function else lambda _: None
        return _of_one_batch(Batch.of(data), is_counted, partial(tell, fact))
    if not hasattr(data, "__iter__"):
        raise ArgumentTypeError(
            f"{what}: input_fn returns arrays, or an iterable of batches: a generator, a feed, a "
            f"tf.data.Dataset, a keras.utils.PyDataset. Got {type(data).__name__}"
        )
    if skipping and _is_tf_dataset(data):
        data, skipping = data.skip(skipping), 0
    if epoch is not None and hasattr(data, "epoch") and hasattr(data, "to_keras"):
        _begin_feed(data, epoch, goes_on=skipping > 0)
    return _of_iterable(data, skipping)


def _begin_feed(feed: Any, epoch: Epoch, *, goes_on: bool) -> None:
    if goes_on and epoch.number is not None:
        feed.epoch = epoch.number
    epoch.number = feed.epoch


def is_end_of_input(error: BaseException) -> bool:
    """Check whether an exception means that there are no more data."""
    tf = sys.modules.get("tensorflow")
    errors = getattr(tf, "errors", None)
    return isinstance(error, StopIteration) or (
        errors is not None and isinstance(error, errors.OutOfRangeError)
    )


def _has_left(generator: Any, error: BaseException) -> bool:
    """Check whether an error stands for a `StopIteration` that left this generator itself."""
    cause = error.__cause__
    if not (inspect.isgenerator(generator) and isinstance(error, RuntimeError)):
        return False
    if not isinstance(cause, StopIteration) or cause.__traceback__ is None:
        return False
    # The traceback begins where Python turned it into the other error: not here, if it was in a
    # generator that this one reads.
    return cause.__traceback__.tb_frame.f_code is generator.gi_code


def _is_function(value: Any) -> bool:
    return callable(value) and not _is_tf_dataset(value)


def _is_array(value: Any) -> bool:
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _is_tf_dataset(value: Any) -> bool:
    tf = sys.modules.get("tensorflow")
    data = getattr(tf, "data", None)  # a thread may be importing it at this moment
    return data is not None and isinstance(value, data.Dataset)


_FACT = (
    "{what}: input_fn was called once and gave one batch: {how}. To give more, let it return an "
    "iterable of batches, such as a generator or pipeline.feed(...); to say that this is meant, "
    "give the batch itself"
)
_HOW = {
    ("train", True): "all steps train on it",
    ("train", False): "one step is done",
    ("evaluate", True): "it is evaluated again and again",
    ("evaluate", False): "it alone is evaluated",
    ("predict", False): "it alone is predicted",
}


def _of_one_batch(batch: Batch, is_counted: bool, tell: Callable[[], object]) -> Iterator[Batch]:
    yield batch
    tell()
    while is_counted:
        yield batch


def _of_iterable(data: Any, skipping: int) -> Iterator[Batch]:
    refuse_batch(data)  # whose items would be taken for batches
    iterator = iter(data)
    convert = _converter(data)
    try:
        while True:
            try:
                element = next(iterator)
            except BaseException as error:
                if is_end_of_input(error) or _has_left(iterator, error):
                    return
                raise
            if skipping:
                skipping -= 1
            else:
                yield Batch.of(convert(element))
            del element
    finally:
        if callable(close := getattr(iterator, "close", None)):
            close()


def _converter(data: Any) -> Callable[[Any], Any]:
    """Return the function that turns tensors of TensorFlow into arrays on other backends."""
    keras = sys.modules["keras"]
    if _is_tf_dataset(data) and keras.backend.backend() != "tensorflow":
        map_structure: Any = sys.modules["tensorflow"].nest.map_structure
        return lambda element: map_structure(lambda tensor: tensor.numpy(), element)
    return lambda element: element


def _of_py_dataset(data: Any, n_epochs: int | None, skipping: int) -> Iterator[Batch]:
    """Read epoch after epoch, as `fit` does. Skipped batches are not made."""
    n_batches = data.num_batches
    epoch = number = 0
    while n_epochs is None or epoch < n_epochs:
        data.on_epoch_begin()
        index = 0
        try:
            while n_batches is None or index < n_batches:
                if number >= skipping:
                    try:
                        batch = Batch.of(data[index])
                    except BaseException as error:
                        if is_end_of_input(error):
                            return
                        raise
                    yield batch
                index, number = index + 1, number + 1
        finally:
            data.on_epoch_end()
        epoch += 1
        if not index:
            return
