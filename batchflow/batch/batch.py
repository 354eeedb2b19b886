"""The batch: the data of a few items, and what can be done with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np

from batchflow.batch.actions import RESERVED, Action, collect_actions
from batchflow.batch.directory import ModelDirectory
from batchflow.batch.item import Item
from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    UnknownAttributeError,
    UnknownNameError,
    did_you_mean,
)
from batchflow.index import DatasetIndex

__all__ = ["Batch"]

# Spawn key words of the generators of batches; orders use 0 (index/order.py).
_BATCH_KEY = 1


class Batch:
    """The data of a few items, and the actions on it.

    Subclass it, name the components (each becomes an attribute) and write actions:

    >>> from batchflow import Batch, action
    >>> class Scans(Batch):
    ...     components = "images", "labels"
    ...
    ...     @action
    ...     def invert(self):
    ...         self.images = [255 - image for image in self.images]
    ...         return self

    A batch without components keeps its data in `data`. A subclass constructor is called with the
    index and nothing else, before the data arrives; it passes on what it gets:
    `def __init__(self, index, *args, **kwargs): super().__init__(index, *args, **kwargs)`.

    Args:
        index: The ids of the items: an index, or what a `DatasetIndex` is made from.
        dataset: The dataset that the items belong to.

    Attributes:
        components: (class) The names of the components: a tuple, or one name.
        models: (class) The model directory.
        index: The `DatasetIndex` of the items.
        number: The number of the source batch in its run, from 0 on through all epochs; None
            outside a run.
        epoch: The number of the epoch, from 0 on; None outside a run.
        dataset: The dataset that the batch was made from, or None.
        pipeline: The pipeline that the batch flows through, or None. Parallel actions get a view
            of it that only reads.
    """

    components: ClassVar[tuple[str, ...] | str] = ()
    models: ClassVar[ModelDirectory]
    _actions: ClassVar[Mapping[str, Action]] = {}

    number: int | None = None
    epoch: int | None = None
    dataset: Any = None
    pipeline: Any = None
    _data: Any = None
    _rng: np.random.Generator | None = None
    _n_batches: int | None = None  # of the run, where it has an end
    _rng_key: tuple[int, ...] | None = None  # seed, path of the source, shard

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.components = _checked_components(cls)
        cls._actions = collect_actions(cls, _TAKEN | set(cls.components))
        cls.models = ModelDirectory(cls)

    def __init__(self, index: Any, *, dataset: Any = None) -> None:
        self.index = index if isinstance(index, DatasetIndex) else DatasetIndex(index)
        if dataset is not None:
            self.dataset = dataset
        names = self.components
        if names:
            held = self.__dict__
            for name in names:
                if name not in held:
                    held[name] = None

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
        batch.__init__(index)  # type: ignore[misc]
        if arrays:
            facts.update(arrays)
        return batch

    def _adopt(self, other: Batch) -> None:
        """Take over the place in a run of the batch that this one replaces."""
        for name in ("number", "epoch", "dataset", "pipeline", "_rng", "_rng_key", "_n_batches"):
            if name in other.__dict__:
                self.__dict__.setdefault(name, other.__dict__[name])

    @property
    def indices(self) -> Any:
        """The ids of the items: a read-only array of shape `(n_items,)`."""
        return self.index.indices

    @property
    def rng(self) -> np.random.Generator:
        """The random generator of this batch: a function of (seed, epoch, number) in a run.

        Use it for everything random, and a run with the same seed gives the same numbers at any
        parallelism. Outside a run it is seeded by the operating system.
        """
        if self._rng is None:
            if self._rng_key is None:
                sequence = np.random.SeedSequence()
            else:
                seed, *path = self._rng_key
                key = (_BATCH_KEY, *path, self.epoch or 0, self.number or 0)
                sequence = np.random.SeedSequence(seed, spawn_key=key)
            self._rng = np.random.Generator(np.random.PCG64(sequence))
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
            self._data = value
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
        for name, part in zip(names, given, strict=True):
            setattr(self, name, part)

    def get_model_by_name(self, name: str) -> Any:
        """Give the descriptor of a model of this batch's class or pipeline."""
        models = self.models if self.pipeline is None else self.pipeline.models
        return models[name]

    def __getattr__(self, name: str) -> Any:
        """Refuse a name that the batch does not have, and tell which it has."""
        if name.startswith("_") or hasattr(type(self), name):
            return object.__getattribute__(self, name)  # fails again: with its own error
        raise UnknownAttributeError(
            f"a {type(self).__name__} has no {name!r}."
            f"{did_you_mean(name, (*self.components, *self._actions))}"
        )

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item_id: Any) -> Any:
        """Give the item with this id: its data, or an `Item` with the components as attributes.

        Raises:
            UnknownNameError: (a `KeyError`) No item of the batch has this id.
        """
        return self._item(self._position(item_id))

    def __setitem__(self, item_id: Any, value: Any) -> None:
        if self.components:
            raise ArgumentTypeError(
                f"batch[{item_id!r}] = ... works on batches without components; here write "
                f"batch[{item_id!r}].{self.components[0]} = ..."
            )
        if self._data is None:
            raise ArgumentValueError("the batch has no data yet: set batch.data first")
        self._data[self._position(item_id)] = value

    def __iter__(self) -> Iterator[Any]:
        """Go through the items in the order of the batch."""
        return (self._item(position) for position in range(len(self)))

    def __contains__(self, item_id: Any) -> bool:
        return item_id in self.index

    def __repr__(self) -> str:
        place = "" if self.number is None else f", number {self.number}, epoch {self.epoch}"
        held = f", components {', '.join(self.components)}" if self.components else ""
        return f"<{type(self).__name__} of {len(self)} items{place}{held}>"

    def _position(self, item_id: Any) -> int:
        try:
            position: int = self.index.get_pos(item_id)
        except UnknownNameError:
            raise UnknownNameError(
                f"the batch has no item with the id {item_id!r}; its ids are "
                f"{self.indices[:8].tolist()}{'...' if len(self) > 8 else ''}. Items are found by "
                "id; for positions index the data: batch.data[0], batch.images[0]"
            ) from None
        return position

    def _item(self, position: int) -> Any:
        if self.components:
            return Item(self, position)
        if self._data is None:
            raise ArgumentValueError("the batch has no data yet: set batch.data first")
        return self._data[position]


def _checked_components(cls: type[Batch]) -> tuple[str, ...]:
    declared: Sequence[str] = cls.components
    if not isinstance(declared, (str, tuple, list)):
        raise ArgumentTypeError(
            f"{cls.__name__}.components is a tuple of attribute names, got {declared!r:.60}"
        )
    names = (declared,) if isinstance(declared, str) else tuple(declared)
    for name in names:
        if not isinstance(name, str) or not name.isidentifier():
            raise ArgumentTypeError(
                f"{cls.__name__}.components is a tuple of attribute names, got {name!r}"
            )
        if name in RESERVED or name in _TAKEN or name.startswith("_"):
            raise ArgumentValueError(
                f"{cls.__name__}: a component cannot be called {name!r}, a name that every batch "
                "has already (or that starts with an underscore)"
            )
    if len(set(names)) < len(names):
        raise ArgumentValueError(f"{cls.__name__}.components names one twice: {names}")
    return names


# Attributes of every batch that neither an action nor a component may hide.
_TAKEN = frozenset({"components", "data", "number", "epoch", "get_model_by_name"})
Batch.models = ModelDirectory(Batch)
