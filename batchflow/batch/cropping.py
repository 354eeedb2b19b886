"""Crops and padding: items of one shape out of items of other shapes."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.arrays import column_array, is_column, joined_arrays
from batchflow.batch.components import set_component
from batchflow.batch.filling import elements_of, filled, like_all
from batchflow.batch.regroup import data_of
from batchflow.batch.repeating import repeated
from batchflow.batch.rows import row_at
from batchflow.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    UnknownNameError,
    did_you_mean,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]


_PLACES = ("random", "grid", "center")


def crop(
    batch: Any,
    size: int | tuple[int, ...],
    at: Any = "random",
    n: int = 8,
    *,
    src: str | Iterable[str] | None = None,
    stride: int | tuple[int, ...] | None = None,
    starts: str | None = None,
) -> Any:
    """Cut pieces out of each item: `crop((32, 32), n=4)`; `crop(64, at="grid", stride=32)`.

    A piece is cut out of all components of `src` at the same place, so that masks stay aligned with
    their images. Other components have the rows of the items. `source_ids` tells where pieces come
    from.

    Args:
        batch: The batch.
        size: The size of a piece along the first axes of an item: a tuple; or a number, along the
            first axis alone.
        at: Where: `"random"`: anywhere, `n` times; `"center"`; `"grid"`: everywhere, a `stride`
            apart, the last piece along each axis at its end; a tuple with the start along each
            axis; or a sampler, whose values from 0 to 1 are places between the first and the last
            possible one (see `batchflow.samplers`), `n` times.
        n: How many pieces of each item, at random places.
        src: The components; None: all that have so many axes, or more.
        stride: How far one piece of a grid begins behind the other; None: the size.
        starts: A component that gets where each piece begins: of shape `(n_pieces, n_axes)`.

    Returns:
        The batch of the pieces, those of one item in a row.

    Raises:
        ArgumentValueError: A piece is larger than an item, or components have different sizes.
    """
    sizes = _wholes("crop: size", size)
    names = _cropped(batch, src, len(sizes))
    items = {name: _rows(batch, name) for name in names}
    pieces: dict[str, list[Any]] = {name: [] for name in names}
    counts, all_starts = [], []
    for place, item_id in enumerate(batch.indices.tolist()):
        row = {name: np.asarray(row_at(items[name], place)) for name in names}
        shape = _common_shape(row, len(sizes), item_id)
        if any(have < want for have, want in zip(shape, sizes, strict=True)):
            raise ArgumentValueError(
                f"crop: a piece of {sizes} does not fit into the item {item_id!r}, which has "
                f"{shape}"
            )
        found = _starts(batch, shape, sizes, at, n, stride)
        for name, array in row.items():
            for start in found.tolist():
                where = tuple(slice(s, s + w) for s, w in zip(start, sizes, strict=True))
                pieces[name].append(array[where])
        counts.append(len(found))
        all_starts.append(found)
    given = {name: joined_arrays([piece[None] for piece in got]) for name, got in pieces.items()}
    made: Any = repeated(batch, np.array(counts), type(batch), given)
    if starts is not None:
        set_component(made, starts, np.concatenate(all_starts))
    return made


def n_pieces(
    size: Any, at: Any = "random", n: Any = 8, *, stride: Any = None, **others: Any
) -> Any:
    """Return how many pieces `crop` makes of each item; True: that is not known beforehand.

    Raises:
        ArgumentTypeError: An argument that no batch decides about is of no type that is known.
        ArgumentValueError: It has no value that is known.
    """
    del others
    for name, value in (("size", size), ("n", n), ("stride", stride)):
        if value is not None and not _is_late(value):
            _wholes(f"crop: {name}", value)
    if _is_late(at):
        return True
    if not (isinstance(at, tuple) or _is_place(at) or callable(getattr(at, "sample", None))):
        raise _unknown_place(at)
    if isinstance(at, tuple) or (_is_place(at) and at == "center"):
        return 1
    is_grid = _is_place(at) and at == "grid"
    return True if is_grid or _is_late(n) else _wholes("crop: n", n)[0]


def check_pad(
    src: Any, length: Any = "batch", multiple_of: Any = None, value: Any = 0, mask: Any = None
) -> None:
    """Check the arguments of `pad` that no batch decides about.

    Raises:
        ArgumentTypeError: One is of no type that is known.
        ArgumentValueError: One has no value that is known.
    """
    del src, value, mask
    _padded_length(
        np.ones(1, dtype=np.int64),
        "batch" if _is_late(length) else length,
        None if _is_late(multiple_of) else multiple_of,
    )


def _is_late(value: Any) -> bool:
    """Check whether a value is an expression, or has some in it."""
    if isinstance(value, (tuple, list)):
        return any(map(_is_late, value))
    return hasattr(value, "_resolve")


def _is_place(at: Any) -> bool:
    return isinstance(at, str) and at in _PLACES


def _unknown_place(at: Any) -> ArgumentTypeError:
    hint = did_you_mean(at, _PLACES, only_near=True) if isinstance(at, str) else ""
    if isinstance(at, list):
        hint = " Starts are a tuple, and a sampler is given as it is, without P: at=sampler."
    return ArgumentTypeError(
        f'crop: at is "random", "grid", "center", a tuple of starts or a sampler, got '
        f"{at!r:.60}.{hint}"
    )


def _cropped(batch: Any, src: Any, n_axes: int) -> list[str]:
    known = list(batch.components) or ["data"]
    if src is not None:
        names = [src] if isinstance(src, str) else list(src)
        for name in names:
            if name not in known:
                raise UnknownNameError(
                    f"crop: the batch has no component {name!r}.{did_you_mean(name, known)}"
                )
        return names
    names = []
    for name in known:
        rows = getattr(batch, name)
        if rows is not None and len(rows) and np.ndim(row_at(rows, 0)) >= n_axes:
            names.append(name)
    if not names:
        raise ArgumentValueError(f"crop: no component has items with {n_axes} axes or more")
    return names


def _rows(batch: Any, name: str) -> Any:
    rows = getattr(batch, name)
    if rows is None:
        raise ArgumentValueError(f"crop: the component {name!r} has no data (None)")
    return rows


def _common_shape(row: dict[str, Any], n_axes: int, item_id: Any) -> tuple[int, ...]:
    shapes = {name: array.shape[:n_axes] for name, array in row.items()}
    if len(set(shapes.values())) > 1:
        shown = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ArgumentValueError(
            f"crop: the components of the item {item_id!r} have different sizes: {shown}; name "
            "those that belong together: src="
        )
    return next(iter(shapes.values()))


def _starts(batch: Any, shape: Any, sizes: Any, at: Any, n: Any, stride: Any) -> Numbers:
    """Return where the pieces of one item begin: of shape `(n_pieces, n_axes)`."""
    last = np.array(shape) - np.array(sizes)
    if isinstance(at, str) and at == "grid":
        strides = sizes if stride is None else _wholes("crop: stride", stride)
        strides = strides * len(sizes) if len(strides) == 1 else strides
        if len(strides) != len(sizes):
            raise ArgumentValueError(f"crop: size has {len(sizes)} axes, stride {len(strides)}")
        axes = [
            sorted({*range(0, end + 1, step), end})
            for end, step in zip(last.tolist(), strides, strict=True)
        ]
        return np.array(list(itertools.product(*axes)), dtype=np.int64)
    if isinstance(at, str) and at == "center":
        center: Numbers = (last // 2)[None]
        return center
    if isinstance(at, tuple):
        start = np.array(at)
        if start.shape != last.shape or (start < 0).any() or (start > last).any():
            raise ArgumentValueError(f"crop: a piece cannot begin at {at} in an item of {shape}")
        return start[None]
    count = _wholes("crop: n", n)[0]
    if isinstance(at, str) and at == "random":
        drawn: Numbers = batch.rng.integers(0, last + 1, size=(count, len(last)))
        return drawn
    if callable(getattr(at, "sample", None)):
        shares = np.asarray(at.sample(count, batch.rng), dtype=float).reshape(count, -1)
        if shares.shape[1] not in (1, len(last)):
            raise ArgumentValueError(
                f"crop: the sampler gives {shares.shape[1]} numbers, and items have {len(last)} "
                "axes"
            )
        if not ((shares >= 0) & (shares <= 1)).all():
            raise ArgumentValueError(
                "crop: a sampler gives places from 0 (the first possible start) to 1 (the last), "
                f"got {shares[~((shares >= 0) & (shares <= 1))][0]}; leave others out: "
                "sampler.truncate(0, 1)"
            )
        within: Numbers = np.minimum(np.floor(shares * (last + 1)), last).astype(np.int64)
        return within
    raise _unknown_place(at)


def pad(
    batch: Any,
    src: str | Iterable[str],
    length: Any = "batch",
    multiple_of: int | None = None,
    value: Any = 0,
    mask: str | None = None,
) -> Any:
    """Fill items up to one length, so that they make an array: `pad("tokens", mask="mask")`.

    Args:
        batch: The batch.
        src: The component whose items are sequences or arrays, filled up along their first axes; or
            several, each with lengths of its own.
        length: `"batch"`: that of the longest item of the batch; or a number.
        multiple_of: The length is rounded up to a multiple of that.
        value: What stands behind an item.
        mask: A component that tells where items are: bools of shape `(n_items, length)`, of the
            first component of `src`.

    Returns:
        The batch, whose component is an array of shape `(n_items, length, ...)`.

    Raises:
        ArgumentValueError: An item is longer than `length`, or cannot be put beside the others.
    """
    names = [src] if isinstance(src, str) else list(src)
    if not names or mask in names:
        raise ArgumentValueError(
            f"pad: src names components that are filled up, and mask another one, got src={src!r}, "
            f"mask={mask!r}"
        )
    for place, name in enumerate(names):
        column = _column(batch, name)
        items = [elements_of(row_at(column, i), "pad", name, value) for i in range(len(batch))]
        lengths = np.array([len(item) for item in items])
        to = _padded_length(lengths, length, multiple_of)
        if lengths.max() > to:
            worst = int(lengths.argmax())
            raise ArgumentValueError(
                f"pad: the item {batch.source_ids.tolist()[worst]!r} of {name!r} has "
                f"{lengths[worst]} elements, which are more than {to}"
            )
        if place == 0 and mask is not None:
            set_component(batch, mask, np.arange(to) < lengths[:, None])
        array = filled(len(items), to, value, like_all(items, "pad", name), "pad", name)
        for row, item in enumerate(items):
            if len(item):
                array[row, : len(item)] = item
        set_component(batch, name, array)
    return batch


def _padded_length(lengths: Numbers, length: Any, multiple_of: int | None) -> int:
    is_longest = isinstance(length, str) and length == "batch"
    if not is_longest and not hasattr(length, "__index__"):
        raise ArgumentTypeError(f'pad: length is "batch" or a whole number, got {length!r:.60}')
    to = int(lengths.max()) if is_longest else _wholes("pad: length", length)[0]
    if multiple_of is not None:
        (step,) = _wholes("pad: multiple_of", multiple_of)
        to = -(-to // step) * step
    return to


def _column(batch: Any, name: str) -> Any:
    data = {key.lstrip("_"): rows for key, rows in data_of(batch).items()}
    if data.get(name) is None:
        known = [key for key, rows in data.items() if rows is not None]
        raise UnknownNameError(
            f"pad: the batch has no data in a component {name!r}.{did_you_mean(name, known)}"
        )
    rows = data[name]
    return column_array(rows) if is_column(rows) else rows


def _wholes(name: str, given: Any) -> tuple[int, ...]:
    values = tuple(given) if isinstance(given, (tuple, list)) else (given,)
    for value in values:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise ArgumentTypeError(
                f"{name} is a whole number or a tuple of them, got {given!r:.60}"
            )
        if value < 1:
            raise ArgumentValueError(f"{name} must be at least 1, got {given!r:.60}")
    return tuple(map(operator.index, values))
