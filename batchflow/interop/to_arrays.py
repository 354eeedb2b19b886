"""One pass over a pipeline as arrays: `pipeline.to_arrays`.

Guarantees:
    - Row k of each array belongs to the same item. Rows come in the order of the run.
    - No value is changed: batches of different dtypes are joined in one that holds all of them.
    - Before the second batch is made it is checked that all of them fit into memory; and with each
      batch that those which have come do.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.arrays import is_sparse, is_table, is_tensor, joined_arrays
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.interop.feed import keeping
from batchflow.plan.expressions import Expression

if TYPE_CHECKING:
    from batchflow.engine import Program, Run
    from batchflow.plan import Where

_UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB")


def kept_values(program: Program, values: Sequence[Any], where: Where) -> Program:
    """Let a pipeline keep some values in its batches.

    Raises:
        ArgumentTypeError: There are none, or they are no expressions.
    """
    if not values:
        raise ArgumentTypeError("to_arrays: give what to make arrays of: to_arrays(B.x, B.y)")
    for value in values:
        if not isinstance(value, Expression):
            hint = " Give batch_size= by name." if isinstance(value, int) else ""
            raise ArgumentTypeError(
                f"to_arrays: expected expressions such as B.images, got {value!r:.60}.{hint}"
            )
    return keeping(program, "to_arrays", {f"{v!r}": v for v in values}, tuple(values), where)


def collect(run: Run, values: Sequence[Any], n_items: int, batch_size: int) -> Any:
    """Return arrays of the values of all batches.

    Args:
        run: A run of a pipeline that keeps them.
        values: The expressions.
        n_items: How many items go into it.
        batch_size: How many of them in a batch.

    Returns:
        A tuple of arrays of shape `(n_items, ...)`; of one expression, its array.

    Raises:
        ArgumentTypeError: A value is no array.
        ArgumentValueError: It has no row for each item, or rows of another shape than before; the
            arrays are larger than the free memory; there are no batches.
    """
    columns = [_Column(repr(value)) for value in values]
    room = free_memory()
    with run:
        n_rows = None
        for batch in run:
            for column, value in zip(columns, batch._fed, strict=True):
                column.add(value, len(batch), batch.number)
            if n_rows is None:
                n_rows = n_items if run.n_batches is None else run.n_batches * len(batch)
                if len(batch) <= batch_size:  # no step makes several items of each
                    n_rows = min(n_rows, n_items)
                _check_room(columns, n_rows, len(batch), room)
            _check_room(columns, columns[0].n_rows, columns[0].n_rows, room)
            del batch
    if n_rows is None:
        raise ArgumentValueError("to_arrays: no batch has come: all were skipped or filtered away")
    arrays = tuple(column.joined() for column in columns)
    return arrays if len(arrays) > 1 else arrays[0]


class _Column:
    """The values of one expression, batch by batch."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.n_rows = 0
        self.n_bytes = 0
        self._parts: list[Any] = []

    def add(self, value: Any, n_items: int, number: int | None) -> None:
        """Add those of a batch."""
        array = _array(value, self.name)
        where = f"to_arrays: {self.name}, in batch {number},"
        if array.ndim == 0 or len(array) != n_items:
            what = "is one value" if array.ndim == 0 else f"has {len(array)} rows"
            raise ArgumentValueError(
                f"{where} {what}, and the batch has {n_items} items. Each item has a row; for one "
                'value of each batch, collect it by save_to=V("values", "a")'
            )
        shape = self._parts[0].shape[1:] if self._parts else array.shape[1:]
        if array.shape[1:] != shape:
            raise ArgumentValueError(
                f"{where} has items of shape {array.shape[1:]}, and those before have {shape}. "
                "Bring them to one shape in an action (pad, crop or resize them)"
            )
        self._parts.append(array)
        self.n_rows += n_items
        self.n_bytes += array.nbytes

    def joined(self) -> Any:
        """Return one array, and forget the parts."""
        parts, self._parts = self._parts, []
        return joined_arrays(parts) if len(parts) > 1 else parts[0]


def _array(value: Any, name: str) -> Any:
    if is_table(value) or is_sparse(value):
        raise ArgumentTypeError(
            f"to_arrays: {name} is a {type(value).__name__}: make an array of it, by .to_numpy() "
            "or .toarray()"
        )
    if is_tensor(value):
        value = value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
    if not isinstance(value, np.ndarray):
        value = np.asarray(value) if np.isscalar(value) else value
    if not isinstance(value, np.ndarray):
        raise ArgumentTypeError(f"to_arrays: {name} is no array, but a {type(value).__name__}")
    return value


def _check_room(columns: Sequence[_Column], n_rows: int, n_known: int, room: int | None) -> None:
    """Check that so many rows fit into memory, while the largest of the arrays is put together."""
    if room is None or n_known == 0:
        return
    sizes = {column.name: column.n_bytes * n_rows // n_known for column in columns}
    needed = sum(sizes.values()) + max(sizes.values())
    if needed > room:
        each = ", ".join(f"{name} {shown(size)}" for name, size in sizes.items())
        raise ArgumentValueError(
            f"to_arrays: arrays of {n_rows} items take {shown(sum(sizes.values()))} ({each}), "
            f"{shown(needed)} while they are put together, and {shown(room)} are free. Take fewer "
            "items (dataset.take, n_iters=), smaller dtypes, or a loop over the batches: "
            "pipeline.feed(...)"
        )


def shown(n_bytes: float) -> str:
    """Return a number of bytes in a unit that one can read."""
    unit = 0
    while n_bytes >= 1000 and unit + 1 < len(_UNITS):
        n_bytes, unit = n_bytes / 1000, unit + 1
    return f"{n_bytes:.3g} {_UNITS[unit]}"


def free_memory() -> int | None:
    """Return how many bytes this process can still have: of the machine, and of its cgroup.

    Returns:
        The smaller of both; None: that is not known here.
    """
    rooms = []
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        line = next(line for line in lines if line.startswith("MemAvailable:"))
        rooms.append(1024 * int(line.split()[1]))
    with suppress(OSError, ValueError, StopIteration):
        own = next(
            line[3:]
            for line in Path("/proc/self/cgroup").read_text().splitlines()
            if line[:3] == "0::"
        )
        folder = Path("/sys/fs/cgroup" + own)
        for place in (folder, *folder.parents[:-3]):
            with suppress(OSError, ValueError):  # "max", or a folder without limits
                most = int((place / "memory.max").read_text())
                rooms.append(most - int((place / "memory.current").read_text()))
    if not rooms and hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        rooms.append(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    return max(0, min(rooms)) if rooms else None
