"""A dataset: which items there are, what a batch of them is, and where their data comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self, Unpack

from batchflow.batch import Batch
from batchflow.batch.preloaded import Preloaded
from batchflow.engine import Run, RunKeywords
from batchflow.errors import ArgumentTypeError
from batchflow.index import DatasetIndex, Split
from batchflow.pipeline import Pipeline

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from batchflow.index.order import Positions, ShuffleLike

__all__ = ["Dataset"]


class Dataset:
    """Binds an index to a batch class and, if there is one in memory, to the data.

    Args:
        index: A `DatasetIndex`, or what one is made from (a number of items, a list of ids).
        batch_class: The class of its batches.
        preloaded: The data of all items, one row per id, in the order of the index: an array for a
            batch class without components; for one with components a tuple in their order, or a
            mapping from their names. Anything that NumPy reads. A batch gets a copy of its rows.

    Attributes:
        index: The `DatasetIndex`.
        batch_class: The class of its batches.

    Raises:
        ArgumentTypeError: `batch_class` is not a batch class, or the data does not fit it.
        ArgumentValueError: The data has not as many rows as there are items.

    Example:
        >>> import numpy as np
        >>> from batchflow import ArrayBatch, Dataset
        >>> dataset = Dataset(["a", "b", "c"], ArrayBatch, preloaded=np.array([10, 20, 30]))
        >>> dataset.create_batch(["c", "a"]).data
        array([30, 10])
    """

    def __init__(self, index: Any, batch_class: type[Batch] = Batch, preloaded: Any = None) -> None:
        _check_batch_class(batch_class)
        self.index = index if isinstance(index, DatasetIndex) else DatasetIndex(index)
        self.batch_class = batch_class
        self._preloaded = Preloaded.of(preloaded, batch_class, len(self.index))
        # The rows of the preloaded data that belong to the items; None: the same as the positions.
        self._rows: slice | npt.NDArray[np.int64] | None = None
        self._reader: Pipeline | None = None

    @classmethod
    def from_arrays(cls, batch_class: type[Batch], index: Any = None, **components: Any) -> Self:
        """Make a dataset of arrays with one row per item.

        Args:
            batch_class: The class of its batches.
            index: The ids; None: `0 ... n - 1`.
            components: The arrays, by the names of the components; `data` for a batch class
                without components. A component that is left out is None in every batch.

        Raises:
            ArgumentTypeError: A component is not known, or none is given.
            ArgumentValueError: The arrays have different lengths.
        """
        _check_batch_class(batch_class)
        if not components:
            raise ArgumentTypeError(
                "from_arrays: give the arrays by name: from_arrays(MyBatch, images=x, labels=y)"
            )
        if set(components) == {"data"} and not batch_class.components:
            components = components["data"]
        if index is None:
            arrays = components.values() if isinstance(components, Mapping) else [components]
            first = next(iter(arrays))
            if not hasattr(first, "__len__"):
                raise ArgumentTypeError(
                    f"from_arrays: expected arrays, got {type(first).__name__} {first!r:.60}"
                )
            index = len(first)
        return cls(index, batch_class, preloaded=components)

    @property
    def indices(self) -> npt.NDArray[Any]:
        """The ids of the items: a read-only array."""
        return self.index.indices

    @property
    def p(self) -> Pipeline:
        """An empty pipeline over this dataset."""
        return Pipeline(self)

    def pipeline(self, config: Mapping[str, Any] | None = None) -> Pipeline:
        """Give an empty pipeline over this dataset: the same as `p`, with a config."""
        return Pipeline(self, config)

    def __len__(self) -> int:
        return len(self.index)

    def __rshift__(self, pipeline: Pipeline) -> Pipeline:
        """Give the pipeline over this dataset: `dataset >> pipeline`."""
        return pipeline << self if isinstance(pipeline, Pipeline) else NotImplemented

    def __repr__(self) -> str:
        return f"<Dataset of {len(self)} items, {self.batch_class.__name__}>"

    def create_batch(self, ids: Any) -> Batch:
        """Make the batch of the items with these ids, in that order, outside of any run.

        Args:
            ids: A list, an array or an index of ids, or one id.

        Raises:
            UnknownNameError: (a `KeyError`) An id is not in the dataset.
        """
        return self.make_batch(self._positions(ids), {})

    def create_subset(self, ids: Any) -> Self:
        """Make the dataset of the items with these ids, over the same data."""
        return self._part(self._positions(ids))

    def split(
        self,
        train: Any = 0.8,
        validation: Any = None,
        test: Any = None,
        shuffle: ShuffleLike = False,
    ) -> Split[Self]:
        """Split into up to three datasets over the same data, without common items.

        Takes the arguments of `DatasetIndex.split`.

        Returns:
            The parts as `.train`, `.validation` and `.test`; one without items is None.
        """
        positions = self.index._split_positions((train, validation, test), shuffle)
        train_part, *others = (
            self._part(where) if len(self.index._take(where)) else None for where in positions
        )
        return Split(train_part, *others)  # type: ignore[arg-type]

    def gen_batch(self, batch_size: int | None = None, **options: Unpack[RunKeywords]) -> Run:
        """Iterate over raw batches: `dataset.p.gen_batch(...)`."""
        return self.p.gen_batch(batch_size, **options)

    def next_batch(self, batch_size: int | None = None, **options: Unpack[RunKeywords]) -> Batch:
        """Give one raw batch after the other; see `Pipeline.next_batch`."""
        if self._reader is None:
            self._reader = self.p
        return self._reader.next_batch(batch_size, **options)

    def reset(self, what: str = "iter") -> None:
        """Let `next_batch` start again; see `Pipeline.reset`."""
        (self._reader or self.p).reset(what)

    def make_batch(self, positions: Positions, facts: dict[str, Any]) -> Batch:
        """Make the batch of the items at `positions`: what runs call (see `engine.Source`)."""
        arrays = None
        if self._preloaded is not None:
            arrays = self._preloaded.copy_rows(self._rows_at(positions))
        facts["dataset"] = self
        return self.batch_class._make(self.index._take(positions), arrays, facts)

    def ids(self, positions: Positions) -> npt.NDArray[Any]:
        """Give the ids of the items at `positions`."""
        return self.index._take(positions).indices

    def _positions(self, ids: Any) -> npt.NDArray[np.int64]:
        subset = self.index.create_subset(ids)  # checks: known, without duplicates
        positions: npt.NDArray[np.int64] = self.index.get_pos(subset)
        return positions

    def _rows_at(self, positions: Positions) -> Positions:
        rows = self._rows
        if rows is None:
            return positions
        if isinstance(rows, slice):
            start: int = rows.start
            if isinstance(positions, slice):
                return slice(start + positions.start, start + positions.stop)
            return positions + start
        part: npt.NDArray[np.int64] = rows[positions]
        return part

    def _part(self, positions: Positions) -> Self:
        part = type(self).__new__(type(self))
        part.__dict__.update(self.__dict__)
        part.index = self.index._take(positions)
        part._rows = self._rows_at(positions)
        part._reader = None
        return part

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None}


def _check_batch_class(batch_class: Any) -> None:
    if not (isinstance(batch_class, type) and issubclass(batch_class, Batch)):
        raise ArgumentTypeError(f"expected a subclass of Batch, got {batch_class!r:.60}")
