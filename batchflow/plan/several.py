"""Several sources, and other batches: `join`, `merge`, `concat`, `rebatch`, `mix_rows`, `pack`.

`join` gives an action a second batch with the same ids: a late value, `Joined`, before the action's
own arguments. The others are *regroupings*: they make other batches out of a stream of them, and
cut the chain there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from batchflow.counts import checked_count
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.plan.expressions import Expression, freeze, shown
from batchflow.records import Record

if TYPE_CHECKING:
    from batchflow.batch import Batch

# From the batches that belong together (parts of them, for `rebatch`) to one batch.
MergeBatches = Callable[[list[Any]], Any]


class Nested(Protocol):
    """A pipeline over a dataset, inside of another pipeline."""

    @property
    def _source(self) -> Any:
        """Its dataset."""

    def _bound_plan(self) -> Any:
        """Return its plan, checked: a `BoundPlan`."""


class Joined(Expression):
    """A batch of another pipeline with the ids of this one. A run puts its own in this place."""

    __slots__ = ("_pipeline",)
    _has_late_parts = False
    _pipeline: Any

    def __init__(self, pipeline: Any) -> None:
        freeze(self, _pipeline=pipeline)

    def _resolve(self, batch: Batch) -> Any:  # noqa: ARG002  as every expression
        raise ArgumentTypeError("a joined batch is there in a run only")

    def _parts(self) -> tuple[Any, ...]:
        return (self._pipeline,)

    def __repr__(self) -> Any:
        return "the joined batch"


def joined_in(args: Iterable[Any]) -> Iterator[Joined]:
    """Go through the joined batches among the arguments of a step, those in tuples included."""
    for value in args:
        if isinstance(value, Joined):
            yield value
        elif type(value) is tuple:
            yield from joined_in(value)


class Join(Record):
    """The next action gets batches of these pipelines, with the same ids, as first arguments."""

    others: tuple[Nested, ...]


class Merge(Record):
    """Each batch gets the data of one batch of every other pipeline."""

    others: tuple[Nested, ...]
    function: MergeBatches | None


class Concat(Record):
    """In each epoch, the batches of the other pipelines follow."""

    others: tuple[Nested, ...]

    def check_class(self, batch_class: type[Batch]) -> None:
        """Refuse pipelines of another batch class: the steps that follow are those of this one."""
        for other in self.others:
            others = other._bound_plan().batch_classes[-1]
            if others is not batch_class:
                raise ArgumentTypeError(
                    f"concat: the batches of {shown(other)} are {others.__name__}, those of this "
                    f"pipeline {batch_class.__name__}; their steps would not be the same. Make "
                    "both datasets with one batch class"
                )


def check_classes(what: Merge | Concat, dataset: Any) -> None:
    """Refuse datasets whose numbers of labels mean other classes: they would be put together.

    Args:
        what: The step. A function that merges may tell them apart.
        dataset: The dataset of the pipeline; None: it has none yet.
    """
    classes = getattr(dataset, "classes", None)
    for other in what.others if classes is not None else ():
        others = getattr(other._source, "classes", None)
        if others not in (None, classes) and getattr(what, "function", None) is None:
            raise ArgumentValueError(
                f"the numbers of labels mean other classes: this dataset has {classes!r:.80}, that "
                f"of {shown(other)} {others!r:.80}; give all the same, from_files(..., classes=...)"
            )


class Rebatch(Record):
    """Batches get `size` items. The last of an epoch is shorter, or left out."""

    size: int
    function: MergeBatches | None
    drop_last: bool | None  # None: as the run
    others = ()  # it reads from no other pipeline


class MixRows(Record):
    """The rows of `window` batches in a row are mixed; the batches keep their sizes."""

    window: int
    others = ()  # it reads from no other pipeline


class Pack(Record):
    """Several items come into one row of `length` elements, without one that is cut or left out.

    Attributes:
        length: The length of a row.
        src: The components that have one element for each place of an item.
        batch_size: Rows in a batch; None: as many as the run's batches have items.
        segment: The component that tells of each place which item of its row it is of; or None.
        position: The component that tells of each place where in its item it is; or None.
        value: What stands behind the last item of a row.
        long: What becomes of items that are longer than a row: `"error"`, `"cut"` or `"split"`.
    """

    length: int
    src: tuple[str, ...]
    batch_size: int | None
    segment: str | None
    position: str | None
    value: Any
    long: str
    others = ()  # it reads from no other pipeline


Regrouping = Merge | Concat | Rebatch | MixRows | Pack


def join(*others: Any) -> Join:
    """Pass the next action a batch with the same ids from each of other datasets or pipelines.

    Args:
        others: Datasets, or pipelines over one. Their batches are the first arguments of the next
            action, in this order; `load(components=...)` makes components of them.
    """
    pipelines = _nested("join", others)
    for pipeline in pipelines:
        cuts = pipeline._bound_plan().regroupings
        if cuts:
            raise ArgumentValueError(
                f"join: the joined pipeline regroups its batches ({cuts[0].step.name}), so it has "
                "none with the ids of this one; use merge, or regroup behind the join"
            )
    return Join(pipelines)


def merge(*others: Any, fn: MergeBatches | None = None) -> Merge:
    """Put the data of one batch of every other pipeline into each batch.

    Ends with the pipeline that ends first; one with `run_later(..., n_epochs=None)` does not end.
    Options that `run_later` of a pipeline does not set (batch size, order, epochs) are the run's.

    Args:
        others: Datasets, or pipelines over one.
        fn: A function from the list of batches, this pipeline's first, to one batch; None: the
            `merge` of the batch class.
    """
    return Merge(_nested("merge", others), _function("merge", fn))


def concat(*others: Any) -> Concat:
    """Let the batches of other pipelines follow, epoch by epoch.

    Args:
        others: Datasets, or pipelines over one, that have their own steps.
    """
    return Concat(_nested("concat", others))


def rebatch(
    batch_size: int, fn: MergeBatches | None = None, *, drop_last: bool | None = None
) -> Rebatch:
    """Make batches of another size. None has items of two epochs.

    Args:
        batch_size: Items in a batch; the last of an epoch may be shorter.
        fn: A function from a list of batches (or parts of them) to one batch; None: the `merge` of
            the batch class.
        drop_last: Whether a shorter last batch of an epoch is left out; None: as in the run.
    """
    size = checked_count("rebatch: batch_size", batch_size)
    if drop_last is not None and not isinstance(drop_last, (bool, np.bool_)):
        raise ArgumentTypeError(f"rebatch: drop_last is True, False or None, got {drop_last!r:.60}")
    return Rebatch(size, _function("rebatch", fn), drop_last)


def mix_rows(window: int) -> MixRows:
    """Mix the rows of several batches: a shuffle buffer, behind a step that makes several of each.

    The rows of the first `window` batches of an epoch are mixed, then those of the next ones. Each
    comes once, and the batches keep their sizes. The order depends on the seed and the epoch.

    Args:
        window: How many batches are in memory for that.
    """
    return MixRows(checked_count("mix_rows: window", window))


def pack(
    length: int,
    src: str | Iterable[str],
    *,
    batch_size: int | None = None,
    segment: str | None = None,
    position: str | None = None,
    value: Any = 0,
    long: str = "error",
) -> Pack:
    """Put several items into one row: texts of different lengths, with little padding.

    Items go into the first row of the batch that has room for them. When there is none, and the
    batch has all its rows, it goes on, and the next begins. No row has items of two epochs.
    `source_ids` of a row is a tuple: the ids of its items. Other components have a list for each
    row, of what they have for its items.

    Args:
        length: The length of a row.
        src: The component that is packed: one sequence or array for each item; or several, whose
            items are alike in length.
        batch_size: Rows in a batch; None: as many as the run's batches have items. The last of an
            epoch may have fewer.
        segment: A component that tells of each place which item of the row stands there: 1, 2, ...;
            0 behind the last.
        position: A component that tells of each place how far in its item it is: 0, 1, ...
        value: What stands behind the last item.
        long: What becomes of items that are longer than a row: `"error"`; `"cut"`: what is too
            much is left out; `"split"`: it goes into rows of its own.
    """
    is_several = isinstance(src, Iterable) and not isinstance(src, str)
    names: tuple[Any, ...] = tuple(src) if is_several else (src,)
    if not names or not all(isinstance(name, str) for name in names):
        raise ArgumentTypeError(f"pack: src names a component, or several, got {src!r:.60}")
    for name in (segment, position):
        if name is not None and (not isinstance(name, str) or not name.isidentifier()):
            raise ArgumentTypeError(f"pack: segment and position name components, got {name!r:.60}")
    written = [name for name in (*names, segment, position) if name is not None]
    if twice := [name for name in written if written.count(name) > 1]:
        raise ArgumentValueError(f"pack: the component {twice[0]!r} is named twice")
    if long not in ("error", "cut", "split"):
        raise ArgumentValueError(f'pack: long is "error", "cut" or "split", got {long!r:.60}')
    size = None if batch_size is None else checked_count("pack: batch_size", batch_size)
    return Pack(checked_count("pack: length", length), names, size, segment, position, value, long)


def _function(name: str, function: Any) -> MergeBatches | None:
    if function is not None and not callable(function):
        raise ArgumentTypeError(
            f"{name}: fn is a function from a list of batches to a batch, got {function!r:.60}"
        )
    return function  # type: ignore[no-any-return]


def _nested(name: str, others: tuple[Any, ...]) -> tuple[Nested, ...]:
    if not others:
        raise ArgumentTypeError(f"{name}() takes datasets, or pipelines over one; got none")
    pipelines = []
    for other in others:
        pipeline: Any = other if hasattr(other, "_bound_plan") else getattr(other, "p", None)
        if not hasattr(pipeline, "_bound_plan") or isinstance(other, type):
            raise ArgumentTypeError(
                f"{name}() takes datasets, or pipelines over one, got {other!r:.60}"
            )
        pipeline._bound_plan()  # refuses one without a dataset
        pipelines.append(pipeline)
    return tuple(pipelines)
