"""Words that give way: those of an older batchflow, and such as came later, as `repeat`.

A component, an action, a method or an attribute of the user's with the same name wins, also one of
a class that stands behind `Batch`. So nothing in this package calls them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

import numpy as np

from batchflow.batch.components import set_component
from batchflow.batch.writes import read_item
from batchflow.errors import ArgumentTypeError, ArgumentValueError, UnknownAttributeError
from batchflow.old_words import ClassWord, Word

if TYPE_CHECKING:
    from batchflow.batch.core import BaseBatch

Into = TypeVar("Into")


def _windowed() -> Any:
    from batchflow.batch import window_ids  # on use, for a light import

    return window_ids


def _items(batch: Any) -> list[Any]:
    """Return the items; the error of a batch without data is one that `hasattr` understands."""
    if not batch.components and batch.data is None:
        raise UnknownAttributeError("the batch has no data yet: set batch.data first")
    return list(batch)


class OlderWords:
    """Small words of an older batchflow. Plain ones are shorter: `len(batch)`, `batch[item]`."""

    from_batch, from_data = ClassWord("batch"), ClassWord("batch")
    size = Word[int](lambda batch: len(batch.index), "The number of items, `len(batch)`.")
    items = Word[list[Any]](_items, "The items in a list: `list(batch)`.")
    records = Word[Any](
        lambda batch: _windowed().records_of(batch),
        "The ids of the records of windows, of shape `(n_items,)`: see `Dataset.windows`.",
    )
    starts = Word[Any](
        lambda batch: _windowed().starts_of(batch),
        "Where windows begin in their records, of shape `(n_items,)` or `(n_items, n_axes)`.",
    )
    array_of_nones = Word[Any](
        lambda batch: np.full(len(batch.index), None), "An array with None for each item."
    )

    def get(self: Any, item: Any = None, component: str | None = None) -> Any:
        """Return an item's part of a component; the item; the component; or all data.

        Args:
            item: The id of the item; None: all items.
            component: The component; None: the whole item.
        """
        if item is None:
            return self.data if component is None else getattr(self, component)
        position = self._position(item)
        if component is None:
            return self._item(position)
        return read_item(self, component, position)

    def get_pos(self: Any, data: Any, component: str | None, index: Any) -> Any:  # noqa: ARG002
        """Return the position of an item in the components: `batch.index.get_pos(index)`.

        Args:
            data: Not used.
            component: Not used.
            index: The id of the item.
        """
        return self._position(index)

    @overload
    def repeat(self: Any, counts: Any, into: type[Into], **components: Any) -> Into: ...
    @overload
    def repeat(self, counts: Any, into: None = None, **components: Any) -> Self: ...
    def repeat(self: Any, counts: Any, into: Any = None, **components: Any) -> Any:
        """Make the batch in which each item stands several times, as an expanding action gives it.

        Its ids are `0 ... n - 1`; `source_ids` tells where the items come from.

        Args:
            counts: How often: a number, or an array of shape `(n_items,)` with one for each item.
            into: The class of the batch; None: this one's.
            components: The rows of components of the new batch, in the order of the items that
                they come from. Those that are not given have each row of this batch as often as
                its item; what this batch does not have is None.

        Returns:
            The batch.

        Raises:
            SkipBatch: No item stands in it.
            UnknownNameError: (a `KeyError`) The class has no such component.
            ArgumentValueError: Counts or rows are not as many as there are items.

        Example:
            >>> from batchflow import ArrayBatch
            >>> class Signals(ArrayBatch):
            ...     components = "signals", "labels"
            >>> batch = Signals(["a", "b"])
            >>> batch.data = [[1, 2, 3, 4], [5, 6, 7, 8]], [0, 1]
            >>> halves = batch.repeat(2, signals=batch.signals.reshape(4, 2))
            >>> halves.signals.tolist(), halves.labels.tolist(), halves.source_ids.tolist()
            ([[1, 2], [3, 4], [5, 6], [7, 8]], [0, 0, 1, 1], ['a', 'a', 'b', 'b'])
        """
        from batchflow.batch.repeating import repeated  # on use, for a light import

        return repeated(self, counts, type(self) if into is None else into, components)

    def get_errors(self, results: Iterable[Any]) -> list[Exception] | None:
        """Return the exceptions among the results that `post` gets, or None."""
        return [result for result in results if isinstance(result, Exception)] or None

    def assemble(
        self: Any, results: Sequence[Any], *args: Any, dst: Any = None, **kwargs: Any
    ) -> Any:
        """Make components of the results of calls for items: a `post` of `inbatch_parallel`.

        Args:
            results: One for each item; for several components a tuple or a list each.
            args: Not used.
            dst: The component, or several; None: the data, or the only component.
            kwargs: `components` is another name of `dst`; others are not used.

        Returns:
            The batch.

        Raises:
            Exception: What the first call that failed has raised.
        """
        del args
        for result in results:
            if isinstance(result, Exception):
                raise result
        given = dst or kwargs.get("components") or self.components or "data"
        names = (given,) if isinstance(given, str) else tuple(given)
        columns = [[*results]]
        if len(names) > 1:
            _check_results(results, names)
            columns = [[result[place] for result in results] for place in range(len(names))]
        for name, column in zip(names, columns, strict=True):
            set_component(self, name, column)
        return self

    _assemble = assemble

    def add_components(self: Any, components: str | Sequence[str], init: Any = None) -> Any:
        """Give this batch more components than its class has.

        What is made of the batch has them, too. In a chain write `update(B.name, value)`, or `dst=`
        of the step that makes them; better, name them in the class.

        Args:
            components: A name, or several.
            init: The rows, or None; for several a tuple or a list with those of each.

        Returns:
            The batch.

        Raises:
            ArgumentValueError: The batch has such a component, or the name is taken.
        """
        names = (components,) if isinstance(components, str) else tuple(components)
        values = [init]
        if not isinstance(components, str):
            values = [None] * len(names) if init is None else list(init)
        if len(values) != len(names):
            raise ArgumentValueError(
                f"add_components: expected rows for {', '.join(names)}, got {len(values)} of them"
            )
        for name, value in zip(names, values, strict=True):
            if name in self.components:
                raise ArgumentValueError(f"{self!r} has a component {name!r} already")
            set_component(self, name, value)
        return self


def _check_results(results: Sequence[Any], names: tuple[str, ...]) -> None:
    for result in results:
        if not isinstance(result, (tuple, list)) or len(result) != len(names):
            raise ArgumentTypeError(
                f"assemble: for the components {', '.join(names)} each result is a tuple of "
                f"{len(names)}, got {result!r:.60}"
            )


def let_others_win(cls: type[BaseBatch]) -> None:
    """Let a class that stands behind `Batch` have the words that it defines itself."""
    for name, word in vars(OlderWords).items():
        if name.startswith("__") or inspect.getattr_static(cls, name) is not word:
            continue
        for owner in cls.__mro__:
            if owner is not OlderWords and name in vars(owner):
                setattr(cls, name, vars(owner)[name])
                break
