"""A feed: a pipeline as a re-iterable of `(x, y, sample_weight)`, as training loops take them.

The values are resolved by one more step at the end of the chain. So they are made ahead with the
rest, see variables as any other step does, and their errors say where they come from.

Guarantees:
    - Each loop over a feed is a run of its own, with all steps of the pipeline; leaving it ends it.
    - A loop begins at the epoch `feed.epoch`. Beginning it moves that on, behind the epochs of the
      loop, whether it is read to its end or not: so loop after loop gives what one long run gives.
    - What can be known at the call of `feed` is refused then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.arrays import column_array, exact_array, is_column
from batchflow.counts import checked_count
from batchflow.engine import Length, Program, Run, RunOptions
from batchflow.engine.options import checked_epoch
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index.labels import by_label
from batchflow.interop.indexed import IndexedFeed
from batchflow.interop.streamed import StreamedFeed
from batchflow.plan import BoundStep, Step, Where, check_plan
from batchflow.plan.expressions import Expression

if TYPE_CHECKING:
    from batchflow.index import DatasetIndex
    from batchflow.interop.jax_data import JaxFeed
    from batchflow.interop.keras import KerasFeed
    from batchflow.interop.torch_data import TorchFeed


class Feed:
    """Tuples of values, one for each batch of a pipeline. Made by `pipeline.feed`.

    The tuples are `(x,)`, `(x, y)` or `(x, y, sample_weight)`: what Keras takes for a batch. Where
    a list of expressions was given, a tuple of values comes. A component that is a list comes as an
    array (`docs/reference/data.md`).

    Args:
        program: The pipeline, whose last step is that of `feeding`.
        options: Those of its runs.
        open_run: Starts a run of both.

    Raises:
        ArgumentValueError: The batch size does not fit the dataset; or `checkpoint` is given.
    """

    def __init__(
        self,
        program: Program,
        options: RunOptions,
        open_run: Callable[[Program, RunOptions, Length], Run],
    ) -> None:
        if options.checkpoint is not None:
            raise ArgumentValueError(
                "feed: checkpoint goes with run, gen_batch and next_batch, where it saves the "
                "models of the pipeline. What you train on a feed is yours to save, with the state "
                "of the feed: feed.state_dict(), and feed(..., state=state)"
            )
        source: Any = program.source
        state, options = _checked_state(options.state), options._replace(state=None)
        self._schedule = options.counted_schedule(source)  # refuses what does not fit
        self._program = program
        self._options = options.with_kept_order(source)
        self._open_run = open_run
        self._epoch = options.first_epoch if state is None else state["epoch"]
        self._state = None if state is None else state["run"]  # of the next loop
        self._begun: tuple[int, Any] | None = None  # where the latest loop, if not over, began
        self._run: Run | None = None  # that loop, from its first batch on
        self._length = Length()
        self._was_iterated = False

    @property
    def epoch(self) -> int:
        """The epoch at which the next loop begins. It can be set.

        Beginning a loop adds the number of its epochs: `n_epochs`; with `n_iters` alone the
        epochs that it touches; in an endless loop the epochs that have begun.
        """
        return self._epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._epoch, self._state = checked_epoch("epoch", epoch), None
        self._begun = self._run = None

    def state_dict(self) -> dict[str, Any]:
        """Return where the feed stands: behind the tuple that its latest loop has given.

        `pipeline.feed(..., state=state)` goes on from there: its first loop has the rest of this
        one, or, where this one is over, what would come next. Variables and models are not in it.

        Returns:
            A mapping for JSON of less than 1 KB.

        Raises:
            BatchflowError: Nobody can go on from here: see `Run.state_dict`.

        Example:
            >>> from batchflow import ArrayBatch, B, Dataset
            >>> class Rows(ArrayBatch):
            ...     components = "a"
            >>> rows = Dataset.from_arrays(Rows, a=[1, 2, 3, 4])
            >>> feed = rows.p.feed(1, B.a)
            >>> loop = iter(feed)
            >>> first, state = next(loop), feed.state_dict()
            >>> [a.tolist() for a, in rows.p.feed(1, B.a, state=state)]
            [[2], [3], [4]]
        """
        epoch, state = self._begun or (self._epoch, self._state)
        return {"epoch": epoch, "run": state if self._run is None else self._run.state_dict()}

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Run the pipeline and yield the values of each batch."""
        self._was_iterated = True
        options = self._options._replace(first_epoch=self._epoch, state=self._state)
        self._begun, self._run, self._state = (self._epoch, self._state), None, None
        n_batches, per_epoch = self._schedule.n_batches, self._schedule.batches_per_epoch
        self._epoch += 1 if n_batches is None else ceil(n_batches / per_epoch)
        return self._values(options)

    def _values(self, options: RunOptions) -> Iterator[tuple[Any, ...]]:
        self._was_iterated = False
        with self._open_run(self._program, options, self._length) as run:
            self._run = run
            for batch in run:
                if options.is_endless:
                    self._epoch = max(self._epoch, 1 + (batch.epoch or 0))
                values = batch._fed
                del batch
                yield values
                del values
            self._begun = self._run = None

    def __len__(self) -> int:
        """Return the number of batches of the next loop, skipped ones included.

        Where an action then changes it, by changing the number of items ahead of `rebatch`, the
        loops end in an error.

        Raises:
            TypeError: The run is endless, or regroups batches whose sizes are not known.
        """
        is_hint, self._was_iterated = self._was_iterated, False
        self._length.asked(is_hint=is_hint)
        return len(Run(self._program, self._options.counted._replace(first_epoch=self._epoch)))

    def __bool__(self) -> bool:
        return True

    def to_keras(self, first_epoch: int | None = None, *, stream: bool = False) -> KerasFeed:
        """Return a `keras.utils.PyDataset` for `model.fit`, `evaluate` and `predict`.

        Where `tf_keras` is imported, it is a `tf_keras.utils.Sequence` as well, for these methods
        of its models, and `fit_generator` and its like. What follows holds there, too.

        It has the batches of one epoch. Which epoch: `first_epoch`, and as many more as Keras has
        begun before, over all calls of `fit`, `evaluate` and `predict` with this object; loops over
        the feed do not count. Keras says how many epochs there are; `n_epochs` does not. It does
        not tell its data of `initial_epoch`: give `first_epoch` the same number.

        Write `fit(..., shuffle=False)`: read in order, batches are made ahead, as `prefetch` says.
        The `shuffle` of the feed orders the items. Keras's own order of the batches, which is the
        default, changes no batch, but each is then made when Keras asks for it.

        A loop that is left in the middle of an epoch leaves up to `prefetch` batches made ahead;
        `with feed.to_keras() as data:`, or `data.close()`, clears them away.

        Args:
            first_epoch: The epoch to begin at; None: that of the feed's options.
            stream: Whether batches come one after the other through the epochs of the feed, and
                Keras counts steps: `fit(..., steps_per_epoch=n)`. For `filter`, `rebatch` and
                whatever else makes the number of batches in an epoch unknown. A loop begins at
                the first epoch, and as many more as Keras has begun before.

        Raises:
            MissingPackageError: Keras is not installed.
            ArgumentValueError: A step of the pipeline does not let batches be made by index: it
                is ordered, skips batches or makes others of them, or stands in `before` or `after`.
        """
        from batchflow.interop.keras import dataset_class, stream_class  # on use: takes seconds

        if self._state is not None:
            raise ArgumentValueError(
                "to_keras: it has whole epochs, and the state that was given to this feed is "
                "inside of one; loop over the feed, or give first_epoch instead of state"
            )
        if first_epoch is None:
            first_epoch = self._options.first_epoch
        first_epoch = checked_epoch("to_keras: first_epoch", first_epoch)
        if stream:
            return stream_class()(StreamedFeed(self._program, self._options, first_epoch))
        feed = IndexedFeed(self._program, self._options, first_epoch)
        return dataset_class()(feed)

    def to_torch(self, first_epoch: int | None = None, *, keep_others: bool = False) -> TorchFeed:
        """Return a `torch.utils.data.IterableDataset`, for `DataLoader(data, batch_size=None)`.

        Each loop is a run of the pipeline, as a loop over the feed is, with arrays as tensors of
        the same dtype; they are not copied where torch can take them as they are. Each loop shows
        the next epoch. `state_dict` and `load_state_dict` save where it stands and go on there.

        The pipeline reads ahead, by `prefetch` and `executor` of the feed: `num_workers` of a
        `DataLoader` is refused.

        Args:
            first_epoch: The epoch to begin at; None: that of the feed's options.
            keep_others: What comes of texts, dates, objects, items of different shapes, masked
                arrays and tables, which no tensor can hold. True: they come as they are. False:
                they are refused. Values that are no arrays, such as numbers, come as they are.

        Raises:
            MissingPackageError: torch is not installed.

        Example::

            loader = torch.utils.data.DataLoader(feed.to_torch(), batch_size=None)
            for epoch in range(5):
                for x, y in loader:
                    ...
        """
        from batchflow.interop.torch_data import dataset_class  # on use: torch takes seconds

        return dataset_class()(self, first_epoch, keeps_others=keep_others)

    def to_jax(
        self,
        sharding: Any = None,
        depth: int = 2,
        *,
        first_epoch: int | None = None,
        narrow: bool = False,
    ) -> JaxFeed:
        """Return an iterable of the same tuples, with arrays of JAX that are on their devices.

        Each loop is a run of the pipeline, and shows the next epoch. The next batches are copied to
        the device while the consumer works on one. `state_dict` and `load_state_dict` save where
        the consumer is and go on there.

        A jitted function is compiled again for a last batch that is shorter, and a sharding refuses
        it where it does not divide: give the feed `drop_last=True`.

        Args:
            sharding: A device or a sharding of JAX for all arrays; None: JAX's default device.
            depth: How many batches are on the device at most, that of the consumer included. With
                ordered steps in the pipeline it is 1: they run behind the consumer's last batch.
            first_epoch: The epoch to begin at; None: that of the feed's options.
            narrow: Whether float64 and complex128 become float32 and complex64 where
                `jax_enable_x64` is off. False: they are refused there. Whole numbers of 64 bits
                become such of 32 where each of them fits; others are refused.

        Raises:
            MissingPackageError: JAX is not installed.
            ArgumentTypeError: `depth` is no whole number.
            ArgumentValueError: `depth` is less than 1.

        Example::

            for x, y in feed.to_jax():
                state = train_step(state, x, y)
        """
        from batchflow.interop.jax_data import JaxFeed  # on use: JAX takes a second

        depth = checked_count("to_jax: depth", depth)
        return JaxFeed(self, first_epoch, sharding, depth, narrow=narrow)

    def to_tf(self, signature: Any = None, *, first_epoch: int | None = None) -> Any:
        """Return a `tf.data.Dataset` of the same tuples, for `map`, `prefetch` and other loops.

        Each loop over it is a run of the pipeline, and shows the next epoch; so does each round of
        `dataset.repeat(k)`. Leaving a loop ends its run. For `model.fit` take `to_keras`, which
        knows how long an epoch is.

        tf.data turns exceptions into its own. A loop over this dataset raises the original one;
        behind `map` and the like it is `dataset.failure` of this one.

        Args:
            signature: A `tf.TypeSpec` for each value, in the structure that the feed has. None:
                that of a batch which is made for this alone, with any number of items. Items of
                different lengths are a `tf.RaggedTensor`.
            first_epoch: The epoch to begin at; None: that of the feed's options.

        Raises:
            MissingPackageError: TensorFlow is not installed.
            ArgumentValueError: The signature is another structure; or it is not given, and the
                pipeline has ordered steps, or steps ahead of its first batch, or no batches.

        Example::

            for x, y in feed.to_tf().prefetch(tf.data.AUTOTUNE):
                ...
        """
        from batchflow.interop.tf_data import tf_dataset  # on use: TensorFlow takes seconds

        return tf_dataset(self, first_epoch, signature)

    def _of(self, options: RunOptions) -> Feed:
        """Return another feed of the same values, with other options."""
        return Feed(self._program, options, self._open_run)

    def __repr__(self) -> str:
        step = self._program.plan.steps[-1].step
        # Keras shows this where it gets a feed itself.
        return f"<Feed of {self._program.source!r}: {step}; for Keras take .to_keras()>"


def _checked_state(state: Any) -> Mapping[str, Any] | None:
    if state is None or (isinstance(state, Mapping) and {*state} == {"epoch", "run"}):
        return state
    raise ArgumentTypeError(
        f"feed: state is what feed.state_dict() of another feed has returned, got {state!r:.60}"
    )


def feeding(program: Program, x: Any, y: Any, sample_weight: Any, where: Where) -> Program:
    """Let a pipeline keep the values of a feed, chained at `where`, in its batches."""
    if sample_weight is not None and y is None:
        raise ArgumentTypeError("feed: sample_weight goes with y, which is missing")
    given = {"x": x, "y": y, "sample_weight": sample_weight}
    values = {
        name: _checked(value, name)
        for name, value in given.items()
        if name == "x" or value is not None
    }
    return keeping(program, "feed", values, tuple(values.values()), where)


def keeping(
    program: Program, name: str, shown: dict[str, Any], values: tuple[Any, ...], where: Where
) -> Program:
    """Let a pipeline keep some values in its batches, as one more step.

    Args:
        program: The pipeline.
        name: What the step is called.
        shown: Its arguments, as messages show them.
        values: The expressions, or tuples and dictionaries of them.
        where: Where it is chained.
    """
    step = BoundStep(
        step=Step(name, (), shown, where), function=_keep, args=values, returns_batch=False
    )
    plan = program.plan._replace(steps=(*program.plan.steps, step))
    check_plan(plan)
    return program._replace(plan=plan)


def _keep(batch: Any, *values: Any) -> None:
    batch._fed = tuple(_output(value, batch.index) for value in values)


def _output(value: Any, index: DatasetIndex) -> Any:
    """Make an array of a list, which to Keras is several inputs, and of a column, by its labels."""
    if value.__class__ is np.ndarray:
        return value
    if type(value) is list:
        return exact_array(value)
    if type(value) is tuple:
        return tuple(_output(part, index) for part in value)
    if type(value) is dict:
        return {name: _output(part, index) for name, part in value.items()}
    value = by_label(value, index, "feed")
    return column_array(value) if is_column(value) else value


def _checked(value: Any, name: str) -> Any:
    """Check a value; return it with tuples for lists, which tf.data would take for arrays."""
    if isinstance(value, Expression):
        return value
    if type(value) is dict and value:
        return {key: _checked(part, name) for key, part in value.items()}
    if type(value) in (list, tuple) and value:
        return tuple(_checked(part, name) for part in value)
    raise ArgumentTypeError(
        f"feed: {name} is an expression such as B.images, or a tuple, list or dictionary of them, "
        f"got {value!r:.60}"
    )
