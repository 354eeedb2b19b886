"""One item of a batch with components."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from batchflow.batch.writes import read_item, write_item
from batchflow.errors import UnknownAttributeError, did_you_mean

if TYPE_CHECKING:
    from batchflow.batch.core import BaseBatch

# How items are pickled at the moment; None: each with its whole batch.
item_reducer: ContextVar[Callable[[Item], tuple[Any, ...]] | None] = ContextVar(
    "item_reducer", default=None
)


class Item:
    """A window on one item: `item.images` reads and writes its part of `batch.images`.

    A value that is written arrives as it is: the component becomes wide enough for it, or the write
    is refused.
    """

    __slots__ = ("_batch", "_position")

    def __init__(self, batch: BaseBatch, position: int) -> None:
        object.__setattr__(self, "_batch", batch)
        object.__setattr__(self, "_position", position)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"an item has no attribute {name!r}")
        self._component(name)  # checks
        return read_item(self._batch, name, self._position)

    def __setattr__(self, name: str, value: Any) -> None:
        self._component(name)
        write_item(self._batch, name, self._position, value)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._batch.components]

    def __reduce__(self) -> tuple[Any, ...]:
        reduced = item_reducer.get()
        return (Item, (self._batch, self._position)) if reduced is None else reduced(self)

    def __repr__(self) -> str:
        shown = []
        for name in self._batch.components:
            component = getattr(self._batch, name)
            value = None if component is None else read_item(self._batch, name, self._position)
            shown.append(f"{name}={value!r:.60}")
        return f"Item({', '.join(shown)})"

    def _component(self, name: str) -> Any:
        batch: BaseBatch = object.__getattribute__(self, "_batch")
        if name not in batch.components:
            raise UnknownAttributeError(
                f"an item of {batch!r} has no component {name!r}."
                f"{did_you_mean(name, batch.components)}"
            )
        component = getattr(batch, name)
        if component is None:
            raise UnknownAttributeError(f"the component {name!r} of {batch!r} has no data yet")
        return component
