"""One batch: its parts, and the signature of all batches.

Guarantees:
    - The arrays of a batch reach the model in one fixed order, which does not depend on the order
      of its dictionaries.
    - 64-bit floats become Keras's `floatx`, as everywhere in Keras; nothing else is changed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.models.estimator.spec import leaves

Shape = tuple[int | None, ...]


class Batch(NamedTuple):
    """The parts of a batch, each an array, or nested dictionaries and tuples of arrays."""

    features: Any
    labels: Any = None
    sample_weight: Any = None

    @classmethod
    def of(cls, element: Any) -> Batch:
        """Return a batch from an element of an input.

        Args:
            element: `features`, `(features,)`, `(features, labels)` or `(features, labels,
                sample_weight)`, as a tuple or a list.

        Raises:
            ArgumentTypeError: (a `TypeError`) The element is something else.
        """
        parts = tuple(element) if isinstance(element, tuple | list) else (element,)
        for part in parts:
            refuse_batch(part)
        if not 1 <= len(parts) <= 3 or parts[0] is None:
            raise ArgumentTypeError(
                "a batch is features, (features, labels) or (features, labels, sample_weight), "
                f"got {len(parts)} parts, the first is {parts[0] if parts else None!r:.60}"
            )
        names = ("features", "labels", "sample_weight")
        return cls(*(_map(_as_array, part, name) for part, name in zip(parts, names, strict=False)))

    def without_labels(self) -> Batch:
        """Return a batch of the features alone."""
        return Batch(self.features)

    def leaves(self) -> list[tuple[str, Any]]:
        """Return the arrays, each with its name, in their order."""
        return [
            leaf
            for name, part in zip(self._fields, self, strict=True)
            for leaf in leaves(part, name)
        ]

    def arrays(self) -> list[Any]:
        """Return the arrays in their order, for the inputs of the program."""
        return [array for _, array in self.leaves()]


@dataclass(frozen=True)
class Signature:
    """The structure of batches, and the shapes and dtypes of their arrays.

    Attributes:
        parts: By the name of an array: the shape of one item, with None where it varies, and the
            dtype.
        form: A batch with names instead of arrays.
    """

    parts: dict[str, tuple[Shape, str]]
    form: Batch

    @classmethod
    def of(cls, batch: Batch) -> Signature:
        """Return the signature of a batch."""
        parts = {name: (tuple(array.shape[1:]), dtype_of(array)) for name, array in batch.leaves()}
        form = (
            _map(lambda _, name: name, part, field)
            for field, part in zip(batch._fields, batch, strict=True)
        )
        return cls(parts, Batch(*form))

    def takes(self, batch: Batch) -> bool:
        """Check whether a batch has this signature."""
        found = batch.leaves()
        return len(found) == len(self.parts) and all(
            name in self.parts
            and _fits(self.parts[name][0], array.shape[1:])
            and self.parts[name][1] == dtype_of(array)
            for name, array in found
        )

    def widened(self, batch: Batch) -> Signature:
        """Return a signature that also takes another batch: dimensions that differ may vary.

        Raises:
            ArgumentValueError: The batch has other parts, other dtypes or another number of
                dimensions.
        """
        other = Signature.of(batch)
        if set(other.parts) != set(self.parts):
            raise ArgumentValueError(
                f"a batch has the parts {sorted(other.parts)}, those before had "
                f"{sorted(self.parts)}"
            )
        parts = {}
        for name, (shape, dtype) in self.parts.items():
            new, its_dtype = other.parts[name]
            if len(new) != len(shape) or its_dtype != dtype:
                raise ArgumentValueError(
                    f"{name} has items of shape {new} and dtype {its_dtype} in one batch, and of "
                    f"{shape} and {dtype} in those before"
                )
            pairs = zip(shape, new, strict=True)
            parts[name] = tuple(a if a == b else None for a, b in pairs), dtype
        return Signature(parts, self.form)

    def inputs(self) -> Batch:
        """Return a `keras.Input` for each array."""
        keras = sys.modules["keras"]
        made: dict[str, Any] = {}
        taken: set[str] = set()
        for name, (shape, dtype) in self.parts.items():
            word = _free_word(name, taken)
            taken.add(word)
            made[name] = keras.Input(shape, dtype=_keras_dtype(dtype), name=word)
        return Batch(*(_map(lambda name, _: made[name], part, "") for part in self.form))


def _free_word(name: str, taken: set[str]) -> str:
    """Return a name that Keras and TensorFlow accept, and that no other array has."""
    word = stem = re.sub(r"\W", "_", name)
    number = 0
    while word in taken:
        number += 1
        word = f"{stem}_{number}"
    return word


def batch_length(array: Any) -> int:
    """Return the number of items of an array."""
    return int(array.shape[0])


def _map(function: Callable[[Any, str], Any], value: Any, name: str) -> Any:
    """Apply a function to each leaf of nested dictionaries and tuples, and to its name."""
    if value is None:
        return None
    if isinstance(value, Mapping):
        return {str(key): _map(function, part, f"{name}.{key}") for key, part in _sorted(value)}
    if isinstance(value, tuple):
        return tuple(_map(function, part, f"{name}.{n}") for n, part in enumerate(value))
    return function(value, name)


def _sorted(mapping: Mapping[Any, Any]) -> Iterator[tuple[Any, Any]]:
    return iter(sorted(mapping.items(), key=lambda pair: str(pair[0])))


def _as_array(value: Any, name: str) -> Any:
    """Return a value as an array or a tensor of the backend, with a dimension for the items."""
    keras = sys.modules["keras"]
    refuse_batch(value)
    if not keras.ops.is_tensor(value):
        value = np.asarray(value)
        if value.dtype == np.float64:
            value = value.astype(keras.config.floatx())
        elif value.dtype.kind == "U":
            value = value.astype(object)
    if len(value.shape) == 0:
        raise ArgumentTypeError(f"{name} is a single value; a batch has a dimension for its items")
    return value


def refuse_batch(value: Any) -> None:
    """Refuse a batch of a pipeline, of which NumPy would make the array of its ids.

    Raises:
        ArgumentTypeError: (a `TypeError`) It is one.
    """
    if hasattr(type(value), "_actions") and hasattr(value, "components"):
        names = list(value.components or ("data",))[:2]
        shown = ", ".join(f"B.{name}" for name in names)
        raise ArgumentTypeError(
            f"{type(value).__name__} is a batch of a pipeline, and an Estimator takes its arrays: "
            f"give pipeline.feed(20, {shown}) for gen_batch(20); of one batch in an action "
            f"{', '.join(f'batch.{name}' for name in names)}; in a chain {shown}"
        )


def dtype_of(array: Any) -> str:
    """Return the name of the dtype of an array or a tensor; "string" for text."""
    if isinstance(array, np.ndarray):
        return "string" if array.dtype.kind in "OSU" else array.dtype.name
    return str(sys.modules["keras"].backend.standardize_dtype(array.dtype))


def _keras_dtype(dtype: str) -> str:
    """Return the dtype on the backend. By default JAX holds integers in 32 bits."""
    keras = sys.modules["keras"]
    if keras.backend.backend() == "jax" and dtype.endswith("64"):
        jax = sys.modules["jax"]
        if not jax.config.jax_enable_x64:
            return dtype[:-2] + "32"
    return dtype


def _fits(shape: Shape, found: Shape) -> bool:
    return len(shape) == len(found) and all(
        wanted is None or wanted == size for wanted, size in zip(shape, found, strict=True)
    )
