"""Predictions of overlapping windows, put together again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, overload

import numpy as np

from batchflow.errors import ArgumentTypeError, ArgumentValueError


@overload
def assemble_windows(
    out: Any,
    records: Any,
    starts: Any,
    lengths: Mapping[Any, Any] | None = None,
    weights: Any = None,
) -> dict[Any, Any]: ...
@overload
def assemble_windows(
    out: Iterable[tuple[Any, Any, Any]],
    *,
    lengths: Mapping[Any, Any] | None = None,
    weights: Any = None,
) -> Iterator[tuple[Any, Any]]: ...
def assemble_windows(
    out: Any,
    records: Any = None,
    starts: Any = None,
    lengths: Mapping[Any, Any] | None = None,
    weights: Any = None,
) -> Any:
    """Put predictions of windows of records together: where they overlap, the weighted mean.

    Args:
        out: The predictions: of shape `(n_windows, size, ...)`, or with several axes of windows.
            Or, without `records` and `starts`, an iterable of `(predictions, records, starts)`, one
            for each batch, in which the windows of a record come in a row: only those of one record
            are in memory.
        records: The record of each window, of shape `(n_windows,)`: `batch.records`.
        starts: Where each begins, of shape `(n_windows,)` or `(n_windows, n_axes)`: `batch.starts`.
        lengths: The length of each record, or its shape; None: up to the end of its last window.
            What stands beyond it, such as the end of a padded window, is left out.
        weights: None: all alike; `"hann"`: less at the borders of a window; or an array of the
            shape of a window.

    Returns:
        By record, an array of floats. Where no window lies it is NaN. Of an iterable, an iterator
        of `(record, array)`: each comes when the next record begins.

    Raises:
        ArgumentTypeError: The iterable gives something else, or predictions are no numbers.
        ArgumentValueError: The shapes do not fit together, or a window lies outside of its record;
            or the windows of a record do not come in a row.

    Example:
        >>> import numpy as np
        >>> from batchflow import assemble_windows
        >>> whole = assemble_windows(np.array([[1., 1.], [3., 3.]]), ["a", "a"], [0, 1])
        >>> whole["a"].tolist()
        [1.0, 2.0, 3.0]
    """
    if records is None and starts is None:
        return _one_by_one(iter(out), lengths, weights)
    if records is None or starts is None:
        raise ArgumentTypeError("assemble_windows: give records and starts, or none of them")
    return _all_at_once(out, records, starts, lengths, weights)


def _one_by_one(parts: Iterator[Any], lengths: Any, weights: Any) -> Iterator[tuple[Any, Any]]:
    """Put together the windows of one record after the other."""
    name: Any = None
    held: list[tuple[Any, Any]] = []  # the windows of the record that is under way, and starts
    done: set[Any] = set()

    def whole() -> tuple[Any, Any]:
        windows, starts = zip(*held, strict=True)
        names = [name] * len(held)
        made = _all_at_once(np.stack(windows), names, np.stack(starts), lengths, weights)
        done.add(name)
        held.clear()
        return name, made[name]

    for part in parts:
        if not isinstance(part, tuple) or len(part) != 3:
            raise ArgumentTypeError(
                "assemble_windows: without records and starts, out gives (predictions, records, "
                f"starts) for each batch, got {part!r:.60}"
            )
        out, records, starts = np.asarray(part[0]), _listed(part[1]), np.asarray(part[2])
        if not len(out) == len(records) == len(starts):
            raise ArgumentValueError(
                f"assemble_windows: {len(out)} predictions, {len(records)} records and "
                f"{len(starts)} starts do not fit together"
            )
        for window, record, start in zip(out, records, starts, strict=True):
            if held and record != name:
                yield whole()
            if record in done:
                raise ArgumentValueError(
                    f"assemble_windows: windows of the record {record!r} come again behind those "
                    "of another; take them in order, without shuffle, or all at once"
                )
            name = record
            held.append((window, start))
    if held:
        yield whole()


def _all_at_once(out: Any, records: Any, starts: Any, lengths: Any, weights: Any) -> dict[Any, Any]:
    """Put together the windows of all records."""
    out, starts = np.asarray(out), np.asarray(starts)
    starts = starts[:, None] if starts.ndim == 1 else starts
    n_axes = starts.shape[1]
    if len(out) != len(starts) or len(out) != len(records) or out.ndim <= n_axes:
        raise ArgumentValueError(
            f"assemble_windows: predictions of shape {out.shape}, starts of shape {starts.shape} "
            f"and {len(records)} records do not fit together"
        )
    if out.dtype.kind not in "biuf":
        raise ArgumentTypeError(f"assemble_windows: predictions are real numbers, got {out.dtype}")
    size = out.shape[1 : 1 + n_axes]
    each = _weights(weights, size).reshape(*size, *[1] * (out.ndim - 1 - n_axes))
    names = _listed(records)
    _check_starts(names, starts, lengths)
    ends: dict[Any, Any] = {}
    for name, start in zip(names, starts, strict=True):
        ends[name] = np.maximum(ends.get(name, 0), start + size)
    if lengths is not None:
        ends = {name: np.atleast_1d(lengths[name]) for name in ends}
    sums = {name: np.zeros((*end, *out.shape[1 + n_axes :])) for name, end in ends.items()}
    counts = {name: np.zeros((*end, *[1] * (out.ndim - 1 - n_axes))) for name, end in ends.items()}
    for name, start, window in zip(names, starts, out, strict=True):
        stop = np.minimum(start + size, ends[name])
        there = tuple(slice(s, e) for s, e in zip(start, stop, strict=True))
        here = tuple(slice(0, e - s) for s, e in zip(start, stop, strict=True))
        sums[name][there] += window[here] * each[here]
        counts[name][there] += each[here]
    with np.errstate(invalid="ignore", divide="ignore"):
        return {name: sums[name] / counts[name] for name in ends}


def _listed(records: Any) -> list[Any]:
    return records.tolist() if hasattr(records, "tolist") else list(records)


def _check_starts(names: list[Any], starts: Any, lengths: Any) -> None:
    for name, start in zip(names, starts, strict=True):
        if lengths is not None and name not in lengths:
            raise ArgumentValueError(f"assemble_windows: lengths has no record {name!r}")
        end = None if lengths is None else np.atleast_1d(lengths[name])
        if end is not None and len(end) != len(start):
            raise ArgumentValueError(
                f"assemble_windows: starts have {len(start)} axes, the length of the record "
                f"{name!r} has {len(end)}"
            )
        if (start < 0).any() or (end is not None and (start >= end).any()):
            raise ArgumentValueError(
                f"assemble_windows: no window begins at {start.tolist()} in the record {name!r}"
                + ("" if end is None else f", whose length is {end.tolist()}")
            )


def _weights(weights: Any, size: tuple[int, ...]) -> Any:
    if weights is None:
        return np.ones(size)
    if isinstance(weights, str):
        if weights != "hann":
            raise ArgumentValueError(f'assemble_windows: weights is "hann", got {weights!r:.60}')
        axes = [np.hanning(n + 2)[1:-1] for n in size]  # never 0: a border may lie in one window
        return np.prod(np.meshgrid(*axes, indexing="ij"), axis=0)
    array = np.asarray(weights, dtype=float)
    if array.shape != size:
        raise ArgumentValueError(
            f"assemble_windows: weights have the shape of a window, {size}, got {array.shape}"
        )
    if not (np.isfinite(array) & (array >= 0)).all() or not array.any():
        raise ArgumentValueError(
            f"assemble_windows: weights are finite numbers from 0 on, and some above it, got "
            f"{weights!r:.60}"
        )
    return array
