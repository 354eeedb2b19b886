"""Packing functions, items and results for other processes, and back.

Guarantees:
    - Lambdas, closures and classes of notebooks and scripts can be packed: they travel by value,
      once, with the function. Their instances come back with the very same class. What of a class
      no worker needs may travel closed: see closed.py.
    - Big arrays are not copied while a value is packed.
    - An array that lies in memory with gaps, or backwards, lies there so afterwards.
    - An array of a file travels to a worker as the path of the file: see files.py.
    - What cannot be packed is named.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
import pickle
import types
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from batchflow.errors import ArgumentTypeError, BatchflowError
from batchflow.executors.exceptions import culprit, error_line, sendable
from batchflow.executors.serialization.buffers import merged, spread_again
from batchflow.executors.serialization.closed import Absent, Closing, Late, opened
from batchflow.executors.serialization.code import reduced_code
from batchflow.executors.serialization.mapped_files import reduced_to_file
from batchflow.executors.serialization.strided import has_gaps, reduced_view
from batchflow.extras import imported

__all__ = [
    "INLINE",
    "Classes",
    "Late",
    "Opened",
    "PackedCall",
    "dumps_late",
    "dumps_whole",
    "needs_cloudpickle",
    "pack",
    "packed_apart",
    "packed_error",
    "packed_for_worker",
    "packed_whole",
    "unpacked_call",
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
        buffers: The big arrays in it, not copied yet; memory that several share is there once.
        classes: The classes that travel with it.
    """

    function: Callable[[Any], Any]
    payload: bytes
    buffers: list[pickle.PickleBuffer] = field(repr=False)
    classes: Classes = field(repr=False)


def pack(function: Callable[[Any], Any], late: Late | None = None) -> PackedCall:
    """Pack a function of one item.

    Args:
        function: The function.
        late: Which members of its classes travel closed; None: none of them.

    Raises:
        BatchflowError: The extra `processes` is not installed.
        ArgumentTypeError: Something in it cannot be packed; the message says what.
    """
    needs_cloudpickle()
    classes = Classes()
    try:
        payload, buffers = _dumps_with_classes(function, classes, late)
    except Exception as error:
        dumps = functools.partial(dumps_late, late=late)
        where = culprit(function, dumps, "the function", error)
        raise ArgumentTypeError(f"cannot be sent to a worker process: {where}") from error
    return PackedCall(function, payload, merged(buffers), classes)


def unpacked_call(
    payload: bytes | memoryview, buffers: Sequence[memoryview]
) -> tuple[Callable[[Any], Any], Classes]:
    """Unpack a function, and the classes that have come with it."""
    function, pairs = pickle.loads(payload, buffers=spread_again(buffers))
    classes = Classes()
    for cls, token in pairs:
        classes.add(cls, token)
    return function, classes


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


def packed_for_worker(value: Any, name: str) -> Opened:
    """Pack a value for a worker; it can lie in something else that is packed, without a copy.

    Big arrays of files travel as the paths of the files.

    Args:
        value: The value.
        name: What it is called if it cannot be packed.

    Raises:
        ArgumentTypeError: It cannot be packed; the message says which part of it.
    """
    file = io.BytesIO()
    buffers: list[Any] = []
    out_of_band = functools.partial(_stays_in_band, buffers)
    pickler = _pickler()(file, {}, _Met(Classes()).add, out_of_band)
    pickler._least_mapped = INLINE
    try:
        pickler.dump(value)
    except Exception as error:
        raise _refusal(value, Classes(), name, error) from None
    return Opened(pickle.PickleBuffer(file.getvalue()), buffers)  # type: ignore[arg-type]


def packed_error(error: BaseException, classes: Classes) -> bytes:
    """Pack an error, and beside it what it says, should it not be unpacked on the other side."""
    try:
        form = dumps_whole(sendable(error, lambda value: dumps_whole(value, classes)), classes)
        said = error_line(error)
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


def dumps_late(value: Any, late: Late | None) -> bytes:
    """Pack a value as `pack` does, to find out whether it can be packed."""
    return _dumps_with_classes(value, Classes(), late)[0]


def _dumps(value: Any, classes: Classes, buffers: list[pickle.PickleBuffer] | None) -> bytes:
    file = io.BytesIO()
    out_of_band = None if buffers is None else functools.partial(_stays_in_band, buffers)
    _pickler()(file, classes.tokens, None, out_of_band).dump(value)
    return file.getvalue()


def _dumps_with_classes(
    function: Any, classes: Classes, late: Late | None, known: Classes | None = None
) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """Pack a function, and after it the list of the classes that were met on the way."""
    file, met = io.BytesIO(), _Met(classes)
    buffers: list[pickle.PickleBuffer] = []
    out_of_band = functools.partial(_stays_in_band, buffers)
    closing = None
    if late is not None:
        close = functools.partial(_closed, classes)
        closing = Closing(late, close, functools.partial(_why, classes))
    tokens = {} if known is None else known.tokens
    pickler = _pickler()(file, tokens, met.add, out_of_band, closing)
    pickler.dump((function if closing is None else _Before(function, closing), met.pairs))
    return file.getvalue(), buffers


class _Before:
    """Unpacks as a function, with what closes behind it packed after it."""

    def __init__(self, function: Any, closing: Closing) -> None:
        self._parts = function, closing

    def __reduce__(self) -> tuple[Any, ...]:
        return _first, self._parts


def _first(function: Any, closed: None) -> Any:  # noqa: ARG001  it has been filled on the way
    return function


def _closed(
    classes: Classes, function: Any, closing: Closing
) -> tuple[bytes, list[pickle.PickleBuffer]]:
    file = io.BytesIO()
    buffers: list[pickle.PickleBuffer] = []
    out_of_band = functools.partial(_stays_in_band, buffers)
    _pickler(packets=True)(file, classes.tokens, None, out_of_band, closing).dump(function)
    return file.getvalue(), buffers


def _why(classes: Classes, function: Any, error: Exception) -> str:
    return culprit(function, functools.partial(dumps_whole, classes=classes), "it", error)


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


if TYPE_CHECKING:
    _Pickler = pickle.Pickler
else:
    _Pickler = object


@functools.cache
def _pickler(*, packets: bool = False) -> type[Any]:
    """Make the class of the pickler, or of that of the packets of closed functions."""
    needs_cloudpickle()
    import cloudpickle

    mixin = _PacketReductions if packets else _Reductions
    return type("Pickler", (mixin, cloudpickle.Pickler), {})


class _Reductions(_Pickler):
    """Packs classes that the other side has as their numbers, closed functions apart.

    A mixin for the pickler of cloudpickle, which is imported on use.
    """

    _least_mapped = 0  # bytes of arrays of files that travel as paths

    def __init__(
        self, file: Any, tokens: Any, meets: Any, buffer_callback: Any, closing: Any = None
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self._known = tokens
        self._meets = meets
        self._closing = closing

    def reducer_override(self, value: Any, /) -> Any:
        is_small = isinstance(value, np.ndarray) and value.nbytes < self._least_mapped
        if self._meets is not None and not is_small:
            by_file = reduced_to_file(value)
            if by_file is not None:
                return by_file
        if type(value) is np.ndarray and has_gaps(value):
            return reduced_view(value)
        if isinstance(value, type):
            return self._reduced_class(value)
        if isinstance(value, types.FunctionType):
            return self._reduced_function(value)
        if type(value) is types.CodeType:
            return reduced_code(value, self.dispatch_table[types.CodeType])
        if type(value) is functools.cached_property:  # in Python 3.11 it holds a lock
            return _cached_property, (value.func, value.attrname)
        if self._closing is not None and type(value) is types.CellType:
            self._closing.see(value, None)
        return super().reducer_override(value)

    def _reduced_class(self, cls: type) -> Any:
        token = self._known.get(cls)
        if token is not None:
            return _class_of, (token,)
        reduced: Any = super().reducer_override(cls)
        if self._meets is not None and reduced is not NotImplemented and len(reduced) > 2:
            self._meets(cls)  # it travels by value
            if self._closing is not None:
                self._closing.late.meet(cls)
                _spare(cls, reduced[2][0], self._closing.late)
        return reduced

    def _reduced_function(self, function: Any) -> Any:
        closing = self._closing
        if closing is not None and function in closing.late:
            return closing.stand_in(function)
        real = opened(function)
        reduced = super().reducer_override(real)
        if reduced is NotImplemented:
            return reduced if real is function else (_itself, (real,))
        if closing is not None:
            closing.see(real, reduced)
        return reduced


class _PacketReductions(_Reductions):
    """Packs a closed function, for whom what has travelled openly is there."""

    def reducer_override(self, value: Any, /) -> Any:
        closing, self._closing = self._closing, None
        try:
            reduced = super().reducer_override(value)
        finally:
            self._closing = closing
        if isinstance(value, types.FunctionType) and isinstance(reduced, tuple):
            return closing.sharing(value, reduced)
        return reduced

    def persistent_id(self, value: Any, /) -> Any:
        shared = self._closing.shared(value)
        return None if shared is None else tuple(shared)


def _itself(value: Any) -> Any:
    return value


def _cached_property(function: Any, name: str | None) -> functools.cached_property[Any]:
    made = functools.cached_property(function)
    made.attrname = name
    return made


def _spare(cls: type, members: dict[str, Any], late: Late) -> None:
    """Leave here what cannot be packed of the attributes of a class that no worker needs."""
    if not late.spares:
        return
    known = Classes()
    known.tokens.update(_tokens)  # the class itself and its like are no obstacle
    for name, value in members.items():
        if late.needs(cls, name):
            continue
        try:
            _dumps_with_classes(value, Classes(), late, known)
        except Exception as error:
            members[name] = Absent(f"{cls.__qualname__}.{name}", error_line(error))
