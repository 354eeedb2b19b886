"""Tensors of JAX, torch and TensorFlow as bytes, and back.

Nothing is imported to write them: there is a tensor only where its framework was imported already.

Guarantees:
    - A tensor that comes back has the same bits, shape and dtype; of JAX also its weak type, and
      the kind of random keys; of torch also its layout, its device, if that is there, and whether
      it requires a gradient. Those of JAX and TensorFlow come back on the default device.
    - What would come back as something else is refused.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from batchflow.arrays import package_of
from batchflow.errors import ArgumentTypeError, ArgumentValueError
from batchflow.extras import imported

Framework = Literal["jax", "torch", "tensorflow"]


def framework_of(value: Any) -> Framework | None:
    """Return the framework of a tensor that is data; None: it is no tensor, or more than data.

    Parameters of torch, and variables of TensorFlow, are more: layers and optimizers hold them.
    """
    package = package_of(value)
    if package in ("jax", "jaxlib"):
        return "jax" if isinstance(value, _class("jax", "Array")) else None
    if package == "torch":
        return "torch" if type(value) is _class("torch", "Tensor") else None
    if package == "tensorflow":
        is_eager = isinstance(value, _class("tensorflow", "Tensor")) and hasattr(value, "numpy")
        return "tensorflow" if is_eager else None
    return None


def changes(value: Any) -> bool:
    """Check whether a value is a tensor that can be changed in place."""
    return framework_of(value) == "torch"


def written(value: Any, framework: Framework, where: str) -> tuple[list[Any], Any]:
    """Return what a tensor is, for JSON, and an array of its values, which may be a view.

    Args:
        value: The tensor.
        framework: Its framework.
        where: What it is, for messages.

    Raises:
        ArgumentTypeError: It cannot come back as it is.
    """
    try:
        facts, values = _WRITE[framework](value)
    except Exception as error:
        raise ArgumentTypeError(
            f"{where} is a {type(value).__name__} of {framework}, which is not saved as data: "
            f"{error}"
        ) from error
    return facts, values


def made(framework: Framework, facts: Sequence[Any], data: Any) -> Any:
    """Return the tensor that was written.

    Args:
        framework: Its framework. It is imported.
        facts: What the tensor is.
        data: Its values: an array, or bytes.

    Raises:
        ArgumentValueError: It cannot be made here.
    """
    module = imported(framework, "a tensor in a checkpoint")
    raw = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
    return _MAKE[framework](module, raw, *facts)


def _class(module: str, name: str) -> Any:
    return getattr(sys.modules.get(module), name, ())  # (): it is just being imported


def _raw(array: NDArray[Any]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


# ---- JAX


def _write_jax(value: Any) -> tuple[list[Any], Any]:
    jax = sys.modules["jax"]
    kind = None
    if jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        kind, value = str(jax.random.key_impl(value)), jax.random.key_data(value)
    if not value.is_fully_addressable:
        raise ValueError("it lies on devices of several processes")
    return [value.dtype.name, list(value.shape), bool(value.weak_type), kind], _raw(
        np.asarray(value)
    )


def _make_jax(jax: Any, raw: Any, dtype: str, shape: list[int], is_weak: bool, kind: Any) -> Any:
    values = raw.view(jax.numpy.dtype(dtype)).reshape(shape)
    if is_weak:  # as a number of Python is: it takes on the dtype of what it meets
        array = jax.numpy.full(shape, values.dtype.type(0).item()).at[...].set(values)
    else:
        array = jax.numpy.array(values, copy=True)
    if array.dtype != values.dtype:
        raise ArgumentValueError(
            f"an array of JAX was saved as {dtype}, and would be {array.dtype.name} here: let JAX "
            'work in 64 bits as before, jax.config.update("jax_enable_x64", True)'
        )
    return array if kind is None else jax.random.wrap_key_data(array, impl=kind)


# ---- torch


def _write_torch(value: Any) -> tuple[list[Any], Any]:
    torch = sys.modules["torch"]
    if value.grad_fn is not None:
        raise ValueError("it holds the graph that has computed it: keep value.detach()")
    if value.layout is not torch.strided or value.is_quantized or value.device.type == "meta":
        raise ValueError("it is sparse, quantized or without values")
    plain = value.detach().resolve_conj().resolve_neg().cpu()
    if not _is_dense(plain.shape, plain.stride()):
        plain = plain.clone()
        plain = plain if _is_dense(plain.shape, plain.stride()) else plain.contiguous()
    name = str(plain.dtype).removeprefix("torch.")
    facts = [name, list(plain.shape), list(plain.stride()), value.requires_grad, str(value.device)]
    flat = plain.as_strided((plain.numel(),), (1,))
    return facts, flat.view(torch.uint8).numpy()


def _make_torch(
    torch: Any,
    raw: Any,
    dtype: str,
    shape: list[int],
    strides: list[int],
    learns: bool,
    device: str,
) -> Any:
    kind = getattr(torch, dtype)
    n_bytes = math.prod(shape) * kind.itemsize
    if not _is_dense(shape, strides) or n_bytes != raw.nbytes:
        raise ArgumentValueError(f"a tensor of torch of shape {shape} has {raw.nbytes} bytes")
    tensor = torch.empty_strided(shape, strides, dtype=kind)
    flat = tensor.as_strided((tensor.numel(),), (1,))
    flat.view(torch.uint8).copy_(torch.from_numpy(raw.copy()))
    if not device.startswith("cpu"):
        with contextlib.suppress(RuntimeError, AssertionError):  # it is not there
            tensor = tensor.to(device)
    return tensor.requires_grad_(learns)


def _is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Check whether the elements of a tensor lie one behind the other, in any order."""
    expected = 1
    for stride, size in sorted(zip(strides, shape, strict=True)):
        if size != 1:
            if stride != expected:
                return False
            expected *= size
    return True


# ---- TensorFlow


def _write_tensorflow(value: Any) -> tuple[list[Any], Any]:
    facts = [value.dtype.name, list(value.shape)]
    if value.dtype.name == "string":
        return facts, np.asarray(value.numpy(), dtype=object)
    return facts, _raw(np.asarray(value.numpy()))


def _make_tensorflow(tf: Any, raw: Any, dtype: str, shape: list[int]) -> Any:
    kind = tf.as_dtype(dtype)
    values = raw if dtype == "string" else raw.view(kind.as_numpy_dtype)
    return tf.constant(values.reshape(shape), dtype=kind)


_WRITE: dict[Framework, Callable[..., Any]] = {
    "jax": _write_jax,
    "torch": _write_torch,
    "tensorflow": _write_tensorflow,
}
_MAKE: dict[Framework, Callable[..., Any]] = {
    "jax": _make_jax,
    "torch": _make_torch,
    "tensorflow": _make_tensorflow,
}
