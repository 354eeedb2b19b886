"""Datasets of windows over the records of another dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from batchflow.errors import ArgumentTypeError, ArgumentValueError

DatasetT = TypeVar("DatasetT")


def windows(
    dataset: DatasetT,
    lengths: Any,
    size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    partial: Literal["drop", "pad"] = "drop",
    *,
    value: Any = 0,
    mask: str | None = None,
    src: str | Sequence[str] | None = None,
) -> DatasetT:
    """Make the dataset of windows over the records that are the items of this one.

    Its ids are `(record, start)`, computed and not stored. In a batch `batch.records` has the ids
    of the records and `batch.starts` where the windows begin. A split parts records: no record has
    windows in two parts; what is given to `stratify` and `groups` is one value for each record.

    Args:
        dataset: The dataset.
        lengths: The length of each record: an array of shape `(n_records,)`, or of shape
            `(n_records, n_axes)` for windows along several axes; or a column, by label where the
            ids were given; or a mapping from ids. Or the name of a component, or several: these are
            cut into the windows, along their first axes.
        size: The size of a window: a number, or a tuple with one for each axis.
        stride: How far a window begins behind the one before it, alike; None: its size.
        partial: What becomes of a shorter window at the end of a record: `"drop"`: it is left out;
            `"pad"`: it is there, and what is cut is filled up.
        value: What stands behind the end of a record.
        mask: A component that tells where records are: bools of shape `(n_windows, *size)`.
        src: The components that are cut, where lengths are numbers; None: those of which each item
            has the length of its record. Others have the rows of the records.

    Returns:
        The dataset.

    Raises:
        ArgumentTypeError: Sizes or lengths are no whole numbers, or the mask is no component.
        ArgumentValueError: They do not fit the records, or none of these is as long as a window; or
            `value` is none of a component that is cut.

    Warns:
        UserWarning: Some records are shorter than a window.

    Example:
        >>> import numpy as np
        >>> from batchflow import ArrayBatch, Dataset
        >>> class Signals(ArrayBatch):
        ...     components = "signals", "labels"
        >>> signals = np.arange(20).reshape(2, 10)
        >>> records = Dataset.from_arrays(Signals, signals=signals, labels=[0, 1])
        >>> batch = records.windows("signals", 4, 3).next_batch(4)
        >>> batch.signals.tolist(), batch.labels.tolist()
        ([[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9], [10, 11, 12, 13]], [0, 0, 0, 1])
        >>> batch.records.tolist(), batch.starts.tolist()
        ([0, 0, 0, 1], [0, 3, 6, 0])
    """
    from batchflow.batch.windowed import Padding, Windowed
    from batchflow.index.split import Split
    from batchflow.index.windows import Cut, WindowsIndex

    whole: Any = dataset
    _refuse(whole, src)
    cut = Cut.checked(size, stride, partial)
    padding = Padding.checked(cut.partial, value, mask)
    names = _names(lengths)
    known = _lengths_of(whole, names, len(cut.size)) if names else _numbers(whole, lengths)
    part: Any = object.__new__(type(whole))
    part.__dict__.update(whole.__dict__)
    part._set_parts(Split(None, None, None))
    part.index = WindowsIndex.made(whole.index, known, cut)
    part._reader = part._rows = None
    if whole._data is not None or mask is not None:
        src = names if names and src is None else src
        components = tuple(whole.batch_class.components) or ("data",)
        lengths = known.reshape(len(whole.index), -1)
        part._data = Windowed(whole._data, whole._rows, components, lengths, src, padding)
    return part  # type: ignore[no-any-return]


def _refuse(dataset: Any, src: Any) -> None:
    """Refuse to cut what has been cut, or components that have no data."""
    from batchflow.index.windows import WindowsIndex

    dataset._refuse_shard("windows")
    if isinstance(dataset.index, WindowsIndex):  # a split would part windows that overlap
        raise ArgumentTypeError(
            "windows: these are windows already; cut their records another way, or windows into "
            "pieces: crop(size, at=...)"
        )
    if src is not None and dataset._data is None:
        raise ArgumentValueError(
            "windows: src names components that are cut, and this dataset was given no data; cut "
            "in an action, by batch.records and batch.starts"
        )


def _numbers(dataset: Any, lengths: Any) -> Any:
    """Return lengths that are given as numbers, in the order of the records."""
    import numpy as np

    from batchflow.index.labels import by_label

    if isinstance(lengths, Mapping):
        ids = dataset.indices.tolist()
        if missing := [item for item in ids if item not in lengths]:
            raise ArgumentValueError(
                f"windows: lengths: {len(missing)} records have none, such as {missing[:5]}"
            )
        lengths = [lengths[item] for item in ids]
    return np.asarray(by_label(lengths, dataset.index, "windows: lengths"))


def _names(lengths: Any) -> tuple[str, ...]:
    """Return the components that lengths name; none if they are numbers."""
    if isinstance(lengths, str):
        return (lengths,)
    if isinstance(lengths, (list, tuple)) and lengths and all(isinstance(n, str) for n in lengths):
        return tuple(lengths)
    return ()


def _lengths_of(dataset: Any, names: Sequence[str], n_axes: int) -> Any:
    """Return the lengths of the records of some components, along their first axes."""
    import numpy as np

    lengths = None
    for name in names:
        found = _lengths(dataset, name, n_axes)
        if lengths is not None and not np.array_equal(lengths, found):
            record = int(np.flatnonzero((lengths != found).any(axis=1))[0])
            raise ArgumentTypeError(
                f"windows: {names[0]!r} and {name!r} of the record "
                f"{dataset.indices[record]!r} have different lengths: {lengths[record].tolist()} "
                f"and {found[record].tolist()}"
            )
        lengths = found
    return lengths


def _lengths(dataset: Any, name: str, n_axes: int) -> Any:
    import numpy as np

    from batchflow.batch.windowed import columns_of

    attribute = name if dataset.batch_class.components else "_data"
    column = (columns_of(dataset._data) or {}).get(attribute)
    shape = getattr(column, "shape", ())
    if len(shape) > n_axes and getattr(column, "dtype", None) != np.dtype(object):
        return np.tile(np.array(shape[1 : 1 + n_axes]), (len(dataset.index), 1))
    values = dataset._values_of(name)
    shapes = [np.shape(value)[:n_axes] for value in values]
    if any(len(shape) != n_axes for shape in shapes):
        raise ArgumentTypeError(
            f"windows: a record of {name!r} has fewer axes than the size, which has {n_axes}; for "
            "lengths of your own give the numbers and no name"
        )
    return np.array(shapes, dtype=np.int64)
