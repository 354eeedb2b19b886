"""A number that may still be on a device, such as the loss of a compiled training step.

Guarantees:
    - Nothing waits for the device until the value is read. It is read once: from then on it is a
      Python float, and the memory on the device is free.
    - Wherever it is saved, copied or sent to a process, it becomes a plain float.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray


class LazyValue:
    """A float that is read from its device when it is first used.

    `float(value)`, `value.numpy()`, arithmetic, comparison, `round`, `format`, `repr`, `hash`,
    `np.mean([value, ...])`, `math.isnan(value)`, `sorted`, `statistics.mean`, pickle and copy all
    work as with that float. It is a `numbers.Real` and no `float`: where the type matters, as in
    `json`, write `json.dumps(values, default=float)`.

    Example:
        >>> value = LazyValue(np.float32(0.5))
        >>> value, value + 1, value < 1, f"{value:.2f}", [value] == [0.5]
        (0.5, 1.5, True, '0.50', True)
    """

    __slots__ = ("__weakref__", "_tensor", "_value")

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def __float__(self) -> float:
        tensor = self._tensor
        if tensor is not None:
            # In this order: a second thread that reads at the same moment finds one of the two.
            self._value: float = float(tensor)
            self._tensor = None
        return self._value

    def numpy(self) -> np.float64:
        """Return the value as a scalar of NumPy."""
        return np.float64(float(self))

    def item(self) -> float:
        """Return the value as a float of Python, as `item` of arrays does."""
        return float(self)

    def __array__(
        self,
        dtype: Any = None,
        copy: bool | None = None,
    ) -> NDArray[Any]:
        return np.array(float(self), dtype=dtype)

    def __reduce__(self) -> tuple[type[float], tuple[float]]:
        return float, (float(self),)


def _as_float(name: str) -> Callable[..., Any]:
    method = getattr(float, name)

    def forwarded(self: LazyValue, *others: Any) -> Any:
        values = (float(other) if isinstance(other, LazyValue) else other for other in others)
        return method(float(self), *values)

    forwarded.__name__ = name
    return forwarded


for _name in (
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__hash__", "__bool__"),
    *("__neg__", "__pos__", "__abs__", "__int__", "__trunc__", "__floor__", "__ceil__"),
    *("__round__", "__repr__", "__str__", "__format__", "as_integer_ratio", "is_integer"),
    *(
        f"__{side}{name}__"
        for name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "divmod")
        for side in ("", "r")
    ),
):
    setattr(LazyValue, _name, _as_float(_name))
numbers.Real.register(LazyValue)
