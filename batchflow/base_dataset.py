"""A dataset: an index of items, the class of their batches, and their data; its parts and runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Self, Unpack

from batchflow import legacy, mixing, splits, windowing
from batchflow.batch import Batch
from batchflow.batch.actions import is_outdated
from batchflow.batch.preloaded import (
    Given,
    Preloaded,
    batch_maker,
    check_attributes,
    check_batch_class,
    rows_at,
)
from batchflow.batch.typevars import BatchT_co
from batchflow.engine import Run, RunKeywords, shows_options
from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    UnknownAttributeError,
)
from batchflow.index import DatasetIndex, Split
from batchflow.index.ranges import Ranges
from batchflow.old_words import ClassWord, Word, where_it_is
from batchflow.pipeline import Pipeline

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from batchflow.batch.preloaded import Rows
    from batchflow.index.order import BoundOrder, Positions
    from batchflow.index.orders.mixture import Mixture
    from batchflow.index.shard import Shard
    from batchflow.sources import Source


class BaseDataset(Generic[BatchT_co]):
    """An index, a batch class and data: what a dataset is, its parts and its runs.

    `Dataset` adds the ways to make one, and says what it takes.
    """

    size = Word[int](len, "The number of items, `len(dataset)`.")
    build_index, from_dataset = ClassWord("dataset"), ClassWord("dataset")

    def __init__(
        self,
        index: Any,
        batch_class: type[BatchT_co] = Batch,  # type: ignore[assignment]  # as the variable's
        preloaded: Any = None,
        *,
        source: Source | None = None,
        **attributes: Any,
    ) -> None:
        check_batch_class(batch_class)
        check_attributes(type(self), batch_class, attributes)
        self.classes: tuple[Any, ...] | None = None
        self.__dict__.update(attributes)
        self.index = index if isinstance(index, DatasetIndex) else DatasetIndex(index)
        self.batch_class = batch_class
        if preloaded is not None and source is not None:
            raise ArgumentTypeError("a dataset has one source of data: give preloaded or source")
        self._data: Rows | None = Preloaded.of(preloaded, batch_class, self.index)
        if source is not None:
            self._data = Given(source, batch_class, len(self.index))
        self.shard_spec: Shard | None = None
        self._mixture: Mixture | None = None
        # The rows of the data that belong to the items; None: the same as the positions.
        self._rows: slice | npt.NDArray[np.int64] | None = None
        self._reader: Pipeline[BatchT_co] | None = None
        # Parts know nothing of the whole, so that no circle keeps arrays alive.
        self.train: Self | None = None
        self.validation: Self | None = None
        self.test: Self | None = None
        self._n_folds = 0  # the attributes cv0, cv1, ... that there are

    def shard(self, index: int, count: int, *, equal: bool = False) -> Self:
        """Return one of several shares of each epoch: for trainers that share the work.

        The share is cut out of the order of the epoch, so that shards which run with the same
        `seed` have no item in common and together have all; where the order is shuffled, each epoch
        deals all items out anew. Each shard has random numbers of its own.

        Args:
            index: The number of the share, from 0 on.
            count: How many there are.
            equal: Whether all have the same number of items. Those that do not divide are left out
                of the epoch, others in each shuffled one. Without it the sizes differ by one at
                most.

        Returns:
            A dataset over the same data, whose length is that of the share.

        Raises:
            ArgumentTypeError: These are no whole numbers.
            ArgumentValueError: There is no such share, or this is one already.

        Example:
            >>> from batchflow import Dataset
            >>> first, second = (Dataset(5).shard(k, 2) for k in range(2))
            >>> [[batch.indices.tolist() for batch in d.gen_batch(2)] for d in (first, second)]
            [[[0, 1]], [[2, 3], [4]]]
        """
        from batchflow.index.shard import Shard  # on use, for a light import

        self._refuse_shard("shard")
        part = self._part(slice(0, len(self.index)))
        part.shard_spec = Shard.checked(index, count, len(self), equal)
        return part

    @property
    def indices(self) -> npt.NDArray[Any]:
        """The ids of the items: a read-only array."""
        return self.index.indices

    @property
    def p(self) -> Pipeline[BatchT_co]:
        """An empty pipeline over this dataset."""
        return Pipeline(self)

    def pipeline(self, config: Mapping[str, Any] | None = None) -> Pipeline[BatchT_co]:
        """Return an empty pipeline over this dataset: the same as `p`, with a config."""
        return Pipeline(self, config)

    def __len__(self) -> int:
        if self.shard_spec is not None:
            return self.shard_spec.size
        return len(self.index) if self._mixture is None else self._mixture.n_places

    def __rshift__(self, pipeline: Pipeline[Any]) -> Pipeline[BatchT_co]:
        """Return the pipeline over this dataset: `dataset >> pipeline`."""
        return pipeline << self if isinstance(pipeline, Pipeline) else NotImplemented

    def __repr__(self) -> str:
        shard = self.shard_spec
        share = "" if shard is None else f", shard {shard.number} of {shard.n_shards}"
        note = " (an older one: the name means another class now)"
        older = note if is_outdated(self.batch_class) else ""
        mixed = "" if self._mixture is None else f", mixed of {len(self._mixture.datasets)}"
        return f"<Dataset of {len(self)} items, {self.batch_class.__name__}{older}{mixed}{share}>"

    def _repr_html_(self) -> str:
        from batchflow.pictures import of_dataset  # on use, for a light import

        return of_dataset(self)

    def __iter__(self) -> Iterator[Any]:
        """Refuse: items come in batches."""
        raise ArgumentTypeError(
            "a dataset is not iterated itself; its batches are: for batch in dataset.gen_batch("
            "batch_size), or dataset.p.some_action().gen_batch(batch_size). Tuples for a training "
            "loop: dataset.p.feed(batch_size, B.x, B.y); the ids: dataset.indices"
        )

    def __getitem__(self, item: Any) -> Any:
        """Refuse: a dataset has no items of its own."""
        raise ArgumentTypeError(
            f"dataset[{item!r:.60}]: a dataset has no items of its own. The batch of some ids: "
            "dataset.create_batch(ids); the dataset of them: dataset.create_subset(ids)"
        )

    def __getattr__(self, name: str) -> Any:
        """Look for an older word; refuse others, and say where they are."""
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        if name in legacy.OF_DATASETS:
            return legacy.of_dataset(self, name)
        raise UnknownAttributeError(where_it_is(self, name))

    def create_batch(self, ids: Any) -> BatchT_co:
        """Make the batch of the items with these ids, in that order, outside of any run.

        Args:
            ids: A list, an array or an index of ids, or one id.

        Raises:
            UnknownNameError: (a `KeyError`) An id is not in the dataset.
        """
        return self._make_batch(self._positions_of(ids), {})

    def create_subset(self, ids: Any) -> Self:
        """Make the dataset of the items with these ids, over the same data."""
        self._refuse_shard("create_subset")
        return self._part(self._positions_of(ids))

    def take(self, positions: Any) -> Self:
        """Make the dataset of the items at some positions, over the same data.

        Args:
            positions: A slice, a list or an array of positions (negative ones count from the end),
                or a mask: one bool for each item.

        Raises:
            ArgumentTypeError: The values are no positions.
            ArgumentValueError: A position is outside of the dataset or given twice, or none is.
        """
        self._refuse_shard("take")
        return self._part(self.index._chosen(positions))

    split = splits.split
    kfold = splits.kfold
    cv_split = legacy.cv_split
    windows = windowing.windows

    @shows_options()
    def gen_batch(
        self, batch_size: int | None = None, **options: Unpack[RunKeywords]
    ) -> Run[BatchT_co]:
        """Iterate over raw batches: `dataset.p.gen_batch(...)`."""
        return self.p.gen_batch(batch_size, **options)

    @shows_options(n_epochs=None)
    def next_batch(
        self, batch_size: int | None = None, **options: Unpack[RunKeywords]
    ) -> BatchT_co:
        """Return one raw batch after the other; see `Pipeline.next_batch`."""
        if self._reader is None:
            self._reader = self.p
        return self._reader.next_batch(batch_size, **options)

    def reset(self, what: str = "iter") -> None:
        """Let `next_batch` start again; see `Pipeline.reset`."""
        (self._reader or self.p).reset(what)

    # ---- what runs read: see `engine.Source`

    def _make_batch(self, positions: Positions, facts: dict[str, Any]) -> BatchT_co:
        return self._maker()(positions, facts)

    def _maker(
        self, *, repeats: bool = False, window: int = 0
    ) -> Callable[[Positions, dict[str, Any]], BatchT_co]:
        data = self._data
        if window and data is not None and not isinstance(data, Preloaded):
            data = data.keeping(window)
        return batch_maker(self, data, self._rows, repeats=repeats)

    def _positions_of(self, ids: Any) -> npt.NDArray[np.int64]:
        return self.index._chosen(self.index._positions_of(ids))  # type: ignore[return-value]

    def _ids_at(self, positions: Positions) -> npt.NDArray[Any]:
        return self.index._take(positions).indices

    def _values_of(self, given: Any) -> Any:
        return splits.values_of(self, given)

    def _blocks(self) -> int | npt.NDArray[np.int64] | None:
        if hasattr(self.index, "_block_starts"):  # of windows: those of one record
            return self.index._block_starts()  # type: ignore[no-any-return]
        return None if self._data is None else self._data.blocks

    def _own_order(self, seed: int, shuffle: Any) -> BoundOrder | None:
        return None if self._mixture is None else self._mixture.bound(seed, shuffle)

    # ---- inside

    def _part(self, positions: Positions | Ranges) -> Self:
        part = type(self).__new__(type(self))
        part.__dict__.update(self.__dict__)
        part._set_parts(Split(None, None, None))
        part.index = self.index._take_part(positions)
        part._reader = None
        if self._data is not None and not self._data.is_by_id:
            if isinstance(positions, Ranges):
                positions = positions.array()
            part._rows = rows_at(self._rows, positions)
        return part

    def _refuse_shard(self, method: str) -> None:
        if self._mixture is not None and method != "shard":
            mixing.refuse_part(self._mixture, method)
        shard = self.shard_spec
        if shard is not None:
            raise ArgumentValueError(
                f"{method}: this is shard {shard.number} of {shard.n_shards}, whose items "
                f"are others in each epoch; call {method} on the whole dataset, shard the result"
            )

    def _set_parts(self, parts: Split[Any], folds: Sequence[Split[Any]] = ()) -> Split[Any]:
        """Keep the parts of a split, or its folds, and nothing of the one before."""
        self.train, self.validation, self.test = parts
        for number in range(self._n_folds):
            self.__dict__.pop(f"cv{number}", None)
        for number, fold in enumerate(folds):
            self.__dict__[f"cv{number}"] = fold
        self._n_folds = len(folds)
        return parts

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None}
