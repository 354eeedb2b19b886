"""Packing functions, items and results for other processes, and back.

Guarantees:
    - Lambdas, closures and classes of notebooks and scripts can be packed: they travel by value,
      once, with the function. Their instances come back with the very same class.
    - What shall stay here of a class has a stub, which travels in its place: see `pack`.
    - Big arrays are not copied while a value is packed.
    - An array that lies in memory with gaps, or backwards, lies there so afterwards.
    - An array of a file travels to a worker as the path of the file: see reductions.py.
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
from batchflow.executors.item_threads import unpacking
from batchflow.executors.serialization.arrays import has_gaps, merged, reduced_view, spread_again
from batchflow.executors.serialization.reductions import (
    reduced_code,
    reduced_to_file,
    reduced_wrapper,
)
from batchflow.extras import imported

INLINE = 32 * 1024  # bytes up to which to be in a pickle, or in a socket, is shorter: measured

# The note of an error which the unpacking of a function in a worker has raised.
WHILE_UNPACKED = "while the function was unpacked in a worker process"

Token = tuple[int, int]

# Reduces a value to its stub, as `reducer_override` of a pickler does; None: it has none.
Stubs = Callable[[Any], tuple[Any, ...] | None]


class Classes:
    """The classes that both sides of a job have: they travel as a number.

    Args:
        function: The function of the job, which may have a method `reduced`.

    Attributes:
        tokens: Their numbers.
        reduced: Reduces what the function wants to have its own way in items and results, as
            `reducer_override` of a pickler does; None: nothing.
    """

    def __init__(self, function: Any = None) -> None:
        self.tokens: dict[type, Token] = {}
        self.reduced: Stubs | None = getattr(function, "reduced", None)

    def add(self, cls: type, token: Token | None = None) -> None:
        """Add a class, under its number if it has one."""
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
    """A function that is ready to be sent.

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


def pack(function: Callable[[Any], Any], stubs: Stubs | None = None) -> PackedCall:
    """Pack a function of one item.

    Args:
        function: The function.
        stubs: What travels in the place of some values; None: all travels as it is.

    Raises:
        BatchflowError: The extra `processes` is not installed.
        ArgumentTypeError: Something in it cannot be packed; the message says what.
    """
    needs_cloudpickle()
    classes = Classes(function)
    try:
        payload, buffers = _dumps_with_classes(function, classes, stubs)
    except Exception as error:
        dumps = functools.partial(dumps_call, stubs=stubs)
        where = culprit(function, dumps, "the function", error)
        raise ArgumentTypeError(f"cannot be sent to a worker process: {where}") from error
    return PackedCall(function, payload, merged(buffers), classes)


def unpacked_call(
    payload: bytes | memoryview, buffers: Sequence[memoryview]
) -> tuple[Callable[[Any], Any], Classes]:
    """Unpack a function in a worker, and the classes that have come with it.

    Raises:
        BaseException: Whatever is raised, such as by a module that is missing; it has a note.
    """
    try:
        with unpacking:
            function, tokens = pickle.loads(payload, buffers=spread_again(buffers))
    except BaseException as error:
        error.add_note(WHILE_UNPACKED)
        raise
    classes = Classes(function)
    for cls, token in tokens.items():
        classes.add(cls, token)
    return function, classes


def unpacked_item(opened: Opened) -> Any:
    """Unpack an item in a worker."""
    with unpacking:
        return opened.load()


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
    if _is_plain(value):
        return pickle.dumps(value, 5), buffers
    try:
        return _dumps(value, classes, buffers), buffers
    except Exception as error:
        raise _refusal(value, classes, name, error) from None


_PLAIN = frozenset([int, float, str, bytes, bool, type(None), slice, np.ndarray])


def _is_plain(value: Any) -> bool:
    """Check whether the standard pickler does the same with a value, such as a ticket, much faster.

    It does with a tuple of numbers, texts, slices and small arrays.
    """
    if type(value) is not tuple or not _PLAIN.issuperset(map(type, value)):
        return False
    for part in value:
        if type(part) is np.ndarray and (
            part.nbytes >= INLINE or part.dtype.hasobject or has_gaps(part)
        ):
            return False
    return True


def packed_whole(value: Any, classes: Classes, name: str) -> bytes:
    """Pack an item or a result with all its arrays. Arguments and errors as of `packed_apart`."""
    try:
        return dumps_whole(value, classes)
    except Exception as error:
        raise _refusal(value, classes, name, error) from None


def _refusal(value: Any, classes: Classes, name: str, error: Exception) -> ArgumentTypeError:
    if hasattr(type(value), "named_parts"):
        name = value.named_parts()[0]
    name = getattr(type(value), "_shown", name)  # of batches
    where = culprit(value, functools.partial(dumps_whole, classes=classes), name, error)
    return ArgumentTypeError(f"cannot be sent from one process to another: {where}")


def packed_for_worker(value: Any, name: str) -> Opened:
    """Pack a value for a worker; it can lie in something else that is packed, without a copy.

    Big arrays of files travel as the paths of the files. Arguments and errors as of `packed_apart`.
    """
    buffers: list[Any] = []
    try:
        payload = _dumps(value, Classes(), buffers, meets=Classes().add, least_mapped=INLINE)
    except Exception as error:
        raise _refusal(value, Classes(), name, error) from None
    return Opened(pickle.PickleBuffer(payload), buffers)  # type: ignore[arg-type]


def packed_error(error: BaseException, classes: Classes) -> bytes:
    """Pack an error of a worker's task, and its last line, should it not be unpacked here.

    Its traceback begins behind the worker's own frame.
    """
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next or error.__traceback__
    try:
        form = dumps_whole(sendable(error, lambda value: dumps_whole(value, classes)), classes)
        said = error_line(error)
    except Exception as problem:
        said = f"{type(error).__name__} (which cannot be sent: {type(problem).__name__})"
        form = dumps_whole(BatchflowError(said), Classes())
    return pickle.dumps((said, form))


@dataclass(eq=False)
class Opened:
    """A pickle that has arrived, with the buffers that came beside it.

    Attributes:
        payload: The pickle.
        buffers: Its out-of-band buffers.
        is_error: Whether it is the error of a task.
    """

    payload: bytes | memoryview
    buffers: Sequence[memoryview] = ()
    is_error: bool = False

    def load(self) -> Any:
        """Unpickle it. Arrays lie in the buffers."""
        return pickle.loads(self.payload, buffers=self.buffers)


def dumps_whole(value: Any, classes: Classes) -> bytes:
    """Pack a value with all its arrays; `pickle.loads` unpacks it."""
    return _dumps(value, classes, None)


def dumps_call(value: Any, stubs: Stubs | None) -> bytes:
    """Pack a value as `pack` does, to find out whether it can be packed."""
    return _dumps_with_classes(value, Classes(), stubs)[0]


def _dumps_with_classes(
    function: Any, classes: Classes, stubs: Stubs | None
) -> tuple[bytes, list[pickle.PickleBuffer]]:
    """Pack a function, and after it the classes that are packed by value on the way."""
    buffers: list[pickle.PickleBuffer] = []
    value = function, classes.tokens
    return _dumps(value, Classes(), buffers, meets=classes.add, stubs=stubs), buffers


def _dumps(
    value: Any, classes: Classes, buffers: list[pickle.PickleBuffer] | None, **options: Any
) -> bytes:
    file = io.BytesIO()
    out_of_band = None if buffers is None else functools.partial(_stays_in_band, buffers)
    _pickler()(file, classes, out_of_band, **options).dump(value)
    return file.getvalue()


def _stays_in_band(buffers: list[pickle.PickleBuffer], buffer: pickle.PickleBuffer) -> bool:
    if buffer.raw().nbytes < INLINE:
        return True
    buffers.append(buffer)
    return False


def needs_cloudpickle() -> None:
    """Import the package that packs functions."""
    imported("cloudpickle", "work in processes")


if TYPE_CHECKING:
    _Pickler = pickle.Pickler
else:
    _Pickler = object


@functools.cache
def _pickler() -> type[Any]:
    """Make the class of the pickler."""
    needs_cloudpickle()
    import cloudpickle

    return type("Pickler", (_Reductions, cloudpickle.Pickler), {})


class _Reductions(_Pickler):
    """Packs classes that the other side has as their numbers.

    A mixin for the pickler of cloudpickle, which is imported on use.

    Args:
        file: Where to write.
        known: The classes that the other side has.
        buffer_callback: As for a pickler.
        meets: Called with classes that are packed by value, on the way to a worker.
        stubs: What travels in the place of some values.
        least_mapped: The bytes from which arrays of files travel to a worker as paths.
    """

    def __init__(
        self,
        file: Any,
        known: Classes,
        buffer_callback: Any,
        *,
        meets: Callable[[type], None] | None = None,
        stubs: Stubs | None = None,
        least_mapped: int = 0,
    ) -> None:
        super().__init__(file, protocol=5, buffer_callback=buffer_callback)
        self._known = known.tokens
        self._meets = meets
        self._reduced, self._stubs = known.reduced, stubs
        self._least_mapped = least_mapped

    def reducer_override(self, value: Any, /) -> Any:
        if self._stubs is not None and (stub := self._stubs(value)) is not None:
            return stub
        if self._reduced is not None and (reduced := self._reduced(value)) is not None:
            return reduced
        is_small = isinstance(value, np.ndarray) and value.nbytes < self._least_mapped
        if self._meets is not None and not is_small:
            by_file = reduced_to_file(value)
            if by_file is not None:
                return by_file
        if type(value) is np.ndarray and has_gaps(value):
            return reduced_view(value)
        if isinstance(value, type):
            return self._reduced_class(value)
        if type(value) is types.CodeType:
            return reduced_code(value, self.dispatch_table[types.CodeType])
        return reduced_wrapper(value) or super().reducer_override(value)

    def _reduced_class(self, cls: type) -> Any:
        token = self._known.get(cls)
        if token is not None:
            return _class_of, (token,)
        reduced: Any = super().reducer_override(cls)
        if reduced is NotImplemented or len(reduced) <= 2:
            return reduced
        if self._meets is not None:
            self._meets(cls)  # it travels by value
            if reduced[0].__name__ == "_make_skeleton_class":  # not an enum
                reduced = (*reduced[:5], functools.partial(_set_class, reduced[5]))
                if "__slots__" in vars(cls):  # or its objects would have a dictionary there
                    reduced[1][3]["__slots__"] = vars(cls)["__slots__"]
        if self._stubs is None:
            return reduced
        # A worker keeps one class for each id that cloudpickle gives. Items of the same class come
        # without stubs: under one id they would put the ordered actions in the place of the stubs.
        make, (*facts, class_id, extra), *state = reduced
        return make, (*facts, f"{class_id}-stubs", extra), *state


def _set_class(set_members: Callable[[type, Any], Any], cls: type, state: Any) -> Any:
    """Set the members of a class. Those go that it had here before and has no more."""
    for name, value in [*vars(cls).items()]:
        is_slot = type(value) is types.MemberDescriptorType
        if name not in state[0] and not name.startswith("_") and not is_slot:
            delattr(cls, name)
    return set_members(cls, state)
