"""Arrays become tensors, and tensors arrays.

Guarantees:
    - *No aliases*: a tensor never shares memory with an array of the batch, nor an array with a
      module. So neither an operation in place nor the next step changes what was given or got.
    - *Nothing lost but digits*: floats are rounded to the dtype of the module, as a module would
      compute with them; one that is too large for that is refused, and so is a mask. All other
      values stay what they are.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from batchflow.errors import ArgumentTypeError, ArgumentValueError

__all__ = ["Place", "described", "map_nested", "to_arrays", "to_tensors"]


class Place(NamedTuple):
    """Where a module computes.

    Attributes:
        device: The device of its first parameter; None: it has none.
        dtype: The dtype of its first parameter of floats; None: it has none.
    """

    device: Any
    dtype: Any

    @classmethod
    def of(cls, module: Any) -> Place:
        """Return the place of a module now: a module can be moved at any time."""
        first = None
        for parameter in module.parameters():
            first = parameter if first is None else first
            if parameter.is_floating_point():
                return cls(first.device, parameter.dtype)
        return cls(None if first is None else first.device, None)


def to_tensors(data: Any, place: Place, are_targets: bool = False) -> Any:
    """Return data with each array in it as a tensor.

    Args:
        data: An array, anything else, or tuples, lists and mappings of these. Tensors keep their
            dtype.
        place: The device, and the dtype of floats.
        are_targets: Whether whole numbers become int64, which the losses of torch take. Otherwise
            they keep their dtype.
    """
    torch = sys.modules["torch"]

    def tensor(value: Any) -> Any:
        if torch.is_tensor(value):
            return value.to(place.device) if place.device is not None else value
        if not hasattr(value, "__array__"):
            return value
        array = _native(value)
        if array.dtype.kind == "f":
            made = torch.tensor(array)
            dtype = made.dtype if place.dtype is None else place.dtype
            return _refuse_overflow(made, made.to(device=place.device, dtype=dtype))
        if are_targets and array.dtype.kind in "iu":
            array = _widened(array)
        return torch.tensor(array, device=place.device)

    return tensor(data) if isinstance(data, np.ndarray) else map_nested(tensor, data)


def _native(value: Any) -> Any:
    """Return an array of a kind that torch takes: of this machine's byte order, not reversed."""
    if isinstance(value, np.ma.MaskedArray):
        raise ArgumentTypeError(
            "a masked array has no tensor that knows which values are masked: fill it, "
            "B.x.filled(0), or pass the mask beside it"
        )
    array = np.asarray(value)
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    return array.copy() if any(stride < 0 for stride in array.strides) else array


def _widened(array: Any) -> Any:
    if array.dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
        raise ArgumentValueError(f"the target {array.max()} is beyond the int64 of torch")
    return array.astype(np.int64, copy=False)


def _refuse_overflow(given: Any, made: Any) -> Any:
    torch = sys.modules["torch"]
    if made.dtype.itemsize < given.dtype.itemsize and made.device.type != "meta":
        lost = torch.isinf(made) & torch.isfinite(given).to(made.device)
        if bool(lost.any()):
            raise ArgumentValueError(
                f"a value of a batch of {given.dtype} is beyond the {made.dtype} of the module's "
                "parameters: scale it, or make the module of wider floats"
            )
    return made


def to_arrays(outputs: Any) -> Any:
    """Return the outputs of a module, several in a list, each tensor as an array of its own."""

    def array(value: Any) -> Any:
        if not hasattr(value, "detach"):
            return value
        value = value.detach()
        if str(value.dtype) == "torch.bfloat16":  # which NumPy lacks: all its values are float32s
            value = value.float()
        return value.cpu().numpy() if value.device.type != "cpu" else value.numpy().copy()

    return map_nested(array, list(outputs) if type(outputs) is tuple else outputs)


def map_nested(function: Any, data: Any) -> Any:
    """Return data with a function applied to all that is no tuple, list or mapping."""
    if isinstance(data, Mapping):
        return {name: map_nested(function, part) for name, part in data.items()}
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(map_nested(function, part) for part in data))
    if isinstance(data, list | tuple):
        return type(data)(map_nested(function, part) for part in data)
    return function(data)


def described(data: Any) -> str:
    """Return the structure, dtypes and shapes of data, for a message."""
    if isinstance(data, Mapping):
        return f"{{{', '.join(f'{name!r}: {described(part)}' for name, part in data.items())}}}"
    if isinstance(data, list | tuple):
        return f"{type(data).__name__}({', '.join(map(described, data))})"
    if hasattr(data, "dtype") and hasattr(data, "shape"):
        return f"{str(data.dtype).removeprefix('torch.')} {tuple(data.shape)}"
    return type(data).__name__
