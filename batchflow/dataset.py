"""A dataset: an index of items, the class of their batches, and their data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Self, Unpack

from batchflow import legacy
from batchflow.batch import Batch
from batchflow.batch.actions import is_outdated
from batchflow.batch.preloaded import (
    Given,
    Preloaded,
    Rows,
    batch_maker,
    check_attributes,
    check_batch_class,
    check_given_batch,
    n_given,
    rows_at,
)
from batchflow.batch.typevars import BatchT_co, OtherT
from batchflow.engine import Run, RunKeywords, shows_options
from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    UnknownAttributeError,
    did_you_mean,
)
from batchflow.index import DatasetIndex, Split
from batchflow.index.ranges import Ranges
from batchflow.index.split import refuse_shares_in_a_row
from batchflow.old_words import Word, knows_old_options, knows_old_split, old_word
from batchflow.pipeline import Pipeline

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from batchflow.index.order import Positions, ShuffleLike
    from batchflow.index.shard import Shard
    from batchflow.sources import Source

__all__ = ["Dataset"]


class Dataset(Generic[BatchT_co]):
    """Binds an index to a batch class and, if the dataset has some, to the data.

    Args:
        index: A `DatasetIndex`, or what one is made from (a number of items, a list of ids).
        batch_class: The class of its batches.
        preloaded: The data of all items, one row per id, in the order of the index: an array for a
            batch class without components; for one with components a tuple in their order, a
            mapping from their names, or a table with such columns. What may be given beside
            arrays, `docs/reference/data.md` says. A batch gets a copy of its rows.
        source: The object that data are read from instead, by rows: anything with `len(source)` and
            `source.read(positions)`; see `Source`.
        attributes: Attributes of the dataset and of its parts, which `D.name` reads.

    Attributes:
        index: The `DatasetIndex`.
        batch_class: The class of its batches.
        train: The part of the last `split` or `cv_split`, a dataset; None before.
        validation: The same.
        test: The same.
        shard_spec: The shard that it is; None: all items.

    Raises:
        ArgumentTypeError: `batch_class` is not a batch class, the data does not fit it, or both
            `preloaded` and `source` are given.
        ArgumentValueError: The data has not as many rows as there are items; or a table, where ids
            were given, has not one row with each of them as its label.

    Example:
        >>> import numpy as np
        >>> from batchflow import ArrayBatch, Dataset
        >>> dataset = Dataset(["a", "b", "c"], ArrayBatch, preloaded=np.array([10, 20, 30]))
        >>> dataset.create_batch(["c", "a"]).data
        array([30, 10])
    """

    size = Word[int](len, "The number of items: `len(dataset)`.")

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
        self.__dict__.update(attributes)
        self.index = index if isinstance(index, DatasetIndex) else DatasetIndex(index)
        self.batch_class = batch_class
        if preloaded is not None and source is not None:
            raise ArgumentTypeError("a dataset has one source of data: give preloaded or source")
        self._data: Rows | None = Preloaded.of(preloaded, batch_class, self.index)
        if source is not None:
            self._data = Given(source, batch_class, len(self.index))
        self.shard_spec: Shard | None = None
        # The rows of the data that belong to the items; None: the same as the positions.
        self._rows: slice | npt.NDArray[np.int64] | None = None
        self._reader: Pipeline[BatchT_co] | None = None
        # Parts know nothing of the whole, so that no circle keeps arrays alive.
        self.train: Self | None = None
        self.validation: Self | None = None
        self.test: Self | None = None
        self._n_folds = 0  # the attributes cv0, cv1, ... that there are

    @classmethod
    def from_arrays(
        cls, batch_class: type[OtherT], index: Any = None, **components: Any
    ) -> Dataset[OtherT]:
        """Make a dataset of arrays with one row per item.

        Args:
            batch_class: The class of its batches.
            index: The ids; None: `0 ... n - 1`.
            components: The arrays, by the names of the components; `data` for a batch class
                without components. A component that is left out is None in every batch. What may be
                given beside arrays, `docs/reference/data.md` says.

        Raises:
            ArgumentTypeError: A component is not known, none is given, or one is nothing to read
                rows from.
            ArgumentValueError: The arrays have different lengths; or the labels of a table are not
                the ids that were given.
        """
        check_batch_class(batch_class)
        if not components:
            raise ArgumentTypeError(
                "from_arrays: give the arrays by name: from_arrays(MyBatch, images=x, labels=y)"
            )
        if set(components) == {"data"} and not batch_class.components:
            components = components["data"]
        index = n_given(components) if index is None else index
        make: type[Dataset[Any]] = cls
        return make(index, batch_class, preloaded=components)

    @classmethod
    def from_batch(cls, batch: OtherT) -> Dataset[OtherT]:
        """Make a dataset of the items of a batch: its class, its ids, copies of its components.

        Args:
            batch: The batch. A component that is None is None in every batch of the dataset; a
                list becomes an array, of objects where the items have different shapes.

        Raises:
            ArgumentTypeError: It is no batch, or a component is not made of items.
            ArgumentValueError: A component has another length than the batch.
        """
        check_given_batch(batch)
        names = tuple(batch.components)
        values = {name: getattr(batch, name) for name in names or ("data",)}
        given: Any = {name: copy.deepcopy(v) for name, v in values.items() if v is not None}
        if not names:
            given = given.get("data")
        make: type[Dataset[Any]] = cls
        return make(batch.index, type(batch), preloaded=given)

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
            >>> first, second = (Dataset(5).shard(k, 2) for k in range(2))
            >>> [[batch.indices.tolist() for batch in d.gen_batch(2)] for d in (first, second)]
            [[[0, 1]], [[2, 3], [4]]]
        """
        from batchflow.index.shard import Shard  # on use, for a light import

        self._refuse_shard("shard")
        part = self._part(slice(0, len(self.index)))
        part.shard_spec = Shard.checked(index, count, len(self.index), equal)
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
        return len(self.index) if self.shard_spec is None else self.shard_spec.size

    def __rshift__(self, pipeline: Pipeline[Any]) -> Pipeline[BatchT_co]:
        """Return the pipeline over this dataset: `dataset >> pipeline`."""
        return pipeline << self if isinstance(pipeline, Pipeline) else NotImplemented

    def __repr__(self) -> str:
        shard = self.shard_spec
        share = "" if shard is None else f", shard {shard.number} of {shard.n_shards}"
        note = " (an older one: the name means another class now)"
        older = note if is_outdated(self.batch_class) else ""
        return f"<Dataset of {len(self)} items, {self.batch_class.__name__}{older}{share}>"

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
        raise UnknownAttributeError(_where_it_is(self, name))

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

    @knows_old_split
    @knows_old_options("split")
    def split(
        self,
        train: Any = 0.8,
        validation: Any = None,
        test: Any = None,
        shuffle: ShuffleLike = False,
    ) -> Split[Self]:
        """Split into up to three datasets over the same data, without common items.

        Takes the arguments of `DatasetIndex.split`, one by one. The parts are also the attributes
        `train`, `validation` and `test`, until the next split; parts that were returned stay as
        they are.

        Returns:
            The parts as `.train`, `.validation` and `.test`; one without items is None.

        Raises:
            ArgumentTypeError: `train` is a sequence of shares: in an older batchflow their order
                was another.
        """
        self._refuse_shard("split")
        refuse_shares_in_a_row(train)
        positions = self.index._split_positions((train, validation, test), shuffle)
        train_part, *others = (
            self._part(where) if len(self.index._take(where)) else None for where in positions
        )
        return self._set_parts(Split(train_part, *others))

    def kfold(self, n_splits: int = 5, shuffle: ShuffleLike = False) -> tuple[Split[Self], ...]:
        """Split several times for cross-validation: each item is in the test part of one split.

        Takes the arguments of `DatasetIndex.kfold`. Sets no attributes.

        Returns:
            `n_splits` splits with `.train` and `.test` (and None as `.validation`).
        """
        self._refuse_shard("kfold")
        return tuple(
            Split(self._part(train), None, self._part(test))
            for train, test in self.index._fold_positions(n_splits, shuffle)
        )

    cv_split = legacy.cv_split

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

    def _maker(self) -> Callable[[Positions, dict[str, Any]], BatchT_co]:
        return batch_maker(self, self._data, self._rows)

    def _positions_of(self, ids: Any) -> npt.NDArray[np.int64]:
        positions = self.index._positions_of(ids)
        self.index.take(positions)  # checks: some, without duplicates
        return positions

    def _ids_at(self, positions: Positions) -> npt.NDArray[Any]:
        return self.index._take(positions).indices

    # ---- inside

    def _part(self, positions: Positions | Ranges) -> Self:
        part = type(self).__new__(type(self))
        part.__dict__.update(self.__dict__)
        part._set_parts(Split(None, None, None))
        part.index = self.index._take_part(positions)
        part._reader = None
        if self._data is not None:
            if isinstance(positions, Ranges):
                positions = positions.array()
            part._rows = rows_at(self._rows, positions)
        return part

    def _refuse_shard(self, method: str) -> None:
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


def _where_it_is(dataset: Any, name: str) -> str:
    """Return the message for an attribute that a dataset does not have, with what has it."""
    lacks = f"a {type(dataset).__name__} has no {name!r}"
    if "batch_class" not in dataset.__dict__:  # not yet made
        return f"{lacks}."
    if old := old_word(name, "dataset"):
        return f"{lacks}.{old}"
    if name == "components" or name in dataset.batch_class.components:
        return f"{lacks}: its batches have, dataset.create_batch(ids).{name}"
    hint = did_you_mean(name, [n for n in dir(dataset) if n[0] != "_"], only_near=True)
    of_pipelines = dir(dataset.p)
    if name in of_pipelines or not hint:
        hint = did_you_mean(name, of_pipelines, only_near=True)
        hint = hint.replace("'", "dataset.p.", 1).replace("'", "")
    return f"{lacks}.{hint}"
