"""A feed as a `keras.utils.PyDataset`, and a `tf_keras.utils.Sequence`. Keras is imported on use.

TensorFlow reads a `PyDataset` in threads of `tf.data`, which turn any exception into one of their
own types. There the exception is kept, and the data end in its place: arrays are given whose
conversion raises `StopIteration`. Keras takes that for the end of the data and calls `on_epoch_end`
in the thread of the caller, which raises the exception itself. The other backends read in the
caller's thread.

Guarantees:
    - Batches come as `IndexedFeed` gives them: how often, in which order and in how many threads
      Keras reads makes no difference to them. `workers` of Keras are threads
      (`use_multiprocessing=False`), and they wait for the beginning of an epoch, for Keras starts
      them just before it. On JAX and torch it mixes up what several of them read, so there is one.
    - `on_epoch_begin` begins an epoch, unless Keras only wants to see a batch to build a model
      after, as it does on JAX and torch. `on_epoch_end`, which Keras calls once too often, clears
      away what was made ahead and raises what is kept.
    - Keras does not tell when a loop is left in the middle of an epoch, and TensorFlow keeps every
      `PyDataset` that it has read: then up to `prefetch` batches and their idle threads are there
      until the next loop, or `close`.
    - `tf_keras` looks at batch 0 before each of its loops, and does not tell of the beginning of an
      epoch: it asks for the length then.
"""

from __future__ import annotations

import functools
import sys
import threading
import warnings
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn, Self

import numpy as np

from batchflow.arrays import is_sparse, is_table, ragged_shapes
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.extras import imported
from batchflow.interop.streamed import StreamedFeed

if TYPE_CHECKING:
    from batchflow.interop.indexed import IndexedFeed

_BEGIN_SECONDS = 10.0  # from the start of Keras's workers to the beginning of their epoch, at most
_OUT_OF_DATA = "Your input ran out of data"  # how Keras's warning begins


class KerasFeed:
    """A `keras.utils.PyDataset` with the batches of a feed. Made by `Feed.to_keras`.

    Attributes:
        seed: The seed of everything random in it.
    """

    def __init__(self, feed: IndexedFeed | StreamedFeed) -> None:
        super().__init__()
        self._feed = feed
        self.seed = feed.seed
        self._failure = _Failure()
        self._in_threads = sys.modules["keras"].backend.backend() == "tensorflow"
        self._caller: int | None = None  # the thread in which Keras's loop runs
        self._looker: int | None = None  # the thread in which that of tf_keras does
        self._end: Any = None  # a batch that ends the data
        self._is_begun = threading.Event()  # an epoch has begun, and has not ended
        self._n_left_out = 0  # batches at the beginning of the epoch

    @property
    def workers(self) -> int:
        """How many of Keras's threads read."""
        return self._workers

    @workers.setter
    def workers(self, value: int) -> None:
        if value > 1 and not self._in_threads:
            backend = sys.modules["keras"].backend.backend()
            raise ArgumentValueError(
                f"workers={value}: on the {backend} backend Keras mixes up the batches that "
                "several workers read; leave it at 1, and let the pipeline read ahead: "
                "feed(prefetch=...)"
            )
        self._workers = value

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        if _is_called_by(_EPOCH_OF_TF_KERAS):
            self._caller = self._looker
            self._feed.begin_epoch()
            self._is_begun.set()
        return len(self._feed) - self._n_left_out  # type: ignore[arg-type]  # a stream has none

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        """Return the values of a batch of the current epoch."""
        if _is_called_by(_LOOK_OF_TF_KERAS):
            self._looker = self._caller = threading.get_ident()
        elif _is_called_by(_WORKER_OF_TF_KERAS):
            raise ArgumentValueError(
                "several workers of tf_keras, or its processes, cannot read a feed: leave workers "
                "at 1, and let the pipeline read ahead: feed(prefetch=...)"
            )
        is_apart = self._caller not in (None, threading.get_ident())
        if index == 0 and not is_apart:  # a new loop begins: what ended the last is past
            self._failure.forget()
            self._is_begun.clear()
        if _is_by_worker():
            self._is_begun.wait(_BEGIN_SECONDS)
        try:
            values = self._feed.read(index + self._n_left_out)
            for (name, given), value in zip(self._feed.given.items(), values, strict=False):
                _refuse_objects(name, given, value)
        except BaseException as error:
            if self._end is None or not is_apart:
                raise
            self._failure.keep(error)
            return self._end  # type: ignore[no-any-return]
        if (self._in_threads or self._looker) and self._end is None:
            inputs = sys.modules["keras"].tree.map_structure(lambda _: self._failure, values[0])
            self._end = inputs, *values[1:]  # a class_weight looks into y, in Keras's own thread
        return values

    def on_epoch_begin(self) -> None:
        """Begin the next epoch."""
        if isinstance(self._feed, StreamedFeed):
            _refuse_no_end()
        self._caller = threading.get_ident()
        if not _is_a_look():
            self._feed.begin_epoch()
        self._is_begun.set()

    def on_epoch_end(self) -> None:
        """Drop batches made ahead; raise the exception that ended the data, if one did."""
        self._caller = None
        self._is_begun.clear()
        self._feed.end_epoch()
        self._n_left_out = 0
        self._failure.reraise()

    @property
    def is_stream(self) -> bool:
        """Whether its epochs have no known number of batches."""
        return isinstance(self._feed, StreamedFeed)

    @property
    def indexed(self) -> IndexedFeed:
        """The batches by index.

        Raises:
            ArgumentValueError: It is a stream.
        """
        if isinstance(self._feed, StreamedFeed):
            raise ArgumentValueError(
                "to_keras(stream=True) gives a stream, which nobody can go on with inside of it: "
                "give to_keras() to Resume, from a pipeline whose batches can be read by index"
            )
        return self._feed

    def go_to(self, epoch: int, index: int, drawn: Mapping[str, Any]) -> None:
        """Let the next epoch that Keras begins be the rest of another one: see `IndexedFeed`."""
        self.indexed.go_to(epoch, index, drawn)
        self._n_left_out, self.seed = index, self._feed.seed

    def close(self) -> None:
        """Drop batches that were made ahead. Keras lets this happen at the end of each epoch."""
        self._feed.close()

    def __enter__(self) -> Self:
        """Return itself: `with feed.to_keras() as data:` closes it at the end."""
        return self

    def __exit__(self, *raised: object) -> None:
        """Close it."""
        self.close()


# Where tf_keras looks at a batch, begins an epoch, and lets its workers read.
_LOOK_OF_TF_KERAS = "tf_keras.", "_peek_and_restore"
_EPOCH_OF_TF_KERAS = "tf_keras.", "generator_fn"
_WORKER_OF_TF_KERAS = "tf_keras.", "get_index"


def dataset_class() -> type[KerasFeed]:
    """Return the class of the data, for Keras, and for tf_keras where that is imported.

    Raises:
        MissingPackageError: Keras is not installed.
    """
    sequence = getattr(getattr(sys.modules.get("tf_keras"), "utils", None), "Sequence", None)
    return _class_of(*() if sequence is None else (sequence,))


@functools.cache
def stream_class() -> type[KerasFeed]:
    """Return the class of data without an end, for loops of Keras that count steps.

    Raises:
        MissingPackageError: Keras is not installed.
    """

    class FeedStream(_class_of()):  # type: ignore[misc]
        """The batches of a feed, one after the other: see `KerasFeed`."""

        @property
        def num_batches(self) -> None:
            """Not known: that is how Keras is told of it."""

    return FeedStream


@functools.cache
def _class_of(*others: type) -> type[KerasFeed]:
    """Make the class of the data, with other base classes.

    Raises:
        MissingPackageError: Keras is not installed.
    """
    keras: Any = imported("keras", "to_keras")

    class FeedDataset(KerasFeed, keras.utils.PyDataset, *others):  # type: ignore[misc]
        """The batches of a feed: see `KerasFeed`."""

    return FeedDataset


def _is_called_by(place: tuple[str, str]) -> bool:
    """Check whether a method is called by a function of a name in a package, given first."""
    caller = sys._getframe(2)
    package, name = place
    return caller.f_code.co_name == name and caller.f_globals["__name__"].startswith(package)


def _is_a_look() -> bool:
    """Check whether Keras begins an epoch only to see what batches look like."""
    frame = sys._getframe(1)
    for _ in range(8):  # a few calls of Keras's own lie between
        if frame.f_back is None:
            break
        frame = frame.f_back
        if frame.f_code.co_name == "_symbolic_build":
            return True
    return False


def _refuse_no_end() -> None:
    """Refuse a loop of Keras over a stream that does not count steps: it would not end."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        frame = frame.f_back
        name = frame.f_code.co_name
        if name in ("fit", "evaluate", "predict") and "keras" in frame.f_globals["__name__"]:
            steps = "steps_per_epoch" if name == "fit" else "steps"
            if frame.f_locals.get(steps) is None:
                raise ArgumentValueError(
                    f"a stream has no end that Keras could find: {name}(..., {steps}=n)"
                    + (", or validation_steps=n in fit" if name == "evaluate" else "")
                )
            return


def _is_by_worker() -> bool:
    """Check whether one of Keras's `workers` reads."""
    return sys._getframe(2).f_code.co_name == "get_index"


def _refuse_objects(name: str, given: Any, value: Any) -> None:
    """Refuse arrays of objects and texts: Keras would, without saying which of the values it is."""
    if isinstance(value, dict):
        for key, part in value.items():
            _refuse_objects(f"{name}[{key!r}]", given[key], part)
    elif isinstance(value, tuple):
        for place, part in enumerate(value):
            _refuse_objects(f"{name}[{place}]", given[place], part)
    elif is_table(value) or is_sparse(value):
        raise ArgumentTypeError(
            f"feed: {name}={given!r} cannot go to Keras: it is a {type(value).__name__}. Make an "
            "array of it: in an ArrayBatch, or by .to_numpy() or .toarray()"
        )
    elif isinstance(value, np.ndarray) and value.dtype.kind in "OUST":
        shapes = dict.fromkeys(ragged_shapes(list(value)))
        what = f"the items have different shapes, {', '.join(map(str, [*shapes][:4]))}"
        advice = "Bring them to one shape in an action (pad, crop or resize them)"
        if not shapes:
            what = f"it is an array of {value.dtype}"
            advice = "Make numbers of it in an action; texts for TensorFlow: F(tf.constant)(...)"
        raise ArgumentTypeError(f"feed: {name}={given!r} cannot go to Keras: {what}. {advice}")


class _Failure:
    """The exception that ended the data, from the thread where it was raised to the caller's.

    In the place of an array it ends the data: it raises StopIteration when it is converted.
    """

    def __init__(self) -> None:
        self._kept: BaseException | None = None
        self._ended_by: BaseException | None = None  # the same, once the data have ended

    def keep(self, error: BaseException) -> None:
        self._kept = error

    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Let `reraise` raise it, and silence Keras, which would say that the data ran out."""
        self._ended_by = self._kept
        warnings.filterwarnings("ignore", _OUT_OF_DATA, UserWarning)
        raise StopIteration

    def reraise(self) -> None:
        """Raise the exception, if the data have ended with one."""
        error = self._ended_by
        self.forget()
        if error is not None:
            raise error

    def forget(self) -> None:
        """Forget the exception, and listen to Keras again."""
        if self._ended_by is not None:
            filters: Any = warnings.filters
            mine = [f for f in filters if getattr(f[1], "pattern", "") == _OUT_OF_DATA]
            with suppress(ValueError):  # another thread may have removed it
                filters.remove(mine[0]) if mine else None
        self._kept = self._ended_by = None
