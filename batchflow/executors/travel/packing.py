"""Packing functions, items and results for other processes, and back.

Guarantees:
    - Lambdas, closures and classes of notebooks and scripts can be packed: they travel by value,
      once, with the function. Their instances come back with the very same class.
    - Big arrays are not copied while a value is packed.
    - An array that lies in memory with gaps, or backwards, lies there so afterwards.
    - What cannot be packed is named.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
import pickle
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from batchflow.errors import ArgumentTypeError, BatchflowError
from batchflow.executors.travel.errors import culprit, said_by, sendable
from batchflow.extras import imported

__all__ = [
    "INLINE",
    "Classes",
    "Opened",
    "PackedCall",
    "dumps_whole",
    "needs_cloudpickle",
    "pack",
    "packed_apart",
    "packed_error",
    "packed_whole",
]

INLINE = 32 * 1024  # bytes up to which to be in a pickle, or in a socket, is shorter: measured

Token = tuple[int, int]


class Classes:
    """The classes that both sides of a job have: they travel as a number.

    Attributes:
        tokens: Their numbers.
    """

    def __init__(self) -> None:
        self.tokens: dict[type, Token] = {}

    def add(self, cls: type, token: Token | None = None) -> None:
        """Take a class in, under its number if it has one."""
        token = token or _tokens.get(cls) or (os.getpid(), next(_numbers))
        self.tokens[cls] = _tokens[cls] = token
        _classes[token] = cls


_numbers = itertools.count()
_tokens: weakref.WeakKeyDictionary[type, Token] = weakref.WeakKeyDictionary()
_classes: weakref.WeakValueDictionary[Token, type] = weakref.WeakValueDictionary()


def _class_of(token: Token) -> type:
    return _classes[token]


@dataclass(eq=False)
class PackedCall:
    """A function that is ready for the journey.

    Attributes:
        function: The function itself, which keeps its classes alive.
        payload: Its pickle.
        buffers: The big arrays in it, not copied yet.
        classes: The classes that travel with it.
    """

    function: Callable[[Any], Any]
    payload: bytes
    buffers: list[pickle.PickleBuffer] = field(repr=False)
    classes: Classes = field(repr=False)


def pack(function: Callable[[Any], Any]) -> PackedCall:
    """Pack a function of one item.

    Raises:
        BatchflowError: The extra `processes` is not installed.
        ArgumentTypeError: Something in it cannot be packed; the message says what.
    """
    needs_cloudpickle()
    classes = Classes()
    try:
        payload, buffers = _dumps_with_classes(function, classes)
    except Exception as error:
        dumps = functools.partial(dumps_whole, classes=Classes())
        where = culprit(function, dumps, "the function", error)
        raise ArgumentTypeError(f"cannot be sent to a worker process: {where}") from error
    return PackedCall(function, payload, buffers, classes)


def packed_apart(
    value: Any, classes: Classes, name: str
) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """Pack an item or a result; its big arrays are not copied, and come beside the pickle.

    Args:
        value: The value.
        classes: Those that the other side has.
        name: What it is called if it cannot be packed.

    Raises:
        ArgumentTypeError: It cannot be packed; the message says which part of it.
    """
    buffers: list[pickle.PickleBuffer] = []
    try:
        return _dumps(value, classes, buffers), buffers
    except Exception as error:
        raise _refusal(value, classes, name, error) from None


def packed_whole(value: Any, classes: Classes, name: str) -> bytes:
    """Pack an item or a result with all its arrays: takes and raises what `packed_apart` does."""
    try:
        return dumps_whole(value, classes)
    except Exception as error:
        raise _refusal(value, classes, name, error) from None


def _refusal(value: Any, classes: Classes, name: str, error: Exception) -> ArgumentTypeError:
    where = culprit(value, functools.partial(dumps_whole, classes=classes), name, error)
    return ArgumentTypeError(f"cannot be sent from one process to another: {where}")


def packed_error(error: BaseException, classes: Classes) -> bytes:
    """Pack an error, and beside it what it says, should it not be unpacked on the other side."""
    try:
        form = dumps_whole(sendable(error, lambda value: dumps_whole(value, classes)), classes)
        said = said_by(error)
    except Exception as problem:
        said = f"{type(error).__name__} (which cannot be sent: {type(problem).__name__})"
        form = dumps_whole(BatchflowError(said), Classes())
    return pickle.dumps((said, form))


@dataclass(eq=False)
class Opened:
    """A pickle that has arrived, with what came beside it.

    Attributes:
        payload: The pickle.
        buffers: Its out-of-band buffers.
    """

    payload: bytes | memoryview
    buffers: Sequence[memoryview] = ()

    def load(self) -> Any:
        """Unpickle it. Arrays lie in the buffers."""
        return pickle.loads(self.payload, buffers=self.buffers)


def dumps_whole(value: Any, classes: Classes) -> bytes:
    """Pack a value with all its arrays; `pickle.loads` unpacks it."""
    return _dumps(value, classes, None)


def _dumps(value: Any, classes: Classes, buffers: list[pickle.PickleBuffer] | None) -> bytes:
    file = io.BytesIO()
    out_of_band = None if buffers is None else functools.partial(_stays_in_band, buffers)
    _pickler()(file, classes.tokens, None, out_of_band).dump(value)
    return file.getvalue()


def _dumps_with_classes(function: Any, classes: Classes) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """Pack a function, and after it the list of the classes that were met on the way."""
    file, met = io.BytesIO(), _Met(classes)
    buffers: list[pickle.PickleBuffer] = []
    pickler = _pickler()(file, {}, met.add, functools.partial(_stays_in_band, buffers))
    pickler.dump((function, met.pairs))
    return file.getvalue(), buffers


class _Met:
    """The classes that are packed by value, in the order in which they are met."""

    def __init__(self, classes: Classes) -> None:
        self._classes = classes
        self.pairs: list[tuple[type, Token]] = []

    def add(self, cls: type) -> None:
        self._classes.add(cls)
        self.pairs.append((cls, self._classes.tokens[cls]))


def _stays_in_band(buffers: list[pickle.PickleBuffer], buffer: pickle.PickleBuffer) -> bool:
    if buffer.raw().nbytes < INLINE:
        return True
    buffers.append(buffer)
    return False


def needs_cloudpickle() -> None:
    """Import the package that packs functions.

    Raises:
        MissingPackageError: It is not installed.
    """
    imported("cloudpickle", "work in processes")


@functools.cache
def _pickler() -> type[Any]:
    """Make the class of the pickler."""
    needs_cloudpickle()
    import cloudpickle

    class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
        """Packs classes that the other side has as their numbers."""

        def __init__(self, file: Any, tokens: Any, meets: Any, buffer_callback: Any) -> None:
            super().__init__(file, protocol=5, buffer_callback=buffer_callback)
            self._known = tokens
            self._meets = meets

        def reducer_override(self, value: Any) -> Any:
            if type(value) is np.ndarray and _has_gaps(value):
                return _reduced_view(value)
            if not isinstance(value, type):
                return super().reducer_override(value)
            token = self._known.get(value)
            if token is not None:
                return _class_of, (token,)
            reduced = super().reducer_override(value)
            if self._meets is not None and reduced is not NotImplemented and len(reduced) > 2:
                self._meets(value)  # it travels by value
            return reduced

    return Pickler


# ---- views: sums and products of an array depend on how it lies in memory


def _has_gaps(array: NDArray[Any]) -> bool:
    flags = array.flags
    return not (flags.c_contiguous or flags.f_contiguous or array.dtype.hasobject)


class _Span:
    """The memory that a view reaches over, as NumPy reads it."""

    def __init__(self, view: NDArray[Any]) -> None:
        steps = zip(view.shape, view.strides, strict=True)
        reach = [(n - 1) * stride for n, stride in steps]
        self.before = -sum(step for step in reach if step < 0)
        size = self.before + sum(step for step in reach if step > 0) + view.itemsize
        self._view = view  # keeps the memory alive
        self.__array_interface__ = {
            # As what can be written to: what arrives is. Nobody writes here.
            "data": (view.__array_interface__["data"][0] - self.before, False),
            "shape": (size,),
            "typestr": "|u1",
            "version": 3,
        }


def _reduced_view(view: NDArray[Any]) -> Any:
    span = _Span(view)
    told = span.before, view.shape, view.strides, view.dtype, view.flags.writeable
    return _view_of, (np.asarray(span), *told)


def _view_of(
    span: NDArray[Any],
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: Any,
    is_writeable: bool,
) -> NDArray[Any]:
    view: NDArray[Any] = np.ndarray(shape, dtype, span, offset, strides)
    if not is_writeable and view.flags.writeable:
        view.flags.writeable = False
    return view
