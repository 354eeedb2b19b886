"""`pipeline.to_arrays`: one pass over a pipeline as arrays."""

from __future__ import annotations

from typing import Any, Unpack

from batchflow.engine import RunKeywords, shows_options
from batchflow.errors import ArgumentValueError
from batchflow.insight import checked_bar, open_run
from batchflow.plan import Where
from batchflow.plan.names import overridable_by_action

_BATCH_SIZE = 256


@overridable_by_action
@shows_options()
def to_arrays(
    pipeline: Any, *values: Any, batch_size: int | None = None, **options: Unpack[RunKeywords]
) -> Any:
    """Run the pipeline; return values of all its batches as arrays: for scikit-learn and others.

    The rows come in the order of the run: that of the dataset, without `shuffle`. Before the second
    batch is made it is checked that the arrays fit into the free memory. Batches of different
    dtypes are joined in one that holds all their values; items of different shapes within a batch
    come as an array of objects, one for each item, and are refused where only batches differ.

    Args:
        pipeline: The pipeline.
        values: Expressions such as `B.images`, each with a row for each item.
        batch_size: Items in a batch; None: that of `run_later`, or 256.
        options: As for `run`. With `n_epochs=2` each item comes twice.

    Returns:
        A tuple of arrays of shape `(n_items, ...)`; of one expression, its array.

    Raises:
        ArgumentTypeError: A value is no expression, or its value no array.
        ArgumentValueError: A value has no row for each item, or rows of another shape than before;
            the arrays do not fit into memory; there are no batches; the run has no end, or goes on
            with an earlier one.

    Example:
        >>> from batchflow import ArrayBatch, B, Dataset
        >>> class Rows(ArrayBatch):
        ...     components = "x", "y"
        >>> rows = Dataset.from_arrays(Rows, x=[[1.0, 2.0], [3.0, 4.0]], y=[0, 1])
        >>> x, y = rows.p.to_arrays(B.x * 10, B.y)
        >>> x.tolist(), y.tolist()
        ([[10.0, 20.0], [30.0, 40.0]], [0, 1])
    """
    from batchflow.interop.to_arrays import collect, kept_values  # on use, for a light import

    size = batch_size or (pipeline._ahead or (None,))[0] or _BATCH_SIZE
    chosen = pipeline._options(size if batch_size is None else batch_size, options, endless=False)
    if chosen.is_endless:
        raise ArgumentValueError("to_arrays: a run without end makes no array; give n_epochs")
    if chosen.checkpoint is not None or chosen.state is not None:
        raise ArgumentValueError(
            "to_arrays: with checkpoint= or state= a run has the rest of its batches alone, and "
            "arrays are of all of them; leave it out"
        )
    program = kept_values(pipeline._program(), values, Where.of_caller(2))
    checked_bar(program, chosen)
    schedule = chosen.counted_schedule(program.source)
    n_items = min(schedule.n_batches * chosen.batch_size, schedule.n_items * (chosen.n_epochs or 1))
    return collect(open_run(program, chosen), values, n_items, chosen.batch_size)
