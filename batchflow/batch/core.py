"""The data of a batch: index, components, place in a run, random generator.

Everything that works on batches is typed against this class; `Batch` adds what users call.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Self

import numpy as np

from batchflow.batch.item_streams import current_rng
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.index import DatasetIndex
from batchflow.index.labels import by_label
from batchflow.index.order import keyed_rng

# The place of a batch in a run.
PLACE = (
    "number",
    "epoch",
    "dataset",
    "pipeline",
    "_rng",
    "_rng_key",
    "_n_batches",
    "_sources",
    "_loop",
    "_foreign",
    "_resized",
    "_in_group",
    "_closes",
)
# Spawn key words of the generators of batches; orders use 0 (index/order.py).
_BATCH_KEY = 1


class BatchData:
    """What the batches of a dataset are filled from.

    Attributes:
        is_by_id: Whether rows are found by the ids of the items, and not by their positions.
    """

    is_by_id = False

    def keeping(self, n_blocks: int) -> Self:  # noqa: ARG002  nothing is kept
        """Return the same data for a run that reads so many blocks together."""
        return self


class BaseBatch:
    """The data of a few items: see `Batch`."""

    components: ClassVar[tuple[str, ...] | str] = ()
    index: DatasetIndex
    _shown: ClassVar[str] = "batch"  # in messages of what cannot be sent
    _holds_arrays: ClassVar[bool] = False  # whether lists that are assigned become arrays
    number: int | None = None
    epoch: int | None = None
    dataset: Any = None
    pipeline: Any = None
    _data: Any = None
    _rng: np.random.Generator | None = None
    _n_batches: int | None = None  # of the run, where it has an end
    _rng_key: tuple[int, ...] | None = None  # seed, path of the source, shard
    _source_ids: Any = None  # where they are not the ids of the index
    _sources: tuple[int, ...] | None = None  # where it is made of source batches by regrouping
    _mixed: bool = False  # whether its items come from several datasets
    _loop: Any = None  # the event loop of the run
    _labels: Any = None  # of tables that were loaded by position
    _foreign: str | None = None  # of which pipeline the source batches are, if not of this one
    _resized: str | None = None  # which action has changed the number of its items
    _in_group: bool = False  # whether others of its group follow, with the same step done
    _closes: bool = False  # whether it is the last of its epoch

    def __init__(self, index: Any, preloaded: Any = None, *, dataset: Any = None) -> None:
        held = self.__dict__  # quicker than attributes, where a class has __getattr__
        held["index"] = index if isinstance(index, DatasetIndex) else DatasetIndex(index)
        if dataset is not None:
            held["dataset"] = dataset
        for name in self.components:
            if name not in held:
                held[name] = None
        if preloaded is not None:
            self._fill(preloaded)

    def _fill(self, preloaded: Any) -> None:
        """Take the data that a constructor is given: the class with the action `load` does."""
        raise NotImplementedError

    @classmethod
    def _make(
        cls, index: DatasetIndex, arrays: Mapping[str, Any] | None, facts: dict[str, Any]
    ) -> Self:
        """Make a batch of a run.

        The facts (number, epoch, dataset, ...) are there before the constructor runs, the data
        after it, so that a constructor which sets components to None does no harm. The dictionary
        of facts becomes the batch's own.
        """
        batch = cls.__new__(cls)
        batch.__dict__ = facts
        cls.__init__(batch, index)
        if arrays:
            facts.update(arrays)
        return batch

    def _adopt(self, other: BaseBatch) -> None:
        """Take over the place in a run of the batch that this one replaces."""
        mine, others = self.__dict__, other.__dict__
        if self.pipeline is not None and self.pipeline is not other.pipeline:  # a joined batch
            for name in PLACE:
                if name != "dataset":
                    mine.pop(name, None)
        for name in PLACE:
            if name in others:
                mine.setdefault(name, others[name])

    @property
    def indices(self) -> Any:
        """The ids of the items: a read-only array of shape `(n_items,)`."""
        return self.index.indices

    @property
    def source_ids(self) -> Any:
        """The ids that the items have in their datasets: an array of shape `(n_items,)`.

        They are the batch's `indices`, unless it was merged from batches with common ids.
        """
        return self.index.indices if self._source_ids is None else self._source_ids

    @property
    def source_numbers(self) -> tuple[int, ...]:
        """The numbers of the source batches that it was made from; empty outside a run."""
        if self._sources is not None:
            return self._sources
        return () if self.number is None else (self.number,)

    @property
    def rng(self) -> np.random.Generator:
        """The random generator of this batch: a function of (seed, epoch, number) in a run.

        Use it for everything random, and a run with the same seed gives the same numbers at any
        parallelism. Outside a run it is seeded by the operating system. In a call for one item of
        a per-item action it is that item's.
        """
        of_item = current_rng(self)
        if of_item is not None:
            return of_item
        if self._rng is None:
            seed, *path = self._rng_key or (None,)
            key = (_BATCH_KEY, *path, self.epoch or 0, self.number or 0)
            self._rng = keyed_rng(seed, *key)
        return self._rng

    @property
    def data(self) -> Any:
        """The data of a batch without components; otherwise a tuple of the components."""
        if self.components:
            return tuple(getattr(self, name) for name in self.components)
        return self._data

    @data.setter
    def data(self, value: Any) -> None:
        if not self.components:
            self._data = by_label(value, self.index, f"{type(self).__name__}.data")
            return
        names, given = self.components, value
        if isinstance(value, Mapping):
            if set(value) != set(names):
                raise ArgumentValueError(f"data: expected the components {names}, got {[*value]}")
            given = [value[name] for name in names]
        if not isinstance(given, (tuple, list)) or len(given) != len(names):
            raise ArgumentTypeError(
                f"data: expected a tuple or a mapping with the components {names}, got "
                f"{type(value).__name__}"
            )
        for name, rows in zip(names, given, strict=True):
            setattr(self, name, rows)

    def __len__(self) -> int:
        return len(self.index)

    def __iter__(self) -> Iterator[Any]:
        """Go through the items in the order of the batch."""
        return (self._item(position) for position in range(len(self)))

    def _item(self, position: int) -> Any:
        """Return an item, as `batch[id]` does."""
        raise NotImplementedError
