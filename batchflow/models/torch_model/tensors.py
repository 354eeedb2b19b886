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
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from batchflow.errors import ArgumentTypeError, ArgumentValueError


class Place(NamedTuple):
    """Where a module computes. There is one for each device and dtype.

    Attributes:
        device: The device of its parameters; None: it has none.
        dtype: The dtype of its parameters of floats; None: it has none.
        takes: The dtype of arrays that become tensors there by a copy alone; None: not known.
    """

    device: Any
    dtype: Any
    takes: Any

    @staticmethod
    def of(module: Any) -> Place:
        """Return the place of a module now: a module can be moved at any time."""
        return Place.at(*first_parameter(module))

    @staticmethod
    def at(parameters: Mapping[str, Any], name: str) -> Place:
        """Return the place of a module by its `first_parameter`."""
        first = parameters.get(name)
        return _place(None, None) if first is None else _place(first.device, first.dtype)


@cache
def _place(device: Any, dtype: Any) -> Place:
    """Return the place of a parameter."""
    if dtype is None or not dtype.is_floating_point:
        return Place(device, None, None)
    name = str(dtype).removeprefix("torch.")
    is_near = device.type == "cpu" and name in ("float32", "float64")
    return Place(device, dtype, np.dtype(name) if is_near else None)


def first_parameter(module: Any) -> tuple[Mapping[str, Any], str]:
    """Return where the first parameter of floats is: the parameters of its part, and its name.

    Without one, the first parameter of any dtype. That is looked up in less time than the parameter
    is found, and holds when the module was moved, which may make another one.
    """
    first: Any = None
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is None:
                continue
            if parameter.is_floating_point():
                return part._parameters, name
            first = first or (part._parameters, name)
    return first or ({}, "")


def to_tensors(data: Any, place: Place, are_targets: bool = False) -> Any:
    """Return data with each array in it as a tensor.

    Args:
        data: An array, anything else, or tuples, lists and mappings of these. Tensors keep their
            dtype.
        place: The device, and the dtype of floats.
        are_targets: Whether whole numbers become int64, which the losses of torch take. Otherwise
            they keep their dtype.
    """
    if type(data) is np.ndarray and data.dtype == place.takes:
        return sys.modules["torch"].from_numpy(data.copy())
    return map_nested(lambda value: _to_tensor(value, place, are_targets), data)


def _to_tensor(value: Any, place: Place, is_target: bool) -> Any:
    torch, device = sys.modules["torch"], place.device
    if torch.is_tensor(value):
        return value if device is None else value.to(device)
    if not hasattr(value, "__array__"):
        return value
    array = _owned(value, is_target)
    made = torch.from_numpy(array)
    dtype = place.dtype if array.dtype.kind == "f" else None
    if (dtype is None or dtype == made.dtype) and (device is None or device == made.device):
        return made
    moved = made.to(device=device, dtype=dtype)
    return moved if dtype is None else _refuse_overflow(made, moved)


def _owned(value: Any, is_target: bool) -> Any:
    """Return an array of its own, of a kind that torch takes."""
    if isinstance(value, np.ma.MaskedArray):
        raise ArgumentTypeError(
            "a masked array has no tensor that knows which values are masked: fill it, "
            "B.x.filled(0), or pass the mask beside it"
        )
    array = np.asarray(value)
    dtype = array.dtype
    if is_target and dtype.kind in "iu":
        if dtype == np.uint64 and array.size and array.max() > np.iinfo(np.int64).max:
            raise ArgumentValueError(f"the target {array.max()} is beyond the int64 of torch")
        return array.astype(np.int64, order="C")
    return array.copy() if dtype.isnative else array.astype(dtype.newbyteorder("="), order="C")


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
        some = [described(part) for part in data[:3]] + ["..."] * (len(data) > 3)
        return f"{type(data).__name__}({', '.join(some)})"
    if hasattr(data, "dtype") and hasattr(data, "shape"):
        return f"{str(data.dtype).removeprefix('torch.')} {tuple(data.shape)}"
    return type(data).__name__
