"""Writing to a part of a component, such as one item of it.

Guarantees:
    - A value arrives as it is, or the write is refused: the component becomes wide enough for it.
    - What calls for items write is collected, and put in together when all calls have ended: what
      comes of it depends neither on their order nor on the number of workers. A call sees what it
      has written itself.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.arrays import (
    common_dtype,
    exact_array,
    is_array_like,
    package_of,
    plain_array,
    widened,
)
from batchflow.batch.core import BaseBatch
from batchflow.batch.rows import row_at
from batchflow.errors import ArgumentTypeError, ArgumentValueError

if TYPE_CHECKING:
    import numpy.typing as npt

_FILLS = frozenset({bool, int, float, complex})


def read_item(batch: BaseBatch, name: str, position: int) -> Any:
    """Return an item's part of a component, as the current calls have written it."""
    writes = batch.__dict__.get("_writes") if hasattr(batch, "__dict__") else None
    if writes and (name, position) in writes:
        return writes[name, position]
    return row_at(getattr(batch, name), position)


def write_item(batch: BaseBatch, name: str, position: int, value: Any) -> None:
    """Write an item's part of a component; while calls for items are made, at their end.

    Raises:
        ArgumentTypeError: The component is no container of items that can be written to.
        ArgumentValueError: The value has another shape than the items.
    """
    component, shown = getattr(batch, name), f"{type(batch).__name__}.{name.lstrip('_')}"
    if isinstance(component, np.ndarray):
        _check_item(component, position, value, shown)
    writes = batch.__dict__.get("_writes")
    if writes is not None:
        writes[name, position] = _as_kept(value, component)
        return
    new = written(component, position, value, shown)
    if new is not component:
        setattr(batch, name, new)


def _as_kept(value: Any, component: Any) -> Any:
    """Return a copy, where the component would have one: a call may use its memory again."""
    if isinstance(component, np.ndarray) and component.dtype.kind != "O":
        return value.copy() if isinstance(value, np.ndarray) else value
    return value.clone() if package_of(component) == package_of(value) == "torch" else value


@contextmanager
def collected_writes(batch: BaseBatch) -> Iterator[None]:
    """Collect what is written to items of the batch, and put it in at the end, also of an error.

    Inside of another such context it does nothing: the outer one puts it in.
    """
    if "_writes" in batch.__dict__:
        yield
        return
    writes: dict[tuple[str, int], Any] = {}
    batch.__dict__["_writes"] = writes
    try:
        yield
    finally:
        del batch.__dict__["_writes"]
        for (name, position), value in sorted(writes.items(), key=lambda write: write[0]):
            write_item(batch, name, position, value)


def written(container: Any, place: Any, value: Any, shown: str) -> Any:
    """Write to a place, whatever selects elements, in an array, a list or a tensor of torch.

    Returns:
        The container; or, where its type cannot hold the value, a wider one with all its values.

    Raises:
        ArgumentTypeError: Nothing can be written to it.
        ArgumentValueError: The value has another shape than what is there.
    """
    if isinstance(container, np.ndarray):
        return _written_array(container, place, value, shown)
    if isinstance(container, tuple):
        container = list(container)
    if isinstance(container, (list, dict)):
        container[place] = value
        return container
    if package_of(container) == "torch":
        torch = sys.modules["torch"]
        dtype = torch.promote_types(container.dtype, torch.as_tensor(value).dtype)
        container = container.to(dtype)
        container[place] = torch.as_tensor(value)
        return container
    raise ArgumentTypeError(
        f"{shown}: nothing can be written to a {type(container).__name__}. Make a new one of all "
        f"items: {_map_advice(shown)}"
    )


def _written_array(array: npt.NDArray[Any], place: Any, value: Any, shown: str) -> npt.NDArray[Any]:
    if not array.flags.writeable:
        array = array.copy()
    if np.ma.isMaskedArray(value) and not isinstance(array, np.ma.MaskedArray):
        array = np.ma.array(array)  # so that the mask is kept
    if array.dtype.kind in "OV" or value is np.ma.masked:
        array[place] = value
        return array
    new = _as_array(value, array)
    _check_fits_in(array[place], new, shown)
    dtype = array.dtype if _fits_as_scalar(value, array.dtype) else common_dtype([array, new])
    if dtype is None:  # to NumPy, None is a dtype
        array, new = widened(array, None), widened(new, None)
    elif dtype != array.dtype:
        array = widened(array, dtype)
    array[place] = new if new.ndim else new[()]
    return array


def _as_array(value: Any, beside: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Make an array of a value, of texts in the way in which `beside` has them."""
    if isinstance(value, (list, tuple, range)):
        array = exact_array(value)
    elif is_array_like(value) and not isinstance(value, (np.str_, np.bytes_)):
        array = plain_array(value)
    else:
        array = exact_array([value]).reshape(())
    kind = beside.dtype.kind
    if array.dtype.hasobject and kind in "UTS":
        own = (bytes, np.bytes_) if kind == "S" else (str, np.str_)
        if all(isinstance(item, own) for item in array.flat):
            texts = array.astype(beside.dtype if kind == "T" else kind)
            if bool(np.all(texts == array)):  # fixed width cuts NUL at the end
                return texts
    return array


def _fits_as_scalar(value: Any, dtype: np.dtype[Any]) -> bool:
    """Check whether a number of Python's, which has no width of its own, is exact in a dtype."""
    kinds = {int: "iufc", float: "fc", complex: "c"}.get(type(value), "")
    if dtype.kind not in kinds:
        return False
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return bool(limits.min <= value <= limits.max)
    try:
        with np.errstate(all="ignore"):
            return bool(dtype.type(value).item() == value or value != value)
    except OverflowError:
        return False


def _check_item(array: npt.NDArray[Any], position: int, value: Any, shown: str) -> None:
    """Refuse a value that is no item of an array: one of another shape, or cut by a record.

    A number as it is written in Python fills the item.
    """
    if value is np.ma.masked or type(value) in _FILLS or (array.dtype.kind, array.ndim) == ("O", 1):
        return
    if array.dtype.kind == "V":
        _check_record(array, value, shown)
        return
    shape, new = np.shape(array[position]), _as_array(value, array).shape
    if shape != new:
        raise ArgumentValueError(
            f"{shown}: an item here has the shape {shape}, and what is written has {new}. To fill "
            f"an item write item.{shown.rpartition('.')[2]}[...] = value; to change the shape of "
            f"all items {_map_advice(shown)}"
        )


def _check_fits_in(there: Any, new: npt.NDArray[Any], shown: str) -> None:
    shape = np.shape(there)
    try:
        fits = np.broadcast_shapes(shape, new.shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ArgumentValueError(
            f"{shown}: there is room for the shape {shape}, and what is written has {new.shape}"
        )


def _check_record(array: npt.NDArray[Any], value: Any, shown: str) -> None:
    """Refuse what a record would cut or convert."""
    try:
        there = np.array(value, dtype=array.dtype).tolist()
    except (TypeError, ValueError, OverflowError, RuntimeError):
        there = None
    given = value.tolist() if hasattr(value, "tolist") else value
    if there != given and repr(there) != repr(given):
        raise ArgumentValueError(
            f"{shown}: {value!r:.60} does not fit into a record of {array.dtype}. Make new ones of "
            f"all items: {_map_advice(shown)}"
        )


def _map_advice(shown: str) -> str:
    name = shown.rpartition(".")[2]
    return (
        f'map(f, src="{name}"), where f returns the new item'
        if name != "data"
        else ("map(f), where f returns the new item")
    )
