"""A feed: a pipeline as a re-iterable of `(x, y, sample_weight)`, as training loops take them.

The values are resolved by one more step at the end of the chain. So they are made ahead with the
rest, see variables as any other step does, and their errors say where they come from.

Guarantees:
    - Each loop over a feed is a run of its own, with all steps of the pipeline; leaving it ends it.
    - What can be known at the call of `feed` is refused then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchflow.arrays import exact_array
from batchflow.engine import Program, Run, RunOptions
from batchflow.errors import ArgumentTypeError
from batchflow.interop.indexed import IndexedFeed
from batchflow.plan import BoundStep, Step, Where
from batchflow.plan.expressions import Expression

if TYPE_CHECKING:
    from batchflow.interop.keras import KerasFeed

__all__ = ["Feed", "feeding"]


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
        ArgumentValueError: The batch size does not fit the dataset.
    """

    def __init__(self, program: Program, options: RunOptions, open_run: Callable[[], Run]) -> None:
        self._program = program
        self._options = options
        self._open_run = open_run
        source = program.source
        mark = None if source is None else source.mark
        options.schedule(len(source or ()), None, mark)  # refuses what does not fit

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        """Run the pipeline and give the values of each batch that it delivers."""
        with self._open_run() as run:
            for batch in run:
                values = batch._fed
                del batch
                yield values
                del values

    def __len__(self) -> int:
        """Give the number of batches in a run, skipped ones included.

        Raises:
            TypeError: The run is endless, or regroups batches whose sizes are not known.
        """
        # Nothing is drawn for a run that is only counted.
        counted = replace(self._options, shuffle=False, seed=0, prefetch=0)
        return len(Run(self._program, counted))

    def __bool__(self) -> bool:
        return True

    def to_keras(self) -> KerasFeed:
        """Give a `keras.utils.PyDataset` for `model.fit`, `evaluate` and `predict`.

        It has the batches of one epoch. Which epoch: as many as Keras has begun before, over all
        calls of `fit`, `evaluate` and `predict` with this object. Keras says how many epochs there
        are; `n_epochs` does not.

        Write `fit(..., shuffle=False)`: read in order, batches are made ahead, as `prefetch` says.
        The `shuffle` of the feed orders the items. Keras's own order of the batches, which is the
        default, changes no batch, but each is then made when Keras asks for it.

        A loop that is left in the middle of an epoch leaves up to `prefetch` batches made ahead;
        `with feed.to_keras() as data:`, or `data.close()`, clears them away.

        Raises:
            MissingPackageError: Keras is not installed.
            ArgumentValueError: A step of the pipeline does not let batches be made by index: it
                is ordered, skips batches or makes others of them, or stands in `before` or `after`.
        """
        from batchflow.interop.keras import as_py_dataset  # on use: Keras takes seconds to import

        return as_py_dataset(IndexedFeed(self._program, self._options))

    def __repr__(self) -> str:
        step = self._program.plan.steps[-1].step
        return f"<Feed of {self._program.source!r}: {step}>"


def feeding(program: Program, x: Any, y: Any, sample_weight: Any, where: Where) -> Program:
    """Let a pipeline keep the values of a feed in its batches.

    Args:
        program: The pipeline.
        x: An expression, or a tuple, list or dictionary of them.
        y: The same, or None.
        sample_weight: The same, or None.
        where: The place of the call.

    Raises:
        ArgumentTypeError: They are something else.
        UnknownNameError: They use a variable that is not declared.
    """
    if sample_weight is not None and y is None:
        raise ArgumentTypeError("feed: sample_weight goes with y, which is missing")
    given = {"x": x, "y": y, "sample_weight": sample_weight}
    values = {
        name: _checked(value, name)
        for name, value in given.items()
        if name == "x" or value is not None
    }
    step = BoundStep(
        step=Step("feed", (), values, where),
        function=_keep,
        args=tuple(values.values()),
        kwargs={},
        model=None,
        singleton=False,
        dynamic=False,
        returns_batch=False,
        needs_batch=True,
        save_to=None,
        stores=False,
        places=(),
    )
    plan = program.plan._replace(steps=(*program.plan.steps, step))
    plan.check()
    return program._replace(plan=plan)


def _keep(batch: Any, *values: Any) -> None:
    batch._fed = tuple(map(_output, values))


def _output(value: Any) -> Any:
    """Make an array of a component that is a list: to Keras, a list is several inputs."""
    if type(value) is list:
        return exact_array(value)
    if type(value) is tuple:
        return tuple(map(_output, value))
    if type(value) is dict:
        return {name: _output(part) for name, part in value.items()}
    return value


def _checked(value: Any, name: str) -> Any:
    """Check a value and give it with tuples for lists, which tf.data would take for arrays."""
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
