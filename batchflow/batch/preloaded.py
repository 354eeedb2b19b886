"""The data of a dataset: in memory or lazy, component by component, or what a user's source reads.

Guarantees:
    - Nothing that a batch does to its data in place reaches the data of the dataset.
    - The dtype of a component never depends on which rows are in a batch.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from batchflow.arrays import column_names, is_table
from batchflow.batch.array import ArrayBatch
from batchflow.batch.batch import Batch
from batchflow.batch.core import BatchData
from batchflow.batch.rows import array_rows, as_rows, n_rows, own, take_rows
from batchflow.errors import ArgumentTypeError, ArgumentValueError, did_you_mean
from batchflow.index import DatasetIndex
from batchflow.index.labels import Labels, by_label, checked_labels
from batchflow.old_words import old_word
from batchflow.sources.lazy import files_of, is_lazy, listed

if TYPE_CHECKING:
    import numpy.typing as npt

    from batchflow.batch.mixed import MixedRows
    from batchflow.index.order import Positions
    from batchflow.sources import Source

_BLOCK = 1024  # so many rows of a source are read at once, where one component of all is asked for
# What a dataset sets in itself,
_OF_DATASETS = frozenset({"index", "shard_spec", "test", "train", "validation"})
# and what is told to a run.
_OF_RUNS = frozenset(
    {
        *("bar", "batch_size", "drop_last", "executor", "first_epoch", "n_epochs", "n_iters"),
        *("n_workers", "prefetch", "seed", "shuffle"),
    }
)


class Preloaded(BatchData):
    """Containers with one row for each item, by the attribute of the batch that they become.

    Args:
        columns: The containers: arrays, tensors, sparse matrices, tables, lazy arrays.
        class_name: The name of the batch class, for messages.
        labels: The labels that the rows of tables had, where nobody gave ids.
    """

    def __init__(
        self, columns: dict[str, Any], class_name: str, labels: Labels | None = None
    ) -> None:
        self.labels = labels
        self.columns = columns
        self._class_name = class_name
        self._are_plain = all(map(_is_plain, columns.values()))
        self._files = files_of(columns.values())

    @classmethod
    def of(cls, given: Any, batch_class: type[Batch], index: DatasetIndex) -> Preloaded | None:
        """Check data against a batch class.

        Args:
            given: A container for a class without components; a tuple in the order of the
                components, a mapping from their names, or a table with such columns; None.
            batch_class: The class.
            index: The ids: there is one row for each, in their order. Where a user gave them,
                tables and columns with labels go by label.
        """
        if given is None:
            return None
        by_name = _by_name(given, batch_class)
        shown = {name: f"{batch_class.__name__}.{name.lstrip('_')}" for name in by_name}
        labels = None
        if not index.is_given:
            labels = checked_labels((shown[name], value) for name, value in by_name.items())
        columns = {}
        for name, value in by_name.items():
            value = by_label(value, index, shown[name])
            rows = as_rows(value, shown[name], reads_tensors=issubclass(batch_class, ArrayBatch))
            if n_rows(rows) != len(index):
                shape = getattr(rows, "shape", (n_rows(rows),))
                raise ArgumentValueError(
                    f"{shown[name]}: the index has {len(index)} items, the preloaded data "
                    f"{n_rows(rows)} rows (shape {tuple(shape)})"
                )
            if issubclass(batch_class, ArrayBatch) and not is_lazy(rows):
                rows = array_rows(rows, len(index), shown[name])
            columns[name] = rows
        return cls(columns, batch_class.__name__, labels)

    def copy_rows(self, rows: Positions, index: DatasetIndex) -> dict[str, Any]:  # noqa: ARG002
        """Copy rows out of every container, by the attribute of the batch that they become."""
        if self._are_plain:
            copies = {}
            for name, array in self.columns.items():
                is_slice = rows.__class__ is slice
                copies[name] = array[rows].copy() if is_slice else array.take(rows, 0)
            return copies
        for file in self._files:
            file.check()
        return {
            name: own(take_rows(column, rows, f"{self._class_name}.{name.lstrip('_')}"))
            for name, column in self.columns.items()
        }

    def values(self, name: str, rows: Positions | None, index: DatasetIndex) -> Any:
        """Return the rows of all items of an index from one container; None if there is none."""
        where = slice(0, len(index)) if rows is None else rows
        return take_rows(self.columns.get(name), where, f"{self._class_name}.{name}")

    @property
    def blocks(self) -> int | None:
        """The rows of a chunk of the lazy array with the longest chunks, if one has some."""
        chunks = [getattr(rows, "chunks", None) or ("",) for rows in self.columns.values()]
        return max((first for first, *_ in chunks if isinstance(first, int)), default=None)


def _is_plain(column: Any) -> bool:
    """Check whether one call of `take` copies rows, and nothing more is to be done.

    For small rows `take` is three times as quick as an index, for large ones as quick. Of an array
    that does not lie in one piece it would copy all first; those of subclasses have a way of their
    own.
    """
    return (
        type(column) is np.ndarray
        and not column.dtype.hasobject
        and column.flags.c_contiguous
        and column.flags.aligned
    )


class Given(BatchData):
    """A source of the user's: what it reads is checked, and becomes components.

    Args:
        source: The source.
        batch_class: The class of the batches.
        n_items: The number of items.

    Raises:
        ArgumentTypeError: It is no source.
        ArgumentValueError: It has another number of rows than there are items.
    """

    def __init__(self, source: Source, batch_class: type[Batch], n_items: int) -> None:
        is_source = callable(getattr(source, "read", None)) and hasattr(source, "__len__")
        if isinstance(source, type) or not is_source:
            raise ArgumentTypeError(
                "source is an object with len(source) and source.read(positions), which returns "
                f"rows by component; got {type(source).__name__} {source!r:.60}. Arrays are given "
                "by from_arrays or preloaded="
            )
        if len(source) != n_items:
            raise ArgumentValueError(
                f"the index has {n_items} items, the source {len(source)} rows: {source!r:.60}"
            )
        self._source = source
        self._class = batch_class
        self.labels: Labels | None = None

    def copy_rows(self, rows: Positions, index: DatasetIndex) -> dict[str, Any]:
        """Read the rows of the items of an index, and check what was read.

        Raises:
            ArgumentTypeError: It is no mapping of components to rows.
            ArgumentValueError: It has another number of rows than was asked for.
            Exception: What reading raises, with a note that names the positions.
        """
        positions: Any = rows if getattr(self._source, "reads_slices", False) else None
        if positions is None or not isinstance(rows, slice):
            positions = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows.copy()
        try:
            read = self._source.read(positions)  # its own: it may sort them in place
        except StopIteration as error:
            shown = self._shown(rows)
            raise RuntimeError(f"while {shown}, it raised StopIteration") from error
        except Exception as error:
            error.add_note(f"while {self._shown(rows)}")
            raise
        if type(read) is not dict and not isinstance(read, Mapping):
            raise ArgumentTypeError(
                f"{self._shown(rows)}: it must return a mapping from components to rows, got "
                f"{type(read).__name__} {read!r:.60}"
            )
        known = tuple(self._class.components) or ("data",)
        columns = {}
        for name, value in read.items():
            if name not in known:
                raise ArgumentTypeError(
                    f"{self._shown(rows)}: a {self._class.__name__} has no component {name!r}."
                    f"{did_you_mean(name, known)}"
                )
            if (number := n_rows(value)) != len(index):
                raise ArgumentValueError(
                    f"{self._shown(rows)}: expected {len(index)} rows of {name!r}, got {number}"
                )
            value = by_label(value, index, f"{self._class.__name__}.{name}")
            attribute = name if self._class.components else "_data"
            columns[attribute] = self._converted(value, f"{self._class.__name__}.{name}")
        return columns

    @property
    def blocks(self) -> Any:
        """What the source says of its blocks; None if it says nothing."""
        return getattr(self._source, "blocks", None)

    def keeping(self, n_blocks: int) -> Given:
        """Return the same data for a run that reads so many blocks together."""
        from batchflow.sources.kept import with_kept_blocks  # on use, for a light import

        data = copy.copy(self)
        data._source = with_kept_blocks(self._source, n_blocks)
        return data

    def _shown(self, rows: Positions) -> str:
        """Return what happened, for messages: which source was read, and where."""
        return f"{self._source!r:.60} was read, at the positions {listed(rows)}"

    def values(self, name: str, rows: Positions | None, index: DatasetIndex) -> Any:
        """Return what is read of all items of an index under one name; None if there is none."""
        found: list[Any] = []
        for start in range(0, len(index), _BLOCK):
            part = slice(start, min(start + _BLOCK, len(index)))
            read = self.copy_rows(rows_at(rows, part), index._take(part))
            if read.get(name) is None:
                return None
            found.extend(read[name])
        return found

    def _converted(self, value: Any, shown: str) -> Any:
        if type(value) is np.ndarray and value.flags.owndata and value.flags.writeable:
            return value
        if issubclass(self._class, ArrayBatch):
            value = array_rows(value, n_rows(value) or 0, shown)
        if isinstance(value, np.ndarray) and not (value.flags.owndata and value.flags.writeable):
            return value.copy()
        return value


Rows: TypeAlias = "Preloaded | Given | MixedRows"  # what a dataset reads its batches from


def n_given(components: Any) -> int:
    """Return the number of rows of the first component that `from_arrays` is given."""
    first = next(iter(components.values())) if isinstance(components, Mapping) else components
    number = n_rows(first)
    if number is None:
        raise ArgumentTypeError(
            f"from_arrays: expected arrays, got {type(first).__name__} {first!r:.60}"
        )
    return number


def rows_at(rows: slice | npt.NDArray[np.int64] | None, positions: Positions) -> Positions:
    """Return the rows of the items at some positions of a part of a dataset.

    `rows` are those of all items of the part; None: the positions are the rows.
    """
    if rows is None:
        return positions
    if not isinstance(rows, slice):
        return rows[positions]
    if isinstance(positions, slice):
        return slice(rows.start + positions.start, rows.start + positions.stop)
    return positions + rows.start  # type: ignore[no-any-return]


def batch_maker(
    dataset: Any,
    data: Rows | None,
    rows: slice | npt.NDArray[np.int64] | None,
    *,
    repeats: bool = False,
) -> Callable[[Positions, dict[str, Any]], Any]:
    """Return what makes the batches of a dataset, with all at hand that is the same for each.

    Args:
        dataset: The dataset.
        data: Its data, if there are some.
        rows: See `rows_at`.
        repeats: Whether positions may come more than once: batches have the indices `0 ... n - 1`,
            and `source_ids`.
    """
    take, make = dataset.index._taker(), dataset.batch_class._make
    count = DatasetIndex(sys.maxsize)._taker()

    def make_batch(positions: Positions, facts: dict[str, Any]) -> Any:
        index = take(positions)
        facts["dataset"] = dataset
        if data is None:
            return make(index, None, facts)
        own = positions if rows is None else rows_at(rows, positions)
        return make(index, data.copy_rows(own, index), facts)

    def make_repeating(positions: Positions, facts: dict[str, Any]) -> Any:
        facts["dataset"] = dataset
        chosen = take(positions)
        facts["_source_ids"] = chosen.indices
        index = count(slice(0, len(chosen)))
        if isinstance(data, Preloaded):
            return make(index, data.copy_rows(rows_at(rows, positions), chosen), facts)
        return make(index, data and _read_once(data, rows, positions, take), facts)

    return make_repeating if repeats else make_batch


def _read_once(
    data: Given | MixedRows,
    rows: slice | npt.NDArray[np.int64] | None,
    positions: Any,
    take: Callable[[Positions], DatasetIndex],
) -> dict[str, Any]:
    """Read rows of which some may come more than once: each is asked for once."""
    wanted, places = np.unique(positions, return_inverse=True)
    read = data.copy_rows(rows_at(rows, wanted), take(wanted))
    return {name: own(take_rows(column, places, name)) for name, column in read.items()}


def check_given_batch(batch: Any) -> None:
    """Check that a dataset can be made of a batch."""
    if not isinstance(batch, Batch):
        raise ArgumentTypeError(f"from_batch takes a batch, got {batch!r:.60}")
    if added := [name for name in batch.components if name not in type(batch).components]:
        raise ArgumentTypeError(
            f"from_batch: {added[0]!r} was added to {batch!r}, and batches of a dataset have the "
            f"components of their class: name it in {type(batch).__name__}.components"
        )


def check_batch_class(batch_class: Any) -> None:
    """Refuse what is no batch class."""
    if not (isinstance(batch_class, type) and issubclass(batch_class, Batch)):
        raise ArgumentTypeError(
            f"expected a subclass of Batch, got {batch_class!r:.60}: Dataset(index, MyBatch)"
        )


def check_attributes(cls: type, batch_class: type[Batch], given: Mapping[str, Any]) -> None:
    """Refuse attributes of a dataset that are meant otherwise."""
    for name in given:
        if name in (batch_class.components or ("data",)):
            raise ArgumentTypeError(
                f"Dataset({name}=...): {name!r} is a component of {batch_class.__name__}. Data are "
                f"given so: Dataset.from_arrays({batch_class.__name__}, {name}=...), or "
                f'preloaded={{"{name}": ...}}'
            )
        arguments = ("batch_class", "preloaded", "source")
        hint = old_word(name, "dataset") or did_you_mean(name, arguments, only_near=True)
        if name in _OF_RUNS:
            hint = f" It is an option of the run: run(..., {name}=...)."
        if hint or hasattr(cls, name) or name in _OF_DATASETS or name.startswith("_"):
            taken = "" if hint else " A dataset has that name already."
            raise ArgumentTypeError(f"Dataset() takes no argument {name!r}.{hint}{taken}")


def _by_name(given: Any, batch_class: type[Batch]) -> dict[str, Any]:
    names: tuple[str, ...] = tuple(batch_class.components)
    class_name = batch_class.__name__
    if not names:
        if isinstance(given, Mapping):
            raise ArgumentTypeError(
                f"{class_name} has no components, so its data is one array, got "
                f"{', '.join(map(repr, given))}. Name them in the class: "
                f"components = {', '.join(map(repr, given))}"
            )
        return {"_data": given}
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in names]
        if unknown:
            raise ArgumentTypeError(
                f"{class_name} has no component {unknown[0]!r}.{did_you_mean(unknown[0], names)}"
            )
        return dict(given)
    if is_table(given) and (found := [name for name in names if name in column_names(given)]):
        return {name: given[name] for name in found}
    if len(names) == 1 and not isinstance(given, tuple):
        return {names[0]: given}
    if not isinstance(given, (tuple, list)) or len(given) != len(names):
        got = f"{len(given)} of them" if isinstance(given, (tuple, list)) else type(given).__name__
        if is_table(given):
            got += f" with the columns {', '.join(map(str, column_names(given)[:10]))}"
        raise ArgumentTypeError(
            f"{class_name} has the components {', '.join(names)}: give the data as a tuple of "
            f"{len(names)} arrays in this order, or as a mapping from these names; got {got}"
        )
    return dict(zip(names, given, strict=True))
