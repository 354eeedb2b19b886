"""The batch: the data of a few items, and what can be done with it."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ClassVar, Self, cast

import numpy as np

from batchflow.batch.actions import Action, action, collect_actions
from batchflow.batch.components import (
    METHODS,
    TAKEN,
    Component,
    NoData,
    checked_components,
    declare_added,
)
from batchflow.batch.core import BaseBatch
from batchflow.batch.directory import ModelDirectory
from batchflow.batch.item import Item
from batchflow.batch.items.parallel import apply_to_items, check_per_item
from batchflow.batch.load import load as load_batch
from batchflow.batch.older import OlderWords, let_others_win
from batchflow.batch.regroup import merge_batches, part
from batchflow.batch.states import shallow_copy, without_ties
from batchflow.batch.writes import read_item, write_item
from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    UnknownAttributeError,
    UnknownNameError,
    did_you_mean,
)
from batchflow.index import DatasetIndex
from batchflow.old_words import old_word


class Batch(OlderWords, BaseBatch):
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

    A pickle of a batch has its items, without dataset and pipeline: unpickled, both are None.

    Args:
        index: The ids of the items: an index, or what a `DatasetIndex` is made from.
        preloaded: Data to begin with, as `load` takes it; a dataset gives it later.
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

    models: ClassVar[ModelDirectory]
    _actions: ClassVar[Mapping[str, Action]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.components = checked_components(cls, TAKEN | METHODS)
        let_others_win(cls)
        for name in cls.components:
            held = inspect.getattr_static(cls, name, None)
            if held is None or held is vars(OlderWords).get(name):
                setattr(cls, name, Component(f"{cls.__name__}.{name}", name))
        held = inspect.getattr_static(cls, "_data")
        if held is None or isinstance(held, NoData):
            cls._data = NoData() if cls.components else None
        cls._actions = collect_actions(cls, TAKEN | set(cls.components))
        cls.models = ModelDirectory(cls)
        check_per_item(cls)

    @classmethod
    def merge(cls, batches: Iterable[Batch]) -> Self:
        """Make one batch of the data of several, in their order.

        Arrays are put together along their first axis, lists and tuples become lists; what is None
        in all of them stays None. Ids are kept; where two batches have one in common, the ids are
        `0 ... n - 1` and `source_ids` has the old ones. Dataset and pipeline are those of the first
        batch. A subclass may merge in a way of its own.

        Args:
            batches: Batches with the components of this class.

        Raises:
            ArgumentTypeError: These are no batches, or their components are others.
            ArgumentValueError: There is none; their data does not fit together; or one has an
                attribute that is no component, which would be lost.

        Example:
            >>> from batchflow import ArrayBatch
            >>> first, second = ArrayBatch(["a", "b"]), ArrayBatch(["c"])
            >>> first.data, second.data = [1, 2], [3]
            >>> merged = ArrayBatch.merge([first, second])
            >>> merged.indices.tolist(), merged.data.tolist()
            (['a', 'b', 'c'], [1, 2, 3])
        """
        if isinstance(batches, Batch) or not isinstance(batches, Iterable):
            raise ArgumentTypeError(f"{cls.__name__}.merge takes a list of batches, got {batches}")
        given = list(batches)
        for batch in given:
            if not isinstance(batch, Batch):
                raise ArgumentTypeError(f"{cls.__name__}.merge: {batch!r:.60} is no batch")
        if not given:
            raise ArgumentValueError(f"{cls.__name__}.merge: expected at least one batch, got none")
        return merge_batches(cls, given)

    def create_subset(self, ids: Any) -> Self:
        """Make the batch of the items with these ids, in that order: `batch[[id1, id2]]`.

        It has copies of their data, and this batch's place in the run. Randomness comes from this
        batch's generator.

        Args:
            ids: A list, an array or an index of ids, or one id.

        Raises:
            UnknownNameError: (a `KeyError`) No item of the batch has such an id.
            ArgumentValueError: An id is given twice, or none; or a component is not made of items;
                or the batch has an attribute that is no component, which would be lost.
        """
        is_one = isinstance(ids, (str, bytes, tuple))
        if isinstance(ids, Collection) and not is_one and not hasattr(ids, "__array__"):
            ids = list(ids)
        positions = np.atleast_1d(self._position(ids))
        self.index.take(positions)  # checks: some, without duplicates
        subset = part(self, positions)
        subset._rng = self.rng
        return subset

    load = action(load_batch)

    def _fill(self, preloaded: Any) -> None:
        load_batch(self, preloaded)

    @action
    def apply_parallel(
        self,
        function: Callable[..., Any] | str,
        *args: Any,
        src: Any = None,
        dst: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Call a function, or a method of this class by name, for each item, several at once.

        Args:
            function: Takes an item of `src`, and the other arguments.
            args: Its positional arguments.
            src: The component that the items are taken from. A tuple of several: the function gets
                an element of each. A list: it is called for each of them in turn.
            dst: The component that takes the results, or several.
            kwargs: Its keyword arguments, and how to run it: see `apply_to_items`.

        Returns:
            The batch.
        """
        apply_to_items(self, function, *args, src=src, dst=dst, **kwargs)
        return self

    def deepcopy(self) -> Self:
        """Make a batch with copies of the components; everything else is shared.

        Its generator goes on from the same state, on its own. `copy.deepcopy(batch)` is the same.
        """
        return copy.deepcopy(self)

    def get_model_by_name(self, name: str) -> Any:
        """Return the descriptor of a model of this batch's class or pipeline."""
        models = self.models if self.pipeline is None else self.pipeline.models
        return models[name]

    def __getattr__(self, name: str) -> Any:
        """Refuse a name that the batch does not have, and tell which it has."""
        if name.startswith("_") or hasattr(type(self), name):
            return object.__getattribute__(self, name)  # fails again: with its own error
        raise UnknownAttributeError(
            f"a {type(self).__name__} has no {name!r}."
            f"{old_word(name, 'batch') or did_you_mean(name, (*self.components, *self._actions))}"
        )

    def _repr_html_(self) -> str:
        from batchflow.pictures import of_batch  # on use, for a light import

        return of_batch(self)

    def __getstate__(self) -> Any:
        return without_ties(super().__getstate__())

    def __setstate__(self, state: Any) -> None:
        held, slots = state if isinstance(state, tuple) else (state, None)
        self.__dict__.update(held or {})
        for name, value in (slots or {}).items():
            setattr(self, name, value)
        if "components" in self.__dict__:
            declare_added(type(self), self.components)

    def __copy__(self) -> Self:
        return cast(Self, shallow_copy(self))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = memo[id(self)] = copy.copy(self)
        held = twin.__dict__
        for name in (*(self.components or ("_data",)), "_rng"):
            if name in held:
                held[name] = copy.deepcopy(held[name], memo)
        return twin

    def __getitem__(self, item_id: Any) -> Any:
        """Return the item with this id: its data, or an `Item` with the components as attributes.

        For several ids (a list, an array, an index), give the sub-batch: see `create_subset`.

        Raises:
            UnknownNameError: (a `KeyError`) No item of the batch has this id.
        """
        position = self._position(item_id)
        return self._item(position) if position.__class__ is int else self.create_subset(item_id)

    def __setitem__(self, item_id: Any, value: Any) -> None:
        if self.components:
            raise ArgumentTypeError(
                f"batch[{item_id!r}] = ... works on batches without components; here write "
                f"batch[{item_id!r}].{self.components[0]} = ..."
            )
        if self._data is None:
            raise ArgumentValueError("the batch has no data yet: set batch.data first")
        write_item(self, "_data", self._position(item_id), value)

    def __contains__(self, item_id: Any) -> bool:
        return item_id in self.index

    def __repr__(self) -> str:
        place = "" if self.number is None else f", number {self.number}, epoch {self.epoch}"
        held = f", components {', '.join(self.components)}" if self.components else ""
        return f"<{type(self).__name__} of {len(self)} items{place}{held}>"

    def _position(self, item_id: Any) -> Any:
        try:
            return self.index.get_pos(item_id)
        except UnknownNameError:
            if isinstance(item_id, (list, range, DatasetIndex, np.ndarray)):
                item_id = next((item for item in item_id if item not in self.index), item_id)
            if isinstance(item_id, str) and item_id in self.components:
                raise UnknownNameError(
                    f"the batch has no item with the id {item_id!r}; the component is an "
                    f"attribute: batch.{item_id}"
                ) from None
            raise UnknownNameError(
                f"the batch has no item with the id {item_id!r}; its ids are "
                f"{self.indices[:8].tolist()}{'...' if len(self) > 8 else ''}. Items are found by "
                "id; for positions index the data: batch.data[0], batch.images[0]"
            ) from None

    def _item(self, position: int) -> Any:
        if self.components:
            return Item(self, position)
        if self._data is None:
            raise ArgumentValueError("the batch has no data yet: set batch.data first")
        return read_item(self, "_data", position)


Batch.models = ModelDirectory(Batch)
Batch._actions = collect_actions(Batch, TAKEN)
