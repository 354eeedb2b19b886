"""Functions that travel closed: they are unpacked by whoever calls them.

    this process                              a worker
    class A: go    --- openly ------------->  go
             net   --- in a packet of its --> stand-ins; who calls one opens its packet,
             train     own, each -----------> and then what is in it is imported and made

Guarantees:
    - What only closed functions mention is neither imported nor made where nobody calls them.
    - Once it is called, a closed function shares its global variables, and what its closure holds,
      with the functions that travelled openly; and its global variables with other closed ones.
    - One that cannot be packed is refused when it is called, and then named.
"""

from __future__ import annotations

import inspect
import pickle
import threading
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

from batchflow.errors import ArgumentTypeError

__all__ = ["Absent", "Closing", "Late", "Shared", "opened", "with_missing"]

_PLAIN = (str, int, float, bool, type(None))
_EXTENT = tuple[int, int]  # of memory: address and size


class Late:
    """Which members of classes may travel closed.

    Args:
        functions_of: Gives those functions of a class that do.
        needs: Tells whether an attribute of a class is needed in workers.

    Attributes:
        spares: Whether class attributes that are not needed stay here if they cannot be packed.
            To find out costs packing them twice.
    """

    def __init__(
        self,
        functions_of: Callable[[type], Iterable[Any]],
        needs: Callable[[type, str], bool],
    ) -> None:
        self._functions_of = functions_of
        self.needs = needs
        self.spares = False
        self._closed: dict[int, Any] = {}

    def meet(self, cls: type) -> None:
        """Take note of a class that travels by value, before its members do."""
        self._closed.update((id(function), function) for function in self._functions_of(cls))

    def __contains__(self, function: Any) -> bool:
        return id(function) in self._closed


class Shared(NamedTuple):
    """Stands in a packet for what has travelled openly.

    Attributes:
        kind: `"globals"` or `"cell"`.
        number: Which of them.
    """

    kind: str
    number: int


@dataclass(eq=False)
class Packet:
    """A closed function.

    Attributes:
        payload: Its pickle.
        buffers: Which of the common buffers lie beside it.
    """

    payload: bytes
    buffers: list[int]


class Packets:
    """The closed functions that have arrived here together."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a function that is unpacked may call another
        self._packets: list[Packet | str] = []
        self._open: dict[int, Callable[..., Any]] = {}
        self.buffers: list[Any] = []
        self.shared: dict[str, list[Any]] = {}

    def __reduce__(self) -> Any:
        return Packets, ()  # what is in it comes later: see `Closing`

    def fill(
        self,
        packets: list[Packet | str],
        buffers: list[Any],
        anchors: list[Any],
        cells: list[Any],
    ) -> None:
        """Put in what has arrived."""
        self._packets, self.buffers = packets, buffers
        self.shared = {"globals": [anchor.__globals__ for anchor in anchors], "cell": cells}

    def open(self, number: int, name: str) -> Callable[..., Any]:
        """Unpack a function, once.

        Raises:
            ArgumentTypeError: It could not be packed.
        """
        with self._lock:
            if number not in self._open:
                packet = self._packets[number]
                if isinstance(packet, str):
                    _refuse(name, packet)
                self._open[number] = _Opener(packet, self).load()
            return self._open[number]


class _Opener(pickle.Unpickler):
    def __init__(self, packet: Packet, packets: Packets) -> None:
        import io

        buffers = [packets.buffers[number] for number in packet.buffers]
        super().__init__(io.BytesIO(packet.payload), buffers=buffers)
        self._shared = packets.shared

    def persistent_load(self, pid: Any) -> Any:
        kind, number = pid
        return self._shared[kind][number]


def _refuse(name: str, problem: str) -> NoReturn:
    raise ArgumentTypeError(
        f"{name} is not in this worker process, as it could not travel: {problem}. Let an ordered "
        "action do what needs it, @action(singleton=True), or run in threads"
    )


class Absent:
    """Stands for a class attribute that could not travel: whoever asks for it is refused."""

    def __init__(self, name: str, problem: str) -> None:
        self._told = name, problem

    def __get__(self, instance: object, owner: type | None = None) -> NoReturn:
        _refuse(*self._told)


# ---- stand-ins


class _Told(NamedTuple):
    """What a stand-in shows of its function."""

    names: tuple[str, str, str | None, str | None]  # __name__, __qualname__, __module__, __doc__
    marks: Mapping[str, Any]
    is_async: bool


def _told(function: Any) -> _Told:
    names = (function.__name__, function.__qualname__, function.__module__, function.__doc__)
    marks = {name: mark for name, mark in vars(function).items() if _is_plain(mark)}
    return _Told(names, marks, inspect.iscoroutinefunction(function))


def _is_plain(mark: Any) -> bool:
    parts = mark if isinstance(mark, tuple) else (mark,)
    return all(type(part) in _PLAIN for part in parts)


def _stand_in(packets: Packets, number: int, told: _Told) -> Any:
    name = told.names[1]

    def closed(*args: Any, **kwargs: Any) -> Any:
        return packets.open(number, name)(*args, **kwargs)

    async def closed_async(*args: Any, **kwargs: Any) -> Any:
        return await packets.open(number, name)(*args, **kwargs)

    function = closed_async if told.is_async else closed
    function.__name__, function.__qualname__, module, function.__doc__ = told.names
    function.__module__ = module  # type: ignore[assignment]
    function.__dict__.update(told.marks)
    _stand_ins[function.__code__] = None
    return function


_stand_ins: dict[types.CodeType, None] = {}  # the code of stand-ins: one or two


def opened(function: Any) -> Any:
    """Give the function that a stand-in stands for; of any other function itself."""
    if function.__code__ not in _stand_ins:
        return function
    held = dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))
    name: str = held["name"].cell_contents
    return held["packets"].cell_contents.open(held["number"].cell_contents, name)


# ---- packing


class Closing:
    """The closed functions of one pickle, while it is made.

    Args:
        late: Which functions they are.
        close: Packs one of them, sharing what has travelled openly: gives pickle and buffers.
        explain: Tells why a function cannot be packed.
    """

    def __init__(
        self,
        late: Late,
        close: Callable[[Any, Closing], tuple[bytes, list[pickle.PickleBuffer]]],
        explain: Callable[[Any, Exception], str],
    ) -> None:
        self.late = late
        self._close, self._explain = close, explain
        self._packets = Packets()
        self._functions: list[Any] = []
        self._names: dict[int, set[str]] = {}  # of global variables that travel openly
        self._globals: dict[int, Any] = {}
        self._cells: dict[int, Any] = {}

    def stand_in(self, function: Any) -> tuple[Any, ...]:
        """Reduce a closed function to its stand-in."""
        self._functions.append(function)
        self._globals.setdefault(id(function.__globals__), function.__globals__)
        return _stand_in, (self._packets, len(self._functions) - 1, _told(function))

    def see(self, value: Any, reduced: Any) -> None:
        """Take note of a function or a cell that travels openly."""
        if isinstance(value, types.CellType):
            self._cells.setdefault(id(value), value)
        elif isinstance(reduced, tuple) and len(reduced) == 6:
            self._globals.setdefault(id(value.__globals__), value.__globals__)
            names = self._names.setdefault(id(value.__globals__), set())
            names.update(reduced[2][1]["__globals__"])

    def shared(self, value: Any) -> Shared | None:
        """Give what stands in packets for something that has travelled openly, if it has."""
        if type(value) is Shared:
            return value
        if type(value) is types.CellType and id(value) in self._cells:
            return Shared("cell", list(self._cells).index(id(value)))
        return None

    def sharing(self, function: Any, reduced: tuple[Any, ...]) -> tuple[Any, ...]:
        """Reduce a function in a packet so that its global variables are the common ones."""
        place = id(function.__globals__)
        if len(reduced) != 6 or place not in self._globals:
            return reduced
        make, (code, _, *rest), (state, slots), *_, restore = reduced
        common = self._names.get(place, ())
        own = {name: value for name, value in slots["__globals__"].items() if name not in common}
        base = Shared("globals", list(self._globals).index(place))
        slots = {**slots, "__globals__": own}
        return make, (code, base, *rest), (restore, (state, slots)), None, None, with_missing

    def __reduce__(self) -> Any:
        # Reached when everything that travels openly is packed.
        anchors = [_anchor(variables) for variables in self._globals.values()]
        packets: list[Packet | str] = []
        buffers: dict[_EXTENT, tuple[int, pickle.PickleBuffer]] = {}
        for function in self._functions:
            try:
                payload, beside = self._close(function, self)
            except Exception as error:
                packets.append(self._explain(function, error))
                continue
            numbers = [buffers.setdefault(_extent(b), (len(buffers), b))[0] for b in beside]
            packets.append(Packet(payload, numbers))
        common = [buffer for _, buffer in buffers.values()]
        return _fill, (self._packets, packets, common, anchors, list(self._cells.values()))


def _fill(packets: Packets, *contents: Any) -> None:
    packets.fill(*contents)


def _extent(buffer: pickle.PickleBuffer) -> _EXTENT:
    import numpy as np

    raw = np.frombuffer(buffer.raw(), np.uint8)
    return raw.__array_interface__["data"][0], raw.nbytes


def _anchor(variables: dict[str, Any]) -> Any:
    """Make a function that brings nothing but the place of its global variables."""
    anchor = types.FunctionType(_nothing.__code__, variables, "<variables>")
    anchor.__qualname__ = "<variables>"  # nobody finds it by name: it travels by value
    return anchor


def _nothing() -> None:
    """Do nothing."""


def with_missing(function: Any, told: tuple[Any, tuple[Any, dict[str, Any]]]) -> None:
    """Complete a function; of its global variables, those that are not there yet."""
    restore, (state, slots) = told
    held = function.__globals__
    new = {name: value for name, value in slots["__globals__"].items() if name not in held}
    restore(function, (state, {**slots, "__globals__": new}))
