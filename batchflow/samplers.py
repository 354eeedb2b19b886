"""Distributions to sample from: combined, transformed and cut, with the generator of a batch.

    place = Uniform(0, 1, dim=2) | Normal([0.5, 0.5], 0.1)     half of the points from each
    point = (Uniform(0, 1) & Normal(5, 2)).truncate(high=9)    coordinates side by side
    P(place), crop(32, at=place)                               in a chain

A sampler is a value without a state: `sample(size, rng)` draws from the generator that it is given,
so that the same batch has the same numbers at every parallelism.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from batchflow.counts import checked_count
from batchflow.errors import ArgumentTypeError, ArgumentValueError

__all__ = ["Constant", "Histogram", "Normal", "Sampler", "Uniform"]

_MOST_ROUNDS = 1000  # of draws that a truncated sampler makes


_Operator = Callable[["Sampler", Any], "Sampler"]


def _operator(function: Callable[[Any, Any], Any]) -> tuple[_Operator, _Operator]:
    """Return the method of an operator, and that of the operator with its sides swapped."""

    def straight(self: Sampler, other: Any) -> Sampler:
        if isinstance(other, Sampler):
            return _Combined(self, other, function)
        return self.apply(lambda points: function(points, np.asarray(other)))

    def swapped(self: Sampler, other: Any) -> Sampler:
        return self.apply(lambda points: function(np.asarray(other), points))

    return straight, swapped


class Sampler:
    """A distribution of points.

    Attributes:
        dim: How many numbers a point has.
        weight: Its share beside others: `0.3 & a | 0.7 & b`.
    """

    dim: int = 1
    weight: float = 1.0

    def sample(self, size: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        """Draw points.

        Args:
            size: How many.
            rng: The generator: `batch.rng`.

        Returns:
            An array of shape `(size, dim)`.
        """
        if not isinstance(rng, np.random.Generator):
            raise ArgumentTypeError(
                f"sample(size, rng) draws from a generator, such as batch.rng, got {rng!r:.60}"
            )
        return self._draw(checked_count("the number of points", size, least=0), rng)

    def __repr__(self) -> str:
        values = ", ".join(
            repr(value.tolist() if isinstance(value, np.ndarray) else value)
            for value in vars(self).values()
        )
        return f"{type(self).__name__.lstrip('_')}({values})"

    def _draw(self, size: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        raise NotImplementedError

    def __and__(self, other: Any) -> Any:
        """Put coordinates side by side; with a number: give it that weight beside others."""
        if isinstance(other, Sampler):
            return _Joined(self, other)
        return self._weighted(other)

    def __rand__(self, other: Any) -> Any:
        return self._weighted(other)

    def __or__(self, other: Any) -> Any:
        """Draw each point from one of the two, by their weights."""
        return _Mixed(self, other) if isinstance(other, Sampler) else NotImplemented

    def apply(self, function: Callable[..., Any]) -> Sampler:
        """Change points by a function of an array of shape `(n, dim)`, to one of as many points."""
        return _Applied(self, function)

    def truncate(
        self,
        low: Any = None,
        high: Any = None,
        expr: Callable[..., Any] | None = None,
        prob: float = 0.5,
    ) -> Sampler:
        """Leave out points below `low` or above `high`, and draw others.

        Args:
            low: The least values: one, or one for each coordinate; None: no bound.
            high: The greatest ones.
            expr: What is compared, if it is not the point itself: a function of the points.
            prob: About which share of points stays: for how many are drawn at once.
        """
        return _Truncated(self, low, high, expr, prob)

    def _weighted(self, weight: Any) -> Any:
        if isinstance(weight, bool) or not isinstance(weight, (int, float)):
            return NotImplemented
        if not 0 < weight < np.inf:
            raise ArgumentValueError(f"the weight of a sampler must be above 0, got {weight!r}")
        return _Weighted(self, float(weight))

    __add__, __radd__ = _operator(operator.add)
    __sub__, __rsub__ = _operator(operator.sub)
    __mul__, __rmul__ = _operator(operator.mul)
    __truediv__ = _operator(operator.truediv)[0]


class Constant(Sampler):
    """The same point always."""

    def __init__(self, value: Any) -> None:
        self._value = np.atleast_1d(np.asarray(value))
        self.dim = len(self._value)

    def _draw(self, size: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:  # noqa: ARG002
        return np.repeat(self._value[None], size, axis=0)


class _Drawn(Sampler):
    """Points whose coordinates are drawn by a method of generators."""

    def __init__(self, one: Any, other: Any, dim: int | None) -> None:
        both = np.broadcast_arrays(np.atleast_1d(one), np.atleast_1d(other))
        self._one, self._other = both
        asked = 1 if dim is None else checked_count("dim", dim, least=0)
        self.dim = max(len(both[0]), asked)
        if len(both[0]) not in (1, self.dim):
            raise ArgumentValueError(
                f"{type(self).__name__}: {len(both[0])} values for {self.dim} coordinates"
            )


class Uniform(_Drawn):
    """Points in a box.

    Args:
        low: The least values: one, or one for each coordinate.
        high: The values below which they are.
        dim: How many coordinates; None: as many as the bounds have.

    Example:
        >>> import numpy as np
        >>> from batchflow.samplers import Uniform
        >>> Uniform(0, [1, 10]).sample(3, np.random.default_rng(1)).round(2).tolist()
        [[0.51, 9.5], [0.14, 9.49], [0.31, 4.23]]
    """

    def __init__(self, low: Any = 0.0, high: Any = 1.0, dim: int | None = None) -> None:
        super().__init__(low, high, dim)
        if not (self._one <= self._other).all():
            raise ArgumentValueError(f"Uniform: low is above high: {low!r}, {high!r}")

    def _draw(self, size: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        return rng.uniform(self._one, self._other, (size, self.dim))


class Normal(_Drawn):
    """Points with normal coordinates: their means and standard deviations, as for `Uniform`."""

    def __init__(self, loc: Any = 0.0, scale: Any = 1.0, dim: int | None = None) -> None:
        super().__init__(loc, scale, dim)
        if not (self._other >= 0).all():
            raise ArgumentValueError(f"Normal: a standard deviation is from 0 on, got {scale!r}")

    def _draw(self, size: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        return rng.normal(self._one, self._other, (size, self.dim))


class Histogram(Sampler):
    """Points by a histogram: a cell by its count, then anywhere in it.

    Args:
        counts: The counts, with one axis for each coordinate: as `np.histogramdd` returns them.
        edges: The edges of the cells along each axis; for one axis one array.
    """

    def __init__(self, counts: Any, edges: Any) -> None:
        self._counts = np.asarray(counts, dtype=float)
        self.dim = self._counts.ndim
        several = [edges] if self.dim == 1 and np.ndim(edges[0]) == 0 else list(edges)
        self._edges = [np.asarray(axis, dtype=float) for axis in several]
        if [len(axis) - 1 for axis in self._edges] != list(self._counts.shape):
            raise ArgumentValueError(
                f"Histogram: counts of the shape {self._counts.shape} have "
                f"{[n + 1 for n in self._counts.shape]} edges, got {[len(e) for e in self._edges]}"
            )
        if not (self._counts >= 0).all() or not self._counts.sum() > 0:
            raise ArgumentValueError("Histogram: counts are from 0 on, and not all 0")

    def _draw(self, size: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        ends = np.cumsum(self._counts.ravel())
        cells = np.searchsorted(ends, rng.random(size) * ends[-1], side="right")
        places = np.unravel_index(cells, self._counts.shape)
        low = np.stack([axis[place] for axis, place in zip(self._edges, places, strict=True)], 1)
        high = np.stack([axis[p + 1] for axis, p in zip(self._edges, places, strict=True)], 1)
        points: np.ndarray[Any, Any] = low + rng.random((size, self.dim)) * (high - low)
        return points


class _Weighted(Sampler):
    def __init__(self, of: Sampler, weight: float) -> None:
        self._of, self.dim, self.weight = of, of.dim, weight

    def _draw(self, size: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        return self._of._draw(size, rng)


class _Joined(Sampler):
    def __init__(self, one: Sampler, other: Sampler) -> None:
        self._one, self._other = one, other
        self.dim, self.weight = one.dim + other.dim, one.weight * other.weight

    def _draw(self, size: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        return np.concatenate([self._one._draw(size, rng), self._other._draw(size, rng)], axis=1)


class _Mixed(Sampler):
    def __init__(self, one: Sampler, other: Sampler) -> None:
        if one.dim != other.dim:
            raise ArgumentValueError(
                f"a | b: points of {one.dim} and of {other.dim} numbers cannot be mixed"
            )
        self._one, self._other, self.dim = one, other, one.dim
        self.weight = one.weight + other.weight

    def _draw(self, size: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        is_first = rng.random(size) < self._one.weight / self.weight
        return np.where(is_first[:, None], self._one._draw(size, rng), self._other._draw(size, rng))


class _Combined(Sampler):
    def __init__(self, one: Sampler, other: Sampler, function: Callable[..., Any]) -> None:
        self._one, self._other, self._function, self.dim = one, other, function, one.dim

    def _draw(self, size: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        return np.asarray(self._function(self._one._draw(size, rng), self._other._draw(size, rng)))


class _Applied(Sampler):
    def __init__(self, of: Sampler, function: Callable[..., Any]) -> None:
        self._of, self._function, self.weight = of, function, of.weight
        self.dim = self._changed(np.full((1, of.dim), 0.5)).shape[1]

    def _changed(self, points: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        changed = np.asarray(self._function(points))
        changed = changed[:, None] if changed.ndim == 1 else changed
        if changed.ndim != 2 or len(changed) != len(points):
            raise ArgumentTypeError(
                f"apply: the function takes points of shape {points.shape}, and must return as "
                f"many, got the shape {changed.shape}"
            )
        return changed

    def _draw(self, size: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        return self._changed(self._of._draw(size, rng))


class _Truncated(Sampler):
    def __init__(self, of: Sampler, low: Any, high: Any, expr: Any, prob: float) -> None:
        if low is None and high is None:
            raise ArgumentValueError("truncate: give low, high or both")
        if low is not None and high is not None and np.any(np.asarray(low) > np.asarray(high)):
            raise ArgumentValueError(f"truncate: low is above high: {low!r:.60}, {high!r:.60}")
        if not 0 < prob <= 1:
            raise ArgumentValueError(f"truncate: prob is above 0, up to 1, got {prob!r}")
        self._of, self._bounds, self._expr, self._prob = of, (low, high), expr, prob
        self.dim, self.weight = of.dim, of.weight

    def _draw(self, size: int, rng: np.random.Generator) -> np.ndarray[Any, Any]:
        low, high = self._bounds
        kept: list[Any] = []
        missing = size
        for _ in range(_MOST_ROUNDS):
            points = self._of._draw(max(int(missing / self._prob), 16), rng)
            values = points if self._expr is None else np.asarray(self._expr(points))
            values = values.reshape(len(points), -1)
            stays = np.ones(len(points), dtype=bool)
            if low is not None:
                stays &= (values >= low).all(axis=1)
            if high is not None:
                stays &= (values <= high).all(axis=1)
            kept.append(points[stays][:missing])
            missing -= len(kept[-1])
            if not missing:
                return np.concatenate(kept)
        raise ArgumentValueError(
            f"truncate: {size - missing} of {size} points were found in {_MOST_ROUNDS} rounds of "
            "draws: hardly any lies within the bounds"
        )
